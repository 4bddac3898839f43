"""Who comes in now, who waits, and what they are told."""
