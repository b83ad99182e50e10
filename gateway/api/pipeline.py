"""What the data plane does with a request: its route, its key, its model, and on to an engine or a local answer."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from time import time
from typing import Any

import msgspec

from gateway.api import canary, multipart, rate_limit, request_fields
from gateway.api.fallback import Fallback
from gateway.api.local.route import LocalCall, LocalCalls, LocalRequest, LocalRoute, Metrics
from gateway.api.phases import guard
from gateway.api.request_fields import UNSET_FIELD, RequestFields
from gateway.api.routes import TABLE, EngineRoute, Match
from gateway.api.snapshot import Snapshot
from gateway.batches.store import BatchStore
from gateway.config.guard import GuardTable
from gateway.core.context import RequestContext, RequestHead
from gateway.core.errors import BadRequest, GatewayError, ModelNotFound
from gateway.core.keys import Key
from gateway.exchange.dispatcher import Dispatcher
from gateway.exchange.exchange import Exchange
from gateway.exchange.upstream_request import UpstreamRequest
from gateway.files.store import FileStore
from gateway.http import trace_context
from gateway.http.downstream import Downstream
from gateway.http.request_head import headers_up
from gateway.http.trace_context import SAMPLED_BY
from gateway.observe.access_log import AccessLog
from gateway.observe.counters import Counters
from gateway.observe.tracing.tracer import Tracer
from gateway.pools.model import Model
from gateway.pools.registry import Registry
from gateway.tuning.client import TuningClient

_JSON = b"content-type: application/json\r\n"
_PREFLIGHT = b"access-control-allow-methods: DELETE, GET, POST\r\naccess-control-max-age: 600\r\n"
_EXPOSED = (
    b"access-control-expose-headers: x-request-id, request-id, openai-processing-ms, retry-after, retry-after-ms, "
    b"x-should-retry, x-headgate-model, x-headgate-fallback, "
    b"x-ratelimit-limit-requests, x-ratelimit-remaining-requests, x-ratelimit-reset-requests, "
    b"x-ratelimit-limit-tokens, x-ratelimit-remaining-tokens, x-ratelimit-reset-tokens, "
    b"anthropic-ratelimit-requests-limit, anthropic-ratelimit-requests-remaining, anthropic-ratelimit-requests-reset, "
    b"anthropic-ratelimit-tokens-limit, anthropic-ratelimit-tokens-remaining, anthropic-ratelimit-tokens-reset\r\n"
)


_MOST_DIGITS = 12
"""A number of milliseconds with more digits is no time to wait."""


class Pipeline:
    """The data plane as the wire sees it. A reload swaps ``snapshot``; nothing else changes."""

    def __init__(
        self,
        snapshot: Snapshot,
        dispatcher: Dispatcher,
        metrics: Counters,
        access_log: AccessLog | None,
        version: str,
        files: FileStore,
        batches: BatchStore,
        tracer: Tracer | None = None,
    ) -> None:
        self.snapshot = snapshot
        self.version = version
        self.files = files
        self.batches = batches
        self.local_calls = LocalCalls()
        self.started_at = int(time())
        self._dispatcher = dispatcher
        self._metrics = metrics
        self._access_log = access_log
        self._tracer = tracer
        self.tuning: TuningClient | None = None
        """The tuning server, which a whole gateway has."""
        self.metrics: Metrics | None = None
        """What clients may read at ``/metrics``."""
        self._new_traces = trace_context.new_traces()

    def __repr__(self) -> str:
        return f"<Pipeline {self.registry!r}>"

    @property
    def registry(self) -> Registry:
        """The models in force."""
        return self.snapshot.registry

    @property
    def draining(self) -> bool:
        """Whether the gateway is about to stop."""
        return self._dispatcher.draining

    # called by the wire

    def admit_head(self, head: RequestHead) -> None:
        """Check path, method, key and media type, before a byte of the body is taken."""
        if b"traceparent" in head.headers:
            head.trace = trace_context.read(head.headers)
        self._check_head(head)
        if self._access_log is not None:
            head.logged = self._access_log.of_head(head)

    def answer(self, context: RequestContext, downstream: Downstream) -> Exchange | Fallback | LocalCall | None:
        """Decide which pool is asked, and with what bytes, and ask it; or answer here."""
        head = context.head
        context.trace = trace = head.trace or next(self._new_traces)
        tracer = self._tracer
        # One call more only where it may be recorded.
        if tracer is not None and (head.trace or trace[SAMPLED_BY] < tracer.bound):
            tracer.begin(context)
        match: Match | None = head.match
        if match is None:
            headers = _preflight(head) if head.headers_down else b""
            downstream.write_own(context, 200, headers, b"")
            return None
        key = head.key
        if key.expires is not None and time() >= key.expires_at:
            raise key.expired()
        route = match.route
        if isinstance(route, EngineRoute):
            return self._ask_engine(route, context, downstream)
        if key.limits is not None:
            context.response_headers = rate_limit.headers_now(key.limits, anthropic=False)
        request = LocalRequest(head, match.parameter, context.body, context.stream)
        return self.local_calls.begin(route, self, request, context, downstream)

    def refused(self, context: RequestContext, error: GatewayError) -> bytes:
        """Give the body of an error in the shape of the request's endpoint."""
        key = context.head.key
        if error.reason:
            self._metrics.key_refused(key.group, error.reason)
        match: Match | None = context.head.match
        dialect = match.route.dialect if match is not None and isinstance(match.route, EngineRoute) else None
        anthropic = dialect is not None and dialect.anthropic_headers
        # A request may have got these lines before it failed.
        if key.limits is not None and b"x-ratelimit-" not in context.response_headers:
            context.response_headers += rate_limit.headers_now(key.limits, anthropic=anthropic)
        if anthropic and b"request-id: " not in context.response_headers:
            context.response_headers += _request_id(context)
        return error.body() if dialect is None else dialect.error_body(error)

    def ended(self, context: RequestContext, now: float) -> None:
        """Account for a request that is over; ``now`` is a ``perf_counter`` reading."""
        if context.reservation is not None:
            rate_limit.settle(context, context.reservation)
            metrics, group = self._metrics, context.head.key.group
            metrics.key_input_tokens[group] += context.input_tokens
            metrics.key_output_tokens[group] += context.output_tokens
        self._metrics.ended(context, now)
        if self._tracer is not None and (context.recording is not None or not context.trace):
            self._tracer.end(context, now)
        if context.error is not None:
            self._metrics.errors.add(context, context.error)
        if self._access_log is not None:
            self._access_log.ended(context, now)

    # called also for the lines of batches

    def model_for(self, route: EngineRoute, key: Key, name: str | None) -> Model:
        """Find a model where none is named, or for a key that may use some and learns nothing of the others."""
        registry = self.snapshot.registry
        if not name:
            if route.model_optional and route.task is not None:
                return registry.first_able(route.task, key.may_use)
            raise BadRequest("The field model is missing; it names the model to ask, see /v1/models.", param="model")
        try:
            model = registry.find(name)
        except ModelNotFound:
            raise key.not_allowed(name) from None
        if not key.may_use(model.name):
            raise key.not_allowed(name)
        return model

    # inside

    def _check_head(self, head: RequestHead) -> None:
        if self.snapshot.origins:
            self._allow_origin(head)
            if head.method == b"OPTIONS":
                head.endpoint = TABLE.template_of(head.path)
                return
        if head.path.endswith(b"/") and len(head.path) > 1:
            _drop_trailing_slash(head)
        head.endpoint = TABLE.template_of(head.path)
        head.match = match = TABLE.find(head.method, head.path)
        route = match.route
        if isinstance(route, LocalRoute):
            if route.guarded:
                head.key = self._key_of(head)
            if route.streamed is not None:
                head.streamed = route.streamed(self)
            return
        head.headers_up = headers_up(head.headers)
        if b"content-type" not in head.headers:
            head.headers_up += _JSON
        head.key = key = self._key_of(head)
        if key.endpoints and head.endpoint not in key.endpoints:
            raise key.not_allowed_at(head.endpoint)
        head.timeout = _timeout_of(head.headers)
        if not route.multipart:
            request_fields.check_media(head.headers)

    def _key_of(self, head: RequestHead) -> Key:
        """Find the key of a request, before its body is received. Raises ``InvalidKey``."""
        head.key = key = self.snapshot.keyring.find(head.headers)
        if time() >= key.expires_at:
            raise key.expired()
        return key

    def _ask_engine(
        self,
        route: EngineRoute,
        context: RequestContext,
        downstream: Downstream,
        instead: Model | None = None,
        *,
        others_left: bool = False,
    ) -> Exchange | Fallback:
        """Find the model, write the body that its engines get, and begin the exchange.

        ``instead`` is the model to ask, whatever the request says, where several are asked one after the other;
        ``others_left`` says that another one is asked if it has no ready replica.
        """
        snapshot = self.snapshot
        form = multipart.read(context) if route.multipart else None
        fields = request_fields.read(context, snapshot.max_json_depth) if form is None else form.facts
        if instead is not None:
            model = instead
        elif fields.model and not context.head.key.models:
            # perf: method as a value, see docs/python-idioms.md.
            find = snapshot.registry.find
            model = find(fields.model)
        else:
            model = self.model_for(route, context.head.key, fields.model)
        context.model = model.name
        if route.task is not None and route.task not in model.tasks:
            raise snapshot.registry.unable(model, route.task, context.head.endpoint, context.head.key.may_use)
        if fields.n is not None and fields.n > snapshot.max_n:
            raise BadRequest(f"n is {fields.n}; at most {snapshot.max_n} (limits.max_n) are allowed.", param="n")
        max_tokens = fields.token_limit(model.max_model_len)
        if instead is None:
            anthropic = route.dialect.anthropic_headers
            if anthropic:
                context.response_headers = _request_id(context)
            limits = context.head.key.limits
            if limits is not None:
                counted = context.body if form is None else b""
                rate_limit.reserve(context, limits, model, route.task, counted, max_tokens, anthropic=anthropic)
            if model.fallback or model.canary is not None:
                return self._ask_another(route, context, downstream, model)
        phases = None if model.guard is None else self._phases(route, context, model.guard)
        streams = route.streams and fields.stream is True
        sent, strip_usage, usage_bytes = context.body, False, 0
        if form is not None:
            if fields.model != model.upstream_name:
                sent = form.with_model(model.upstream_name)
        else:
            sent, strip_usage, usage_bytes = _rewritten(route, context, fields, model)
        if sent is not context.body and instead is None:
            # Of a large body, one copy is enough, where no other model will be asked.
            context.body = b""
        request = UpstreamRequest(
            context,
            sent,
            route.dialect,
            streams,
            strip_usage,
            max_tokens,
            not route.streams,
            usage_bytes,
            route.dialect.recorded if streams and model.recovery else None,
            0 if fields.priority is UNSET_FIELD else request_fields.priority_in(fields.priority),
            not others_left,
            model.adapter,
            fields if sent is context.body else None,
        )
        return self._dispatcher.begin(model.pool, request, downstream, phases)

    def _phases(
        self, route: EngineRoute, context: RequestContext, guarded_by: GuardTable
    ) -> Callable[[], Coroutine[Any, Any, None]] | None:
        """Give what waits for another answer before an engine is asked."""
        if route.task != "generate":
            return None
        return partial(guard.check, self, guarded_by, context, guard.said(context.body))

    def _ask_another(
        self, route: EngineRoute, context: RequestContext, downstream: Downstream, model: Model
    ) -> Exchange | Fallback:
        """Ask the one that is to answer of a model and its canary, and its fallbacks if it has some."""
        if model.canary is not None:
            model = canary.chosen(context, self.registry, model, model.canary)
        if model.fallback:
            return self._fall_back(route, context, downstream, model)
        return self._ask_engine(route, context, downstream, model)

    def _fall_back(self, route: EngineRoute, context: RequestContext, downstream: Downstream, model: Model) -> Fallback:
        """Ask a model, and those that may take its place as far as the key may use them."""

        def begin(instead: Model, client: Downstream) -> Exchange:
            exchange = self._ask_engine(route, context, client, instead, others_left=instead is not models[-1])
            assert isinstance(exchange, Exchange)
            return exchange

        def fell_back(before: Model, after: Model) -> None:
            self._metrics.of(before.name).fallbacks[after.name] += 1

        others = [self.registry.find(name) for name in model.fallback if context.head.key.may_use(name)]
        able = [other for other in others if route.task is None or route.task in other.tasks]
        models = [model, *able]
        fallback = Fallback(downstream, context, models, begin, fell_back)
        fallback.start()
        return fallback

    def _allow_origin(self, head: RequestHead) -> None:
        """Let a browser read the response if its page's origin is one of those configured."""
        origin = head.headers.get(b"origin")
        if origin in self.snapshot.origins:
            assert origin is not None
            head.headers_down = b"access-control-allow-origin: %b\r\nvary: origin\r\n%b" % (origin, _EXPOSED)


