"""The stage from far away: behind a 1:1 NAT, through a relay where UDP is blocked, and no tool against others."""

import json
import os
import re
import secrets
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aioice.stun import Class, Message, Method
from playwright.sync_api import Browser, Page, sync_playwright

from e2e.stage.process import Stage, likeness, samples, until, voice, whip, write_wav
from rostra.kernel.errors import PeerError, Unavailable
from rostra.kernel.shared.ring import Pcm
from rostra.ops import probes
from rostra.stage import reach
from rostra.stage.io.session import TRICKLED_MAX
from rostra.stage.negotiation import CANDIDATES_MAX
from rostra.studio import ice
from rostra.studio.ice import Servers
from support.browsers import chromium, program
from support.ffmpeg_whip import publishing
from support.internet import GUEST, PUBLIC, STAGE, TURN, Internet, Sent, Sniffer, internet, ip, nft
from support.netns import listener
from support.server import ROSTRA, wait_for

pytestmark = pytest.mark.namespace
OFFER = (Path(__file__).parents[2] / "unit/stage/offers/chromium.sdp").read_bytes().decode()
COTURN = Path(__file__).parents[3] / "deploy/coturn.conf"
SECRET = "a north wind"
WEB = 8000
UDP_PORTS = (50_000, 50_009)
QUIET = np.zeros(960, np.float32)
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

SPEAK = """async ([url, seat, servers]) => {
  const plain = {echoCancellation: false, noiseSuppression: false, autoGainControl: false};
  const media = await navigator.mediaDevices.getUserMedia({audio: plain});
  const peer = window.peer = new RTCPeerConnection({iceServers: servers});
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
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for the TURN server that nobody signed but itself, and its key behind it."""
    file = tmp_path_factory.mktemp("certificate") / "turn.pem"
    made = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1"]
    named = ["-subj", "/CN=turn", "-addext", f"subjectAltName=IP:{TURN}", "-keyout", str(file), "-out", f"{file}.crt"]
    subprocess.run([program("openssl"), *made, *named], check=True, capture_output=True)
    return file


