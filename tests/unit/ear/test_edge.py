"""The ear on the push surface of a worker: two halves that share no code, and must agree on the standards."""

from pathlib import Path
from threading import Event, Thread

import numpy as np
import pytest

from rostra.ear.io.client import Enough, Heard, Sound, listen
from rostra.kernel.errors import PeerError, Unavailable
from rostra.space.lifecycle import State
from support.audience import Edge, Programme, edge
from support.server import wait_for


class Listener:
    """Listens on a thread, and stops after the next fragment once told to."""

    def __init__(self, served: Edge, rendition: str, out: Path | None = None) -> None:
        self.sounds: list[Sound] = []
        self.result: Heard | None = None
        self._enough = Event()
        url = f"http://127.0.0.1:{served.port}/s/talk"
        self._thread = Thread(target=self._listen, args=(url, rendition, out))
        self._thread.start()

    def _listen(self, url: str, rendition: str, out: Path | None) -> None:
        self.result = listen(url, rendition=rendition, out=out, on_sound=self._take)

    def _take(self, sound: Sound) -> None:
        self.sounds.append(sound)
        if self._enough.is_set():
            raise Enough

    def await_sounds(self, count: int) -> None:
        wait_for(lambda: len(self.sounds) >= count, 10, f"{count} fragments")

    def enough(self) -> None:
        self._enough.set()

    def join(self) -> Heard:
        self._thread.join(10)
        assert self.result is not None
        return self.result


@pytest.mark.parametrize("rendition", ["opus", "aac"])
def test_a_worker_is_understood(tmp_path: Path, rendition: str) -> None:
    programme = Programme(tmp_path)
    programme.fragments(2)
    with edge(tmp_path) as served:
        listener = Listener(served, rendition, tmp_path / "heard.mp4")
        listener.await_sounds(1)
        programme.fragments(5)
        listener.await_sounds(6)
        programme.end()
        result = listener.join()
    report = result.report
    assert (report.fragments, report.gaps, report.ended) == (6, 0, True)
    assert [sound.fragment.time for sound in listener.sounds] == [n * 30_720 for n in range(1, 7)]
    assert all(len(sound.samples) == 30_720 for sound in listener.sounds)
    assert result.notices[-1]["type"] == "end"
    spectrum = np.abs(np.fft.rfft(np.concatenate([sound.samples for sound in listener.sounds[1:]])))
    assert spectrum.max() > 20 * np.median(spectrum)


def test_whoever_has_heard_enough_gets_the_report(tmp_path: Path) -> None:
    programme = Programme(tmp_path)
    programme.fragments(1)
    with edge(tmp_path) as served:
        listener = Listener(served, "opus")
        listener.await_sounds(1)
        listener.enough()
        programme.fragments(1)
        report = listener.join().report
    assert (report.fragments, report.ended, report.faults) == (2, False, [])


def test_what_was_lost_on_the_way_to_the_log_is_a_gap(tmp_path: Path) -> None:
    programme = Programme(tmp_path)
    programme.fragments(1)
    with edge(tmp_path) as served:
        listener = Listener(served, "opus")
        listener.await_sounds(1)
        programme.fragments(1, lose=True)
        programme.fragments(2)
        listener.await_sounds(3)
        programme.end()
        report = listener.join().report
    assert (report.gaps, report.gap_ms_total, report.holds) == (1, 640.0, False)


def test_shut_doors_and_wrong_links_are_told_apart(tmp_path: Path) -> None:
    Programme(tmp_path, state=State.SCHEDULED)
    with edge(tmp_path) as served:
        base = f"http://127.0.0.1:{served.port}/s"
        with pytest.raises(Unavailable) as shut:
            listen(f"{base}/talk")
        with pytest.raises(PeerError) as wrong:
            listen(f"{base}/nobody")
    assert (shut.value.code, wrong.value.code) == ("listen.not_yet", "listen.unknown")
