"""Janus's AudioBridge: a mixer that nobody here wrote, given plain RTP.

It is started with a configuration of its own, with that plugin alone and an HTTP interface on loopback. Somebody
who joins with `rtp` gets a port to send Opus to; the mix of the room is recorded by Janus itself.
"""

import json
import socket
import subprocess
import urllib.request
import wave
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np

from rostra.kernel.shared.ring import Pcm
from rostra.kernel.units import SAMPLE_RATE
from support.browsers import program
from support.server import free_port, wait_for

ROOM: Final = 1
PAYLOAD_TYPE: Final = 111

CORE: Final = """
general: {{ plugins_folder = "{plugins}" transports_folder = "{transports}" interface = "127.0.0.1"
            debug_level = 4 debug_colors = false server_name = "test" }}
nat: {{ ice_enforce_list = "lo" }}
plugins: {{ disable = "{plugins_off}" }}
transports: {{ disable = "{transports_off}" }}
"""
HTTP: Final = """
general: {{ json = "compact" base_path = "/janus" http = true port = {port} ip = "127.0.0.1" https = false }}
admin: {{ admin_http = false }}
"""
BRIDGE: Final = """
general: {{ local_ip = "127.0.0.1" }}
room-{room}: {{ sampling_rate = {rate} allow_rtp_participants = true audiolevel_ext = false
                record = true record_file = "{recording}" }}
"""
LIBRARIES: Final = ("/usr/lib/x86_64-linux-gnu/janus", "/usr/lib/aarch64-linux-gnu/janus", "/usr/lib/janus")


class Janus:
    """A running Janus with one room. `recording` holds its mix once `destroy` was called."""

    def __init__(self, folder: Path) -> None:
        self.recording = folder / "mix.wav"
        self._port = free_port()
        self._lines: list[socket.socket] = []
        home = next(path for path in map(Path, LIBRARIES) if path.exists())
        off = {kind: ",".join(sorted(file.name for file in (home / kind).glob("*.so"))) for kind in _KINDS}
        plugins_off = off["plugins"].replace("libjanus_audiobridge.so", "").replace(",,", ",").strip(",")
        transports_off = off["transports"].replace("libjanus_http.so", "").replace(",,", ",").strip(",")
        folder.mkdir(parents=True, exist_ok=True)
        files = {
            "janus": CORE.format(
                plugins=home / "plugins",
                transports=home / "transports",
                plugins_off=plugins_off,
                transports_off=transports_off,
            ),
            "janus.transport.http": HTTP.format(port=self._port),
            "janus.plugin.audiobridge": BRIDGE.format(room=ROOM, rate=SAMPLE_RATE, recording=self.recording),
        }
        for name, text in files.items():
            (folder / f"{name}.jcfg").write_text(text)
        self.log = folder / "janus.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [program("janus"), "--configs-folder", str(folder)], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        try:
            wait_for(self._ready, 30, "Janus")
        except BaseException:
            self.close()
            raise
        self._session = self._ask("", janus="create")["data"]["id"]

    def _ready(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/janus/info", timeout=5):
                return True
        except OSError:
            return False

    def _ask(self, path: str, **body: Any) -> dict[str, Any]:
        data = json.dumps({"transaction": "test", **body}).encode() if body else None
        with urllib.request.urlopen(
            urllib.request.Request(f"http://127.0.0.1:{self._port}/janus{path}", data), timeout=30
        ) as reply:
            told: dict[str, Any] = json.load(reply)
        assert told["janus"] != "error", told
        return told

    def join(self, name: str) -> socket.socket:
        """Let somebody in who sends plain RTP, through this socket: Janus takes it from no other."""
        line = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        line.bind(("127.0.0.1", 0))
        self._lines.append(line)
        handle = self._ask(f"/{self._session}", janus="attach", plugin="janus.plugin.audiobridge")["data"]["id"]
        rtp = {"ip": "127.0.0.1", "port": line.getsockname()[1], "payload_type": PAYLOAD_TYPE, "fec": True}
        request = {"request": "join", "room": ROOM, "display": name, "rtp": rtp}
        self._ask(f"/{self._session}/{handle}", janus="message", body=request)
        while True:
            event = self._ask(f"/{self._session}")
            told = event.get("plugindata", {}).get("data", {})
            assert "error" not in told, told
            if event.get("sender") == handle and told.get("audiobridge") == "joined" and "rtp" in told:
                line.connect((told["rtp"]["ip"], told["rtp"]["port"]))
                return line

    def destroy(self) -> Pcm:
        """End the room; its mix."""
        handle = self._ask(f"/{self._session}", janus="attach", plugin="janus.plugin.audiobridge")["data"]["id"]
        self._ask(f"/{self._session}/{handle}", janus="message", body={"request": "destroy", "room": ROOM})
        wait_for(self._finished, 20, "Janus's recording")
        with wave.open(str(self.recording)) as file:
            raw = file.readframes(file.getnframes())
            assert (file.getframerate(), file.getnchannels()) == (SAMPLE_RATE, 1)
        return np.frombuffer(raw, "<i2").astype(np.float32) / np.float32(32_768)

    def _finished(self) -> bool:
        """Whether the file's header says how long it is: that is written last."""
        data = self.recording.read_bytes()[:44] if self.recording.exists() else b""
        return len(data) == 44 and int.from_bytes(data[40:44], "little") > 0

    def close(self) -> None:
        for line in self._lines:
            line.close()
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(10)


_KINDS: Final = ("plugins", "transports")


@contextmanager
def janus(folder: Path) -> Iterator[Janus]:
    running = Janus(folder)
    try:
        yield running
    finally:
        running.close()


def rtp(sequence: int, timestamp: int, ssrc: int, payload: bytes, *, marker: bool = False) -> bytes:
    """An RTP packet (RFC 3550 section 5.1) without extensions."""
    head = bytes([0x80, PAYLOAD_TYPE | 0x80 * marker])
    numbers = (sequence & 0xFFFF).to_bytes(2, "big") + (timestamp & 0xFFFF_FFFF).to_bytes(4, "big")
    return head + numbers + ssrc.to_bytes(4, "big") + payload
