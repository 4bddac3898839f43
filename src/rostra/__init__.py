"""Rostra: live audio for enormous audiences."""