@pytest.fixture(scope="module")
def coturn(net: Internet, certificate: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The configuration that we ship, with what it leaves to the operator."""
    folder = tmp_path_factory.mktemp("coturn")
    filled = {
        "static-auth-secret": SECRET,
        "allowed-peer-ip": PUBLIC,
        "cert": f"{certificate}.crt",
        "pkey": certificate,
    }
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
    """Where the stage's WHIP is from outside."""
    with whip(stage, net.lab.inside("stage", lambda: listener(STAGE, WEB))) as inside:
        yield inside.replace("127.0.0.1", PUBLIC)


@pytest.fixture(scope="module")
def said() -> Pcm:
    return voice(4, 1)


@pytest.fixture(scope="module")
def browser(net: Internet, certificate: Path, said: Pcm, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """The guest's Chromium, which trusts the TURN server's certificate as its user told it to."""
    home = tmp_path_factory.mktemp("home")
    store = home / ".pki/nssdb"
    store.mkdir(parents=True)
    trust = [["-N", "--empty-password"], ["-A", "-t", "C,,", "-n", "turn", "-i", f"{certificate}.crt"]]
    for arguments in trust:
        subprocess.run([program("certutil"), "-d", f"sql:{store}", *arguments], check=True, capture_output=True)
    script = home / "chromium"
    inside = " ".join(net.lab.command("guest", program("chromium")))
    script.write_text(f'#!/bin/sh\nHOME={home} exec {inside} "$@"\n')
    script.chmod(0o755)
    microphone = write_wav(home / "said.wav", said)
    with (
        sync_playwright() as playwright,
        chromium(
            playwright, microphone=microphone, executable=str(script), trusted=f"http://{PUBLIC}:{WEB}"
        ) as browser,
    ):
        yield browser


@pytest.fixture(autouse=True)
def open_again(net: Internet) -> Iterator[None]:
    yield
    net.block()


def speak(browser: Browser, url: str, seat: str, servers: Servers | None = None) -> Page:
    told = ice.offered(servers or Servers(), "test", time.time_ns())
    page = browser.new_page()
    page.goto(url)
    page.evaluate(SPEAK, [url, seat, [server.model_dump() for server in told.ice_servers]])
    return page


def is_heard(stage: Stage, seat: str, said: Pcm) -> None:
    """The seat's voice, alone in the mix."""
    stage.call("arm", seat=seat)
    until(lambda: likeness(samples(stage.programme(2, QUIET, on_air=True)), said) > 0.85, f"{seat} in the mix", 40)
    stage.call("disarm", seat=seat)


@pytest.mark.browser
def test_a_stage_behind_a_nat_is_reached_at_its_public_address(
    browser: Browser, net: Internet, stage: Stage, url: str, said: Pcm
) -> None:
    page = speak(browser, url, "far")
    until(lambda: stage.seat("far").get("connected"), "the guest is connected", 40)
    is_heard(stage, "far", said)
    (_, there) = page.evaluate(PATH)
    assert there["address"] == PUBLIC
    assert UDP_PORTS[0] <= there["port"] <= UDP_PORTS[1]
    page.close()


def test_a_sender_that_takes_the_first_candidate_reaches_it_too(
    net: Internet, stage: Stage, url: str, said: Pcm, tmp_path: Path
) -> None:
    """FFmpeg's whip muxer: the public address stands first, and is called a host candidate."""
    file = write_wav(tmp_path / "said.wav", said)
    with publishing(f"{url}?seat=film", "token", file, tmp_path / "ffmpeg", inside=net.lab.command("guest")):
        until(lambda: stage.seat("film").get("connected"), "FFmpeg is connected", 40)
        is_heard(stage, "film", said)
    stage.call("remove", seat="film")


@pytest.mark.browser
@pytest.mark.parametrize(
    ("way", "blocked"),
    [
        ("udp", [f"ip saddr {GUEST} ip daddr {STAGE} meta l4proto udp"]),
        ("tcp", [f"ip saddr {GUEST} meta l4proto udp"]),
        ("tls", [f"ip saddr {GUEST} meta l4proto udp", f"ip saddr {GUEST} tcp dport != {{ 443, {WEB} }}"]),
    ],
)
def test_where_udp_is_blocked_a_relay_carries_the_voice(
    browser: Browser, net: Internet, coturn: None, stage: Stage, url: str, said: Pcm, way: str, blocked: list[str]
) -> None:
    net.block(*blocked)
    page = speak(browser, url, way, Servers(turn=tuple(RELAYS.values()), secret=SECRET))
    until(lambda: stage.seat(way).get("connected"), "the guest is connected", 40)
    is_heard(stage, way, said)
    (here, there) = page.evaluate(PATH)
    assert (here["candidateType"], here["address"]) == ("relay", TURN)
    assert here["relayProtocol"] == way
    assert there["address"] == PUBLIC
    page.close()


@pytest.mark.parametrize(
    ("secret", "lifetime_s", "taken"), [(SECRET, 60, True), ("another wind", 60, False), (SECRET, -60, False)]
)
def test_the_relay_takes_our_credentials_until_they_end_and_no_others(
    net: Internet, coturn: None, certificate: Path, secret: str, lifetime_s: int, taken: bool
) -> None:
    username, password = ice.credential(secret, "test", int(time.time()) + lifetime_s)
    trust = ssl.create_default_context(cafile=f"{certificate}.crt")
    for url in RELAYS.values():

        def ask(url: str = url) -> str:
            return probes.allocated(ice.place(url), username, password, trust)

        if taken:
            assert net.lab.inside("guest", ask) == TURN
        else:
            with pytest.raises(Unavailable, match=r"refuses \(401"):
                net.lab.inside("guest", ask)


def doctor(net: Internet, data: Path, command: str, *arguments: str) -> tuple[bool, dict[str, list[str]]]:
    """What `rostra doctor` or `rostra ports` finds in the stage's place: whether all is well, and verdicts by check."""
    common = ["--data", str(data), "--udp-ports", "50100-50199", "--json", "--stun", f"stun:{TURN}:3478"]
    secret = {"env": os.environ | {"ROSTRA_TURN_SECRET": SECRET}}
    done = net.lab.run("stage", *ROSTRA, command, *common, *arguments, timeout_s=90, **secret)
    told = json.loads(done.stdout.splitlines()[-1])
    assert done.returncode == (0 if told["ok"] else 1), done.stderr
    found: dict[str, list[str]] = {}
    for finding in told["findings"]:
        found.setdefault(finding["check"], []).append(finding["verdict"])
    assert SECRET not in done.stdout + done.stderr
    return told["ok"], found


def test_the_doctor_finds_what_is_wrong_with_the_way_in(net: Internet, coturn: None, tmp_path: Path) -> None:
    relay = ["--turn", f"{RELAYS['udp']},{RELAYS['tcp']}"]
    ok, found = doctor(net, tmp_path, "doctor", "--public-address", PUBLIC, *relay)
    assert ok
    assert (found["stun"], found["turn"], found["way in"]) == (["ok"], ["ok", "ok"], ["ok"])
    net.block(f"ip saddr {TURN} udp dport 50100-50199")
    ok, found = doctor(net, tmp_path, "ports", "--public-address", PUBLIC, *relay)
    assert not ok
    assert (found["turn"], found["way in"]) == (["ok", "ok"], ["fault"])
    net.block()
    ok, found = doctor(net, tmp_path, "ports")
    assert (ok, found["stun"]) == (False, ["fault"]), "behind a NAT, and public_address is not set"
    for blocked, way_in in ((), "ok"), (('iifname "stage" oifname "stage"',), "warning"):
        net.block(*blocked)
        ok, found = doctor(net, tmp_path, "ports", "--public-address", PUBLIC)
        assert ok
        assert (found["stun"], found["turn"], found["way in"]) == (["ok"], ["warning"], [way_in])


STAY = """([url, seat]) => {
  const dial = async () => {
    const peer = new RTCPeerConnection();
    window.peer.getSenders().forEach(({track}) => peer.addTrack(track, new MediaStream([track])));
    await peer.setLocalDescription(await peer.createOffer());
    const reply = await fetch(`${url}?seat=${seat}&name=${seat}`, {method: 'POST', body: peer.localDescription.sdp});
    await peer.setRemoteDescription({type: 'answer', sdp: await reply.text()});
    window.peer = peer;
  };
  const again = () => dial().catch(() => setTimeout(again, 100)); // the network may change under the request, too
  addEventListener('online', again);
}"""
"""A page's part when its network changes: a fresh session for the same seat. The browser says so at once (`online`),
and that a connection is lost after five seconds."""


@pytest.mark.browser
def test_a_speaker_whose_address_changes_keeps_the_seat(
    browser: Browser, net: Internet, stage: Stage, url: str, said: Pcm
) -> None:
    page = speak(browser, url, "nomad")
    until(lambda: stage.seat("nomad").get("connected"), "the guest is connected", 40)
    page.evaluate(STAY, [url, "nomad"])
    is_heard(stage, "nomad", said)
    stage.call("arm", seat="nomad")
    moving = threading.Timer(2, lambda: move(net, "198.51.100.20"))
    moving.start()
    heard = [
        frame is not None and float(np.abs(frame.pcm).max()) > 0.02 for frame in stage.programme(8, QUIET, on_air=True)
    ]
    moving.join()
    gap_ms = 20 * max(len(run) for run in "".join("x" if loud else " " for loud in heard).split("x"))
    print(f"silent for {gap_ms} ms, with the speaker's own pauses")
    until(lambda: likeness(samples(stage.programme(2, QUIET, on_air=True)), said) > 0.85, "heard again", 40)
    path = until(lambda: page.evaluate(PATH), "a path", 20)
    assert path[0]["address"] == "198.51.100.20"
    seat = stage.seat("nomad")
    assert seat["armed"], "nobody had to let them on air again"
    until(lambda: stage.counters()["sessions"] == 1, "the old connection is let go", 20)
    stage.call("remove", seat="nomad")
    page.close()
    move(net, GUEST)


def move(net: Internet, address: str) -> None:
    """Give the guest another address and take the old one away, as when a phone changes networks."""
    guest = net.lab.file("guest").name
    ip("-n", guest, "addr", "flush", "dev", "eth0")
    ip("-n", guest, "addr", "add", f"{address}/24", "dev", "eth0")
    ip("-n", guest, "route", "replace", "default", "via", "198.51.100.1")


RETURNED = """async () => [...(await window.peer.getStats()).values()]
  .filter(({type}) => type === 'inbound-rtp').reduce((sum, {packetsReceived}) => sum + packetsReceived, 0)"""
ROUTER = "198.51.100.1"


def remap(net: Internet, number: int) -> None:
    """Let a home router before the guest map all its UDP anew, to ports from `number` × 10,000 on."""
    rules = f"""
    table ip home {{
     chain first {{ type filter hook prerouting priority raw; }}
     chain after {{ type nat hook postrouting priority srcnat; }}
    }}
    flush table ip home
    add rule ip home first meta l4proto udp ct zone set {number}
    add rule ip home after ip saddr {GUEST} meta l4proto udp snat to {ROUTER}:{number}0000-{number}0999
    """
    nft(net.lab, "router", rules)


@pytest.mark.browser
def test_a_router_that_maps_anew_costs_no_connection(
    browser: Browser, net: Internet, stage: Stage, url: str, said: Pcm
) -> None:
    remap(net, 2)
    page = speak(browser, url, "settled")
    until(lambda: stage.seat("settled").get("connected"), "the guest is connected", 40)
    until(lambda: page.evaluate(RETURNED) > 50, "the guest hears", 40)
    remap(net, 3)
    before, began_s = page.evaluate(RETURNED), time.monotonic()
    until(lambda: page.evaluate(RETURNED) > before + 50, "the guest hears again", 40)
    print(f"heard the stage again {time.monotonic() - began_s:.1f} s after the router had mapped anew")
    is_heard(stage, "settled", said)
    assert page.evaluate("window.peer.connectionState") == "connected"
    assert stage.counters()["sessions"] == 1
    stage.call("remove", seat="settled")
    page.close()
    nft(net.lab, "router", "delete table ip home\n")


FORBIDDEN = (
    *(f"127.0.0.{n} {port}" for n in range(1, 9) for port in (53, 6379, 8000, 50_000)),
    *(f"{STAGE} {port}" for port in (53, 123, 161, 443, 1900, 5353, 11_211)),
    *(f"10.0.0.{n} {port}" for n in (1, 2, 3) for port in (22, 53, 69, 123, 161, 514, 3478, 5060)),
    *(f"{GUEST} {port}" for port in range(1, 1024, 3)),
    *(f"239.255.255.{n} 50000" for n in range(100)),
    *(f"169.254.169.254 {port}" for port in (80, 443, 50_000)),
    *(f"169.254.{n}.1 50000" for n in range(100)),
    *("255.255.255.255 50000", "0.0.0.0 50000", "0.0.0.1 50000", "240.0.0.1 50000", "10.0.0.255 50000"),
    *(f"secret{n}.local 50000" for n in range(100)),
    *(f"server{n}.internal.example.org 50000" for n in range(100)),
    *("::1 50000", "::ffff:127.0.0.1 50000", "64:ff9b::7f00:1 50000", "ff02::1 50000", "fe80::1 50000"),
)
ALLOWED = tuple(f"{GUEST} {port}" for port in range(20_000, 20_250))


def hostile() -> str:
    """An offer with a thousand candidates, of which few are anybody's own."""
    places = FORBIDDEN + ALLOWED
    lines = [f"a=candidate:{n} 1 udp 1 {place} typ host\r\n" for n, place in enumerate(places)]
    assert len(lines) >= 1000
    return OFFER + "".join(lines)


def test_a_hostile_offer_makes_the_stage_send_little_and_only_where_speakers_are(net: Internet, stage: Stage) -> None:
    sniffer, began_s = Sniffer(net.lab, "stage"), time.monotonic()
    session = stage.call("offer", seat="mallory", name="M", role="speaker", sdp=hostile())["session"]
    for n in range(8):
        named = FORBIDDEN[n::8][:40] + ALLOWED[100 + 10 * n :][:10]
        fragment = "".join(f"a=candidate:{n} 1 udp 1 {place} typ host\r\n" for place in named)
        with suppress(PeerError):
            stage.call("trickle", session=session, fragment=fragment)
    sent: list[Sent] = []

    def enough() -> bool:
        sent.extend(sniffer.sent())
        return sent != [] and time.monotonic() - began_s > 5

    until(enough, "five seconds of checks", 30)
    sniffer.close()
    lasted_s = time.monotonic() - began_s
    stage.call("close", session=session)
    places = set(map(place_of, sent))
    print(f"{len(FORBIDDEN + ALLOWED)} candidates: {len(sent)} packets in {lasted_s:.1f} s, to {len(places)} places")
    assert {one.address for one in sent} == {GUEST}
    assert all(one.port >= 20_000 for one in sent)
    assert len(places) <= CANDIDATES_MAX + TRICKLED_MAX
    assert len(sent) <= reach.CHECKS_BURST + reach.CHECKS_PER_S * lasted_s
    assert max(Counter(map(place_of, sent)).values()) <= 7


def place_of(sent: Sent) -> tuple[str, int]:
    return sent.address, sent.port


def test_forged_checks_are_not_reflected(net: Internet, stage: Stage) -> None:
    """A source port that nobody answers from stands for an address that somebody forged. With the session's password
    a check is answered and asked back; without it it is refused; either way until the allowance is used up.
    """
    told = stage.call("offer", seat="trudy", name="T", role="speaker", sdp=OFFER)
    theirs, mine = (dict(re.findall(r"a=ice-(ufrag|pwd):(\S+)", sdp)) for sdp in (told["sdp"], OFFER))
    port = int(re.findall(rf"{STAGE} (\d+) typ host", told["sdp"])[0])
    sniffer, began_s, before = Sniffer(net.lab, "stage"), time.monotonic(), stage.counters()["checks_withheld"]
    sent: list[Sent] = []

    def flood() -> None:
        for n in range(600):
            request = Message(Method.BINDING, Class.REQUEST, transaction_id=secrets.token_bytes(12))
            if n % 2:
                request.attributes["USERNAME"] = f"{theirs['ufrag']}:{mine['ufrag']}"
                request.attributes["PRIORITY"] = 1
                request.attributes["ICE-CONTROLLING"] = 1
                request.add_message_integrity(theirs["pwd"].encode())
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as forger:
                forger.bind((GUEST, 30_000 + n))
                forger.sendto(bytes(request), (PUBLIC, port))

    net.lab.inside("guest", flood)

    def answered() -> bool:
        sent.extend(sniffer.sent())
        return stage.counters()["checks_withheld"] > before + 400

    until(answered, "most are withheld", 30)
    sniffer.close()
    lasted_s = time.monotonic() - began_s
    stage.call("close", session=told["session"])
    print(f"600 forged checks: {len(sent)} packets in {lasted_s:.1f} s")
    asked = reach.CHECKS_BURST + reach.CHECKS_PER_S * lasted_s
    assert 1 <= len(sent) <= asked + reach.ANSWERS_PER_S * (1 + lasted_s)
