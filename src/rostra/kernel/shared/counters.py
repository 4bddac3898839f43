"""A process's counters: named int64s in shared memory, one writer, an append-only list.

A counter keeps its place for the life of the file, so a reader may remember where a name stands. Names are paths:
`heartbeat_ns`, `joins`, `space/<id>/listeners`. A value of eight aligned bytes is written and read whole.
"""

from typing import Final

from rostra.kernel.errors import OperatorError

MAGIC: Final = b"RSTRCNTR"
VERSION: Final = 1
CAPACITY: Final = 1024
NAME_BYTES: Final = 64
_HEADER_BYTES: Final = 64
_VALUES_AT: Final = _HEADER_BYTES + CAPACITY * NAME_BYTES
SIZE: Final = _VALUES_AT + CAPACITY * 8

HEARTBEAT: Final = "heartbeat_ns"
"""Every process writes the monotonic clock here at least once a second; the supervisor watches it."""


class Counters:
    """The list over a buffer of `SIZE` bytes; a zeroed buffer becomes an empty list when its writer opens it."""

    def __init__(self, buffer: memoryview, *, writer: bool = False) -> None:
        if writer and bytes(buffer[:8]) == bytes(8):
            buffer[8:12] = VERSION.to_bytes(4, "little")
            buffer[:8] = MAGIC
        if bytes(buffer[:8]) != MAGIC or int.from_bytes(buffer[8:12], "little") != VERSION:
            raise OperatorError(
                "counters.version",
                "The shared counters were made by another version of Rostra.",
                "Stop every Rostra process on this machine and start it again.",
            )
        self._buffer = buffer
        self._used = buffer[16:24].cast("q")
        self._values = buffer[_VALUES_AT : _VALUES_AT + CAPACITY * 8].cast("q")
        self._at: dict[str, int] = {}
        self._learn()

    def _learn(self) -> None:
        for at in range(len(self._at), self._used[0]):
            start = _HEADER_BYTES + at * NAME_BYTES
            self._at[bytes(self._buffer[start : start + NAME_BYTES]).rstrip(b"\0").decode()] = at

    def _place(self, name: str) -> int:
        at = self._at.get(name)
        if at is None:
            at = self._used[0]
            encoded = name.encode()
            assert at < CAPACITY, "too many counters"
            assert len(encoded) <= NAME_BYTES, f"the counter's name {name} is too long"
            start = _HEADER_BYTES + at * NAME_BYTES
            self._buffer[start : start + NAME_BYTES] = encoded.ljust(NAME_BYTES, b"\0")
            self._at[name] = at
            self._used[0] = at + 1
        return at

    def add(self, name: str, amount: int = 1) -> None:
        """Add to a counter, making it when it is new. Writer only."""
        self._values[self._place(name)] += amount

    def set(self, name: str, value: int) -> None:
        """Set a gauge, making it when it is new. Writer only."""
        self._values[self._place(name)] = value

    def get(self, name: str) -> int:
        """The value of a counter; one that was never written is 0."""
        self._learn()
        at = self._at.get(name)
        return 0 if at is None else self._values[at]

    def read(self) -> dict[str, int]:
        """Every counter by name."""
        self._learn()
        return {name: self._values[at] for name, at in self._at.items()}
