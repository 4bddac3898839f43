"""A stranger who listens on a thread while a test does something to the server."""

import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rostra.ear.io import client
from rostra.ear.measure import Report
from rostra.kernel.units import FRAGMENT_SAMPLES
from support.server import wait_for


class Stranger:
    """Listens from entering until leaving; `heard` grows fragment by fragment meanwhile."""

    def __init__(self, url: str, *, reconnect: bool = False, rendition: str = "", out: Path | None = None) -> None:
        self.heard: list[client.Sound] = []
        self.report: Report | None = None
        self.fault: Exception | None = None
        self._leaving = threading.Event()
        self._options: dict[str, Any] = {"reconnect": reconnect, "rendition": rendition, "out": out}
        self._thread = threading.Thread(target=self._listen, args=(url,), daemon=True)

    def _listen(self, url: str) -> None:
        try:
            self.report = client.listen(url, wait=True, on_sound=self._note, **self._options).report
        except _Leave:
            pass
        except Exception as fault:
            self.fault = fault

    def _note(self, heard: client.Sound) -> None:
        self.heard.append(heard)
        if self._leaving.is_set():
            raise _Leave

    def __enter__(self) -> "Stranger":
        self._thread.start()
        self.await_fragments(1)
        return self

    def __exit__(self, *_: object) -> None:
        self._leaving.set()
        self._thread.join(20)

    def await_fragments(self, more: int, timeout_s: float = 20) -> None:
        """Wait until so many more fragments were heard."""
        wanted = len(self.heard) + more
        wait_for(lambda: self.fault or self.report or len(self.heard) >= wanted, timeout_s, f"{more} more fragments")
        if self.fault is not None:
            raise self.fault
        assert len(self.heard) >= wanted, f"the response ended early: {self.report}"

    def await_end(self, timeout_s: float = 30) -> Report:
        self._thread.join(timeout_s)
        if self.fault is not None:
            raise self.fault
        assert self.report is not None, "the response did not end"
        return self.report

    @property
    def numbers(self) -> list[int]:
        return [heard.fragment.time // FRAGMENT_SAMPLES for heard in self.heard]

    def samples(self) -> npt.NDArray[np.float32]:
        return np.concatenate([heard.samples for heard in self.heard])

    def longest_wait_s(self) -> float:
        """The longest time between two fragments."""
        arrivals = [heard.arrived_ns for heard in self.heard]
        return max(np.diff(arrivals), default=0) / 1e9

    @property
    def last_arrival(self) -> float:
        """Wall-clock seconds."""
        return self.heard[-1].arrived_ns / 1e9 if self.heard else time.time()


class _Leave(Exception):
    """Thrown into the client to stop it."""
