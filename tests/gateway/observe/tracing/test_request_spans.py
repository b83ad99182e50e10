"""Which spans a request leaves, what they say, and how they are nested."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.observe.tracing import conventions
from gateway.observe.tracing.request_spans import EndedRequest, spans_of
from gateway.observe.tracing.span import Span, SpanKind
from gateway.observe.tracing.tracer import Tracer
from tests.kit.playbook import CHAT, EMBEDDINGS, Clock, Playbook, post
from tests.kit.scripted import whole

SECRET = "my own words"
ANSWER = whole(
    b'{"id":"1","choices":[{"message":{"content":"their own words"}}],'
    b'"usage":{"prompt_tokens":5,"completion_tokens":2,"prompt_tokens_details":{"cached_tokens":4}}}'
)
STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
FULL = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n"


class Traced:
    """A data plane that records everything, and the spans of what is over."""

    def __init__(self, clock: Clock, **options: Any) -> None:
        self.ended: list[EndedRequest] = []
        self.clock = clock
        tracer = Tracer(1.0, self.ended.append, parent_based=True)
        self.play = Playbook(clock=clock, tracer=tracer, **options)

    def asks(self, path: str = CHAT, **fields: Any) -> None:
        self.play.client.sends(post(path, messages=[{"role": "user", "content": SECRET}], **fields))

    def spans(self) -> list[Span]:
        """Return the spans of the only request that is over; the clock's zero is the Unix epoch here."""
        (request,) = self.ended
        spans = list(spans_of(request, epoch=0.0))
        assert len(spans) == request.number_of_spans
        assert {span.trace_id for span in spans} == {request.recording.trace_id}
        assert len({span.span_id for span in spans}) == len(spans)
        return spans


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock.install(monkeypatch)


def took(span: Span) -> float:
    return (span.end - span.start) / 1e9


def event(text: str) -> bytes:
    data = f'data: {{"id":"1","choices":[{{"index":0,"delta":{{"content":"{text}"}}}}]}}\n\n'.encode()
    return b"%x\r\n%b\r\n" % (len(data), data)


def end_of_stream() -> bytes:
    data = b"data: [DONE]\n\n"
    return b"%x\r\n%b\r\n0\r\n\r\n" % (len(data), data)


async def test_a_request_and_its_attempt(clock: Clock) -> None:
    here = Traced(clock)
    here.asks()
    clock.now += 0.5
    here.play.last_asked.says(ANSWER)
    request, attempt = here.spans()
    assert (request.name, request.kind, request.parent_id) == ("POST /v1/chat/completions", SpanKind.SERVER, "")
    assert (attempt.name, attempt.kind, attempt.parent_id) == ("chat m", SpanKind.CLIENT, request.span_id)
    assert (took(request), took(attempt)) == (0.5, 0.5)
    assert request.start == 1_000_000_000_000
    assert (request.error, attempt.error) == (None, None)
    assert request.attributes == {
        "http.request.method": "POST",
        "http.route": "/v1/chat/completions",
        "http.response.status_code": 200,
        "client.address": "unix",
        "headgate.request.id": here.ended[0].request_id,
        "gen_ai.request.model": "m",
        "headgate.response.streamed": False,
    }
    assert attempt.attributes == {
        "headgate.replica": "m-0",
        "headgate.attempt.outcome": "ok",
        "server.address": "engine-0",
        "server.port": 80,
        "http.response.status_code": 200,
        "gen_ai.request.model": "m",
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.usage.input_tokens": 5,
        "gen_ai.usage.output_tokens": 2,
        "gen_ai.usage.cache_read.input_tokens": 4,
    }


async def test_a_stream_has_a_first_byte_and_the_rest(clock: Clock) -> None:
    here = Traced(clock)
    here.asks(stream=True)
    clock.now += 0.25
    here.play.last_asked.says(STREAM_HEAD, event("a"))
    clock.now += 0.5
    here.play.last_asked.says(end_of_stream())
    request, attempt, first_byte, stream = here.spans()
    assert [span.name for span in (first_byte, stream)] == [conventions.FIRST_BYTE, conventions.STREAM]
    assert {first_byte.parent_id, stream.parent_id} == {attempt.span_id}
    assert (took(first_byte), took(stream), took(request)) == (0.25, 0.5, 0.75)
    assert attempt.attributes[conventions.GEN_AI_FIRST_CHUNK] == 0.25
    assert request.attributes[conventions.STREAMED] is True


