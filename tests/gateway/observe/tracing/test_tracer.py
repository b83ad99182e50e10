"""Which requests are recorded, and what their engines get to know of the trace."""

from __future__ import annotations

import re

import pytest
from opentelemetry.sdk.trace.sampling import Decision, TraceIdRatioBased

from gateway.observe.tracing.request_spans import EndedRequest
from gateway.observe.tracing.tracer import Tracer
from tests.kit.playbook import Playbook, post
from tests.kit.scripted import whole

TRACE_ID, SPAN_ID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def traced(ratio: float, *, parent_based: bool = True) -> tuple[Playbook, list[EndedRequest]]:
    """Return a data plane that records, and where it puts what is over."""
    ended: list[EndedRequest] = []
    return Playbook(tracer=Tracer(ratio, ended.append, parent_based=parent_based)), ended


def told(play: Playbook, flags: str | None = None, state: str = "") -> str:
    """Ask with a client's trace context, or without; return the ``traceparent`` that the engine gets."""
    headers = b"" if flags is None else f"traceparent: 00-{TRACE_ID}-{SPAN_ID}-{flags}\r\n{state}".encode()
    play.client.sends(post(headers=headers))
    asked = play.last_asked.line.got().decode()
    play.last_asked.says(whole(b"{}"))
    (traceparent,) = re.findall(r"traceparent: (.*)\r\n", asked)
    return str(traceparent)


async def test_at_a_ratio_of_0_nothing_is_recorded_and_engines_get_a_new_trace() -> None:
    play, ended = traced(0.0)
    assert {told(play)[-3:] for _ in range(20)} == {"-00"}
    assert ended == []


async def test_at_a_ratio_of_1_every_request_is_recorded_and_the_attempt_is_the_engines_parent() -> None:
    play, ended = traced(1.0)
    version, trace_id, parent_id, flags = told(play).split("-")
    assert (version, flags) == ("00", "01")
    (request,) = ended
    assert request.recording.trace_id == trace_id
    assert request.recording.parent_id == ""
    assert [attempt.span_id for attempt in request.recording.attempts] == [parent_id]
    assert request.recording.span_id != parent_id


@pytest.mark.parametrize("ratio", [0.0, 1.0])
async def test_a_client_decides_by_its_flag(ratio: float) -> None:
    play, ended = traced(ratio)
    assert told(play, "00") == f"00-{TRACE_ID}-{SPAN_ID}-00"
    assert ended == []
    told(play, "01", "tracestate: a=1\r\n")
    (request,) = ended
    recording = request.recording
    assert (recording.trace_id, recording.parent_id, recording.state) == (TRACE_ID, SPAN_ID, "a=1")


async def test_the_state_of_a_client_goes_on_with_a_recorded_request() -> None:
    play, _ = traced(1.0)
    head = f"traceparent: 00-{TRACE_ID}-{SPAN_ID}-01\r\ntracestate: a=1,b=2\r\n".encode()
    play.client.sends(post(headers=head))
    assert b"\r\ntracestate: a=1,b=2\r\n" in play.last_asked.line.got()


async def test_a_client_that_is_not_trusted_decides_nothing() -> None:
    play, ended = traced(0.0, parent_based=False)
    traceparent = told(play, "01")
    assert traceparent.startswith(f"00-{TRACE_ID}-")
    assert traceparent.endswith("-00")
    # It does not say that the client's own span was not recorded.
    assert SPAN_ID not in traceparent
    play, recorded = traced(1.0, parent_based=False)
    told(play, "00")
    assert (len(ended), len(recorded)) == (0, 1)


@pytest.mark.parametrize("ratio", [0.1, 0.5, 0.9])
async def test_traces_are_sampled_as_the_sdk_does_it(ratio: float) -> None:
    play, ended = traced(ratio)
    sampler = TraceIdRatioBased(ratio)
    for _ in range(300):
        told(play)
    decisions = {sampler.should_sample(None, int(each.recording.trace_id, 16), "").decision for each in ended}
    assert decisions == {Decision.RECORD_AND_SAMPLE}
    # Far beyond five standard deviations.
    assert 300 * ratio - 50 < len(ended) < 300 * ratio + 50


async def test_the_ids_of_clients_are_sampled_as_the_sdk_does_it() -> None:
    play, ended = traced(0.5, parent_based=False)
    sampler, expected = TraceIdRatioBased(0.5), 0
    for number in range(64):
        trace_id = f"{'a' * 16}{number:02x}{'0' * 13}1" if number % 2 else f"{'a' * 16}{255 - number:02x}{'0' * 14}"
        expected += sampler.should_sample(None, int(trace_id, 16), "").decision is Decision.RECORD_AND_SAMPLE
        play.client.sends(post(headers=f"traceparent: 00-{trace_id}-{SPAN_ID}-00\r\n".encode()))
        play.last_asked.says(whole(b"{}"))
    assert 0 < expected < 64
    assert len(ended) == expected


async def test_requests_that_are_refused_for_their_head_are_recorded_too() -> None:
    play, ended = traced(1.0)
    play.client.sends(b"POST /v1/nothing HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n")
    play.client.sends(b"GET /v1/models HTTP/1.1\r\nhost: x\r\n\r\n")
    await play.turn()
    assert [(request.head.path, request.status) for request in ended] == [(b"/v1/nothing", 404), (b"/v1/models", 200)]


def test_the_repr_tells_the_share() -> None:
    assert repr(Tracer(0.01, print, parent_based=True)) == "<Tracer [1.00% of requests]>"
