"""Names that machines give: short, lower case, safe in URLs and file names."""

import base64
import re
from typing import Final

SPACE_ID: Final = re.compile(r"[a-z0-9][a-z0-9-]{1,30}[a-z0-9]")
"""A Space's id is also its folder's name: no dots, no slashes, nothing a shell or a URL would read otherwise."""


def make_id(random: bytes) -> str:
    """Lower-case base32 (RFC 4648) of `random`, without padding: 5 bytes make 8 characters."""
    return base64.b32encode(random).decode().rstrip("=").lower()


def is_space_id(text: str) -> bool:
    """Whether `text` could be the id of a Space."""
    return SPACE_ID.fullmatch(text) is not None