def _rewritten(
    route: EngineRoute, context: RequestContext, fields: RequestFields, model: Model
) -> tuple[bytes, bool, int]:
    """Change the few fields that are the gateway's; most bodies go on as they are.

    Tells too whether a stream's usage is asked for on the gateway's behalf, and by how many bytes at the end.
    """
    changes: dict[str, bytes | None] = {}
    if fields.explain is not UNSET_FIELD and not model.explains and route.task == "classify":
        request_fields.check_unexplained(fields.explain, model.name)
    if fields.model != model.upstream_name:
        changes["model"] = request_fields.encode(model.upstream_name)
    if fields.kv_transfer_params is not UNSET_FIELD:
        changes["kv_transfer_params"] = None
    if fields.priority is not UNSET_FIELD and not model.send_priority:
        changes["priority"] = None
    if model.cache_salt and route.task == "generate" and context.head.key.id:
        changes["cache_salt"] = request_fields.encode(context.head.key.id)
    sent = request_fields.rewritten(context.body, changes) if changes else context.body
    if fields.stream is not True or not route.dialect.asks_usage or fields.wants_usage:
        return sent, False, 0
    usage_bytes = len(request_fields.ASKS_USAGE) if fields.stream_options is msgspec.UNSET else 0
    return request_fields.with_usage(sent, fields), True, usage_bytes


