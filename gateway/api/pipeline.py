"""What the data plane does with a request: find its row in the table, its key, its model, and hand it on."""

from __future__ import annotations

from time import perf_counter, time

from gateway import api
from gateway.api import multipart, request_fields
from gateway.api.local.models import Page
from gateway.api.request_fields import UNSET_FIELD, RequestFields
from gateway.api.routes import Endpoint
from gateway.config.gateway import GatewayConfig
from gateway.core.context import RequestContext, RequestHead
from gateway.core.errors import BadRequest, GatewayError, MethodNotAllowed, UnknownUrl
from gateway.core.keys import Keyring
from gateway.exchange.dispatcher import Dispatcher
from gateway.exchange.exchange import Exchange
from gateway.exchange.upstream_request import UpstreamRequest
from gateway.http.downstream import Downstream
from gateway.http.request_head import headers_up
from gateway.observe.access_log import AccessLog
from gateway.observe.counters import Metrics
from gateway.pools.pool import Pool
from gateway.pools.registry import Registry

_JSON = b"content-type: application/json\r\n"
_PREFLIGHT = b"access-control-allow-methods: GET, POST\r\naccess-control-max-age: 600\r\n"
_EXPOSED = b"access-control-expose-headers: x-request-id, openai-processing-ms, retry-after, retry-after-ms\r\n"


class Pipeline:
    """The data plane as the wire sees it. A reload swaps ``registry`` and ``snapshot``; nothing else changes."""

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
        self.snapshot = keyring
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
        return f"<Pipeline {self.registry!r}>"

    @property
    def draining(self) -> bool:
        """Whether the gateway is about to stop."""
        return self._dispatcher.draining

    def admit_head(self, head: RequestHead) -> None:
        """Check path, method, key and media type, before a byte of the body is taken."""
        self._check_head(head)
        if self._access_log is not None:
            head.logged = self._access_log.of_head(head)

    def _check_head(self, head: RequestHead) -> None:
        endpoint = api.ENDPOINTS.get(head.path)
        if self._origins:
            self._allow_origin(head)
            if head.method == b"OPTIONS":
                return
        if endpoint is not None:
            head.endpoint = head.path.decode("ascii")
            head.headers_up = headers_up(head.headers)
            if b"content-type" not in head.headers:
                head.headers_up += _JSON
            if head.method != b"POST":
                raise MethodNotAllowed(f"{head.endpoint} takes POST only.", allow="POST")
        else:
            page, head.endpoint = _find_page(head.path)
            if head.method not in page.methods:
                allow = b", ".join(page.methods).decode()
                raise MethodNotAllowed(f"{head.endpoint} takes {allow} only.", allow=allow)
            if not page.guarded:
                return
        head.key = self.snapshot.find(head.headers)
        if endpoint is not None and not endpoint.multipart:
            request_fields.check_media(head.headers)

    def answer(self, context: RequestContext, connection: Downstream) -> Exchange | None:
        """Decide which pool is asked, and with what bytes, and ask it; or answer by itself."""
        head = context.head
        endpoint = api.ENDPOINTS.get(head.path)
        if endpoint is None or head.method == b"OPTIONS":
            self._write_page(context, connection)
            return None
        form = multipart.read(context) if endpoint.multipart else None
        facts = request_fields.read(context, self._max_depth) if form is None else form.facts
        if not facts.model:
            raise BadRequest("The field model is missing; it names the model to ask, see /v1/models.", param="model")
        # Taken as a value first: Python 3.11 calls an attribute that is no method much more slowly.
        find = self.registry.find
        pool = find(facts.model)
        context.model = pool.model
        head.key.check(pool.model)
        if endpoint.task is not None and endpoint.task not in pool.tasks:
            raise self.registry.unable(pool, endpoint.task, head.endpoint)
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
                sent, strip_usage = request_fields.with_usage(sent, facts), True
        if sent is not context.body:
            # Of a large body, one copy is enough.
            context.body = b""
        request = UpstreamRequest(
            context, sent, endpoint.dialect, streams, strip_usage, facts.token_limit(), not endpoint.streams
        )
        return self._dispatcher.begin(pool, request, connection)

    def refused(self, context: RequestContext, error: GatewayError) -> bytes:
        """Give the body of an error in the shape of the request's endpoint."""
        endpoint = api.ENDPOINTS.get(context.head.path)
        return error.body() if endpoint is None else endpoint.dialect.error_body(error)

    def ended(self, context: RequestContext, now: float) -> None:
        """Account for a request that is over; ``now`` is a ``perf_counter`` reading."""
        self._metrics.ended(context, now)
        if self._access_log is not None:
            self._access_log.ended(context, now)

    def _write_page(self, context: RequestContext, connection: Downstream) -> None:
        """Answer what needs no engine."""
        head = context.head
        if head.method == b"OPTIONS":
            headers, answer = _preflight(head) if head.headers_down else b"", b""
        else:
            page, _ = _find_page(head.path)
            answer = page.write(self, head)
            headers = _JSON if answer else b""
        connection.write_response(context, perf_counter(), 200, headers, answer, len(answer))

    def _rewrite(self, endpoint: Endpoint, context: RequestContext, facts: RequestFields, pool: Pool) -> bytes:
        """Change the few fields that are the gateway's; most bodies go on as they are."""
        changes: dict[str, bytes | None] = {}
        if facts.model != pool.upstream_model:
            changes["model"] = request_fields.encode(pool.upstream_model)
        if facts.kv_transfer_params is not UNSET_FIELD:
            changes["kv_transfer_params"] = None
        if facts.priority is not UNSET_FIELD and not pool.send_priority:
            changes["priority"] = None
        if pool.cache_salt and endpoint.task == "generate" and context.head.key.id:
            changes["cache_salt"] = request_fields.encode(context.head.key.id)
        return request_fields.rewritten(context.body, changes) if changes else context.body

    def _allow_origin(self, head: RequestHead) -> None:
        """Let a browser read the response if its page's origin is one of those configured."""
        origin = head.headers.get(b"origin")
        if origin in self._origins:
            assert origin is not None
            head.headers_down = b"access-control-allow-origin: %b\r\nvary: origin\r\n%b" % (origin, _EXPOSED)


def _preflight(head: RequestHead) -> bytes:
    """Say what a page may send: every header that it asks for, as SDKs send many of their own and engines get few."""
    asked = head.headers.get(b"access-control-request-headers")
    return _PREFLIGHT if asked is None else b"%baccess-control-allow-headers: %b\r\n" % (_PREFLIGHT, asked)


def _find_page(path: bytes) -> tuple[Page, str]:
    """Find the row of a path that the gateway answers by itself, and the path's name in metrics."""
    page = api.PAGES.get(path)
    if page is not None:
        return page, path.decode("ascii")
    parent = path[: path.rfind(b"/", 0, 11) + 1] if path.startswith(b"/v1/models/") else b""
    page = api.PAGES.get(parent)
    if page is None:
        raise UnknownUrl(f"There is no {path[:200].decode('latin-1')!r} here; the paths are those of OpenAI and vLLM.")
    return page, parent.decode("ascii") + "{id}"
