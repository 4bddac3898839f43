"""The journal's pen on a thread of its own: a transition is durable within milliseconds, and no tick waits for it."""

import threading
from queue import SimpleQueue
from typing import Final

import structlog

from rostra.space.io.folder import Journal
from rostra.space.lifecycle import Event, Life

RETRY_S: Final = 0.5
"""How soon a line that the disk refused is tried again."""

CLOSE_S: Final = 5.0
"""How long the end of the process waits for the last lines."""

_Line = tuple[Life, Event | None, dict[str, object]]
_diagnostics = structlog.get_logger()


class Pen:
    """Writes lines in order. `errors` counts refusals by the disk; no line is given up before `close`."""

    def __init__(self, journal: Journal) -> None:
        self.errors = 0
        self._journal = journal
        self._lines: SimpleQueue[_Line | None] = SimpleQueue()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._write_all, name="journal", daemon=True)
        self._thread.start()

    def append(self, life: Life, event: Event | None, **facts: object) -> None:
        """Hand over a transition. Never waits, never fails."""
        self._lines.put((life, event, facts))

    def close(self) -> None:
        """Write what is there, and let the next owner of the lifecycle in."""
        self._closing.set()
        self._lines.put(None)
        self._thread.join(CLOSE_S)
        if not self._thread.is_alive():
            self._journal.close()

    def _write_all(self) -> None:
        while (line := self._lines.get()) is not None:
            while not self._written(line) and not self._closing.wait(RETRY_S):
                pass

    def _written(self, line: _Line) -> bool:
        life, event, facts = line
        try:
            self._journal.append(life, event, **facts)
        except OSError as error:
            self.errors += 1
            _diagnostics.error("journal_fault", reason=error.strerror)
            return False
        return True
