"""The programme as a file: its index, a reader's place in it, and what stands after a crash."""
