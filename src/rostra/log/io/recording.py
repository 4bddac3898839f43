"""The recording of a Space that ended: two small files beside the log, nothing copied (`rostra.media.progressive`)."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from rostra.kernel.io.files import replace, unwritable
from rostra.kernel.shared.index import Flag, Record
from rostra.kernel.units import FRAME_SAMPLES, SAMPLE_RATE
from rostra.log.io.files import Reader
from rostra.media.codec import AAC, media_time
from rostra.media.fragment import packet_spans
from rostra.media.progressive import Chunk, recording_head, trim

VERSION: Final = 1
HEAD: Final = "recording.head"
FACTS: Final = "recording.json"


@dataclass(frozen=True, slots=True)
class Recording:
    """recording.m4a = the `head_bytes` of recording.head, then the bytes [start, end) of aac/fragments.m4s.

    `first` and `last` are the fragments in which the programme was first and last on air.
    """

    head_bytes: int
    start: int
    end: int
    duration_s: float
    first: int
    last: int


def write_recording(programme: Path, start_frame: int | None, end_frame: int | None) -> Recording | None:
    """Cut the recording out of a finished log: from the first fragment on air to the last, trimmed to the frame.

    `start_frame` is the first timeline frame on air and `end_frame` the one after the last; without them whole
    fragments are kept. None when the programme was never on air.

    Raises OperatorError `data.unwritable`.
    """
    reader = Reader(programme / AAC.name)
    try:
        reader.poll()
        return _write(reader, programme / AAC.name, start_frame, end_frame)
    except OSError as error:
        raise unwritable(programme, error) from None
    finally:
        reader.close()


def _write(reader: Reader, folder: Path, start_frame: int | None, end_frame: int | None) -> Recording | None:
    on_air = [at for at, record in enumerate(reader.records) if record.flags & Flag.ON_AIR]
    if not on_air:
        return None
    heard = reader.records[on_air[0] : on_air[-1] + 1]
    from_sample, to_sample = _span(heard, start_frame, end_frame)
    # One fragment more in front: the first packet that sounds wants its predecessor.
    around = reader.records[max(0, on_air[0] - 1) : on_air[-1] + 1]
    chunks = trim(AAC, (_chunk(reader, record) for record in around), from_sample, to_sample)
    head = recording_head(AAC, chunks, from_sample, to_sample)
    recording = Recording(
        head_bytes=len(head),
        start=chunks[0].offset,
        end=chunks[-1].end,
        duration_s=(to_sample - from_sample) / SAMPLE_RATE,
        first=heard[0].number,
        last=heard[-1].number,
    )
    replace(folder / HEAD, head, sync=True)
    replace(folder / FACTS, json.dumps({"v": VERSION, **asdict(recording)}).encode() + b"\n", sync=True)
    return recording


def _span(heard: list[Record], start_frame: int | None, end_frame: int | None) -> tuple[int, int]:
    """The samples to play, within the fragments there are."""
    low, high = media_time(heard[0].number), media_time(heard[-1].number + 1)
    start = low if start_frame is None else max(low, start_frame * FRAME_SAMPLES)
    end = high if end_frame is None else min(high, end_frame * FRAME_SAMPLES)
    return (start, end) if start < end else (low, high)


def _chunk(reader: Reader, record: Record) -> Chunk:
    offset, sizes = packet_spans(reader.read(record))
    return Chunk(record.offset + offset, media_time(record.number), sizes)
