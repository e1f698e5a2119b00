"""One request that asks for a statement: understood, decided, and then run, answered or refused."""

from __future__ import annotations

import re
import uuid
from dataclasses import replace

from gateway.core.decision import Answer, Plan, Refusal
from gateway.core.principal import Principal
from gateway.core.statement import Statement, Wire
from gateway.edge.contract import Outcome, Query, Refused
from gateway.identity.clickhouse import clickhouse_credentials
from gateway.identity.contract import AuthenticationFailed
from gateway.wire.clickhouse import answers, placement
from gateway.wire.clickhouse.body import Gathered, gather
from gateway.wire.clickhouse.coding import decode_stream, decoder_for, native_block
from gateway.wire.clickhouse.errors import (
    AUTHENTICATION_FAILED,
    BAD_ARGUMENTS,
    HTTP_LENGTH_REQUIRED,
    NETWORK_ERROR,
    STD_EXCEPTION,
    SYNTAX_ERROR,
    WireError,
    log_in_failed,
    of_refusal,
    render,
)
from gateway.wire.clickhouse.exchange import Exchange, Work
from gateway.wire.clickhouse.lookups import killed_ids, mentions_ids, translate
from gateway.wire.clickhouse.multipart import Form, parse_form
from gateway.wire.clickhouse.request import ClickHouseRequest, parse_request
from gateway.wire.clickhouse.shared import Shared
from gateway.wire.clickhouse.upstream import answer_headers, build, header_text
from gateway.wire.http.client import UpstreamError
from gateway.wire.http.message import BodyTooLarge, ClientGone, Request
from gateway.wire.http.responder import Responder

_UNSAFE = re.compile(r"[^A-Za-z0-9_-]")


