"""The admin API's server: a Unix socket for this host, TCP with tokens for others."""

from __future__ import annotations

import logging
import ssl
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import orjson
from aiohttp import web
from pydantic import TypeAdapter, ValidationError

from gateway.admin import openapi, pages
from gateway.admin.access import Tokens, socket_actor, token_actor
from gateway.admin.contract import (
    Actor,
    AdminBackend,
    AdminError,
    AuditVerified,
    BackendState,
    BackendStates,
    Cancelled,
    Config,
    ExplainRequest,
    HistoryPage,
    LiveFilter,
    LiveQueries,
    QueryTexts,
)
from gateway.admin.routes import ROUTES, Failure, In, Parameter, Problem, Route
from gateway.store.audit import AuditUnavailable
from gateway.store.audit_records import AdminAction
from gateway.store.history import STORE_ERRORS, describe
from gateway.store.records import BadCursor, QueryFilter
from gateway.telemetry.redaction import redact

log = logging.getLogger(__name__)

MAX_BODY_BYTES = 1_100_000
NO_STORE = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}

Authenticate = Callable[[web.Request, Route], Actor]
Arguments = dict[str, Any]


class AdminServer:
    """Serves `AdminBackend`. One instance may listen on both kinds of address."""

    def __init__(self, backend: AdminBackend) -> None:
        self._backend = backend
        self._runners: list[web.AppRunner] = []
        self._socket: Path | None = None
        self.port = 0

    async def start_unix(self, path: Path) -> None:
        """Listen on a socket that only the gateway's account (and root) can open. Raises OSError."""
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        runner = await self._runner(lambda request, route: socket_actor(request))
        # The mode is right from the first moment: bind under a name nobody knows yet, then rename.
        hidden = path.with_name(f".{path.name}.{time.monotonic_ns()}")
        await web.UnixSite(runner, str(hidden)).start()
        hidden.chmod(0o600)
        hidden.rename(path)
        self._socket = path

    async def start_tcp(
        self, host: str, port: int, tokens: Mapping[str, str], *, tls: ssl.SSLContext | None = None
    ) -> None:
        """Listen with tokens (name to secret). Raises OSError, ValueError for a weak or missing token."""
        if not tokens:
            raise ValueError("admin: listening on TCP needs at least one token")
        known = Tokens(tokens)
        runner = await self._runner(
            lambda request, route: token_actor(request, known, basic=_for_people(route))
        )
        await web.TCPSite(runner, host, port, ssl_context=tls).start()
        self.port = runner.addresses[0][1]

    async def close(self) -> None:
        for runner in self._runners:
            await runner.cleanup()
        if self._socket is not None:
            self._socket.unlink(missing_ok=True)

    async def _runner(self, authenticate: Authenticate) -> web.AppRunner:
        runner = web.AppRunner(self.app(authenticate), access_log=None, shutdown_timeout=2.0)
        await runner.setup()
        self._runners.append(runner)
        return runner

    def app(self, authenticate: Authenticate) -> web.Application:
        """The application, for one way of knowing who asks."""
        app = web.Application(client_max_size=MAX_BODY_BYTES, middlewares=[_failures_as_json])
        for route in ROUTES:
            app.router.add_route(route.method, route.path, self._endpoint(route, authenticate))
        return app

    def _endpoint(
        self, route: Route, authenticate: Authenticate
    ) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        operation = getattr(self, f"_{route.name}")

        async def endpoint(request: web.Request) -> web.StreamResponse:
            actor = authenticate(request, route)
            arguments = _arguments(route, request)
            if route.body is not None:
                arguments["body"] = await _body(request)
            if not route.audited:
                return _response(route, await operation(actor, arguments))
            return _response(route, await self._audited(route, actor, arguments, operation))

        return endpoint

    async def _audited(
        self, route: Route, actor: Actor, arguments: Arguments, operation: Callable[..., Awaitable[Any]]
    ) -> Any:
        """Nothing is done before the audit knows that it was asked; how it ended is added after."""
        target = str(arguments.get("id") or arguments.get("name") or "")
        await self._record(actor, route.name, target, "asked")
        outcome = "failed"
        try:
            result = await operation(actor, dict(arguments))
            outcome = "done"
            return result
        except AdminError as error:
            outcome = error.code
            raise
        finally:
            try:
                await self._record(actor, route.name, target, outcome)
            except AuditUnavailable as error:
                said = f"{route.name} by {actor.name}: {outcome}"
                log.error("admin: the end of an action is not audited (%s): %s", said, error)

    async def _record(self, actor: Actor, action: str, target: str, outcome: str) -> None:
        await self._backend.record(AdminAction(time.time(), actor.name, action, target, outcome, actor.peer))

    # -- operations, one per route -------------------------------------------------------------------------

    async def _live_queries(self, actor: Actor, arguments: Arguments) -> LiveQueries:
        queries = await self._backend.live_queries(LiveFilter(**arguments))
        return LiveQueries(tuple(sorted(queries, key=lambda query: query.time)))

    async def _history(self, actor: Actor, arguments: Arguments) -> HistoryPage:
        limit, cursor = arguments.pop("limit", 100), arguments.pop("cursor", None)
        return HistoryPage.of(await self._backend.history(QueryFilter(**arguments), limit, cursor))

    async def _query(self, actor: Actor, arguments: Arguments) -> Any:
        record = await self._backend.query(arguments["id"])
        if record is None:
            raise _no_query(arguments["id"])
        return record

    async def _texts(self, actor: Actor, arguments: Arguments) -> QueryTexts:
        texts = await self._backend.texts(arguments["id"], actor, arguments["purpose"])
        if not texts:
            raise AdminError(404, "no_text", "No text of this query is kept (see store.encryption_key)")
        return QueryTexts(arguments["id"], texts)

    async def _cancel(self, actor: Actor, arguments: Arguments) -> Cancelled:
        if not await self._backend.cancel(arguments["id"], actor):
            raise AdminError(404, "not_running", f"No query {arguments['id']} is running on this host")
        return Cancelled(arguments["id"])

    async def _backends(self, actor: Actor, arguments: Arguments) -> BackendStates:
        return BackendStates(tuple(await self._backend.backends()))

    async def _drain(self, actor: Actor, arguments: Arguments) -> BackendState:
        return await self._set_draining(arguments["name"], True, actor)

    async def _undrain(self, actor: Actor, arguments: Arguments) -> BackendState:
        return await self._set_draining(arguments["name"], False, actor)

    async def _set_draining(self, name: str, draining: bool, actor: Actor) -> BackendState:
        state = await self._backend.drain(name, draining, actor)
        if state is None:
            known = ", ".join(sorted(known.name for known in await self._backend.backends()))
            raise AdminError(404, "no_backend", f"There is no backend {name}; there are: {known}")
        return state

    async def _snapshot(self, actor: Actor, arguments: Arguments) -> Any:
        return await self._backend.snapshot()

    async def _reload(self, actor: Actor, arguments: Arguments) -> Any:
        return await self._backend.reload(actor)

    async def _explain(self, actor: Actor, arguments: Arguments) -> Any:
        return await self._backend.explain(_explain_request(arguments["body"]), actor)

    async def _health(self, actor: Actor, arguments: Arguments) -> Any:
        return await self._backend.health()

    async def _config(self, actor: Actor, arguments: Arguments) -> Config:
        return Config(redact(dict(await self._backend.config())))

    async def _verify_audit(self, actor: Actor, arguments: Arguments) -> AuditVerified:
        return AuditVerified.of(await self._backend.verify_audit())

    async def _openapi(self, actor: Actor, arguments: Arguments) -> dict[str, Any]:
        return openapi.document()

    async def _query_page(self, actor: Actor, arguments: Arguments) -> str:
        return pages.query_page(await self._query(actor, arguments))


