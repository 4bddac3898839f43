"""Fragmented MP4, read by somebody who has only the standards (ISO/IEC 14496-12 and 14496-14, 23009-1, and
"Encapsulation of Opus in ISO Base Media File Format").

`Boxes` cuts a byte stream into top-level boxes; `Track` turns these into what a listener wants to know: an `Init`,
`Event`s and `Fragment`s. Nothing is shared with the writer, so that a mistake made there is not made again here.

Whatever bytes come, the only errors are PeerErrors: `media.malformed`, `media.too_large`, `media.unsupported`.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from rostra.kernel.errors import PeerError
from rostra.kernel.units import SECOND_NS

BOX_BYTES_MAX: Final = 8 * 1024 * 1024
"""A fragment of 0.64 s is 3 to 6 kB; other writers' of ten seconds at 320 kbit/s are 400 kB."""

SAMPLES_MAX: Final = 65_536
"""Packets in one run: more than twenty minutes of Opus. Without a bound, a run of empty packets costs memory."""

_NTP_TO_UNIX_S: Final = 2_208_988_800  # RFC 5905: NTP counts from 1900


def malformed(what: str) -> PeerError:
    """The error of bytes that are not the MP4 they should be."""
    return PeerError(
        "media.malformed", f"The sound is not the fragmented MP4 it should be: {what}.", "Report it to the operator."
    )


@dataclass(frozen=True, slots=True)
class Box:
    """A whole top-level box: `offset` in the byte stream, `data` with its header, `body` where the header ends."""

    kind: bytes
    offset: int
    data: bytes
    body: int


@dataclass(frozen=True, slots=True)
class Init:
    """What an init segment says of its one audio track. `codec` as in RFC 6381; `config` is the codec's own header.

    `config` is the body of `dOps` for Opus and the AudioSpecificConfig for AAC. `pre_skip` is in samples at 48 kHz.
    """

    track: int
    codec: str
    timescale: int
    channels: int
    sample_rate: int
    config: bytes
    pre_skip: int = 0
    default_duration: int = 0
    default_size: int = 0


@dataclass(frozen=True, slots=True)
class Event:
    """An `emsg`. `time` is in `timescale` units; `relative` if it counts from the fragment that follows (version 0)."""

    scheme: str
    value: str
    identity: int
    timescale: int
    time: int
    duration: int
    data: bytes
    relative: bool = False


@dataclass(frozen=True, slots=True)
class Fragment:
    """A `moof` and its `mdat`. `time` and `duration` are in the track's timescale.

    `wall_ns` is the wall-clock time at which the first sample was captured, from `prft`; None without one. `sequence`
    is what `mfhd` counts. `size` counts the bytes of both boxes.
    """

    sequence: int
    time: int
    duration: int
    packets: tuple[bytes, ...]
    wall_ns: int | None
    size: int


class Boxes:
    """Cuts a stream of bytes into top-level boxes."""

    def __init__(self) -> None:
        self._pending = bytearray()
        self._offset = 0

    def feed(self, data: bytes) -> Iterator[Box]:
        """The boxes that are whole now, in order. Raises PeerError."""
        self._pending += data
        while (box := self._next()) is not None:
            yield box

    @property
    def torn(self) -> bool:
        """Whether the stream stands in the middle of a box."""
        return bool(self._pending)

    def _next(self) -> Box | None:
        if len(self._pending) < 8:
            return None
        size, kind = struct.unpack_from(">I4s", self._pending)
        body = 8
        if size == 1:
            if len(self._pending) < 16:
                return None
            (size,) = struct.unpack_from(">Q", self._pending, 8)
            body = 16
        _check_header(kind, size, body)
        if size > BOX_BYTES_MAX:
            raise PeerError(
                "media.too_large",
                f"A {_name(kind)} box of {size} bytes is not live sound.",
                "Listen to the live address, not to a recording.",
            )
        if len(self._pending) < size:
            return None
        box = Box(kind, self._offset, bytes(self._pending[:size]), body)
        del self._pending[:size]
        self._offset += size
        return box


@dataclass(slots=True)
class _Run:
    """Packets of one `trun`: where the first lies (absolute, or None: behind the run before), and their sizes."""

    offset: int | None
    sizes: list[int]
    duration: int


@dataclass(slots=True)
class _Moof:
    """A `moof` that waits for its `mdat`."""

    offset: int
    size: int
    sequence: int = 0
    time: int | None = None
    runs: list[_Run] = field(default_factory=list)


