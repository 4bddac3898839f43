"""Answering a command socket from an event loop: one client, verbs by name, each under its deadline."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from rostra.kernel.errors import PeerError, RostraError, Unavailable
from rostra.space import commands

Verbs = Mapping[str, Callable[..., Awaitable[dict[str, Any]]]]


async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, verbs: Verbs, who: str) -> None:
    """Answer one client until it goes; `who` is what refusals call us."""
    decoder = commands.Decoder()
    with contextlib.suppress(PeerError, OSError):
        while data := await reader.read(65_536):
            for message in decoder.feed(data):
                writer.write(await _answer(message, verbs, who))
                await writer.drain()
    writer.close()


async def _answer(message: dict[str, Any], verbs: Verbs, who: str) -> bytes:
    try:
        request = commands.decode_request(message)
        return commands.encode_ok(request.id, await _obey(request, verbs, who))
    except RostraError as error:
        return commands.encode_error(message.get("id", 0), error)


async def _obey(request: commands.Request, verbs: Verbs, who: str) -> dict[str, Any]:
    verb = verbs.get(request.verb)
    if verb is None:
        raise PeerError("command.unknown", f"The {who} has no command “{request.verb}”.")
    if not (isinstance(request.deadline_ms, int) and all(isinstance(v, str) for v in request.args.values())):
        raise PeerError("command.malformed", f"The arguments of “{request.verb}” are texts.")
    try:
        called = verb(**request.args)
    except TypeError:
        raise PeerError("command.malformed", f"“{request.verb}” was given other arguments than it takes.") from None
    try:
        return await asyncio.wait_for(called, request.deadline_ms / 1000)
    except TimeoutError:
        raise Unavailable("command.late", f"The {who} did not manage that in time.", "Try again.") from None