def _for_people(route: Route) -> bool:
    """Only pages take Basic: a browser sends it by itself, also for a form on somebody else's page."""
    return route.media == "text/html"


def _no_query(query_id: str) -> AdminError:
    return AdminError(404, "no_query", f"No query {query_id} is known here; history may have been pruned")


def _response(route: Route, result: Any) -> web.Response:
    if route.media == "text/html":
        return web.Response(text=result, content_type="text/html", charset="utf-8", headers=pages.HEADERS)
    return web.Response(
        body=orjson.dumps(result), status=route.status, content_type="application/json", headers=NO_STORE
    )


def _arguments(route: Route, request: web.Request) -> Arguments:
    known = {parameter.name: parameter for parameter in route.parameters}
    offered = dict(request.match_info)
    for name, value in request.query.items():
        parameter = known.get(name)
        if parameter is None or parameter.where is not In.QUERY:
            allowed = ", ".join(sorted(n for n, p in known.items() if p.where is In.QUERY)) or "none"
            raise AdminError(400, "unknown_parameter", f"No parameter {name} here; there are: {allowed}")
        if name in offered:
            raise AdminError(400, "repeated_parameter", f"The parameter {name} is given twice")
        offered[name] = value
    for parameter in route.parameters:
        if parameter.required and not offered.get(parameter.name):
            raise AdminError(400, "missing_parameter", f"The parameter {parameter.name} is needed")
    return {name: _converted(known[name], value) for name, value in offered.items()}


