"""A plan holds everything that will be sent, and when."""

from __future__ import annotations

import json

from loadtest.load import Load
from loadtest.mix import Part
from loadtest.plan import Plan, Shape, carry_out
from loadtest.simulator import SimulatedEngine
from loadtest.traces import Recorded
from loadtest.workload import Ask

CHAT = Shape(parts=[Part("chat", "sim", 1.0)], input_tokens=5, output_tokens=2)


def prompt(ask: Ask) -> str:
    words: str = json.loads(ask.body)["messages"][0]["content"]
    return words


def test_a_rate_is_put_on_exactly_and_every_request_is_another() -> None:
    plan = Plan.at_rate(CHAT, 20.0, 5.0)
    assert plan.moments is not None
    assert len(plan.moments) == 100
    assert len({ask.body for ask in plan.asks}) == 100
    assert all(len(prompt(ask).split()) == ask.tokens == 5 and ask.kind == "chat" for ask in plan.asks)


def test_other_salt_is_the_same_load_in_other_words() -> None:
    one, other = Plan.at_rate(CHAT, 20.0, 1.0, salt="a"), Plan.at_rate(CHAT, 20.0, 1.0, salt="b")
    assert one.moments == other.moments
    assert not {ask.body for ask in one.asks} & {ask.body for ask in other.asks}
    assert one == Plan.at_rate(CHAT, 20.0, 1.0, salt="a")


def test_even_arrivals() -> None:
    assert Plan.at_rate(CHAT, 2.0, 2.0, evenly=True).moments == [0.0, 0.5, 1.0, 1.5]


def test_long_prompts_are_made_in_a_limited_number() -> None:
    shape = Shape(parts=CHAT.parts, input_tokens=20_000)
    assert len(Plan.with_clients(shape, 1, 1.0).asks) == 200


def test_a_trace_keeps_its_lengths_moments_and_equal_prefixes() -> None:
    recorded = [Recorded(10.0, 600, 3, (1, 2)), Recorded(12.0, 700, 4, (1, 3))]
    plan = Plan.of_trace(CHAT, recorded, 0.5, salt="x")
    first, second = (prompt(ask).split() for ask in plan.asks)
    assert plan.moments == [0.0, 1.0]
    assert (len(first), len(second)) == (600, 700)
    assert first[:512] == second[:512]
    assert [json.loads(ask.body)["max_completion_tokens"] for ask in plan.asks] == [3, 4]
    assert prompt(Plan.of_trace(CHAT, recorded, 0.5, salt="y").asks[0]).split()[:512] != first[:512]


def test_each_kind_asks_its_own_model_and_some_clients_leave() -> None:
    shape = Shape(parts=[Part("chat", "a", 0.5), Part("classify", "b", 0.5)], leave=1.0)
    asks = shape.asks(50)
    assert {(ask.path, json.loads(ask.body)["model"]) for ask in asks} == {
        ("/v1/chat/completions", "a"),
        ("/classify", "b"),
    }
    assert all(ask.leave_after is not None for ask in asks)


def test_one_of_each_kind_stays_to_the_end() -> None:
    shape = Shape(parts=[Part("chat", "a", 0.999), Part("classify", "b", 0.001)], leave=1.0)
    assert [(ask.kind, ask.leave_after) for ask in shape.one_of_each()] == [("chat", None), ("classify", None)]


async def test_what_comes_of_a_plan_is_its_own() -> None:
    async with SimulatedEngine() as engine:
        load = Load(engine.address)
        await carry_out(Plan.at_rate(CHAT, 50.0, 0.1), load)
        outcome = await carry_out(Plan.with_clients(CHAT, 2, 0.1), load)
        load.close()
    assert len(load.records) == 5 + len(outcome.records)
    assert all(record.succeeded for record in outcome.records)
    assert 0 < outcome.cpu_seconds < load.cpu_seconds


def test_a_rate_may_be_too_low_for_its_time() -> None:
    assert Plan.at_rate(CHAT, 0.001, 1.0).moments == []
