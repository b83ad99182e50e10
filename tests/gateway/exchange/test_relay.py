"""What a client gets in pieces ends once: complete, with an error, or with a cut."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gateway.api.dialects.completions_stream import CompletionsStream
from gateway.core.context import RequestContext, RequestHead
from gateway.core.errors import UpstreamFailed
from gateway.exchange.relay import BodyRelay, StreamRelay
from gateway.http.response_head import ResponseHead

EVENT = b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n'


class Client:
    """A client that notes what it gets."""

    def __init__(self) -> None:
        self.got: list[object] = []

    def begin_stream(
        self, context: RequestContext, status: int, headers: bytes, length: int | None = None, first: bytes = b""
    ) -> None:
        self.got.append(("begin", status, length, first))

    def write_response(self, *_: object) -> None:
        raise AssertionError("a relay writes in pieces")

    def write_own(self, *_: object) -> None:
        raise AssertionError("an engine's response is relayed")

    def write_error(self, *_: object) -> None:
        raise AssertionError("a relay has begun already")

    def write_raw(self, data: bytes) -> None:
        self.got.append(("raw", data))

    def write_chunk(self, context: RequestContext, data: bytes) -> None:
        self.got.append(("chunk", data))

    def end_stream(self, context: RequestContext, last: bytes = b"") -> None:
        self.got.append(("end", last))

    def cut(self) -> None:
        self.got.append("cut")

    def finished(self, context: RequestContext, now: float) -> None:
        raise AssertionError("the exchange says so")


def context() -> RequestContext:
    return RequestContext(RequestHead("client"))


def stream_relay() -> tuple[StreamRelay, Client, RequestContext]:
    client, request = Client(), context()
    stream = CompletionsStream(request, strip_usage=False)
    return StreamRelay(client, request, stream, b"", stream.feed(EVENT)), client, request


@pytest.mark.parametrize(("length", "kind"), [(b"6", "raw"), (None, "chunk")])
def test_a_body_is_handed_on_in_its_framing(length: bytes | None, kind: str) -> None:
    client = Client()
    head = ResponseHead.read(200, [(b"content-length", length)] if length else [])
    relay = BodyRelay(client, context(), head, b"abc")
    relay.write(b"def")
    assert repr(relay) == "<BodyRelay [body]>"
    relay.complete()
    assert repr(relay) == "<BodyRelay [complete]>"
    end = [] if length else [("end", b"")]
    assert client.got == [("begin", 200, int(length) if length else None, b""), (kind, b"abc"), (kind, b"def"), *end]


def test_half_a_body_is_cut() -> None:
    client, request = Client(), context()
    relay = BodyRelay(client, request, ResponseHead.read(200, []), b"abc")
    relay.fail(UpstreamFailed("broken"))
    assert client.got[-1] == "cut"
    assert repr(relay) == "<BodyRelay [cut]>"
    assert (request.status, request.keep_alive) == (502, False)


def test_nothing_follows_the_end_of_a_body() -> None:
    relay = BodyRelay(Client(), context(), ResponseHead.read(200, []), b"abc")
    relay.complete()
    acts: list[Callable[[], None]] = [
        lambda: relay.write(b"d"),
        relay.complete,
        lambda: relay.fail(UpstreamFailed("late")),
    ]
    for act in acts:
        with pytest.raises(AssertionError):
            act()


def test_a_stream_begins_with_its_first_events() -> None:
    relay, client, request = stream_relay()
    assert client.got == [("begin", 200, None, EVENT)]
    assert request.streamed
    assert repr(relay) == "<StreamRelay [stream; 1 events]>"
    relay.complete(b"data: [DONE]\n\n")
    assert client.got[-1] == ("end", b"data: [DONE]\n\n")
    assert repr(relay) == "<StreamRelay [complete; 1 events]>"


def test_a_stream_that_fails_says_why_and_its_connection_lives_on() -> None:
    relay, client, request = stream_relay()
    relay.fail(UpstreamFailed("broken"))
    kind, last = client.got[-1]  # type: ignore[misc]
    assert (kind, b"broken" in last, last.endswith(b"data: [DONE]\n\n")) == ("end", True, True)  # type: ignore[has-type]
    assert (request.status, request.keep_alive) == (502, True)


def test_an_error_of_the_engine_within_its_stream_is_the_status() -> None:
    relay, _, request = stream_relay()
    last = relay.stream.feed(b'data: {"error":{"message":"m","code":503}}\n\n')
    relay.complete(last)
    assert request.status == 503
    assert request.error is relay.stream.failure


def test_nothing_follows_the_end_of_a_stream() -> None:
    relay, *_ = stream_relay()
    relay.complete(b"")
    acts: list[Callable[[], None]] = [
        lambda: relay.write(EVENT),
        lambda: relay.complete(b""),
        lambda: relay.fail(UpstreamFailed("late")),
    ]
    for act in acts:
        with pytest.raises(AssertionError):
            act()


def test_silence_is_broken_after_the_interval_and_not_before() -> None:
    relay, client, _ = stream_relay()
    relay.break_silence(100.0, 10.0)
    relay.break_silence(109.0, 10.0)
    assert len(client.got) == 1
    relay.break_silence(110.0, 10.0)
    assert client.got[-1] == ("chunk", b": keep-alive\n\n")
    relay.write(EVENT)
    relay.break_silence(121.0, 10.0)
    relay.break_silence(130.0, 10.0)
    assert client.got[-1] == ("chunk", EVENT)


def test_events_that_passed_are_told_once() -> None:
    relay, *_ = stream_relay()
    assert relay.heard()
    assert not relay.heard()
    relay.stream.feed(EVENT)
    assert relay.heard()
