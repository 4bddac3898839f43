"""Admission: whether a listener comes in, waits, or is refused, and why. Decisions only; the edge applies them."""
