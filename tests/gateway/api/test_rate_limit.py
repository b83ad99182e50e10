"""What a client of a key with limits gets: headers of what is left, and refusals that say when to come again."""

from __future__ import annotations

import json
from hashlib import sha256
from typing import Any

import pytest

from tests.kit.playbook import CHAT, EMBEDDINGS, Clock, Playbook, post
from tests.kit.scripted import whole

MESSAGES = "/v1/messages"
ALICE = b"authorization: Bearer sk-alice\r\n"
BOB = b"authorization: Bearer sk-bob\r\n"
HELLO: dict[str, Any] = {"messages": [{"role": "user", "content": "Hi"}]}
RESPONSE = whole(b'{"id":"1","choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1}}')
STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
USAGE = b'data: {"id":"1","choices":[],"usage":{"prompt_tokens":7,"completion_tokens":5}}\n\ndata: [DONE]\n\n'


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock.install(monkeypatch)


def key(name: str, **options: Any) -> dict[str, Any]:
    return {"id": name, "sha256": sha256(f"sk-{name}".encode()).hexdigest(), **options}


def limited(**limits: int) -> dict[str, Any]:
    """Configure Alice with limits, and Bob without any."""
    return {"keys": [key("alice", limits=limits), key("bob")]}


def headers(response: bytes) -> dict[str, str]:
    lines = response.partition(b"\r\n\r\n")[0].decode().split("\r\n")[1:]
    return {name: value for name, _, value in (line.partition(": ") for line in lines)}


def rate_limits(response: bytes) -> dict[str, str]:
    found = headers(response)
    return {name.removeprefix("x-ratelimit-"): found[name] for name in found if name.startswith("x-ratelimit-")}


def anthropic_rate_limits(response: bytes) -> dict[str, str]:
    prefix, found = "anthropic-ratelimit-", headers(response)
    return {name.removeprefix(prefix): found[name] for name in found if name.startswith(prefix)}


def body(response: bytes) -> Any:
    return json.loads(response.partition(b"\r\n\r\n")[2])


def chat(play: Playbook, *, auth: bytes = ALICE, answer: bytes = RESPONSE, path: str = CHAT, **fields: Any) -> bytes:
    """Ask, let the engine answer if it is asked, and return what the client gets."""
    before = len(play.asked)
    play.client.sends(post(path, headers=auth, **HELLO, **fields))
    if len(play.asked) > before:
        play.last_asked.says(answer)
    return play.client.got()


def test_each_response_tells_what_is_left(clock: Clock) -> None:
    play = Playbook(clock=clock, **limited(requests_per_minute=60, tokens_per_minute=1000))
    size = len(post(CHAT, **HELLO, max_tokens=100).partition(b"\r\n\r\n")[2])
    prompt = size // 4
    assert rate_limits(chat(play, max_tokens=100)) == {
        "limit-requests": "60",
        "remaining-requests": "59",
        "reset-requests": "1m0s",
        "limit-tokens": "1000",
        "remaining-tokens": str(1000 - prompt - 100),
        "reset-tokens": f"1m{-(-60 * (prompt + 99) // (prompt + 100))}s".replace("1m60s", "2m0s"),
    }
    # The engine said that it was two tokens.
    assert rate_limits(chat(play, max_tokens=100))["remaining-tokens"] == str(1000 - 2 - prompt - 100)


