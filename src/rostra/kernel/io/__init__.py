"""The machine itself: its clocks, shared memory, files."""