class Asking:
    """One request that asks for a statement to be run."""

    def __init__(self, wire: Shared, request: Request, responder: Responder) -> None:
        self._wire, self._request, self._responder = wire, request, responder
        self._asked: ClickHouseRequest | None = None
        self._query: Query | None = None
        self._client_id: str | None = None

    async def answer(self) -> None:
        """Run it, or say why not."""
        try:
            await self._run()
        except WireError as error:
            if self._query is not None:
                self._query.finish(Outcome.FAILED, error_code=str(error.code), error_text=error.message)
            await self._say(error)
        except ClientGone:
            if self._query is not None:
                self._query.finish(Outcome.DISCONNECTED)
            raise
        finally:
            if self._query is not None:
                self._query.finish(Outcome.DISCONNECTED if self._responder.disconnected else Outcome.FAILED)

    async def _run(self) -> None:
        wire, request = self._wire, self._request
        asked, form, principal = await self._understand()
        if form is not None:
            gathered = Gathered(asked.query)
        else:
            gathered = await gather(asked, request.body, wire.options)
        statement = _statement(asked, gathered.text, form)
        self._query = query = await wire.edge.open(
            statement, principal, peer=request.peer.host, traceparent=asked.trace
        )
        decision = query.decision
        if isinstance(decision, Plan):
            await self._execute(query, decision, asked, gathered, form)
        elif isinstance(decision, Refusal):
            error = of_refusal(decision)
            query.finish(Outcome.REFUSED, error_code=str(error.code), error_text=error.message)
            raise error
        else:
            await self._serve(query, decision, asked)

    async def _understand(self) -> tuple[ClickHouseRequest, Form | None, Principal]:
        """The request without its body, the form if it is one, and who sent it: in that order of cost."""
        request, options = self._request, self._wire.options
        headers = request.headers
        if request.method == "POST" and not request.body.has_body and "content-length" not in headers:
            raise WireError(
                HTTP_LENGTH_REQUIRED,
                "The Transfer-Encoding is not chunked and there is no Content-Length header for POST request",
            )
        modern = request.version == (1, 1)
        asked = self._asked = parse_request(request.method, request.query, headers, options, http_11=modern)
        self._client_id = asked.query_id
        principal = await self._authenticate(asked)
        if asked.boundary is None or not request.body.has_body:
            return asked, None, principal
        form = await self._read_form(asked, asked.boundary)
        asked = parse_request(request.method, request.query, headers, options, form, http_11=modern)
        if asked.user != self._asked.user or asked.password != self._asked.password:
            raise WireError(
                AUTHENTICATION_FAILED, "Authentication failed: log-in data inside a form is not accepted"
            )
        self._asked = asked
        self._client_id = asked.query_id
        return asked, form, principal

    async def _authenticate(self, asked: ClickHouseRequest) -> Principal:
        peer = self._request.peer
        in_url = [(n, v) for n, v in (("user", asked.user), ("password", asked.password)) if v is not None]
        try:
            credentials = clickhouse_credentials(
                self._request.headers, in_url, certificate=peer.client_cert_der, peer=peer.host
            )
        except AuthenticationFailed as error:
            raise WireError(AUTHENTICATION_FAILED, str(error)) from None
        try:
            return await self._wire.edge.authenticate(credentials)
        except AuthenticationFailed as error:
            raise log_in_failed(credentials.user or credentials.act_as or "default", error) from None

    async def _read_form(self, asked: ClickHouseRequest, boundary: str) -> Form:
        options = self._wire.options
        limit = options.max_form_bytes
        body = self._request.body
        try:
            decoder = decoder_for(asked.content_encoding, asked.native_body)
            if decoder is None:
                content = await body.read(limit)
            else:
                parts, size = [], 0
                async for piece in decode_stream(aiter(body), decoder):
                    size += len(piece)
                    if size > limit:
                        raise BodyTooLarge(limit)
                    parts.append(piece)
                content = b"".join(parts)
        except BodyTooLarge:
            raise WireError(
                BAD_ARGUMENTS, f"The multipart body is larger than the limit of {limit} bytes"
            ) from None
        return parse_form(content, boundary, external_data=options.external_data)

    # -- the three decisions

    async def _execute(
        self, query: Query, plan: Plan, asked: ClickHouseRequest, gathered: Gathered, form: Form | None
    ) -> None:
        wire = self._wire
        namespace = wire.namespaces.of(query.principal)
        if plan.text != gathered.text and not _is_text(plan.text):
            raise WireError(SYNTAX_ERROR, "The statement holds bytes that are no UTF-8; encode it as UTF-8")
        text, exclude = plan.text, frozenset[str]()
        if mentions_ids(text):
            killed = killed_ids(text, asked.parameters)
            text = translate(text, namespace, asked.database, asked.parameters)
            if killed is not None:
                exclude = await placement.pin_kill(
                    [namespace.inside(i) for i in killed], plan.backends, wire.edge.backends, query.principal,
                    wire.options.kill_timeout_s,
                )  # fmt: skip
        if asked.session_id is not None and not exclude:
            session = namespace.inside(asked.session_id)
            exclude = placement.pin_session(session, plan.backends, wire.edge.backends)
        work = Work(query, plan, asked, gathered, form.tables if form is not None else (), namespace)
        exchange = Exchange(wire, work, self._responder, self._request.peer.host, self._extra(asked))
        self._client_id = exchange.client_id
        try:
            await exchange.run(text, exclude)
        except Refused as refused:
            error = of_refusal(refused.refusal)
            query.finish(Outcome.REFUSED, error_code=str(error.code), error_text=error.message)
            raise error from None

    async def _serve(self, query: Query, answer: Answer, asked: ClickHouseRequest) -> None:
        """Our own result, encoded by a healthy engine; a plan of one constant."""
        backend = next((b for b in self._wire.clickhouse_backends() if b.healthy), None)
        if backend is None:
            raise WireError(NETWORK_ERROR, "No engine is there to format this answer; try again shortly")
        try:
            text = answers.as_statement(answer, query.statement.text)
        except ValueError as error:
            raise WireError(STD_EXCEPTION, f"The answer cannot be written: {error}") from error
        namespace = self._wire.namespaces.of(query.principal)
        self._client_id = asked.query_id or str(uuid.uuid4())
        request = build(
            replace(asked, database=None, session_id=None, parameters=(), external=()),
            Gathered(text),
            (),
            text,
            query_id=namespace.inside(query.id),
            session_id=None,
            added_settings=(),
            engine_headers=backend.engine_headers(query.principal),
            client_host=self._request.peer.host,
        )
        try:
            response = await backend.pool.request(
                request.method, request.target, request.headers, request.body,
                head_timeout_s=self._wire.options.kill_timeout_s, idempotent=True,
            )  # fmt: skip
        except UpstreamError as error:
            raise WireError(
                NETWORK_ERROR, "The engine that formats this answer was lost; try again"
            ) from error
        headers = answer_headers(list(response.headers.items()), header_text(self._client_id)) + self._extra(
            asked
        )
        result = await response.pipe_to(self._responder, status=response.status, headers=headers)
        query.progress(rows=len(answer.rows), bytes_out=result.bytes)
        failed = response.headers.get("X-ClickHouse-Exception-Code")
        query.finish(
            Outcome.SUCCEEDED if result.complete and failed is None else Outcome.FAILED, error_code=failed
        )

    def _extra(self, asked: ClickHouseRequest) -> list[tuple[str, str]]:
        """Our own response headers: the id under which audit and history know the query, and what was
        dropped, because nothing is dropped without saying so."""
        extra = [] if self._query is None else [("X-Gateway-Query-Id", self._query.id)]
        if asked.dropped:
            names = (_UNSAFE.sub("?", name[:64]) for name in asked.dropped)
            extra.append(("X-Gateway-Dropped-Settings", ", ".join(names)))
        return extra

    # -- errors

    async def _say(self, error: WireError) -> None:
        responder = self._responder
        if responder.disconnected:
            return
        if responder.started or responder.begun:
            if not responder.ended:
                responder.abort()
            return
        asked = self._asked
        shown = None if self._client_id is None else header_text(self._client_id)
        extra = self._extra(asked) if asked is not None else ()
        status, headers, body = render(error, query_id=shown, extra=extra)
        if asked is not None and asked.native_answer:
            body = native_block(body)  # compress=1 covers error texts too, on ClickHouse as here
        await responder.send(status, headers, body)


def _statement(asked: ClickHouseRequest, text: str, form: Form | None) -> Statement:
    return Statement(
        text=text,
        wire=Wire.CLICKHOUSE,
        schema=asked.database,
        time_zone=next((v for n, v in asked.settings if n == "session_timezone"), None),
        source=asked.user_agent or None,
        properties=asked.settings,
        parameters=asked.parameters,
        roles=tuple((role, "") for role in asked.roles),
        capabilities=_capabilities(asked, form),
        read_only=asked.read_only,
    )


def _capabilities(asked: ClickHouseRequest, form: Form | None) -> frozenset[str]:
    """What shapes the statement beside its text: `session` (it may see temporary tables and SET state) and
    `external:<name>` for each table that came with it."""
    found = {"session"} if asked.session_id is not None else set[str]()
    if form is not None:
        found.update(f"external:{table.name}" for table in form.tables)
    return frozenset(found)


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
