"""A stream whose replica dies goes on at another one, and its client sees one unbroken answer."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.api.dialects.completions import Completions
from gateway.core.context import RequestContext, RequestHead
from gateway.core.errors import UpstreamFailed
from gateway.exchange.recovery import Recovery
from gateway.exchange.upstream_request import UpstreamRequest
from gateway.pools.replica import ReplicaState
from tests.gateway.exchange.test_exchange import DONE, END, STREAM_HEAD, chunk
from tests.kit.playbook import CHAT, Client, Clock, Engine, Playbook, post
from tests.kit.scripted import whole

COMPLETIONS = "/v1/completions"
HELLO: dict[str, Any] = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 10, "stream": True}
COMMENT = b": headgate recovered %d\n\n"


def said(who: str, text: str | None = None, finish: str | None = None, **delta: Any) -> bytes:
    """Write an event of a chat, as the replica ``who`` does."""
    if text is not None:
        delta["content"] = text
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    event = {"id": f"chat-{who}", "created": ord(who), "model": "m", "choices": [choice]}
    return b"data: %b\n\n" % json.dumps(event, separators=(",", ":")).encode()


def role(who: str) -> bytes:
    return said(who, "", role="assistant")


def usage(who: str, prompt: int, made: int) -> bytes:
    counts = {"prompt_tokens": prompt, "completion_tokens": made, "total_tokens": prompt + made}
    event = {"id": f"chat-{who}", "created": ord(who), "model": "m", "choices": [], "usage": counts}
    return b"data: %b\n\n" % json.dumps(event, separators=(",", ":")).encode()


def streaming(engines: int = 2, clock: Clock | None = None, **fields: Any) -> tuple[Playbook, Engine]:
    """Begin a stream of three tokens, and return the engine that has sent them.

    With a clock, an engine may be silent for 5 s.
    """
    play = Playbook(engines=engines, recovery=True, clock=clock, timeouts={"between_bytes": 5.0} if clock else {})
    play.client.sends(post(CHAT, **(HELLO | fields)))
    play.last_asked.line.got()
    play.last_asked.says(
        STREAM_HEAD, *map(chunk, (role("a"), said("a", "One"), said("a", " two"), said("a", " three")))
    )
    return play, play.last_asked


async def dies(play: Playbook) -> Engine:
    """Let the engine that was asked last die; return the one that is asked then, or the same."""
    play.last_asked.line.closes()
    await play.turn()
    return play.last_asked


def request_of(engine: Engine) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(engine.line.got().partition(b"\r\n\r\n")[2])
    return found


def body_of(client: Client) -> bytes:
    """Return the events that a client got, whose response must be whole."""
    head, _, rest = client.got().partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    whole_body = b""
    while not rest.startswith(b"0\r\n"):
        size, _, rest = rest.partition(b"\r\n")
        whole_body += rest[: int(size, 16)]
        rest = rest[int(size, 16) + 2 :]
    assert rest == END
    return whole_body


def outcomes(play: Playbook) -> dict[str, int]:
    """Return how streams that lost their replica have ended, when nothing is held any more."""
    assert set(play.held()) == {0}
    return {outcome: number for outcome, number in play.metrics.of("m").recoveries.items() if number}


ONE_TWO_THREE = role("a") + said("a", "One") + said("a", " two") + said("a", " three")


async def test_the_client_gets_one_unbroken_stream() -> None:
    play, first = streaming()
    second = await dies(play)
    assert second is not first
    second.says(STREAM_HEAD, *map(chunk, (role("b"), said("b", " four"), said("b", "", "stop"), DONE)), END)
    end = said("a", " four") + said("a", "", "stop") + COMMENT % 1 + DONE
    assert body_of(play.client) == ONE_TWO_THREE + end
    assert outcomes(play) == {"recovered": 1}


async def test_a_replica_that_falls_silent_in_the_middle_is_treated_as_one_that_died(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    play, first = streaming(clock=Clock.install(monkeypatch))
    play.tick(4.9)
    assert play.attempts("timeout") == {}
    play.tick(5.1)
    assert first.line.aborted
    play.last_asked.says(STREAM_HEAD, *map(chunk, (role("b"), said("b", " four"), said("b", "", "stop"), DONE)), END)
    assert body_of(play.client) == ONE_TWO_THREE + said("a", " four") + said("a", "", "stop") + COMMENT % 1 + DONE
    assert play.attempts("timeout") == {first.name: 1}
    assert outcomes(play) == {"recovered": 1}


async def test_a_silent_replica_whose_stream_cannot_go_on_ends_it_with_the_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    play, first = streaming(clock=Clock.install(monkeypatch), stop=["x"])
    play.tick(5.1)
    body = body_of(play.client)
    assert b'"code":"between_bytes_timeout"' in body
    assert body.endswith(DONE)
    assert first.line.aborted
    assert set(play.held()) == {0}


async def test_the_other_replica_is_asked_to_continue_the_assistants_message() -> None:
    play, _ = streaming(temperature=0, seed=7)
    asked = request_of(await dies(play))
    assert asked["messages"] == [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "One two three"}]
    assert (asked["continue_final_message"], asked["add_generation_prompt"]) == (True, False)
    assert (asked["max_tokens"], asked["temperature"], asked["seed"]) == (7, 0, 7)
    assert asked["stream_options"] == {"include_usage": True}


async def test_a_completion_goes_on_behind_its_prompt_and_text() -> None:
    play = Playbook(engines=2, recovery=True)
    play.client.sends(post(COMPLETIONS, prompt="Count: ", max_tokens=5, stream=True))
    event = b'data: {"id":"%b","choices":[{"index":0,"text":"%b","finish_reason":null}]}\n\n'
    play.last_asked.says(STREAM_HEAD, chunk(event % (b"a", b"1, ")), chunk(event % (b"a", b"2, ")))
    second = await dies(play)
    asked = request_of(second)
    assert (asked["prompt"], asked["max_tokens"]) == ("Count: 1, 2, ", 3)
    second.says(STREAM_HEAD, chunk(event % (b"b", b"3")), chunk(DONE), END)
    texts = b"".join(event % (b"a", text) for text in (b"1, ", b"2, ", b"3"))
    assert body_of(play.client) == texts + COMMENT % 1 + DONE


@pytest.mark.parametrize("asks", [False, True])
async def test_the_usage_is_that_of_one_answer(asks: bool) -> None:
    play, _ = streaming(stream_options={"include_usage": asks})
    second = await dies(play)
    # Its prompt has the three tokens that have come already.
    second.says(STREAM_HEAD, *map(chunk, (said("b", " four"), said("b", "", "stop"), usage("b", 23, 2), DONE)), END)
    got = body_of(play.client)
    assert (usage("a", 20, 5) in got) is asks
    counted = play.metrics.of("m").tokens
    assert (counted["input"], counted["output"]) == (20, 5)


async def test_what_stands_in_the_middle_of_an_event_is_dropped() -> None:
    play, first = streaming()
    first.says(chunk(said("a", " four"))[:40])
    second = await dies(play)
    second.says(STREAM_HEAD, chunk(said("b", " four")), chunk(DONE), END)
    assert body_of(play.client) == ONE_TWO_THREE + said("a", " four") + COMMENT % 1 + DONE


@pytest.mark.parametrize("how", ["ends", "says so", "says so at once"])
async def test_a_body_that_ends_early_and_an_error_event_are_a_death_too(how: str) -> None:
    play, first = streaming()
    error = b'data: {"error":{"message":"The engine is dead.","type":"InternalServerError","code":500}}\n\n'
    text = ONE_TWO_THREE
    match how:
        case "ends":
            first.says(END)
        case "says so":
            first.says(chunk(error), chunk(DONE), END)
        case _:
            text += said("a", " four")
            first.says(chunk(said("a", " four") + error + DONE) + END)
    second = play.last_asked
    assert second is not first
    second.says(STREAM_HEAD, chunk(said("b", " five")), chunk(DONE), END)
    assert body_of(play.client) == text + said("a", " five") + COMMENT % 1 + DONE
    assert play.attempts("failed") == {first.name: 1}
    assert outcomes(play) == {"recovered": 1}


async def test_an_error_event_that_blames_the_request_is_the_clients() -> None:
    play, first = streaming()
    first.says(chunk(b'data: {"error":{"message":"Too long.","code":400}}\n\n'))
    assert b'"message":"Too long."' in play.client.got()
    assert len(play.asked) == 1


async def test_before_the_first_event_the_request_is_asked_once_more_as_it_is() -> None:
    play = Playbook(engines=2, recovery=True)
    play.client.sends(post(CHAT, **HELLO))
    asked = request_of(play.last_asked)
    play.last_asked.says(STREAM_HEAD)
    second = await dies(play)
    assert request_of(second) == asked
    second.says(STREAM_HEAD, chunk(said("b", "One")), chunk(DONE), END)
    assert body_of(play.client) == said("b", "One") + DONE
    assert outcomes(play) == {}


async def test_after_the_role_the_same_is_asked_and_the_client_gets_the_role_once() -> None:
    play = Playbook(engines=2, recovery=True)
    play.client.sends(post(CHAT, **HELLO))
    asked = request_of(play.last_asked)
    play.last_asked.says(STREAM_HEAD, chunk(role("a")))
    second = await dies(play)
    assert request_of(second) == asked
    second.says(STREAM_HEAD, chunk(role("b")), chunk(said("b", "One")), chunk(DONE), END)
    assert body_of(play.client) == role("a") + said("a", "One") + COMMENT % 1 + DONE


async def test_when_only_the_end_marker_is_missing_nobody_is_asked() -> None:
    play, first = streaming()
    first.says(chunk(said("a", " four", "stop")))
    assert await dies(play) is first
    assert body_of(play.client) == ONE_TWO_THREE + said("a", " four", "stop") + COMMENT % 1 + DONE
    assert outcomes(play) == {"recovered": 1}


async def test_when_only_the_usage_is_missing_another_replica_is_asked_for_that_alone() -> None:
    play, first = streaming(stream_options={"include_usage": True})
    first.says(chunk(said("a", " four", "length")))
    second = await dies(play)
    assert request_of(second)["max_tokens"] == 1
    second.says(STREAM_HEAD, *map(chunk, (role("b"), said("b", " five", "length"), usage("b", 24, 1), DONE)), END)
    end = said("a", " four", "length") + usage("a", 20, 4) + COMMENT % 1 + DONE
    assert body_of(play.client) == ONE_TWO_THREE + end


async def test_a_second_death_is_survived_too() -> None:
    play, _ = streaming(engines=3)
    second = await dies(play)
    second.says(STREAM_HEAD, *map(chunk, (role("b"), said("b", " four"), said("b", " five"))))
    second.says(chunk(b'data: {"error":{"message":"Out of memory.","code":500}}\n\n'))
    third = play.last_asked
    asked = request_of(third)
    assert asked["messages"][-1]["content"] == "One two three four five"
    assert asked["max_tokens"] == 5
    third.says(STREAM_HEAD, *map(chunk, (said("c", " six"), said("c", "", "stop"), usage("c", 25, 2), DONE)), END)
    text = ONE_TWO_THREE + b"".join(said("a", word) for word in (" four", " five", " six"))
    assert body_of(play.client) == text + said("a", "", "stop") + COMMENT % 2 + DONE
    assert play.metrics.of("m").tokens["output"] == 7
    assert outcomes(play) == {"recovered": 1}


async def test_a_stream_at_which_two_replicas_die_alike_is_not_asked_of_a_third() -> None:
    play, _ = streaming(engines=3)
    second = await dies(play)
    second.says(STREAM_HEAD, chunk(said("b", " four")))
    assert await dies(play) is second
    assert body_of(play.client).endswith(DONE)
    assert outcomes(play) == {"failed": 1}


async def test_a_continuation_that_is_refused_ends_with_what_has_cut_the_stream() -> None:
    play, _ = streaming(engines=3)
    second = await dies(play)
    second.says(whole(b'{"error":{"message":"No such field: continue_final_message"}}', b"400 Bad Request"))
    got = body_of(play.client)
    assert b"The engine closed the connection before its response was complete." in got
    assert b"continue_final_message" not in got
    assert got.endswith(DONE)
    assert outcomes(play) == {"failed": 1}


async def test_a_continuation_that_is_refused_for_want_of_room_is_asked_of_a_third() -> None:
    play, _ = streaming(engines=3)
    second = await dies(play)
    second.says(whole(b'{"error":{"message":"Full."}}', b"503 Service Unavailable"))
    third = play.last_asked
    assert third is not second
    third.says(STREAM_HEAD, chunk(said("c", " four")), chunk(DONE), END)
    assert body_of(play.client) == ONE_TWO_THREE + said("a", " four") + COMMENT % 1 + DONE


async def test_without_another_replica_the_client_is_told() -> None:
    play, first = streaming()
    for replica in play.replicas:
        if replica.name != first.name:
            replica.set_state(ReplicaState.FAILING)
    await dies(play)
    assert b'"code":"upstream_failed"' in body_of(play.client)
    assert outcomes(play) == {"no_replica": 1}


async def test_when_the_retry_budget_is_spent_the_client_is_told() -> None:
    play, _ = streaming()
    while play.pool.affords_retry(0.0):
        play.pool.spend_retry(1e12)
    await dies(play)
    assert b'"code":"upstream_failed"' in body_of(play.client)
    assert len(play.asked) == 1
    assert outcomes(play) == {"over_budget": 1}


async def test_a_client_that_leaves_during_the_continuation_stops_that_replica() -> None:
    play, _ = streaming()
    second = await dies(play)
    second.says(STREAM_HEAD, chunk(said("b", " four")))
    play.client.leaves()
    await play.turn()
    assert second.line.aborted
    assert play.aborts("client_left") == 1
    assert outcomes(play) == {"aborted": 1}


async def test_a_pool_that_hedges_recovers_its_streams_all_the_same() -> None:
    play = Playbook(engines=2, recovery=True, hedge=True)
    play.late_after(0.02)
    play.client.sends(post(CHAT, **HELLO))
    assert play.timers.waiting == []
    play.last_asked.says(STREAM_HEAD, chunk(role("a")), chunk(said("a", "One")))
    second = await dies(play)
    second.says(STREAM_HEAD, chunk(said("b", " two")), chunk(DONE), END)
    assert body_of(play.client) == role("a") + said("a", "One") + said("a", " two") + COMMENT % 1 + DONE
    assert play.aborts("hedged") == 0


async def test_white_space_that_a_template_may_trim_must_come_again_and_is_not_given_twice() -> None:
    play, first = streaming()
    first.says(chunk(said("a", ".\n\n")))
    second = await dies(play)
    assert request_of(second)["messages"][-1]["content"] == "One two three."
    second.says(STREAM_HEAD, chunk(said("b", "\n")), chunk(said("b", "\nFour")), chunk(DONE), END)
    assert body_of(play.client) == ONE_TWO_THREE + said("a", ".\n\n") + said("a", "Four") + COMMENT % 1 + DONE


@pytest.mark.parametrize("delta", [{"content": " four"}, {"reasoning": "Hm"}, {"tool_calls": [{"index": 0}]}])
async def test_what_does_not_go_on_from_the_text_is_not_given(delta: dict[str, Any]) -> None:
    play, first = streaming()
    first.says(chunk(said("a", ".\n")))
    second = await dies(play)
    second.says(STREAM_HEAD, chunk(role("b")), chunk(said("b", **delta)))
    got = body_of(play.client)
    assert got.startswith(ONE_TWO_THREE + said("a", ".\n") + b'data: {"error":{')
    assert got.endswith(DONE)
    assert second.line.aborted
    assert outcomes(play) == {"no_replica": 1}


@pytest.mark.parametrize(
    "fields",
    [
        {"tools": [{"type": "function", "function": {"name": "f"}}]},
        {"logprobs": True},
        {"response_format": {"type": "json_object"}},
        {"guided_json": {}, "structured_outputs": {"choice": ["a"]}},
        {"n": 2},
        {"echo": True},
        {"stop": ["\n"]},
        {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Well,"}]},
    ],
)
async def test_what_cannot_be_continued_right_ends_with_an_error(fields: dict[str, Any]) -> None:
    play, first = streaming(**fields)
    assert await dies(play) is first
    assert b'"code":"upstream_failed"' in body_of(play.client)
    assert outcomes(play) == {"ineligible": 1}


@pytest.mark.parametrize("delta", [{"reasoning": "Hm"}, {"tool_calls": [{"index": 0}]}, {"refusal": "No."}])
async def test_a_stream_that_brings_more_than_text_ends_with_an_error(delta: dict[str, Any]) -> None:
    play, first = streaming()
    first.says(chunk(said("a", **delta)), chunk(said("a", " four")))
    assert await dies(play) is first
    assert outcomes(play) == {"ineligible": 1}


async def test_a_model_without_recovery_ends_its_streams_with_an_error() -> None:
    play = Playbook(engines=2)
    play.client.sends(post(CHAT, **HELLO))
    play.last_asked.says(STREAM_HEAD, chunk(said("a", "One")))
    await dies(play)
    assert b'"code":"upstream_failed"' in body_of(play.client)
    assert len(play.asked) == 1
    assert outcomes(play) == {}


def test_a_recovery_says_how_it_stands() -> None:
    context = RequestContext(RequestHead(""))
    request = UpstreamRequest(context, b"{}", Completions(), True, False, 0, False)
    recovery = Recovery(request, UpstreamFailed("Gone."))
    assert repr(recovery) == "<Recovery [0 cuts; aborted]>"
    assert recovery.rewrite(b"data: {}\n\n") == b"data: {}\n\n"


@pytest.mark.parametrize("before", [b"", b"data: {}\n\n", b"data: {}\n\ndata: {}\n\n"])
def test_the_comment_stands_before_the_end_marker(before: bytes) -> None:
    context = RequestContext(RequestHead(""))
    recovery = Recovery(UpstreamRequest(context, b"{}", Completions(), True, False, 0, False), UpstreamFailed("Gone."))
    recovery.cuts = 2
    assert recovery.marked(before + DONE) == before + COMMENT % 2 + DONE
