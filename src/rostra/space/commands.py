"""The protocol of the command sockets: length-prefixed JSON, requests with ids and deadlines.

    message   4 bytes, big-endian length, then that many bytes of UTF-8 JSON
    request   {"v": 1, "id": 7, "deadline_ms": 2000, "verb": "arm", "seat": "…"}      deadline counted from receipt
    reply     {"id": 7, "ok": {…}}  or  {"id": 7, "error": {"code": "…", "sentence": "…", "hint": "…"}}

Verbs of `stage.sock`: offer {seat, name, role, sdp} → {session, sdp} · trickle {session, fragment} · close {session} ·
arm, disarm, mute, unmute, remove {seat} · roster {} → {seats: [{id, name, role, armed, muted, connected, level_db,
speaking, gain_db, network: {rtt_ms, loss_in, loss_out, jitter_ms, delay_ms, quality}}], on_air}.
Verbs of `check.sock`: offer {link, seat, sdp} → {session, sdp} · trickle {link, session, fragment} · close, record,
measure {link, session}; the last two → {phase, progress, recordings, left_s, heard: {level_db, noise_db, clipped,
loss_in, jitter_ms, packets}}.
Verbs of `programme.sock`: go, music, resume, end, postpone, cancel {} · hold {until_ns} · reschedule {starts_at_ns} ·
status {}: each → the life after it (`rostra.space.lifecycle.encode`), status with the timeline's figures beside it.
"""

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from rostra.kernel.errors import OperatorError, PeerError, RostraError, Unavailable
from rostra.kernel.limits import COMMAND_BYTES_MAX

VERSION: Final = 1
_LENGTH: Final = struct.Struct(">I")


@dataclass(frozen=True, slots=True)
class Request:
    verb: str
    id: int = 0
    deadline_ms: int = 2000
    args: dict[str, Any] = field(default_factory=dict)


def encode_request(request: Request) -> bytes:
    return _frame(
        {"v": VERSION, "id": request.id, "deadline_ms": request.deadline_ms, "verb": request.verb} | request.args
    )


def encode_ok(request_id: int, result: dict[str, Any]) -> bytes:
    return _frame({"id": request_id, "ok": result})


def encode_error(request_id: int, error: RostraError) -> bytes:
    kind = "peer" if isinstance(error, PeerError) else "operator" if isinstance(error, OperatorError) else "unavailable"
    body = {"kind": kind, "code": error.code, "sentence": error.sentence, "hint": error.hint}
    return _frame({"id": request_id, "error": body})


def decode_request(message: dict[str, Any]) -> Request:
    """Raises PeerError `command.malformed`."""
    try:
        args = dict(message)
        version, verb = args.pop("v"), args.pop("verb")
        request = Request(verb, args.pop("id"), args.pop("deadline_ms"), args)
    except KeyError as missing:
        raise PeerError("command.malformed", f"A command lacks its {missing}.") from None
    if not (isinstance(verb, str) and isinstance(request.id, int) and isinstance(request.deadline_ms, int)):
        raise PeerError("command.malformed", "A command's verb is a text, its id and deadline are numbers.")
    if version != VERSION:
        raise PeerError("command.version", f"A command has version {version}, not {VERSION}.", "Restart all of Rostra.")
    return request


def result(reply: dict[str, Any]) -> dict[str, Any]:
    """What a reply carries; its error, when it carries one, is raised as the same class here."""
    kinds: dict[str, type[RostraError]] = {"peer": PeerError, "operator": OperatorError}
    try:
        if "error" not in reply:
            return dict(reply["ok"])
        error = reply["error"]
        fault = kinds.get(error["kind"], Unavailable)(*(str(error[key]) for key in ("code", "sentence", "hint")))
    except (KeyError, TypeError, ValueError):  # a stage that strangers took over may say anything
        fault = Unavailable("process.garbled", "A process gives answers that make no sense.", "Restart Rostra.")
    raise fault


class Decoder:
    """Cuts a byte stream into messages."""

    def __init__(self) -> None:
        self._pending = bytearray()

    def feed(self, data: bytes) -> Iterator[dict[str, Any]]:
        """The messages that are whole now. Raises PeerError `command.malformed` or `command.too_large`."""
        self._pending += data
        while len(self._pending) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._pending)
            if length > COMMAND_BYTES_MAX:
                raise PeerError("command.too_large", f"A command of {length} bytes is too large.")
            if len(self._pending) < _LENGTH.size + length:
                return
            body = bytes(self._pending[_LENGTH.size : _LENGTH.size + length])
            del self._pending[: _LENGTH.size + length]
            try:
                message = json.loads(body)
            except (ValueError, RecursionError):
                raise PeerError("command.malformed", "A command is not JSON.") from None
            if not isinstance(message, dict):
                raise PeerError("command.malformed", "A command is not a JSON object.")
            yield message


def _frame(message: dict[str, Any]) -> bytes:
    body = json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode()
    return _LENGTH.pack(len(body)) + body