def _converted(parameter: Parameter, value: str) -> str | int | float:
    convert = {"string": str, "integer": int, "number": float}[parameter.type]
    try:
        converted: str | int | float = convert(value)
    except ValueError:
        raise AdminError(
            400, "bad_parameter", f"The parameter {parameter.name} is not a valid {parameter.type}"
        ) from None
    if isinstance(converted, float) and not abs(converted) < 1e11:
        raise AdminError(400, "bad_parameter", f"The parameter {parameter.name} is not a time")
    return converted


async def _body(request: web.Request) -> Any:
    try:
        return orjson.loads(await request.read())
    except orjson.JSONDecodeError as error:
        raise AdminError(400, "bad_json", f"The body is not JSON: {error}") from None


def _explain_request(body: Any) -> ExplainRequest:
    if not isinstance(body, dict):
        raise AdminError(400, "bad_body", "The body must be an object with sql, as and wire")
    names = {field.name.rstrip("_") for field in fields(ExplainRequest)}
    if unknown := set(body) - names:
        raise AdminError(400, "unknown_field", f"Unknown: {sorted(unknown)[0]}; there are {sorted(names)}")
    data = {"as_" if name == "as" else name: value for name, value in body.items()}
    try:
        return TypeAdapter(ExplainRequest).validate_python(data, strict=False)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(str(part).rstrip("_") for part in first["loc"])
        raise AdminError(400, "bad_field", f"{place}: {first['msg']}") from None


@web.middleware
async def _failures_as_json(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    try:
        return await handler(request)
    except AdminError as error:
        return _failure(error.status, error.code, str(error))
    except BadCursor as error:
        return _failure(400, "bad_cursor", str(error))
    except AuditUnavailable as error:
        return _failure(503, "audit_unavailable", str(error))
    except web.HTTPException as error:
        return _failure(error.status, error.reason.lower().replace(" ", "_"), error.reason)
    except STORE_ERRORS as error:
        log.warning("admin: the store does not answer: %s", describe(error))
        return _failure(503, "store_unavailable", "The store does not answer; see the gateway's log")


def _failure(status: int, code: str, message: str) -> web.Response:
    headers = dict(NO_STORE)
    if status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="gateway admin", Basic realm="gateway admin"'
    body = orjson.dumps(Failure(Problem(code, message)))
    return web.Response(body=body, status=status, content_type="application/json", headers=headers)