Said = Init | Event | Fragment


class Track:
    """Makes sense of top-level boxes, one after another. `init` is None until a `moov` was read."""

    def __init__(self) -> None:
        self.init: Init | None = None
        self._clock: tuple[int, int] | None = None
        self._moof: _Moof | None = None

    def feed(self, box: Box) -> Said | None:
        """What `box` completes. Boxes that matter to nobody here (`ftyp`, `styp`, `sidx`, `free` …) are passed over."""
        reader = _Reader(box.data, box.body, len(box.data))
        match box.kind:
            case b"moov":
                self.init = _read_moov(reader)
                return self.init
            case b"prft":
                self._clock = self._read_prft(reader)
            case b"emsg":
                return _read_emsg(reader)
            case b"moof":
                if self._moof is not None:
                    raise malformed("a moof box follows another")
                self._moof = self._read_moof(box, reader)
            case b"mdat":
                return self._complete(box)
            case _:
                pass
        return None

    def _read_prft(self, reader: "_Reader") -> tuple[int, int]:
        """(wall-clock ns, media time) that belong together (14496-12, 8.16.5)."""
        version, _ = reader.version()
        _track, seconds, fraction = reader.unpack(">III")
        (time,) = reader.unpack(">Q" if version else ">I")
        return (seconds - _NTP_TO_UNIX_S) * SECOND_NS + (fraction * SECOND_NS + (1 << 31) >> 32), time

    def _read_moof(self, box: Box, reader: "_Reader") -> _Moof:
        if self.init is None:
            raise malformed("a fragment comes before the init segment")
        moof = _Moof(box.offset, len(box.data))
        for kind, inner in reader.boxes():
            if kind == b"mfhd":
                inner.version()
                (moof.sequence,) = inner.unpack(">I")
            elif kind == b"traf":
                _read_traf(moof, self.init, inner)
        return moof

    def _complete(self, mdat: Box) -> Fragment | None:
        moof, self._moof = self._moof, None
        clock, self._clock = self._clock, None
        if moof is None:
            raise malformed("an mdat box without its moof")
        if not moof.runs:
            return None
        if moof.time is None:
            raise malformed("a fragment without tfdt")
        assert self.init is not None
        packets: list[bytes] = []
        at = moof.offset + moof.size + mdat.body
        for run in moof.runs:
            at = run.offset if run.offset is not None else at
            for size in run.sizes:
                start = at - mdat.offset
                if start < mdat.body or start + size > len(mdat.data):
                    raise malformed("a packet lies outside its mdat")
                packets.append(mdat.data[start : start + size])
                at += size
        wall = None
        if clock is not None:
            wall = clock[0] + _signed(moof.time - clock[1]) * SECOND_NS // self.init.timescale
        duration = sum(run.duration for run in moof.runs)
        size = moof.size + len(mdat.data)
        return Fragment(moof.sequence, moof.time, duration, tuple(packets), wall, size)


def _signed(difference: int) -> int:
    """Modulo 2**64, around zero: FFmpeg writes media times before zero, where an encoder primes, as huge ones."""
    return (difference + (1 << 63)) % (1 << 64) - (1 << 63)


class _Reader:
    """A bounded view: whatever does not fit raises PeerError."""

    def __init__(self, data: bytes, start: int, end: int) -> None:
        self.data, self.at, self.end = data, start, end

    @property
    def left(self) -> int:
        return self.end - self.at

    def unpack(self, form: str) -> tuple[int, ...]:
        size = struct.calcsize(form)
        if size > self.left:
            raise malformed("a box is shorter than what it must hold")
        values = struct.unpack_from(form, self.data, self.at)
        self.at += size
        return values

    def take(self, count: int) -> bytes:
        if count > self.left:
            raise malformed("a box is shorter than what it must hold")
        self.at += count
        return self.data[self.at - count : self.at]

    def text(self) -> str:
        """A string that ends with a zero byte."""
        end = self.data.find(b"\0", self.at, self.end)
        if end < 0:
            raise malformed("a string does not end")
        text = self.data[self.at : end].decode("utf-8", "replace")
        self.at = end + 1
        return text

    def version(self) -> tuple[int, int]:
        """Version and flags of a full box."""
        (word,) = self.unpack(">I")
        return word >> 24, word & 0xFF_FFFF

    def boxes(self) -> Iterator[tuple[bytes, "_Reader"]]:
        """The boxes in what is left."""
        while self.left:
            start = self.at
            size, kind_word = self.unpack(">II")
            kind, body = kind_word.to_bytes(4, "big"), 8
            if size == 1:
                (size,) = self.unpack(">Q")
                body = 16
            _check_header(kind, size, body)
            if size > self.end - start:
                raise malformed(f"a {_name(kind)} box is larger than what surrounds it")
            self.at = start + size
            yield kind, _Reader(self.data, start + body, start + size)


