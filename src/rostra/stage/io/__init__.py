"""The stage's process: its tick, its commands, aiortc and libopus."""
