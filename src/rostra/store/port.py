"""The store as the studio knows it. One suite, tests/contract/test_store.py, runs over every implementation."""

from typing import Protocol

from rostra.store.checks import Checks
from rostra.store.people import People
from rostra.store.spaces import Spaces


class Store(Spaces, People, Checks, Protocol):
    """Safe to use from several threads and several processes at once; each method is one transaction."""

    def check(self) -> None:
        """Raises Unavailable or OperatorError when the store cannot answer now."""
        ...

    def close(self) -> None:
        """Let go of every connection."""
        ...