def _check_header(kind: bytes, size: int, body: int) -> None:
    if size < body or not all(0x20 <= byte < 0x7F or byte == 0xA9 for byte in kind):
        raise malformed(f"{kind!r} of {size} bytes is no box")


def _name(kind: bytes) -> str:
    return kind.decode("latin-1")


def _children(reader: _Reader) -> dict[bytes, _Reader]:
    """The first box of each kind."""
    found: dict[bytes, _Reader] = {}
    for kind, inner in reader.boxes():
        found.setdefault(kind, inner)
    return found


def _need(found: dict[bytes, _Reader], kind: bytes) -> _Reader:
    if kind not in found:
        raise malformed(f"there is no {_name(kind)} box")
    return found[kind]


def _read_emsg(reader: _Reader) -> Event:
    """23009-1, 5.10.3.3. Version 0 counts from the fragment that follows, version 1 from the timeline's zero."""
    version, _ = reader.version()
    if version == 1:
        timescale, time, duration, identity = reader.unpack(">IQII")
        scheme, value = reader.text(), reader.text()
    elif version == 0:
        scheme, value = reader.text(), reader.text()
        timescale, time, duration, identity = reader.unpack(">IIII")
    else:
        raise malformed(f"an emsg box of version {version}")
    if timescale == 0:
        raise malformed("an emsg box without a timescale")
    data = reader.take(reader.left)
    return Event(scheme, value, identity, timescale, time, duration, data, relative=version == 0)


def _read_moov(reader: _Reader) -> Init:
    defaults: dict[int, tuple[int, int]] = {}
    sound: Init | None = None
    for kind, inner in reader.boxes():
        if kind == b"mvex":
            for name, trex in inner.boxes():
                if name == b"trex":
                    trex.version()
                    track, _description, duration, size, _flags = trex.unpack(">IIIII")
                    defaults[track] = duration, size
        elif kind == b"trak" and sound is None:
            sound = _read_trak(inner)
    if sound is None:
        raise PeerError("media.unsupported", "The stream has no sound that can be decoded.", "Opus and AAC are known.")
    duration, size = defaults.get(sound.track, (0, 0))
    return Init(
        sound.track,
        sound.codec,
        sound.timescale,
        sound.channels,
        sound.sample_rate,
        sound.config,
        sound.pre_skip,
        duration,
        size,
    )


def _read_trak(reader: _Reader) -> Init | None:
    """None when the track is something else than sound."""
    parts = _children(reader)
    tkhd, mdia = _need(parts, b"tkhd"), _children(_need(parts, b"mdia"))
    version, _ = tkhd.version()
    _created, _modified, track = tkhd.unpack(">QQI" if version else ">III")
    mdhd = _need(mdia, b"mdhd")
    version, _ = mdhd.version()
    _created, _modified, timescale = mdhd.unpack(">QQI" if version else ">III")
    if timescale == 0:
        raise malformed("a track without a timescale")
    hdlr = _need(mdia, b"hdlr")
    hdlr.version()
    hdlr.unpack(">I")
    if hdlr.take(4) != b"soun":
        return None
    tables = _children(_need(_children(_need(mdia, b"minf")), b"stbl"))
    stsd = _need(tables, b"stsd")
    stsd.version()
    stsd.unpack(">I")
    for kind, entry in stsd.boxes():
        return _read_entry(kind, entry, track, timescale)
    raise malformed("a track without a sample description")