def _request_id(context: RequestContext) -> bytes:
    """Write the header by which Anthropic's SDKs find a request's id."""
    return b"request-id: %b\r\n" % context.request_id.encode()


def _timeout_of(headers: Mapping[bytes, bytes]) -> float | None:
    """Read how long the client will wait, in seconds. Raises ``BadRequest``."""
    value = headers.get(b"x-request-timeout-ms")
    if value is None:
        return None
    if not value.isdigit() or len(value) > _MOST_DIGITS or not int(value):
        shown = value[:50].decode("latin-1")
        raise BadRequest(
            f"The header x-request-timeout-ms is {shown!r}; it must be a whole number of milliseconds, 1 or more.",
            param="x-request-timeout-ms",
        )
    return int(value) / 1000


def _drop_trailing_slash(head: RequestHead) -> None:
    """Read a path with a slash at its end as the same path without it."""
    path = head.path.rstrip(b"/") or b"/"
    head.target = path + head.target[len(head.path) :]
    head.path = path


def _preflight(head: RequestHead) -> bytes:
    """Say what a page may send: every header that it asks for, as SDKs send many of their own and engines get few."""
    asked = head.headers.get(b"access-control-request-headers")
    return _PREFLIGHT if asked is None else b"%baccess-control-allow-headers: %b\r\n" % (_PREFLIGHT, asked)
