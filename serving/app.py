"""The application: which path answers what, with which limits."""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from cellmill.errors import BadInput
from cellmill.terminal import printable
from cellmill.version import __version__
from serving import v2, vertex
from serving.asking import DESTINATION, Answer, Ask, Served
from serving.fields import a_text
from serving.metrics import Metrics
from serving.places import check_place
from serving.refusals import Busy, NotThere, TooLarge, refusal_of
from serving.settings import Settings
from serving.tensors import inflated
from serving.work import Work

Handler = Callable[[Request], Awaitable[Response]]
_log = logging.getLogger("serving")


@dataclass
class State:
    """What the application serves; empty until the network is loaded.

    Args:
        name: what clients call the model.
        served: the network.
    """

    name: str = ""
    served: Served | None = None

    @property
    def model(self) -> Served:
        """The network.

        Raises:
            Busy: it is not loaded yet.
        """
        if self.served is None:
            raise Busy("model", expected="loaded", found="still loading")
        return self.served


class Endpoint:
    """The handlers of an application.

    Args:
        settings: of the server.
        state: the network, once it is there.
        metrics: count what is asked.
    """

    def __init__(self, settings: Settings, state: State, metrics: Metrics) -> None:
        self._settings, self._state, self._metrics = settings, state, metrics
        self._work = Work(settings.workers, settings.most_waiting, settings.patience, metrics)

    def routes(self) -> list[Route]:
        """Paths and what answers them."""
        models = ("/v2/models/{name}", "/v2/models/{name}/versions/{version}")
        model, ready = self._answering(self._model), self._answering(self._model_ready)
        infer = self._counted("v2", self._infer)
        predict = self._counted("vertex", self._predict)
        return [
            Route("/v2", self._server),
            Route("/v2/health/live", self._live),
            Route("/v2/health/ready", self._ready),
            *(Route(path, model) for path in models),
            *(Route(f"{path}/ready", ready) for path in models),
            *(Route(f"{path}/infer", infer, methods=["POST"]) for path in models),
            Route(self._settings.health_route, self._ready),
            Route(self._settings.predict_route, predict, methods=["POST"]),
            Route("/metrics", self._figures),
        ]

    async def _server(self, request: Request) -> Response:
        return JSONResponse(v2.server_metadata(__version__))

    async def _live(self, request: Request) -> Response:
        return JSONResponse({"live": True})

    async def _ready(self, request: Request) -> Response:
        is_ready = self._state.served is not None
        return JSONResponse({"ready": is_ready}, 200 if is_ready else 503)

    async def _model(self, request: Request) -> Response:
        served = self._named(request)
        about = v2.model_metadata(self._state.name, served)
        return JSONResponse({**about, "parameters": dict(served.parameters)})

    async def _model_ready(self, request: Request) -> Response:
        self._named(request)
        return JSONResponse({"name": self._state.name, "ready": True})

    async def _figures(self, request: Request) -> Response:
        return Response(self._metrics.page(), media_type="text/plain; version=0.0.4")

    async def _infer(self, request: Request) -> Response:
        served = self._named(request)
        body = await self._body(request)
        header = request.headers.get(v2.HEADER)
        given = await self._work.message(functools.partial(v2.read_request, body, header))
        (answer,) = await self._work.images([functools.partial(self._answer, served, given.ask)])
        name, version = self._state.name, served.version
        text, headers = await self._work.message(
            functools.partial(v2.write_answer, given, name, version, answer)
        )
        return Response(self._fitting(text), headers=headers)

    async def _predict(self, request: Request) -> Response:
        served = self._state.model
        body = await self._body(request)
        most = max(self._settings.limit, self._settings.most_pixels)
        given = await self._work.message(functools.partial(vertex.read_request, body, most))
        works = [functools.partial(self._answer, served, ask) for ask in given.asks]
        answers = await self._work.images(works)
        text = await self._work.message(functools.partial(vertex.write_answer, given, answers))
        return Response(self._fitting(text), media_type="application/json")

    def _answer(self, served: Served, ask: Ask) -> Answer:
        if ask.image is None:
            check_place(ask.uri, self._settings.sources, "SOURCES")
        if (place := ask.parameters.get(DESTINATION)) is not None:
            check_place(a_text(place, DESTINATION), self._settings.destinations, "DESTINATIONS")
        return served(ask)

    def _named(self, request: Request) -> Served:
        """The network that a path names."""
        served = self._state.model
        for what, has in (("name", self._state.name), ("version", served.version)):
            given = request.path_params.get(what, has)
            if given != has:
                raise NotThere(f"model's {what}", expected=f"'{has}'", found=f"'{given}'")
        return served

    async def _body(self, request: Request) -> bytes:
        """A request's body, within the limit, and as it was before it was made smaller."""
        most = self._settings.limit
        said = request.headers.get("content-length", "")
        if said.isdecimal() and int(said) > most:
            raise TooLarge("request", expected=f"at most {most} bytes", found=said)
        pieces, size = [], 0
        async for piece in request.stream():
            size += len(piece)
            if size > most:
                raise TooLarge("request", expected=f"at most {most} bytes", found="more")
            pieces.append(piece)
        self._metrics.bytes.labels("in").inc(size)
        body = b"".join(pieces)
        encoding = request.headers.get("content-encoding", "identity")
        if encoding == "identity":
            return body
        if encoding not in ("gzip", "deflate"):
            raise BadInput("content-encoding", expected="gzip or deflate", found=f"'{encoding}'")
        return await self._work.message(functools.partial(inflated, body, most, "request"))

    def _fitting(self, body: bytes) -> bytes:
        """An answer that is let through; raises `TooLarge` of any other."""
        if len(body) > self._settings.limit:
            raise TooLarge(
                "answer",
                expected=f"at most {self._settings.limit} bytes (a smaller box; of Vertex AI's "
                "protocol compression zlib; of style transfer a destination)",
                found=f"{len(body)}",
            )
        self._metrics.bytes.labels("out").inc(len(body))
        return body

    def _answering(self, handler: Handler) -> Handler:
        """A handler whose errors are answers of one line."""

        async def answer(request: Request) -> Response:
            try:
                return await handler(request)
            except (ClientDisconnect, HTTPException):
                raise
            except Exception as error:
                return _refused(error)

        return answer

    def _counted(self, protocol: str, handler: Handler) -> Handler:
        """A handler whose errors are answers, and whose answers are counted."""
        answering = self._answering(handler)

        async def answer(request: Request) -> Response:
            begun, status = time.perf_counter(), "gone"
            try:
                response = await answering(request)
                status = f"{response.status_code}"
            finally:
                self._metrics.requests.labels(protocol, status).inc()
                self._metrics.seconds.labels(protocol).observe(time.perf_counter() - begun)
            return response

        return answer


def _refused(error: Exception) -> Response:
    refusal = refusal_of(error)
    if refusal is None:
        _log.exception("a fault", exc_info=error)
        refusal = 500, "a fault of the server; its log says more"
    status, line = refusal
    headers = {"retry-after": "1"} if status == 503 else {}
    return JSONResponse({"error": printable(line)}, status, headers)


async def _other(request: Request, error: Exception) -> Response:
    """An answer to a path or a method that there is not."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    said = "path" if status == 404 else "method"
    path = printable(request.url.path)
    line = f"{said}: expected one that docs/serving.md names, found {request.method} {path}"
    return JSONResponse({"error": line}, status)


def application(settings: Settings, state: State, metrics: Metrics) -> Starlette:
    """Make the application.

    Args:
        settings: of the server.
        state: the network, once it is there.
        metrics: count what is asked.
    """
    endpoint = Endpoint(settings, state, metrics)
    return Starlette(routes=endpoint.routes(), exception_handlers={HTTPException: _other})