async def test_a_wait_in_the_queue_is_a_span_of_the_request(clock: Clock) -> None:
    here = Traced(clock, limit=1)
    other = here.play.new_client()
    other.sends(post(headers=b"traceparent: 00-%b-%b-00\r\n" % (b"a" * 32, b"b" * 16)))
    here.asks()
    clock.now += 2.0
    here.play.last_asked.says(ANSWER)
    await here.play.turn()
    here.play.last_asked.says(ANSWER)
    request, queue, _ = here.spans()
    assert (queue.name, queue.kind, queue.parent_id) == ("queue", SpanKind.INTERNAL, request.span_id)
    assert took(queue) == 2.0


async def test_each_attempt_is_a_span_and_usage_is_that_of_the_last(clock: Clock) -> None:
    here = Traced(clock, engines=2)
    here.asks()
    first = here.play.last_asked
    first.says(FULL)
    here.play.last_asked.says(ANSWER)
    request, full, answered = here.spans()
    assert (full.attributes[conventions.OUTCOME], answered.attributes[conventions.OUTCOME]) == ("full", "ok")
    assert (full.attributes[conventions.ERROR_TYPE], full.error) == ("503", "")
    assert full.attributes[conventions.REPLICA] == first.name
    assert conventions.GEN_AI_INPUT_TOKENS not in full.attributes
    assert answered.attributes[conventions.GEN_AI_INPUT_TOKENS] == 5
    assert request.error is None


async def test_a_replica_that_cannot_be_reached_says_why(clock: Clock) -> None:
    here = Traced(clock)
    here.play.engines[0].slow_to_accept = True
    here.asks()
    here.play.engines[0].refuses()
    request, attempt = here.spans()
    assert attempt.error == "The engine refused the connection: Connection refused."
    assert attempt.attributes[conventions.ERROR_TYPE] == "failed"
    assert (request.error, request.attributes[conventions.ERROR_TYPE]) == ("upstream_failed", "upstream_failed")


async def test_a_client_that_leaves_aborts_the_attempt(clock: Clock) -> None:
    here = Traced(clock)
    here.asks()
    here.play.client.leaves()
    await here.play.turn()
    request, attempt = here.spans()
    assert attempt.attributes[conventions.OUTCOME] == "aborted"
    assert request.attributes[conventions.HTTP_STATUS] == 499


async def test_the_mistake_of_a_client_is_no_error_of_the_server(clock: Clock) -> None:
    here = Traced(clock)
    here.play.client.sends(post(model="other"))
    (request,) = here.spans()
    assert (request.error, request.attributes[conventions.ERROR_TYPE]) == (None, "model_not_found")


async def test_what_is_no_operation_of_generative_ai_is_named_by_its_path(clock: Clock) -> None:
    here = Traced(clock)
    here.asks("/classify", input="x")
    here.play.last_asked.says(whole(b'{"data":[]}'))
    _, attempt = here.spans()
    assert attempt.name == "POST /classify"
    assert conventions.GEN_AI_OPERATION not in attempt.attributes


async def test_an_embedding_is_an_operation_too(clock: Clock) -> None:
    here = Traced(clock)
    here.asks(EMBEDDINGS, input=SECRET)
    here.play.last_asked.says(whole(b'{"data":[],"usage":{"prompt_tokens":3}}'))
    _, attempt = here.spans()
    assert attempt.name == "embeddings m"


@pytest.mark.parametrize("stream", [False, True])
async def test_no_span_holds_what_was_said_or_answered(clock: Clock, stream: bool) -> None:
    here = Traced(clock)
    here.asks(stream=stream)
    if stream:
        here.play.last_asked.says(STREAM_HEAD, event("their own words"), end_of_stream())
    else:
        here.play.last_asked.says(
            whole(b'{"error":{"message":"my own words are wrong"}}').replace(b"200 OK", b"400 Bad")
        )
    assert "own words" in here.play.client.got().decode()
    assert "own words" not in repr(here.spans())
