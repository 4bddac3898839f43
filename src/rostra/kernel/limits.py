"""Bounds, each with the reason for its value."""

from typing import Final

SEATS_MAX: Final = 32
"""Speakers on one stage. Measured: 13 take a third of a core; 32 still fit one process."""

SDP_BYTES_MAX: Final = 64 * 1024
"""An offer. Chromium's audio-only offer is 3 kB, with many interfaces 10 kB."""

COMMAND_BYTES_MAX: Final = 256 * 1024
"""A message on a command socket: an SDP and its envelope, with room to spare."""

ROSTER_BYTES_MAX: Final = 64 * 1024
"""`roster.json`: 32 seats of some 350 bytes, four to a letter of their names at most."""

TITLE_CHARS_MAX: Final = 200
"""A title is read out and fits a phone's screen."""

NAME_CHARS_MAX: Final = 60
"""A speaker's name, as listeners see it."""

START_AHEAD_DAYS_MAX: Final = 366
"""A start further away is a typing error more often than a plan."""
