"""FFmpeg's WHIP muxer as a speaker, in a process of its own: a third WebRTC stack, which only sends.

    python ffmpeg_whip.py URL TOKEN FILE CERTIFICATE KEY [FLAGS]

FFmpeg on GnuTLS makes its own certificate on the curve P-224, which OpenSSL 4 refuses; so it is given one on P-256.
"""

import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
from av.audio.stream import AudioStream
from cryptography.hazmat.primitives import serialization

from support.streams import make_certificate


@contextmanager
def publishing(
    url: str, token: str, file: Path, folder: Path, *, flags: str = "", inside: Sequence[str] = ()
) -> Iterator["subprocess.Popen[bytes]"]:
    """`file`, over and over, published to `url`; what FFmpeg says goes to `folder`/ffmpeg.log.

    `inside` is the command that starts others where it is to be (in a namespace).
    """
    folder.mkdir(parents=True, exist_ok=True)
    pem = make_certificate(folder / "certificate.pem")
    key = folder / "key.pem"
    private = serialization.load_pem_private_key(pem.read_bytes(), None)
    traditional = serialization.PrivateFormat.TraditionalOpenSSL  # GnuTLS in the wheel reads no other
    key.write_bytes(private.private_bytes(serialization.Encoding.PEM, traditional, serialization.NoEncryption()))
    with (folder / "ffmpeg.log").open("wb") as log:
        child = subprocess.Popen(
            [*inside, sys.executable, "-m", "support.ffmpeg_whip", url, token, str(file), str(pem), str(key), flags],
            cwd=Path(__file__).parent.parent,
            stdout=log,
            stderr=log,
        )
        try:
            yield child
        finally:
            child.kill()
            child.wait(20)


def _frames(file: str) -> "Iterator[av.AudioFrame]":
    while True:
        resampler = av.AudioResampler(format="s16", layout="stereo", rate=48_000, frame_size=960)
        with av.open(file) as source:
            for frame in source.decode(audio=0):
                yield from resampler.resample(frame)


def main(url: str, token: str, file: str, certificate: str, key: str, flags: str = "") -> None:
    options = {"authorization": token, "cert_file": certificate, "key_file": key}
    if flags:
        options["whip_flags"] = flags
    with av.open(url, "w", format="whip", options=options) as out:
        stream = out.add_stream("libopus", rate=48_000, layout="stereo")  # the muxer takes nothing else
        assert isinstance(stream, AudioStream)
        began = time.monotonic()
        for number, frame in enumerate(_frames(file)):
            frame.pts, frame.time_base = number * 960, Fraction(1, 48_000)
            time.sleep(max(0, began + number * 0.02 - time.monotonic()))
            out.mux(stream.encode(frame))


if __name__ == "__main__":
    main(*sys.argv[1:])
