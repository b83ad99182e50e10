"""What the data plane does with a request: find its row in the table, its key, its model, and hand it on."""

from __future__ import annotations

from time import perf_counter, time

from gateway import api
from gateway.accesslog import AccessLog
from gateway.api import body, multipart
from gateway.api.body import ABSENT, Facts
from gateway.api.endpoint import Endpoint
from gateway.api.pages import Page
from gateway.auth import Keyring
from gateway.config import GatewayConfig
from gateway.context import RequestContext
from gateway.dispatch import Dispatcher, Exchange, UpstreamRequest
from gateway.errors import BadRequest, GatewayError, MethodNotAllowed, UnknownUrl
from gateway.http import head
from gateway.http.server import ClientConnection
from gateway.metrics import Metrics
from gateway.registry import Pool, Registry

_JSON = b"content-type: application/json\r\n"
_PREFLIGHT = b"access-control-allow-methods: GET, POST\r\naccess-control-max-age: 600\r\n"
_EXPOSED = b"access-control-expose-headers: x-request-id, openai-processing-ms, retry-after, retry-after-ms\r\n"


class Surface:
    """The data plane as the wire sees it. A reload swaps ``registry`` and ``rules``; nothing else changes."""

    def __init__(
        self,
        config: GatewayConfig,
        registry: Registry,
        keyring: Keyring,
        dispatcher: Dispatcher,
        metrics: Metrics,
        access_log: AccessLog | None,
        version: str,
    ) -> None:
        self.registry = registry
        self.rules = keyring
        """What ``admit_head`` decides by; the table of paths and the origins never change."""
        self.version = version
        self.started_at = int(time())
        self._dispatcher = dispatcher
        self._metrics = metrics
        self._access_log = access_log
        self._max_depth = config.limits.max_json_depth
        self._max_n = config.limits.max_n
        self._origins = frozenset(origin.encode() for origin in config.cors_origins)

    def __repr__(self) -> str:
        return f"<Surface {self.registry!r}>"

    @property
    def draining(self) -> bool:
        """Whether the gateway is about to stop."""
        return self._dispatcher.draining

    def admit_head(self, context: RequestContext) -> None:
        """Check path, method, key and media type, before a byte of the body is taken."""
        self._check_head(context)
        if self._access_log is not None:
            context.asked = self._access_log.asked(context)

    def _check_head(self, context: RequestContext) -> None:
        endpoint = api.ENDPOINTS.get(context.path)
        if self._origins:
            self._allow_origin(context)
            if context.method == b"OPTIONS":
                return
        if endpoint is not None:
            context.endpoint = context.path.decode("ascii")
            context.headers_up = head.headers_up(context.headers)
            if b"content-type" not in context.headers:
                context.headers_up += _JSON
            if context.method != b"POST":
                raise MethodNotAllowed(f"{context.endpoint} takes POST only.", allow="POST")
        else:
            page, context.endpoint = _find_page(context)
            if context.method not in page.methods:
                allow = b", ".join(page.methods).decode()
                raise MethodNotAllowed(f"{context.endpoint} takes {allow} only.", allow=allow)
            if not page.guarded:
                return
        context.key = self.rules.find(context.headers)
        if endpoint is not None and not endpoint.multipart:
            body.check_media(context.headers)

    def answer(self, context: RequestContext, connection: ClientConnection) -> Exchange | None:
        """Decide which pool is asked, and with what bytes, and ask it; or answer by itself."""
        endpoint = api.ENDPOINTS.get(context.path)
        if endpoint is None or context.method == b"OPTIONS":
            self._write_page(context, connection)
            return None
        form = multipart.read(context) if endpoint.multipart else None
        facts = body.read(context.body, self._max_depth) if form is None else form.facts
        if not facts.model:
            raise BadRequest("The field model is missing; it names the model to ask, see /v1/models.", param="model")
        pool = self.registry.find(facts.model)
        context.model = pool.model
        context.key.check(pool.model)
        if endpoint.task is not None and endpoint.task not in pool.tasks:
            raise self.registry.unable(pool, endpoint.task, context.endpoint)
        if facts.n is not None and facts.n > self._max_n:
            raise BadRequest(f"n is {facts.n}; at most {self._max_n} (limits.max_n) are allowed.", param="n")
        streams = endpoint.streams and facts.stream is True
        sent, strip_usage = context.body, False
        if form is not None:
            if facts.model != pool.upstream_model:
                sent = form.with_model(pool.upstream_model)
        else:
            sent = self._rewrite(endpoint, context, facts, pool)
            if facts.stream is True and endpoint.dialect.asks_usage and not facts.wants_usage:
                sent, strip_usage = body.with_usage(sent, facts), True
        if sent is not context.body:
            # Of a large body, one copy is enough.
            context.body = b""
        request = UpstreamRequest(
            context, sent, endpoint.dialect, streams, strip_usage, facts.token_limit(), not endpoint.streams
        )
        return self._dispatcher.begin(pool, request, connection)

    def refused(self, context: RequestContext, error: GatewayError) -> bytes:
        """Give the body of an error in the shape of the request's endpoint."""
        endpoint = api.ENDPOINTS.get(context.path)
        return error.body() if endpoint is None else endpoint.dialect.error_body(error)

    def ended(self, context: RequestContext, now: float) -> None:
        """Account for a request that is over; ``now`` is a ``perf_counter`` reading."""
        self._metrics.ended(context, now)
        if self._access_log is not None:
            self._access_log.ended(context, now)

    def _write_page(self, context: RequestContext, connection: ClientConnection) -> None:
        """Answer what needs no engine."""
        if context.method == b"OPTIONS":
            headers, answer = _preflight(context) if context.answer_headers else b"", b""
        else:
            page, _ = _find_page(context)
            answer = page.write(self, context)
            headers = _JSON if answer else b""
        connection.write_answer(context, perf_counter(), 200, headers, answer)

    def _rewrite(self, endpoint: Endpoint, context: RequestContext, facts: Facts, pool: Pool) -> bytes:
        """Change the few fields that are the gateway's; most bodies go on as they are."""
        changes: dict[str, bytes | None] = {}
        if facts.model != pool.upstream_model:
            changes["model"] = body.encode(pool.upstream_model)
        if facts.kv_transfer_params is not ABSENT:
            changes["kv_transfer_params"] = None
        if facts.priority is not ABSENT and not pool.send_priority:
            changes["priority"] = None
        if pool.cache_salt and endpoint.task == "generate" and context.key.id:
            changes["cache_salt"] = body.encode(context.key.id)
        return body.rewritten(context.body, changes) if changes else context.body

    def _allow_origin(self, context: RequestContext) -> None:
        """Let a browser read the answer if its page's origin is one of those configured."""
        origin = context.headers.get(b"origin")
        if origin in self._origins:
            assert origin is not None
            context.answer_headers = b"access-control-allow-origin: %b\r\nvary: origin\r\n%b" % (origin, _EXPOSED)


def _preflight(context: RequestContext) -> bytes:
    """Say what a page may send: every header that it asks for, as SDKs send many of their own and engines get few."""
    asked = context.headers.get(b"access-control-request-headers")
    return _PREFLIGHT if asked is None else b"%baccess-control-allow-headers: %b\r\n" % (_PREFLIGHT, asked)


def _find_page(context: RequestContext) -> tuple[Page, str]:
    """Find the row of a path that the gateway answers by itself, and the path's name in metrics."""
    path = context.path
    page = api.PAGES.get(path)
    if page is not None:
        return page, path.decode("ascii")
    parent = path[: path.rfind(b"/", 0, 11) + 1] if path.startswith(b"/v1/models/") else b""
    page = api.PAGES.get(parent)
    if page is None:
        raise UnknownUrl(f"There is no {path[:200].decode('latin-1')!r} here; the paths are those of OpenAI and vLLM.")
    return page, parent.decode("ascii") + "{id}"
