"""The keeper's loop, once a second."""
