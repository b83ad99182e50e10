"""What is refused, and in which words."""

from typing import Any

import pytest

from loadtest.simulator.errors import EngineError
from loadtest.simulator.requests import (
    DEFAULT_OUTPUT_TOKENS,
    ChatRequest,
    CompletionRequest,
    answer_length,
    check_model,
    check_pooling_model,
    decode,
    text_of_messages,
    texts_of,
    tokens_of,
)

JSON = "application/json"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"{", "body"),
        (b"", "body"),
        (b"[1]", "body"),
        (b'{"messages": "hi"}', "body.messages"),
        (b'{"messages": [], "n": "x"}', "body.n"),
        (b'{"messages": [], "stream_options": {"include_usage": 3}}', "body.stream_options.include_usage"),
        (b'{"messages": [{"role": ' + b"[" * 100_000, "body"),
        (b'{"model": "\xff"}', "body"),
    ],
)
def test_what_makes_no_sense_is_a_bad_request(body: bytes, param: str) -> None:
    with pytest.raises(EngineError) as caught:
        decode(body, JSON, ChatRequest)
    assert (caught.value.status, caught.value.kind, caught.value.param) == (400, "Bad Request", param)


def test_the_media_type_must_be_json() -> None:
    with pytest.raises(EngineError, match="Unsupported Media Type"):
        decode(b"{}", "text/plain", ChatRequest)
    assert decode(b"{}", "Application/JSON; charset=utf-8", ChatRequest).messages is None


def test_unknown_fields_are_welcome() -> None:
    assert decode(b'{"model": "m", "whatever": [1, {"a": null}]}', JSON, ChatRequest).model == "m"


def test_stream_options_need_a_stream() -> None:
    request = decode(b'{"stream_options": {"include_usage": true}}', JSON, CompletionRequest)
    with pytest.raises(EngineError, match="EventStream options can only be defined when `stream=True`") as caught:
        request.check()
    assert caught.value.param == "stream_options"
    decode(b'{"stream_options": {"include_usage": true}, "stream": true}', JSON, CompletionRequest).check()


def test_the_newer_limit_wins() -> None:
    assert decode(b"{}", JSON, ChatRequest).limit is None
    assert decode(b'{"max_tokens": 3}', JSON, ChatRequest).limit == 3
    assert decode(b'{"max_tokens": 3, "max_completion_tokens": 5}', JSON, ChatRequest).limit == 5


@pytest.mark.parametrize(
    ("prompt_tokens", "limit", "said"),
    [
        (1, 0, "max_tokens must be at least 1, got 0"),
        (1, 11, "max_tokens=11 cannot be greater than max_model_len=10"),
        (11, None, "maximum context length is 10 tokens"),
    ],
)
def test_the_context_has_limits(prompt_tokens: int, limit: int | None, said: str) -> None:
    with pytest.raises(EngineError, match=said):
        answer_length(prompt_tokens, limit, 10)


def test_what_fits_the_context_is_welcome() -> None:
    assert answer_length(1, 9, 10) == 9
    assert answer_length(1, None, 100) == DEFAULT_OUTPUT_TOKENS


@pytest.mark.parametrize("limit", [10, 2, None])
def test_an_answer_ends_where_the_context_ends(limit: int | None) -> None:
    assert answer_length(8, limit, 10) == 2
    assert answer_length(10, limit, 10) == 1


def test_another_model_does_not_exist_but_none_at_all_will_do() -> None:
    check_model(None, "sim")
    check_model("sim", "sim")
    with pytest.raises(EngineError, match="The model `other` does not exist") as caught:
        check_model("other", "sim")
    assert (caught.value.status, caught.value.param) == (404, "model")


def test_pooling_endpoints_say_it_in_fewer_words() -> None:
    check_pooling_model("sim", "sim")
    with pytest.raises(EngineError, match=r"does not exist\.$") as caught:
        check_pooling_model("other", "sim")
    assert (caught.value.status, caught.value.param) == (404, None)


@pytest.mark.parametrize(
    ("prompt", "counts"),
    [("abcde", [2]), (["abcd", "abcde"], [1, 2]), ([1, 2, 3], [3]), ([[1, 2], [3]], [2, 1])],
)
def test_prompts_come_in_four_forms(prompt: Any, counts: list[int]) -> None:
    assert [tokens_of(each) for each in texts_of(prompt, "prompt")] == counts


def test_a_prompt_must_be_there() -> None:
    with pytest.raises(EngineError, match="Field required") as caught:
        texts_of(None, "prompt")
    assert caught.value.param == "body.prompt"
    with pytest.raises(EngineError, match="at least one prompt"):
        texts_of([], "prompt")


def test_a_conversation_must_be_there() -> None:
    assert text_of_messages([{"role": "user", "content": "hi"}]) == b'[{"role":"user","content":"hi"}]'
    with pytest.raises(EngineError, match="empty conversation"):
        text_of_messages([])
