"""A plan holds everything that will be sent, and when."""

from __future__ import annotations

import json

from loadtest.load import Load
from loadtest.mix import Part
from loadtest.plan import LoadPlan, RequestShape, run_plan
from loadtest.simulator import SimulatedEngine
from loadtest.traces import TraceRequest
from loadtest.workload import Request

CHAT = RequestShape(parts=[Part("chat", "sim", 1.0)], input_tokens=5, output_tokens=2)


def prompt(request: Request) -> str:
    words: str = json.loads(request.body)["messages"][0]["content"]
    return words


def test_a_rate_is_put_on_exactly_and_every_request_is_another() -> None:
    plan = LoadPlan.at_rate(CHAT, 20.0, 5.0)
    assert plan.moments is not None
    assert len(plan.moments) == 100
    assert len({request.body for request in plan.requests}) == 100
    assert all(
        len(prompt(request).split()) == request.tokens == 5 and request.kind == "chat" for request in plan.requests
    )


def test_other_salt_is_the_same_load_in_other_words() -> None:
    one, other = LoadPlan.at_rate(CHAT, 20.0, 1.0, salt="a"), LoadPlan.at_rate(CHAT, 20.0, 1.0, salt="b")
    assert one.moments == other.moments
    assert not {request.body for request in one.requests} & {request.body for request in other.requests}
    assert one == LoadPlan.at_rate(CHAT, 20.0, 1.0, salt="a")


def test_even_arrivals() -> None:
    assert LoadPlan.at_rate(CHAT, 2.0, 2.0, evenly=True).moments == [0.0, 0.5, 1.0, 1.5]


def test_long_prompts_are_made_in_a_limited_number() -> None:
    shape = RequestShape(parts=CHAT.parts, input_tokens=20_000)
    assert len(LoadPlan.with_clients(shape, 1, 1.0).requests) == 200


def test_a_trace_keeps_its_lengths_moments_and_equal_prefixes() -> None:
    recorded = [TraceRequest(10.0, 600, 3, (1, 2)), TraceRequest(12.0, 700, 4, (1, 3))]
    plan = LoadPlan.of_trace(CHAT, recorded, 0.5, salt="x")
    first, second = (prompt(request).split() for request in plan.requests)
    assert plan.moments == [0.0, 1.0]
    assert (len(first), len(second)) == (600, 700)
    assert first[:512] == second[:512]
    assert [json.loads(request.body)["max_completion_tokens"] for request in plan.requests] == [3, 4]
    assert prompt(LoadPlan.of_trace(CHAT, recorded, 0.5, salt="y").requests[0]).split()[:512] != first[:512]


def test_each_kind_asks_its_own_model_and_some_clients_leave() -> None:
    shape = RequestShape(parts=[Part("chat", "a", 0.5), Part("classify", "b", 0.5)], leave=1.0)
    requests = shape.requests(50)
    assert {(request.path, json.loads(request.body)["model"]) for request in requests} == {
        ("/v1/chat/completions", "a"),
        ("/classify", "b"),
    }
    assert all(request.leave_after is not None for request in requests)


def test_one_of_each_kind_stays_to_the_end() -> None:
    shape = RequestShape(parts=[Part("chat", "a", 0.999), Part("classify", "b", 0.001)], leave=1.0)
    assert [(request.kind, request.leave_after) for request in shape.one_of_each()] == [
        ("chat", None),
        ("classify", None),
    ]


async def test_what_comes_of_a_plan_is_its_own() -> None:
    async with SimulatedEngine() as engine:
        load = Load(engine.address)
        await run_plan(LoadPlan.at_rate(CHAT, 50.0, 0.1), load)
        result = await run_plan(LoadPlan.with_clients(CHAT, 2, 0.1), load)
        load.close()
    assert len(load.records) == 5 + len(result.records)
    assert all(record.succeeded for record in result.records)
    assert 0 < result.cpu_seconds < load.cpu_seconds


def test_a_rate_may_be_too_low_for_its_time() -> None:
    assert LoadPlan.at_rate(CHAT, 0.001, 1.0).moments == []
