"""What another replica is asked to go on with, and which requests cannot be continued."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.api.dialects.continued_request import continued_request
from gateway.api.request_fields import ASKS_USAGE

USER = {"role": "user", "content": "Hi"}
CHAT: dict[str, Any] = {"model": "m", "messages": [USER], "stream": True}
COMPLETION: dict[str, Any] = {"model": "m", "prompt": "Once", "stream": True}


def continued(
    fields: dict[str, Any], text: str = "One two", *, tokens: int = 2, finished: bool = False
) -> dict[str, Any]:
    """Return the request that goes on."""
    asked = continued_request(json.dumps(fields).encode(), 0, text, tokens=tokens, finished=finished)
    assert asked is not None
    found: dict[str, Any] = json.loads(asked.body)
    return found


def test_the_text_so_far_becomes_a_last_message_to_be_continued() -> None:
    asked = continued(CHAT | {"max_tokens": 10, "seed": 7})
    assert asked == CHAT | {
        "messages": [USER, {"role": "assistant", "content": "One two"}],
        "continue_final_message": True,
        "add_generation_prompt": False,
        "max_tokens": 8,
        "seed": 7,
    }


def test_the_text_so_far_is_appended_to_a_prompt_as_it_is() -> None:
    asked = continued(COMPLETION | {"max_tokens": 10}, ' upon "a"\n')
    assert asked == COMPLETION | {"prompt": 'Once upon "a"\n', "max_tokens": 8}


def test_a_list_of_one_prompt_is_that_prompt() -> None:
    assert continued(COMPLETION | {"prompt": ["Once"]}, " upon")["prompt"] == "Once upon"


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_what_has_come_counts_against_the_limit(name: str) -> None:
    assert continued(CHAT | {name: 10})[name] == 8


def test_without_a_limit_a_chat_has_none_and_a_completion_openais() -> None:
    assert "max_tokens" not in continued(CHAT)
    assert continued(COMPLETION)["max_tokens"] == 14
    assert continued(COMPLETION | {"max_tokens": None})["max_tokens"] is None


def test_where_only_the_usage_is_missing_one_token_is_asked_for() -> None:
    assert continued(CHAT, finished=True)["max_tokens"] == 1
    assert continued(CHAT | {"max_completion_tokens": 2}, finished=True)["max_completion_tokens"] == 1


def test_the_gateways_own_wish_for_usage_stays_the_end_of_the_body() -> None:
    body = json.dumps(CHAT).encode()[:-1] + ASKS_USAGE
    asked = continued_request(body, len(ASKS_USAGE), "One", tokens=1, finished=False)
    assert asked is not None
    assert asked.body.endswith(ASKS_USAGE)
    assert json.loads(asked.body)["stream_options"] == {"include_usage": True}


@pytest.mark.parametrize(("text", "sent", "owed"), [("One\n\n", "One", "\n\n"), (" One two", " One two", "")])
def test_white_space_that_a_template_may_trim_is_owed(text: str, sent: str, owed: str) -> None:
    asked = continued_request(json.dumps(CHAT).encode(), 0, text, tokens=2, finished=False)
    assert asked is not None
    assert (json.loads(asked.body)["messages"][-1]["content"], asked.owed) == (sent, owed)


def test_before_any_text_the_same_is_asked() -> None:
    asked = continued_request(json.dumps(CHAT).encode(), 0, " \n", tokens=0, finished=False)
    assert asked is not None
    assert (json.loads(asked.body), asked.owed) == (CHAT, " \n")


@pytest.mark.parametrize(
    "fields",
    [
        {"n": 1, "best_of": 1, "logprobs": False, "echo": False, "stop": [], "tools": None, "tool_choice": "none"},
        {"frequency_penalty": 0.0, "presence_penalty": 0, "min_tokens": 0, "response_format": {"type": "text"}},
        {"temperature": 0.7, "top_p": 0.9, "top_k": 5, "logit_bias": {"5": 1}, "user": "u", "cache_salt": "s"},
    ],
)
def test_what_says_nothing_or_means_the_same_for_the_rest_is_no_hindrance(fields: dict[str, Any]) -> None:
    assert continued(CHAT | fields).items() >= fields.items()


@pytest.mark.parametrize(
    "fields",
    [
        {"n": 2},
        {"best_of": 2},
        {"logprobs": True},
        {"logprobs": 5},
        {"prompt_logprobs": 1},
        {"echo": True},
        {"stop": "."},
        {"tools": [{"type": "function"}]},
        {"response_format": {"type": "json_object"}},
        {"structured_outputs": {"regex": "a"}},
        {"guided_regex": "a"},
        {"frequency_penalty": 0.5},
        {"presence_penalty": 0.5},
        {"min_tokens": 5},
        {"continue_final_message": True},
        {"skip_special_tokens": False},
        {"return_token_ids": True},
        {"max_tokens": 2},
        {"max_tokens": "10"},
        {"something_new": 1},
        {"messages": []},
        {"messages": [USER, {"role": "assistant", "content": "Well"}]},
        {"messages": "Hi"},
    ],
    ids=str,
)
def test_what_cannot_be_continued_right_is_not(fields: dict[str, Any]) -> None:
    body = json.dumps(CHAT | fields).encode()
    assert continued_request(body, 0, "One", tokens=2, finished=False) is None


@pytest.mark.parametrize("prompt", [None, [1, 2, 3], [[1], [2]], ["a", "b"], []])
def test_only_one_prompt_that_is_text_can_be_continued(prompt: object) -> None:
    body = json.dumps(COMPLETION | {"prompt": prompt}).encode()
    assert continued_request(body, 0, "One", tokens=2, finished=False) is None


@pytest.mark.parametrize("text", ["<think>Hm", "Hm</think>So"])
def test_thoughts_which_templates_take_out_cannot_be_continued(text: str) -> None:
    assert continued_request(json.dumps(CHAT).encode(), 0, text, tokens=2, finished=False) is None
