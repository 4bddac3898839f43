"""What the same work costs with nothing of ours around it: the floors that bench/processes.py sets its figures beside.

Each is the share of one core, in percent, as `time.process_time` counts it.
"""

import os
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from fractions import Fraction
from pathlib import Path

import av
from av.audio.codeccontext import AudioCodecContext
from av.audio.frame import AudioFrame

VOICE = Path(__file__).parent.parent / "src/rostra/ops/voices/ada.ogg"
SECONDS = 30
FRAGMENT_S = 0.64


def speech() -> list[AudioFrame]:
    """Half a minute of a voice in frames of 20 ms, 16 bits."""
    resampler = av.AudioResampler(format="s16", layout="mono", rate=48_000, frame_size=960)
    with av.open(str(VOICE)) as container:
        frames = [piece for frame in container.decode(audio=0) for piece in resampler.resample(frame)]
    return frames[: SECONDS * 50]


def encoder(codec: str, sample_format: str, bit_rate: int) -> AudioCodecContext:
    context = av.CodecContext.create(codec, "w")
    assert isinstance(context, AudioCodecContext)
    context.sample_rate, context.layout, context.format = 48_000, "mono", sample_format
    context.bit_rate, context.time_base = bit_rate, Fraction(1, 48_000)
    return context


def encode(context: AudioCodecContext, frames: list[AudioFrame], size: int = 960) -> tuple[float, list[av.Packet]]:
    """CPU seconds and packets."""
    resampler = av.AudioResampler(format=context.format.name, layout="mono", rate=48_000, frame_size=size)
    ready = [piece for frame in frames for piece in resampler.resample(frame)]
    began = time.process_time()
    packets = [packet for frame in ready for packet in context.encode(frame)]
    return time.process_time() - began, packets


def programme() -> float:
    """Encoding what the programme encodes: Opus at 32 kbit/s and AAC at 64."""
    frames = speech()
    opus, _ = encode(encoder("libopus", "s16", 32_000), frames)
    aac, _ = encode(encoder("aac", "fltp", 64_000), frames, 1024)
    return 100 * (opus + aac) / SECONDS


def stage(seats: int) -> float:
    """Decoding each seat's Opus and encoding each seat's return, one after another, and no network."""
    spent, packets = encode(encoder("libopus", "s16", 32_000), speech())
    decoder = av.CodecContext.create("libopus", "r")
    assert isinstance(decoder, AudioCodecContext)
    began = time.process_time()
    for packet in packets:
        decoder.decode(av.Packet(bytes(packet)))
    return 100 * seats * (spent + time.process_time() - began) / SECONDS


@contextmanager
def pairs(count: int) -> Iterator[list[tuple[socket.socket, socket.socket]]]:
    """TCP connections over loopback, both ends ours."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=count))
        found = []
        for _ in range(count):
            here = stack.enter_context(socket.create_connection(listener.getsockname()))
            there, _ = listener.accept()
            found.append((stack.enter_context(there), here))
        yield found


def sends(listeners: int, size: int = 2900, rounds: int = 10) -> float:
    """Sending each listener a fragment every 0.64 s with write(2) and nothing else."""
    chunk, nothing, spent = bytes(size), bytearray(1 << 20), 0.0
    with pairs(listeners) as connections:
        for _ in range(rounds):
            began = time.process_time()
            for there, _ in connections:
                os.write(there.fileno(), chunk)
            spent += time.process_time() - began
            for _, here in connections:
                taken = 0
                while taken < size:
                    taken += here.recv_into(nothing, 0, socket.MSG_TRUNC)
    return 100 * spent / rounds / FRAGMENT_S


if __name__ == "__main__":
    print(f"programme {programme():.1f} %, stage {stage(1):.1f} % a seat, 1,000 listeners {sends(1000):.1f} %")
