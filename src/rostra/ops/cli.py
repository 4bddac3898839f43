"""The command line (DESIGN 15). Progress goes to standard error; with `--json` the last line printed is one object."""

import json
import re
import sys
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from rich.console import Console

from rostra.kernel.errors import PeerError, RostraError
from rostra.kernel.io import memory
from rostra.kernel.io.files import make_private
from rostra.ops import config, logs
from rostra.space.spec import Recording

if TYPE_CHECKING:
    from rostra.studio.io.desk import Desk

app = typer.Typer(
    name="rostra",
    help="Live audio for enormous audiences: a few people talk, anyone with the link listens.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)
space = typer.Typer(help="Announce a Space, look at it, end it.", no_args_is_help=True)
app.add_typer(space, name="space")

progress = Console(stderr=True, highlight=False)

Data = Annotated[Path, typer.Option("--data", help="The folder that holds everything.", envvar="ROSTRA_DATA")]
Json = Annotated[bool, typer.Option("--json", help="End with one JSON object on standard output.")]
Port = Annotated[int | None, typer.Option(min=0, max=65_535)]
PublicUrl = Annotated[str | None, typer.Option(help="The audience's address, as people type it.")]
Bind = Annotated[str | None, typer.Option(help="Address to listen on. Default: this machine only.")]
PublicAddress = Annotated[str | None, typer.Option(help="The stage's IP address on the internet, behind a NAT.")]
UdpPorts = Annotated[str | None, typer.Option(help="The stage's UDP ports, such as 50000-50999. Default: any.")]
Stun = Annotated[str | None, typer.Option(help="STUN server for speakers, such as stun:turn.example.org:3478.")]
Turn = Annotated[str | None, typer.Option(help="TURN servers for speakers; their secret is ROSTRA_TURN_SECRET.")]
DEFAULT_DATA = Path("rostra-data")


def main() -> NoReturn:
    """Exit 0 done, 1 the thing checked does not hold, 2 wrong use, 3 unavailable."""
    try:
        app()
    except RostraError as error:
        progress.print(f"[bold red]{error.code}[/] {error.sentence}", soft_wrap=True)
        if error.hint:
            progress.print(error.hint, style="dim", soft_wrap=True)
        sys.exit(error.exit_code)
    sys.exit(0)


def seconds(text: str) -> float:
    """`90`, `90s`, `30m`, `2h`. Raises PeerError `time.length`."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|m|h|)", text.strip())
    if match is None:
        raise PeerError("time.length", f"“{text}” is not a length of time.", "Write 90s, 30m or 2h.")
    return float(match[1]) * {"ms": 0.001, "s": 1, "": 1, "m": 60, "h": 3600}[match[2]]


def finish(result: dict[str, Any], as_json: bool, text: str) -> None:
    """Print the result for a program, or in words for a person."""
    print(json.dumps(result, ensure_ascii=False) if as_json else text)  # noqa: T201 — what was asked for


@app.command(
    epilog="**Example:** `rostra serve --data /srv/rostra --bind 0.0.0.0 --audience-port 443 "
    "--public-url https://live.example.org --acme-email you@example.org`"
)
def serve(
    data: Data = DEFAULT_DATA,
    studio_port: Port = None,
    audience_port: Port = None,
    workers: Annotated[int | None, typer.Option(help="Audience processes; one a core unless set.")] = None,
    bind: Annotated[str | None, typer.Option(help="Address to listen on. Default: this machine only.")] = None,
    public_url: PublicUrl = None,
    public_address: PublicAddress = None,
    udp_ports: UdpPorts = None,
    stun: Stun = None,
    turn: Turn = None,
    studio_url: Annotated[str | None, typer.Option(help="The studio's address, where it is not the same host.")] = None,
    certificate: Annotated[
        Path | None, typer.Option(help="HTTPS on both ports: a PEM file, the certificate with its chain.")
    ] = None,
    certificate_key: Annotated[Path | None, typer.Option(help="Its key, where that is another file.")] = None,
    acme_email: Annotated[
        str | None, typer.Option(help="Obtain a certificate for --public-url; agrees to the authority's terms.")
    ] = None,
    acme_directory: Annotated[str | None, typer.Option(help="Another authority than Let's Encrypt.")] = None,
    acme_port: Annotated[
        int | None, typer.Option(help="Where the authority's questions arrive; 80 unless set.")
    ] = None,
    terminator: Annotated[
        str | None, typer.Option(help="A proxy ends TLS before Rostra; the addresses it speaks from.")
    ] = None,
    terminators: Annotated[int | None, typer.Option(help="TLS processes; one a core unless set.")] = None,
) -> None:
    """Run Rostra: the studio for hosts and speakers, the audience's side, and every Space that is scheduled."""
    from rostra.ops import front, supervise

    settings = config.load(
        data,
        studio_port=studio_port,
        audience_port=audience_port,
        workers=workers,
        bind=bind,
        public_url=public_url,
        public_address=public_address,
        udp_ports=udp_ports,
        stun=stun,
        turn=turn,
        studio_url=studio_url,
        certificate=certificate and str(certificate.absolute()),
        certificate_key=certificate_key and str(certificate_key.absolute()),
        acme_email=acme_email,
        acme_directory=acme_directory,
        acme_port=acme_port,
        terminator=terminator,
        terminators=terminators,
    )
    front.check(settings)
    logs.configure("supervisor")
    supervisor = supervise.Supervisor(settings)
    config.remember(settings)
    progress.print("Rostra is running.", style="bold")
    try:
        with closing(open_desk(settings, settings.audience_base, settings.studio_base)) as desk:
            progress.print(f"  The owner's link (keep it): {desk.owner_link()}", soft_wrap=True)
    except RostraError as error:  # what is scheduled starts without the database, and without a studio
        progress.print(f"  The studio is not: {error}", style="bold red", soft_wrap=True)
    progress.print(f"  Audience addresses:         {settings.audience_base}/s/…", soft_wrap=True)
    for note in front.notes(settings):
        progress.print(f"  {note}", style="yellow", soft_wrap=True)
    supervisor.run_until_signal()


@app.command(epilog="**Example:** `rostra demo --for 60s --json`")
def demo(
    for_: Annotated[
        str | None, typer.Option("--for", help="The whole demonstration, start to replay, in this time.")
    ] = None,
    data: Annotated[Path | None, typer.Option("--data", help="Keep the Space in this folder.")] = None,
    studio_port: int = 8000,
    audience_port: int = 8001,
    as_json: Json = False,
) -> None:
    """Hold one whole Space by itself: doors with hold music, on air at its instant, a talk, the end, the replay."""
    from rostra.ops import demo as demonstration

    length = None if for_ is None else seconds(for_)
    result = demonstration.run(
        data, length, studio_port, audience_port, progress, linger=length is None and not as_json
    )
    finish(result, as_json, demonstration.summary(result))
    if result["gaps"] or not result["recording_s"]:
        raise typer.Exit(1)


@app.command(epilog="**Example:** `rostra speak 'http://localhost:8000/#eyJ…' speech.wav`")
def speak(
    link: Annotated[str, typer.Argument(help="A speaker's, co-host's or host's link.")],
    file: Annotated[Path, typer.Argument(help="An audio file that FFmpeg can read.")],
    name: Annotated[str, typer.Option(help="The name that listeners see.")] = "",
    seat: Annotated[str, typer.Option(help="Tells several speakers with one link apart.")] = "",
    loop: Annotated[bool, typer.Option(help="Begin again at the end of the file.")] = False,
    for_: Annotated[str | None, typer.Option("--for", help="Stop after this long.")] = None,
    as_json: Json = False,
) -> None:
    """Publish an audio file to the stage, as a browser would with its microphone."""
    from rostra.ear.io import speak as speaker

    logs.configure("speak")
    whip, token = speaker.read_link(link)
    length = None if for_ is None else seconds(for_)
    report = speaker.speak(whip, token, file, seat=seat, name=name, for_s=length, loop=loop, on_event=_tell_event)
    finish(asdict(report), as_json, f"Sent {report.sent_s:.1f} s over {report.connections} connection(s).")
    if not report.connections:
        raise typer.Exit(3)


@app.command(epilog="**Example:** `rostra listen http://localhost:8001/s/k3f9x2ab --for 30s --out heard.wav --json`")
def listen(
    url: Annotated[str, typer.Argument(help="The Space's address, as listeners have it.")],
    for_: Annotated[str | None, typer.Option("--for", help="Listen for this long; until the end unless set.")] = None,
    surface: Annotated[str, typer.Option(help="What to listen to; `push` for now.")] = "push",
    rendition: Annotated[str, typer.Option(help="`opus` or `aac`; the edge's choice unless set.")] = "",
    wait: Annotated[bool, typer.Option(help="Wait for the doors, and for the server.")] = False,
    out: Annotated[Path | None, typer.Option(help="Save what was heard: .wav decoded, .mp4 as it came.")] = None,
    as_json: Json = False,
) -> None:
    """Listen like a stranger: take the sound, decode it, and say how it was. Exit 1 on a gap or on silence."""
    from rostra.ear.io import client

    length = None if for_ is None else seconds(for_)
    heard = client.listen(
        url,
        for_s=length,
        out=out,
        surface=surface,
        rendition=rendition,
        wait=wait,
        on_progress=lambda text: progress.print(text, style="dim"),
    )
    finish(heard.report.as_json(), as_json, heard.report.in_words())
    if not heard.report.holds:
        raise typer.Exit(1)


@app.command(epilog="**Example:** `rostra ports --bind 0.0.0.0 --public-address 203.0.113.7 --udp-ports 50000-50999`")
def ports(
    data: Data = DEFAULT_DATA,
    studio_port: Port = None,
    audience_port: Port = None,
    bind: Bind = None,
    public_url: PublicUrl = None,
    public_address: PublicAddress = None,
    udp_ports: UdpPorts = None,
    stun: Stun = None,
    turn: Turn = None,
    firewall: Annotated[
        str, typer.Option("--for", help="Rules for `ufw`, `nftables` or `cloud`; all unless set.")
    ] = "",
    as_json: Json = False,
) -> None:
    """What a firewall must let in, given this configuration, and whether it does, as far as can be told from here."""
    from rostra.ops import doctor, probes

    settings = config.load(
        data,
        studio_port=studio_port,
        audience_port=audience_port,
        bind=bind,
        public_url=public_url,
        public_address=public_address,
        udp_ports=udp_ports,
        stun=stun,
        turn=turn,
    )
    opened = doctor.openings(settings, probes.ephemeral_ports())
    if firewall and firewall not in doctor.rules(opened):
        raise PeerError("ports.firewall", f"There are no rules for “{firewall}”.", "Write ufw, nftables or cloud.")
    findings = doctor.examine(settings, doctor.REACH)
    result = doctor.report(findings) | {
        "open": [asdict(one) for one in opened],
        "elsewhere": doctor.elsewhere(settings),
        "rules": doctor.rules(opened),
    }
    text = f"{doctor.openings_in_words(settings, opened, firewall)}\n\n{doctor.in_words(findings)}"
    finish(result, as_json, text)
    if not result["ok"]:
        raise typer.Exit(1)


@app.command("doctor", epilog="**Example:** `rostra doctor --data /srv/rostra --json`")
def examine(
    data: Data = DEFAULT_DATA,
    studio_port: Port = None,
    audience_port: Port = None,
    bind: Bind = None,
    public_url: PublicUrl = None,
    public_address: PublicAddress = None,
    udp_ports: UdpPorts = None,
    stun: Stun = None,
    turn: Turn = None,
    as_json: Json = False,
) -> None:
    """Look the machine over: ports, STUN and TURN, the clock, limits, space. Exit 1 when something is at fault."""
    from rostra.ops import doctor

    settings = config.load(
        data,
        studio_port=studio_port,
        audience_port=audience_port,
        bind=bind,
        public_url=public_url,
        public_address=public_address,
        udp_ports=udp_ports,
        stun=stun,
        turn=turn,
    )
    findings = doctor.examine(settings, doctor.CHECKS)
    result = doctor.report(findings)
    finish(result, as_json, doctor.in_words(findings))
    if not result["ok"]:
        raise typer.Exit(1)


def _tell_event(event: str, facts: dict[str, object]) -> None:
    progress.print(f"{event} {' '.join(f'{key}={value}' for key, value in facts.items())}", style="dim", soft_wrap=True)


@space.command(
    "create",
    epilog="**Example:** `rostra space create --title 'Town meeting' --starts-at 2026-12-01T19:00:00+01:00 --json`",
)
def space_create(
    title: Annotated[str, typer.Option(help="What listeners read.")],
    starts_at: Annotated[str, typer.Option(help="ISO 8601 with the offset from UTC.")],
    doors: Annotated[str, typer.Option(help="How long before the start the hold music begins.")] = "30m",
    on_go: Annotated[bool, typer.Option("--on-go", help="Start when the host says GO, not by the clock.")] = False,
    recording: Annotated[Recording, typer.Option(help="What becomes of it.")] = Recording.AFTER_APPROVAL,
    data: Data = DEFAULT_DATA,
    public_url: PublicUrl = None,
    as_json: Json = False,
) -> None:
    """Announce a Space. Works with or without a server running on the folder."""
    with _desk(data, public_url) as desk:
        created = desk.create(
            title=title,
            starts_at=starts_at,
            doors_s=round(seconds(doors)),
            start="on_go" if on_go else "automatic",
            recording=recording,
        ).summary()
    links = created["links"]
    finish(
        created,
        as_json,
        f"{title}, {created['starts_at']}\n  audience {created['audience_url']}\n"
        f"  host     {links['host']}\n  speaker  {links['speaker']}",
    )


@space.command("list", epilog="**Example:** `rostra space list --json`")
def space_list(data: Data = DEFAULT_DATA, public_url: PublicUrl = None, as_json: Json = False) -> None:
    """Every Space in the folder."""
    with _desk(data, public_url) as desk:
        found = [found.model_dump(mode="json") for found in desk.list()]
    finish({"spaces": found}, as_json, _lines(found))


@space.command("show", epilog="**Example:** `rostra space show k3f9x2ab --json`")
def space_show(id: str, data: Data = DEFAULT_DATA, public_url: PublicUrl = None, as_json: Json = False) -> None:  # noqa: A002 — shown in help
    """One Space: its state and why."""
    with _desk(data, public_url) as desk:
        found = desk.show(id).model_dump(mode="json")
    finish(found, as_json, "\n".join(f"{key:18} {value}" for key, value in found.items()))


@space.command("end", epilog="**Example:** `rostra space end k3f9x2ab`")
def space_end(id: str, data: Data = DEFAULT_DATA, public_url: PublicUrl = None, as_json: Json = False) -> None:  # noqa: A002
    """End a Space that is live."""
    with _desk(data, public_url) as desk:
        ended = desk.command(id, "end").model_dump(mode="json")
    finish(ended, as_json, f"{ended['title']} is {ended['state']}.")


def _lines(found: list[dict[str, Any]]) -> str:
    rows = [f"{row['id']:10} {row['starts_at']:26} {row['state']:12} {row['title']}" for row in found]
    return "\n".join(rows) if rows else "No Space yet: rostra space create --help"


def _desk(data: Path, public_url: str | None) -> "closing[Desk]":
    """The studio's desk on this folder, for a `with`; a folder that nobody made yet is made."""
    settings = config.load(data, public_url=public_url)
    return closing(open_desk(settings, *config.addresses(settings, public_url)))


def open_desk(settings: config.Config, audience_base: str, studio_base: str) -> "Desk":
    """The desk that works with or without a server."""
    from rostra.studio.io.desk import Desk

    make_private(settings.data)
    return Desk(settings.data, memory.shared_folder(settings.data), audience_base, studio_base)


if __name__ == "__main__":
    main()