@pytest.mark.parametrize("path", [MESSAGES, "/v1/messages/count_tokens"])
def test_at_anthropics_endpoints_its_own_headers_tell_the_same_with_the_moment_of_the_reset(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setattr("gateway.api.rate_limit.time", lambda: 1_893_455_999.5)
    play = Playbook(clock=clock, **limited(requests_per_minute=60, tokens_per_minute=100_000))
    response = chat(play, path=path, max_tokens=200)
    openai = rate_limits(response)
    assert anthropic_rate_limits(response) == {
        "requests-limit": "60",
        "requests-remaining": "59",
        "requests-reset": "2030-01-01T00:01:00Z",
        "tokens-limit": openai["limit-tokens"],
        "tokens-remaining": openai["remaining-tokens"],
        "tokens-reset": "2030-01-01T00:02:00Z",
    }


def test_only_the_limits_that_a_key_has_are_told_in_anthropics_headers(clock: Clock) -> None:
    play = Playbook(clock=clock, **limited(tokens_per_day=1000, max_in_flight=1))
    assert set(anthropic_rate_limits(chat(play, path=MESSAGES))) == {"tokens-limit", "tokens-remaining", "tokens-reset"}


def test_other_endpoints_have_none_of_anthropics_headers(clock: Clock) -> None:
    play = Playbook(clock=clock, **limited(requests_per_minute=5))
    assert anthropic_rate_limits(chat(play)) == anthropic_rate_limits(chat(play, path="/v1/responses")) == {}


@pytest.mark.parametrize("path", [CHAT, MESSAGES])
def test_keys_without_limits_get_no_such_headers(clock: Clock, path: str) -> None:
    play = Playbook(clock=clock, **limited(requests_per_minute=1))
    for _ in range(3):
        response = chat(play, auth=BOB, path=path)
        assert response.startswith(b"HTTP/1.1 200")
        assert rate_limits(response) == anthropic_rate_limits(response) == {}


def test_beyond_the_limit_the_answer_is_openais_and_says_when_to_come_again(clock: Clock) -> None:
    play = Playbook(clock=clock, **limited(requests_per_minute=2))
    chat(play)
    chat(play)
    clock.now += 15.5
    response = chat(play)
    assert response.startswith(b"HTTP/1.1 429 ")
    assert body(response) == {
        "error": {
            "message": "Rate limit reached for key 'alice' on requests per minute: Limit 2, Used 2, Requested 1. "
            "Please try again in 45s.",
            "type": "requests",
            "param": None,
            "code": "rate_limit_exceeded",
        }
    }
    assert (headers(response)["retry-after"], headers(response)["retry-after-ms"]) == ("45", "44500")
    assert rate_limits(response)["remaining-requests"] == "0"
    assert play.asked == [0, 0]
    clock.now += 44.5
    assert chat(play).startswith(b"HTTP/1.1 200")


def test_messages_are_refused_in_anthropics_shape(clock: Clock) -> None:
    play = Playbook(clock=clock, **limited(requests_per_minute=1))
    chat(play)
    response = chat(play, path=MESSAGES, auth=b"x-api-key: sk-alice\r\n", max_tokens=5)
    assert body(response)["type"] == "error"
    assert body(response)["error"]["type"] == "rate_limit_error"
    assert headers(response)["request-id"] == headers(response)["x-request-id"]
    assert rate_limits(response)["remaining-requests"] == "0"
    assert anthropic_rate_limits(response)["requests-remaining"] == "0"


def test_errors_and_local_answers_of_a_key_tell_what_is_left_and_cost_nothing(clock: Clock) -> None:
    play = Playbook(clock=clock, **limited(requests_per_minute=5))
    play.client.sends(post(CHAT, headers=ALICE, model="absent", **HELLO))
    response = play.client.got()
    assert response.startswith(b"HTTP/1.1 404")
    assert rate_limits(response) == {"limit-requests": "5", "remaining-requests": "5", "reset-requests": "0s"}


@pytest.mark.parametrize("path", [b"/v1/models", b"/v1/models/absent"])
async def test_what_the_gateway_answers_itself_tells_what_is_left(clock: Clock, path: bytes) -> None:
    play = Playbook(clock=clock, **limited(requests_per_minute=5))
    play.client.sends(b"GET %b HTTP/1.1\r\nhost: x\r\n%b\r\n" % (path, ALICE))
    await play.turn()
    response = play.client.got()
    assert rate_limits(response)["remaining-requests"] == "5"
    assert response.count(b"x-ratelimit-remaining-requests") == 1


def test_an_error_of_an_engine_tells_what_is_left_once(clock: Clock) -> None:
    play = Playbook(clock=clock, **limited(requests_per_minute=5))
    response = chat(play, path=MESSAGES, max_tokens=5, answer=whole(b"{}", status=b"400 Bad Request"))
    assert response.count(b"x-ratelimit-remaining-requests: 4") == response.count(b"\r\nrequest-id: ") == 1
    assert response.count(b"anthropic-ratelimit-requests-remaining: 4") == 1


def test_of_several_limits_that_is_told_of_which_the_least_is_left(clock: Clock) -> None:
    group = {"team": {"limits": {"requests_per_day": 3}}}
    play = Playbook(clock=clock, groups=group, keys=[key("alice", group="team", limits={"requests_per_minute": 10})])
    assert rate_limits(chat(play)) == {"limit-requests": "3", "remaining-requests": "2", "reset-requests": "24h0m0s"}


def test_an_engines_own_limits_are_not_those_of_the_key(clock: Clock) -> None:
    play = Playbook(clock=clock, **limited(requests_per_minute=5))
    answer = RESPONSE.replace(b"\r\n", b"\r\nX-RateLimit-Remaining-Requests: 999\r\n", 1)
    assert chat(play, answer=answer).lower().count(b"x-ratelimit-remaining-requests") == 1
    assert rate_limits(chat(play, answer=answer))["remaining-requests"] == "3"
    assert b"999" in chat(play, auth=BOB, answer=answer)


def test_an_engines_own_limits_in_anthropics_headers_are_not_those_of_the_key(clock: Clock) -> None:
    play = Playbook(clock=clock, **limited(requests_per_minute=5))
    answer = RESPONSE.replace(b"\r\n", b"\r\nAnthropic-RateLimit-Requests-Remaining: 999\r\n", 1)
    response = chat(play, path=MESSAGES, answer=answer)
    assert response.lower().count(b"anthropic-ratelimit-requests-remaining") == 1
    assert anthropic_rate_limits(response)["requests-remaining"] == "4"
    assert b": 999\r\n" not in chat(play, answer=answer)
    assert b": 999\r\n" in chat(play, path=MESSAGES, auth=BOB, answer=answer)


def test_tokens_of_a_stream_are_settled_by_its_usage(clock: Clock) -> None:
    play = Playbook(clock=clock, **limited(tokens_per_minute=1000))
    play.client.sends(post(CHAT, headers=ALICE, stream=True, max_tokens=500, **HELLO))
    usage = b"%x\r\n%b\r\n0\r\n\r\n" % (len(USAGE), USAGE)
    play.last_asked.says(STREAM_HEAD, event(1), usage)
    assert b"[DONE]" in play.client.got()
    assert used(play, clock, "tokens_per_minute") == 12


async def test_tokens_of_a_stream_whose_client_leaves_are_what_was_generated_and_the_estimate_of_the_prompt(
    clock: Clock,
) -> None:
    play = Playbook(clock=clock, **limited(tokens_per_minute=1000, max_in_flight=1))
    request = post(CHAT, headers=ALICE, stream=True, max_tokens=500, **HELLO)
    play.client.sends(request)
    play.last_asked.says(STREAM_HEAD, *(event(number) for number in range(5)))
    play.client.leaves()
    await play.turn()
    prompt = len(request.partition(b"\r\n\r\n")[2]) // 4
    assert used(play, clock, "tokens_per_minute") == prompt + 5
    assert play.held() == (0, 0, 0, 0, 0)


def test_a_request_that_fails_at_the_engine_used_no_tokens(clock: Clock) -> None:
    play = Playbook(clock=clock, **limited(tokens_per_minute=1000, max_in_flight=1))
    for _ in range(3):
        response = chat(play, max_tokens=100, answer=whole(b'{"error":{"message":"no"}}', status=b"400 Bad Request"))
        assert response.startswith(b"HTTP/1.1 400")
    assert used(play, clock, "tokens_per_minute") == 0


def test_a_request_that_finds_no_room_gives_back_what_it_reserved(clock: Clock) -> None:
    play = Playbook(clock=clock, limit=1, max_queue=0, **limited(tokens_per_minute=1000, max_in_flight=2))
    play.client.sends(post(CHAT, headers=ALICE, max_tokens=100, **HELLO))
    other = play.new_client()
    other.sends(post(CHAT, headers=ALICE, max_tokens=100, **HELLO))
    assert other.got().startswith(b"HTTP/1.1 503")
    third = play.new_client()
    third.sends(post(CHAT, headers=ALICE, max_tokens=100, **HELLO))
    assert third.got().startswith(b"HTTP/1.1 503")
    play.last_asked.says(RESPONSE)
    assert used(play, clock, "tokens_per_minute") == 2


def test_requests_at_once_are_limited_and_free_again_at_their_end(clock: Clock) -> None:
    play = Playbook(clock=clock, **limited(max_in_flight=1))
    play.client.sends(post(CHAT, headers=ALICE, **HELLO))
    other = play.new_client()
    other.sends(post(CHAT, headers=ALICE, **HELLO))
    assert b"429 Too Many Requests" in (refused := other.got())
    assert body(refused)["error"]["type"] == "requests"
    assert headers(refused)["retry-after"] == "1"
    play.last_asked.says(RESPONSE)
    assert chat(play).count(b"HTTP/1.1 200") == 2


def test_a_request_larger_than_the_limit_is_not_to_be_sent_again(clock: Clock) -> None:
    play = Playbook(clock=clock, **limited(tokens_per_minute=50))
    response = chat(play, max_tokens=100)
    assert body(response)["error"]["type"] == "tokens"
    assert headers(response)["x-should-retry"] == "false"
    assert "retry-after" not in headers(response)
    assert chat(play, path=EMBEDDINGS).startswith(b"HTTP/1.1 200")


def test_a_picture_fits_under_a_limit_that_its_bytes_do_not(clock: Clock) -> None:
    play = Playbook(clock=clock, **limited(tokens_per_minute=2000))
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "iVBORw0K" * 50_000}}
    play.client.sends(post(CHAT, headers=ALICE, messages=[{"role": "user", "content": [picture]}], max_tokens=100))
    play.last_asked.says(RESPONSE)
    response = play.client.got()
    assert response.startswith(b"HTTP/1.1 200")
    assert 850 <= int(rate_limits(response)["remaining-tokens"]) <= 900