def _read_entry(kind: bytes, entry: _Reader, track: int, timescale: int) -> Init:
    """An AudioSampleEntry (14496-12, 12.2.3)."""
    entry.take(8)
    version, *_ = entry.unpack(">HHI")
    channels, _bits, _defined, _reserved, rate, _fraction = entry.unpack(">HHHHHH")
    if version == 1:
        entry.take(16)  # QuickTime's version 1
    inner = _children(entry)
    if kind == b"Opus":
        dops = _need(inner, b"dOps")
        config = dops.take(dops.left)
        head = _Reader(config, 0, len(config))
        _version, channels, pre_skip, _input_rate, _gain, _family = head.unpack(">BBHIhB")
        return Init(track, "opus", timescale, _channels(channels), 48_000, config, pre_skip)
    if kind == b"mp4a":
        config = _read_esds(_need(inner, b"esds"))
        return Init(track, f"mp4a.40.{_object_type(config)}", timescale, _channels(channels), rate, config)
    raise PeerError(
        "media.unsupported", f"The sound's coding, {_name(kind)}, is unknown.", "Opus and AAC can be heard."
    )


def _channels(count: int) -> int:
    if not 1 <= count <= 8:
        raise malformed(f"sound of {count} channels")
    return count


def _read_esds(reader: _Reader) -> bytes:
    """The AudioSpecificConfig inside the descriptors of 14496-1, 7.2.6."""
    reader.version()
    es = _descriptor(reader, 3)
    _id, flags = es.unpack(">HB")
    if flags & 0x80:
        es.take(2)
    if flags & 0x40:
        es.take(es.unpack(">B")[0])
    if flags & 0x20:
        es.take(2)
    decoder = _descriptor(es, 4)
    (object_type,) = decoder.unpack(">B")
    if object_type != 0x40:
        raise PeerError("media.unsupported", "The sound is not MPEG-4 audio.", "Opus and AAC are known.")
    decoder.take(12)
    specific = _descriptor(decoder, 5)
    return specific.take(specific.left)


def _descriptor(reader: _Reader, wanted: int) -> _Reader:
    tag, length = reader.unpack(">B")[0], 0
    if tag != wanted:
        raise malformed(f"descriptor {tag} where {wanted} should be")
    for _ in range(4):
        (byte,) = reader.unpack(">B")
        length = length << 7 | byte & 0x7F
        if not byte & 0x80:
            break
    if length > reader.left:
        raise malformed("a descriptor is larger than what surrounds it")
    start = reader.at
    reader.at += length
    return _Reader(reader.data, start, start + length)


def _object_type(config: bytes) -> int:
    """audioObjectType (14496-3, 1.6.2.1): five bits, or 31 and six more."""
    if len(config) < 2:
        raise malformed("an AudioSpecificConfig that is too short")
    kind = config[0] >> 3
    return 32 + ((config[0] & 7) << 3 | config[1] >> 5) if kind == 31 else kind


def _read_traf(moof: _Moof, init: Init, reader: _Reader) -> None:
    """One track's part of a `moof`; those of other tracks are passed over."""
    parts = list(reader.boxes())
    headers = [inner for kind, inner in parts if kind == b"tfhd"]
    if len(headers) != 1:
        raise malformed("a traf box must have one tfhd")
    tfhd = headers[0]
    _, flags = tfhd.version()
    (track,) = tfhd.unpack(">I")
    if track != init.track:
        return
    base = tfhd.unpack(">Q")[0] if flags & 0x1 else moof.offset
    if flags & 0x2:
        tfhd.unpack(">I")
    duration = tfhd.unpack(">I")[0] if flags & 0x8 else init.default_duration
    size = tfhd.unpack(">I")[0] if flags & 0x10 else init.default_size
    for kind, inner in parts:
        if kind == b"tfdt":
            version, _ = inner.version()
            (moof.time,) = inner.unpack(">Q" if version else ">I")
        elif kind == b"trun":
            moof.runs.append(_read_trun(inner, base, duration, size))


def _read_trun(reader: _Reader, base: int, default_duration: int, default_size: int) -> _Run:
    """14496-12, 8.8.8."""
    _, flags = reader.version()
    (count,) = reader.unpack(">I")
    if count > SAMPLES_MAX:
        raise PeerError("media.too_large", f"A fragment of {count} packets is not live sound.")
    offset = base + reader.unpack(">i")[0] if flags & 0x1 else None
    if flags & 0x4:
        reader.unpack(">I")
    present = [bit for bit in (0x100, 0x200, 0x400, 0x800) if flags & bit]
    width = len(present)
    rows = reader.unpack(f">{count * width}I")
    durations = rows[present.index(0x100) :: width] if 0x100 in present else ()
    sizes = rows[present.index(0x200) :: width] if 0x200 in present else (default_size,) * count
    return _Run(offset, list(sizes), sum(durations) if 0x100 in present else default_duration * count)
