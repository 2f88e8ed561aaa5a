"""What is served: which address shows what. How HTTP works, and what things look like, stands elsewhere."""

import asyncio
import sys
import time
from contextlib import suppress

import msgspec

from temporal_fleet.protocol.errors import PeerRubbish
from temporal_fleet.protocol.metrics import Family, MetricsFile, read_metrics
from temporal_fleet.protocol.report import EntityReport, EventReport, StatusReport
from temporal_fleet.protocol.rundir import RunDirectory
from temporal_fleet.supervisor.shell.vitals import Vitals
from temporal_fleet.supervisor.web.exposition import Measured, exposition
from temporal_fleet.supervisor.web.health import unready
from temporal_fleet.supervisor.web.history import EVERY, History, Moment
from temporal_fleet.supervisor.web.page import CONTENT_SECURITY_POLICY, render
from temporal_fleet.supervisor.web.server import Request, Response
from temporal_fleet.supervisor.web.source import Silent, Source

_JSON = "application/json"


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """What `/status.json` holds: add, never rename, as with every report."""

    answers: bool
    """False: the supervisor hangs, and this is what it said last."""
    status: StatusReport
    events: list[EventReport]
    """The last ones, the oldest first."""
    history: dict[str, list[Moment]]
    """By entity, the oldest first."""


class Site:
    def __init__(self, run: RunDirectory, source: Source) -> None:
        self._run = run
        self._source = source
        self._history = History()
        self._vitals = Vitals()
        self._scraping = asyncio.Lock()

    async def watch(self) -> None:
        """Note how entities fare, for ever."""
        while True:
            with suppress(Silent):
                self._history.note((await self._source.status.answer()).report, time.time())
            await asyncio.sleep(EVERY)

    async def answer(self, request: Request) -> Response:
        try:
            match request.path:
                case "/":
                    return await self._page()
                case "/status.json":
                    return await self._status()
                case "/metrics":
                    return await self._metrics(request.headers.get("accept", ""))
                case "/healthz":
                    return await self._health(request)
                case "/readyz":
                    return await self._readiness(request)
            return Response(404, b"there are /, /status.json, /metrics, /healthz and /readyz\n")
        except Exception:
            sys.excepthook(*sys.exc_info())
            return Response(500, b"this could not be shown; the log of the fleet says why\n")

    async def _shown(self) -> Shown | None:
        """None: the supervisor never answered."""
        answers = await self._answers()
        last = self._source.status.last
        if last is None:
            return None
        return Shown(
            answers=answers,
            status=last.report,
            events=list(self._source.events),
            history={name: list(past) for name, past in self._history.entities.items()},
        )

    async def _answers(self) -> bool:
        try:
            await self._source.status.answer()
        except Silent:
            return False
        return True

    async def _page(self) -> Response:
        shown = await self._shown()
        if shown is None:
            return Response(503, b"the supervisor does not answer\n")
        page = render(shown.status, shown.events, shown.history, answers=shown.answers, now=time.time())
        headers = {"Content-Security-Policy": CONTENT_SECURITY_POLICY}
        return Response(200, page.encode(), "text/html; charset=utf-8", headers)

    async def _status(self) -> Response:
        shown = await self._shown()
        if shown is None:
            return Response(503, b'{"answers":false}\n', _JSON)
        return Response(200, msgspec.json.encode(shown), _JSON)

    async def _metrics(self, accept: str) -> Response:
        # One after the other: a second scraper must not double what the first one costs.
        async with self._scraping:
            answers = await self._answers()
            if answers:
                with suppress(Silent):
                    await self._source.metrics.answer()
            status, counted = self._source.status.last, self._source.metrics.last
            text, content_type = await asyncio.to_thread(
                self._expose,
                answers,
                status.report if status is not None else None,
                counted.families if counted is not None else [],
                accept,
            )
        return Response(200, text, content_type)

    def _expose(
        self, answers: bool, status: StatusReport | None, counted: list[Family], accept: str
    ) -> tuple[bytes, str]:
        """In a thread: files, PSS and much text take their time."""
        entities = status.entities if status is not None else []
        measured = Measured(
            answers=answers,
            status=status,
            counted=counted,
            files={entity.id: file for entity in entities if (file := self._file(entity)) is not None},
            pss={entity.id: pss for entity in entities if (pss := self._pss(entity)) is not None},
        )
        return exposition(measured, accept)

    def _file(self, entity: EntityReport) -> MetricsFile | None:
        """None: it has written none yet, or one that tells nothing."""
        try:
            return read_metrics(self._run.metrics(entity.id))
        except (OSError, PeerRubbish):
            return None

    def _pss(self, entity: EntityReport) -> int | None:
        memory = self._vitals.read(entity.pid, pss=True) if entity.pid is not None else None
        return memory.pss if memory is not None else None

    async def _health(self, request: Request) -> Response:
        if await self._answers():
            return _verdict(request, {})
        return _verdict(request, {"supervisor": "its loop has not answered for 2 s"})

    async def _readiness(self, request: Request) -> Response:
        try:
            report = (await self._source.status.answer()).report
        except Silent as silence:
            return _verdict(request, {"supervisor": str(silence)})
        return _verdict(request, unready(report))


def _verdict(request: Request, reasons: dict[str, str]) -> Response:
    """As text, or as JSON for whoever asks for it."""
    status = 503 if reasons else 200
    wants_json = _JSON in request.headers.get("accept", "") or request.query.get("format") == ["json"]
    if wants_json:
        return Response(status, msgspec.json.encode({"ok": not reasons, "reasons": reasons}), _JSON)
    lines = [f"{name}: {reason}" for name, reason in reasons.items()] or ["ok"]
    return Response(status, "".join(f"{line}\n" for line in lines).encode())