def test_a_limit_beyond_the_models_context_reserves_no_more_than_that(clock: Clock) -> None:
    play = Playbook(clock=clock, **limited(tokens_per_minute=5000))
    play.pipeline.registry.find("m").set_max_model_len(4000)
    response = chat(play, max_tokens=1_000_000)
    assert response.startswith(b"HTTP/1.1 200")
    assert 900 < int(rate_limits(response)["remaining-tokens"]) < 1000


def test_a_reload_changes_limits_and_keeps_the_counts(clock: Clock) -> None:
    play = Playbook(clock=clock, **limited(requests_per_minute=3, tokens_per_day=1000))
    chat(play)
    chat(play)
    play.reload(**limited(requests_per_minute=10, tokens_per_day=1000))
    assert rate_limits(chat(play))["remaining-requests"] == "7"
    play.reload(**limited(requests_per_minute=2))
    assert chat(play).startswith(b"HTTP/1.1 429")


def test_a_key_that_has_expired_opens_nothing_on_a_connection_that_it_opened_before(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.api.pipeline.time", lambda: 1_893_455_999.0)
    play = Playbook(clock=clock, keys=[key("alice", expires="2030-01-01")])
    for _ in range(3):
        assert chat(play).startswith(b"HTTP/1.1 200")
    monkeypatch.setattr("gateway.api.pipeline.time", lambda: 1_893_456_000.0)
    response = chat(play)
    assert response.startswith(b"HTTP/1.1 401")
    assert body(response)["error"]["message"].startswith("The key 'alice' expired on 2030-01-01")
    assert body(response)["error"]["code"] == "expired_api_key"


def test_an_endpoint_that_a_key_may_not_use_is_forbidden(clock: Clock) -> None:
    play = Playbook(clock=clock, keys=[key("alice", endpoints=["/v1/embeddings"])])
    response = chat(play)
    assert response.startswith(b"HTTP/1.1 403")
    assert body(response)["error"]["message"] == (
        "The key 'alice' may not use /v1/chat/completions; it may use: /v1/embeddings."
    )
    other = play.new_client()
    other.sends(post(EMBEDDINGS, headers=ALICE, input="a"))
    play.last_asked.says(RESPONSE)
    assert other.got().startswith(b"HTTP/1.1 200")


def test_refusals_and_tokens_are_counted_by_group(clock: Clock) -> None:
    group = {"team": {"limits": {"requests_per_minute": 1}, "models": ["m"]}}
    play = Playbook(clock=clock, groups=group, keys=[key("alice", group="team"), key("bob", group="team")])
    chat(play)
    chat(play, auth=BOB)
    play.client.sends(post(CHAT, headers=ALICE, model="other", **HELLO))
    assert (play.metrics.key_input_tokens, play.metrics.key_output_tokens) == ({"team": 1}, {"team": 1})
    assert play.metrics.key_refusals == {("team", "requests_per_minute"): 1, ("team", "model"): 1}


def event(number: int) -> bytes:
    data = b'data: {"id":"1","choices":[{"index":0,"delta":{"content":"%d"}}]}\n\n' % number
    return b"%x\r\n%b\r\n" % (len(data), data)


def used(play: Playbook, clock: Clock, rate: str) -> int:
    """Return what Alice has used."""
    (alice,) = (key for key in play.pipeline.snapshot.keyring if key.id == "alice")
    assert alice.limits is not None
    (found,) = (each for quota in alice.limits.quotas for each in quota.rates if each.name == rate)
    return found.window.used(int(clock.now * 1e9))
