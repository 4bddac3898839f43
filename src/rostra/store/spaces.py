"""A Space as it is stored: its announcement, and a version that guards it against two editors at once."""

from dataclasses import dataclass
from typing import Protocol

from rostra.space.spec import Spec


@dataclass(frozen=True, slots=True)
class Row:
    """`version` grows by one with each change; `created_ns` is wall-clock time."""

    spec: Spec
    created_ns: int
    version: int = 1


class Spaces(Protocol):
    """The Spaces of an installation. Every method may raise Unavailable `store.busy`, OperatorError `store.failed`."""

    def add_space(self, spec: Spec, created_ns: int) -> Row:
        """Store a new Space. Raises PeerError `space.exists`."""
        ...

    def space(self, space: str) -> Row:
        """Raises PeerError `space.unknown`."""
        ...

    def spaces(self) -> list[Row]:
        """All of them, the latest start first."""
        ...

    def change_space(self, spec: Spec, version: int) -> Row:
        """Replace the announcement that had `version`.

        Raises PeerError `space.unknown`, or `space.changed` when somebody else was faster.
        """
        ...


def unknown(space: str) -> str:
    """The sentence for a Space that is not there."""
    return f"There is no Space “{space}”."
