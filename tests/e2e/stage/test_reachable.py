"""The stage from far away: behind a 1:1 NAT, through a relay where UDP is blocked, and no tool against others."""

import asyncio
import json
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from aioice.stun import TransactionFailed
from playwright.sync_api import Browser, Page, Playwright, sync_playwright

from e2e.stage.process import Stage, likeness, samples, until, voice, whip, write_wav
from rostra.kernel.ids import make_id
from rostra.ops import probes
from rostra.studio import ice
from rostra.studio.ice import Servers
from support.browsers import QUIET, program
from support.certificates import Authority
from support.internet import GUEST, PUBLIC, STAGE, TURN, Internet, internet
from support.netns import listener
from support.server import wait_for

pytestmark = pytest.mark.namespace
COTURN = Path(__file__).parents[3] / "deploy/coturn.conf"
SECRET = "a north wind"
WEB = 8000
UDP_PORTS = (50_000, 50_009)
RELAYS = {
    "udp": f"turn:{TURN}:3478?transport=udp",
    "tcp": f"turn:{TURN}:3478?transport=tcp",
    "tls": f"turns:{TURN}:443?transport=tcp",
}

PROGRAM = """
import json, sys
from pathlib import Path
from rostra.kernel.io import memory
from rostra.kernel.shared import counters
from rostra.space.io.folder import Folder
from rostra.stage import Options
from rostra.stage.io import webrtc
folder = Folder(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
places = memory.create(folder.shared / "stage.counters", counters.SIZE)
webrtc.run(folder, counters.Counters(places, writer=True), Options(**json.loads(sys.argv[4])))
"""

SPEAK = """async ([url, seat, servers, policy]) => {
  const plain = {echoCancellation: false, noiseSuppression: false, autoGainControl: false};
  const media = await navigator.mediaDevices.getUserMedia({audio: plain});
  const peer = window.peer = new RTCPeerConnection({iceServers: servers, iceTransportPolicy: policy});
  for (const track of media.getTracks()) peer.addTrack(track, media);
  await peer.setLocalDescription(await peer.createOffer());
  await new Promise((resolve) => {
    peer.onicecandidate = ({candidate}) => candidate?.type === 'relay' && resolve();
    peer.onicegatheringstatechange = () => peer.iceGatheringState === 'complete' && resolve();
  });
  const reply = await fetch(`${url}?seat=${seat}&name=${seat}`, {method: 'POST', body: peer.localDescription.sdp});
  await peer.setRemoteDescription({type: 'answer', sdp: await reply.text()});
}"""

PATH = """async () => {
  const all = [...(await window.peer.getStats()).values()];
  const pair = all.find(({type, nominated, state}) => type === 'candidate-pair' && nominated && state === 'succeeded');
  const end = (id) => { const {address, port, candidateType, relayProtocol} = all.find((one) => one.id === id);
                        return {address, port, candidateType, relayProtocol}; };
  return pair ? [end(pair.localCandidateId), end(pair.remoteCandidateId)] : [];
}"""


class Far(Stage):
    """A stage in the namespace behind the NAT, with options."""

    def __init__(self, root: Path, net: Internet, **options: Any) -> None:
        self._command = net.lab.command("stage", sys.executable, "-c", PROGRAM)
        self._options = json.dumps(options)
        super().__init__(root)

    def _start(self) -> Any:
        where = [str(self.folder.path.parents[1]), str(self.folder.shared.parent), "stage-test"]
        self._arguments = [*self._command, *where, self._options]
        return super()._start()


@pytest.fixture(scope="module")
def net() -> Iterator[Internet]:
    with internet() as net:
        yield net


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def coturn(net: Internet, authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The configuration that we ship, with what it leaves to the operator."""
    folder = tmp_path_factory.mktemp("coturn")
    certificate, key = authority.issue(TURN)
    filled = {"static-auth-secret": SECRET, "allowed-peer-ip": PUBLIC, "cert": certificate, "pkey": key}
    filled |= {"listening-ip": TURN, "relay-ip": TURN, "pidfile": folder / "pid", "userdb": folder / "db"}
    conf = folder / "coturn.conf"
    conf.write_text(COTURN.read_text() + "".join(f"{name}={value}\n" for name, value in filled.items()))
    with net.running("turn", [program("turnserver"), "-c", str(conf)], folder / "log") as process:

        def ready() -> bool:
            assert process.poll() is None, (folder / "log").read_text()
            return all(net.lab.run("turn", "ss", "-Htln", f"sport = :{port}").stdout for port in (443, 3478))

        wait_for(ready, 30, "coturn")
        yield


@pytest.fixture(scope="module")
def stage(net: Internet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    stage = Far(tmp_path_factory.mktemp("stage"), net, loopback=False, public_addresses=[PUBLIC], udp_ports=UDP_PORTS)
    try:
        yield stage
    finally:
        stage.process.kill()
        stage.process.wait(10)


@pytest.fixture(scope="module")
def url(net: Internet, stage: Stage) -> Iterator[str]:
    with whip(stage) as local, net.lab.inside("stage", lambda: listener(STAGE, WEB)) as door:
        with carried(door, int(local.split(":")[2].split("/")[0])):
            yield f"http://{PUBLIC}:{WEB}/whip/stage-test"
