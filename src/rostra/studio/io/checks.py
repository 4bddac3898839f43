"""The studio's line to the check: guests who test before there is a stage, and what came of it."""

import json
from dataclasses import asdict
from typing import Any, Final

from rostra.kernel.clock import to_rfc3339
from rostra.kernel.errors import PeerError, Unavailable
from rostra.space.grants import Grant
from rostra.space.io import sockets
from rostra.space.lifecycle import State
from rostra.store.checks import Check
from rostra.studio import api, checks, signalling
from rostra.studio.io.desk import Desk
from rostra.studio.io.switchboard import OFFER_DEADLINE_MS, Answer

_OVER: Final = frozenset({State.ENDED, State.REPLAY, State.CANCELLED})


class Checks:
    """Blocking calls, each with a deadline; safe to use from several threads."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def offer(self, space: str, grant: Grant, key: str, sdp: str) -> Answer:
        """Connect whoever holds `grant` to the check. Raises PeerError `space.state` after the end, Unavailable
        `check.busy` when the places are taken, `check.away` when nobody listens there."""
        if self._desk.life(space).state in _OVER:
            raise PeerError("space.state", "This Space is over.", "There is nothing left to test for.")
        seat = signalling.seat_id(grant.link, key)
        made = self._call("offer", deadline_ms=OFFER_DEADLINE_MS, link=grant.link, seat=seat, sdp=sdp)
        return Answer(made["session"], made["sdp"], seat)

    def trickle(self, grant: Grant, session: str, fragment: str) -> None:
        self._call("trickle", link=grant.link, session=session, fragment=fragment)

    def close(self, grant: Grant, session: str) -> None:
        self._call("close", link=grant.link, session=session)

    def record(self, grant: Grant, session: str) -> api.CheckSession:
        """Begin the recording. Raises PeerError `session.unknown`, `check.unready`."""
        return _running(self._call("record", link=grant.link, session=session))

    def measure(self, grant: Grant, session: str) -> api.CheckSession:
        """What the server has heard by now. Raises PeerError `session.unknown`."""
        return _running(self._call("measure", link=grant.link, session=session))

    def conclude(self, space: str, grant: Grant, key: str, report: api.CheckReport) -> api.Check:
        """Judge a test by what the browser measured and what the server heard, and keep the result for the host.

        Raises PeerError `session.unknown` and Unavailable `check.away` rather than judge by half of it.
        """
        self._desk.show(space)
        measured = checks.Measured(
            **report.model_dump(exclude={"session", "name"}),
            **({} if report.session is None else self._heard(grant, report.session)),
        )
        judged = checks.judge(measured)
        check = Check(
            space=space,
            link=grant.link,
            seat=signalling.seat_id(grant.link, key),
            name=signalling.seat_name(report.name, ""),
            at_ns=self._desk.now_ns(),
            verdict=judged.verdict,
            advice=judged.advice,
            measured=json.dumps(asdict(measured)),
        )
        self._desk.store.keep_check(check)
        return self._shown(check)

    def list(self, space: str) -> list[api.Check]:
        """The tests of everyone whose link still holds, the latest first."""
        self._desk.show(space)
        valid = {link.id for link in self._desk.store.links(space) if link.revoked_ns is None}
        valid |= {link.id for link in self._desk.store.links("")}
        return [self._shown(check) for check in self._desk.store.checks(space) if check.link in valid]

    def _heard(self, grant: Grant, session: str) -> dict[str, Any]:
        return self.measure(grant, session).heard.model_dump(exclude={"packets"})

    def _shown(self, check: Check) -> api.Check:
        link = self._desk.store.link(check.link)
        told = json.loads(check.measured)  # by another release, perhaps
        measured = checks.Measured(**{name: told[name] for name in checks.Measured.__slots__ if name in told})
        return api.Check(
            link=check.link,
            seat=check.seat,
            name=check.name or (link.label if link else ""),
            at=to_rfc3339(check.at_ns),
            verdict=checks.Verdict(check.verdict),
            advice=list(check.advice),
            grades=checks.grades(measured),
            measured=api.CheckMeasured(**asdict(measured)),
        )

    def _call(self, verb: str, *, deadline_ms: int = 2000, **args: Any) -> dict[str, Any]:
        try:
            return sockets.call(self._desk.check_sock, verb, deadline_ms=deadline_ms, **args)
        except Unavailable as error:
            if error.code != "process.away":
                raise
            raise Unavailable(
                "check.away", "The test is not there right now.", "It is back within seconds: begin it again."
            ) from None


def _running(told: dict[str, Any]) -> api.CheckSession:
    session = api.CheckSession.model_validate(told)
    session.grades = checks.grades(checks.Measured(**session.heard.model_dump(exclude={"packets"})))
    return session
