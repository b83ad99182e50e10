"""Prompts that begin alike have blocks in common, and nothing that a client sends makes reading one fail."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.pools.policies.prompt_blocks import Prompt, read_prompt

SYSTEM = {"role": "system", "content": "You are a helpful assistant. " * 40}
QUESTION = {"role": "user", "content": "What is a prefix cache? " * 40}
ANSWER = {"role": "assistant", "content": "It keeps what was computed. " * 40}
TOOL = {"type": "function", "function": {"name": "look_up", "description": "Looks something up. " * 30}}


def prompt_of(**fields: Any) -> Prompt:
    return read_prompt(json.dumps({"model": "m", **fields}).encode())


def shared(one: Prompt, other: Prompt) -> int:
    """Count the blocks that two prompts have in common; all of them stand at their beginning."""
    number = len(set(one.blocks) & set(other.blocks))
    assert one.blocks[:number] == other.blocks[:number]
    return number


def chat(*messages: Any, **fields: Any) -> Prompt:
    return prompt_of(messages=messages, **fields)


def test_the_next_turn_of_a_conversation_begins_with_the_one_before() -> None:
    before, after = chat(SYSTEM, QUESTION), chat(SYSTEM, QUESTION, ANSWER, QUESTION)
    assert shared(before, after) == len(before.blocks)
    assert after.tokens_of(len(before.blocks)) >= 0.85 * before.tokens


def test_conversations_under_one_system_prompt_share_that_much() -> None:
    one, other = chat(SYSTEM, QUESTION), chat(SYSTEM, {"role": "user", "content": "Something else. " * 60})
    assert 0.7 * 290 <= one.tokens_of(shared(one, other)) <= 320


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (prompt_of(prompt="once upon a time " * 80), prompt_of(prompt="once upon a time " * 120)),
        (prompt_of(prompt=list(range(900))), prompt_of(prompt=list(range(1200)))),
        (prompt_of(input=[SYSTEM, QUESTION]), prompt_of(input=[SYSTEM, QUESTION, ANSWER])),
        (
            prompt_of(instructions=SYSTEM["content"], input="Hi"),
            prompt_of(instructions=SYSTEM["content"], input="Hello"),
        ),
        (chat(QUESTION, system=SYSTEM["content"]), chat(QUESTION, ANSWER, system=SYSTEM["content"])),
        (chat(QUESTION, tools=[TOOL]), chat(QUESTION, ANSWER, tools=[TOOL])),
    ],
    ids=["text", "token ids", "responses", "instructions", "anthropic", "tools"],
)
def test_every_kind_of_prompt_has_its_beginning_in_common_with_a_longer_one(one: Prompt, other: Prompt) -> None:
    assert shared(one, other) == len(one.blocks) > 0


def test_the_order_and_the_values_of_other_fields_do_not_count() -> None:
    one = chat(SYSTEM, QUESTION, temperature=0.2, user="a")
    other = read_prompt(json.dumps({"top_p": 0.5, "messages": [SYSTEM, QUESTION], "model": "m"}).encode())
    assert one == other


@pytest.mark.parametrize(
    "other",
    [
        chat(SYSTEM, QUESTION, model="adapter"),
        chat(SYSTEM, QUESTION, cache_salt="tenant"),
        chat(SYSTEM, QUESTION, tools=[TOOL]),
        chat({**SYSTEM, "role": "user"}, QUESTION),
    ],
    ids=["model", "cache_salt", "tools", "role"],
)
def test_what_keeps_caches_apart_leaves_nothing_in_common(other: Prompt) -> None:
    assert shared(chat(SYSTEM, QUESTION), other) == 0


def test_tokens_are_a_quarter_of_the_bytes_or_the_number_of_ids() -> None:
    assert prompt_of(prompt="word" * 1000).tokens == 1000
    assert prompt_of(prompt=[17] * 1000).tokens == 1000
    assert prompt_of(prompt=[[17, 18], [19]]).tokens == 3


def picture(data: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": "data:image/png;base64," + data * 50_000}}


def asked_of(*parts: Any) -> Prompt:
    return chat({"role": "user", "content": parts})


def test_a_picture_counts_as_a_picture_and_not_as_its_bytes() -> None:
    asked = asked_of(picture("iVBORw0K"), {"type": "text", "text": "What is this?"})
    assert 1000 < asked.tokens < 1100
    assert asked.tokens_of(len(asked.blocks)) <= asked.tokens


def test_one_picture_is_one_prefix_and_another_is_another_and_what_follows_it_counts() -> None:
    words, others = ({"type": "text", "text": text * 4000} for text in ("What is this? ", "Where is that? "))
    asked = asked_of(picture("iVBORw0K"), words)
    assert shared(asked, asked_of(picture("iVBORw0K"), words)) == len(asked.blocks)
    assert shared(asked, asked_of(picture("iVBORw0L"), words)) == 0
    before = shared(asked, asked_of(picture("iVBORw0K"), others))
    assert 0 < len(asked_of(picture("iVBORw0K")).blocks) <= before < len(asked.blocks)


def test_a_picture_beside_what_is_no_chat_counts_as_a_picture_too() -> None:
    url = picture("iVBORw0K")["image_url"]["url"]
    assert (
        1000 < prompt_of(input=[{"role": "user", "content": [{"type": "input_image", "image_url": url}]}]).tokens < 1100
    )
    assert 1000 < prompt_of(query="a cat", documents={"content": [picture("iVBORw0K")]}).tokens < 1100


def test_a_prompt_of_a_million_tokens_has_few_blocks() -> None:
    assert len(prompt_of(prompt="word" * 1_000_000).blocks) < 300
    longest = prompt_of(prompt="word" * 5_000_000)
    assert longest.tokens == 5_000_000
    assert len(longest.blocks) < 300


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"--boundary\r\ncontent-disposition: form-data",
        b'{"messages":[{"role":',
        b'{"prompt":"\xff\xfe"}',
        b"[" * 100_000,
        b"null",
        b"{}",
        b'{"model":7,"cache_salt":[],"messages":{"a":1},"prompt":null,"input":true,"tools":"x"}',
    ],
)
def test_a_body_without_a_prompt_that_can_be_read_has_about_as_many_tokens_as_its_length_says(body: bytes) -> None:
    prompt = read_prompt(body)
    assert not prompt.blocks
    assert prompt.tokens <= len(body) // 4
    assert prompt.tokens_of(0) == 0


def test_no_two_of_many_prompts_have_a_hash_in_common() -> None:
    prompts = [prompt_of(prompt=f"{number:>200} and so on " * 6) for number in range(20_000)]
    assert len({prompt.blocks[0] for prompt in prompts}) == 20_000
