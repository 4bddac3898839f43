"""Behind a declared terminator: whoever comes past it is turned away, as what they say crossed the network plain."""

from collections.abc import Callable

from starlette.types import ASGIApp, Receive, Scope, Send

from rostra.studio.api import problem
from rostra.studio.io.frame import send_problem


class Behind:
    """Passes on what `admits` by its address; everything else gets a 403."""

    def __init__(self, app: ASGIApp, admits: Callable[[str], bool]) -> None:
        self._app = app
        self._admits = admits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        client = scope.get("client")
        if scope["type"] == "lifespan" or (client is not None and self._admits(client[0])):
            await self._app(scope, receive, send)
        else:
            await send_problem(
                send, problem(403, "terminator.bypassed", "This port is for the terminator.", "Open the HTTPS address.")
            )
