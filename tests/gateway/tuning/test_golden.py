"""A model is compared with what it must answer before anybody else asks it."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from gateway.tuning.golden import Ask, Mistaken, check_adapter, check_classifier

_GOLDEN = {"text": "good", "answer": [0.9, 0.1]}


def answering(*answers: Any, status: int = 200) -> Ask:
    left = list(answers)

    async def ask(path: str, body: bytes) -> tuple[int, bytes]:
        assert path in ("/classify", "/v1/chat/completions")
        assert msgspec.json.decode(body)["model"]
        return status, msgspec.json.encode(left.pop(0))

    return ask


def said(**likeliest: float) -> dict[str, Any]:
    """Begin an answer with one of these tokens, the first."""
    tokens = [{"token": token, "logprob": logprob} for token, logprob in likeliest.items()]
    return {"choices": [{"logprobs": {"content": [{**tokens[0], "top_logprobs": tokens}]}}]}


async def test_a_classifier_that_answers_as_written_down_passes() -> None:
    await check_classifier(answering({"data": [{"probs": [0.9005, 0.0995]}]}), "m", _GOLDEN)


@pytest.mark.parametrize("probs", [[0.8, 0.2], [0.9], []])
async def test_one_that_does_not_is_refused(probs: list[float]) -> None:
    with pytest.raises(Mistaken, match="The model answers 'good' with"):
        await check_classifier(answering({"data": [{"probs": probs}]}), "m", _GOLDEN)


@pytest.mark.parametrize("golden", [None, {}, {"text": "a"}])
async def test_a_training_has_to_write_an_answer_down(golden: object) -> None:
    with pytest.raises(Mistaken, match="no valid answer to compare with"):
        await check_classifier(answering(), "m", golden)


async def test_an_error_and_nonsense_are_no_answers() -> None:
    with pytest.raises(Mistaken, match="answers with status 503"):
        await check_classifier(answering({}, status=503), "m", _GOLDEN)
    with pytest.raises(Mistaken, match="no answer of /classify"):
        await check_classifier(answering({"data": 1}), "m", _GOLDEN)


async def test_an_adapter_that_says_something_else_passes() -> None:
    await check_adapter(answering(said(a=-0.5, b=-2.0), said(a=-0.5, c=-1.9)), "t", "m", [])
    await check_adapter(answering(said(a=-0.5, b=-2.0), said(b=-0.5, a=-2.0)), "t", "m", [])


async def test_one_that_is_as_sure_of_the_first_token_as_its_base_passes_by_the_others() -> None:
    await check_adapter(answering(said(a=-0.001, b=-9.0), said(a=-0.0001, b=-12.0)), "t", "m", [])


async def test_both_are_asked_at_once() -> None:
    asked: list[str] = []
    both = asyncio.Event()
    answers = {"t": said(a=-0.5), "m": said(a=-0.9)}

    async def ask(path: str, body: bytes) -> tuple[int, bytes]:
        question = msgspec.json.decode(body)
        assert (path, question["max_tokens"]) == ("/v1/chat/completions", 1)
        asked.append(question["model"])
        if len(asked) == 2:
            both.set()
        await both.wait()
        return 200, msgspec.json.encode(answers[question["model"]])

    async with asyncio.timeout(10):
        await check_adapter(ask, "t", "m", [])
    assert asked == ["t", "m"]


async def test_a_base_that_has_answered_is_not_asked_again() -> None:
    await check_adapter(answering(said(a=-0.5)), "t", "m", [], {"a": -0.9})
    with pytest.raises(Mistaken, match="The adapter changes nothing"):
        await check_adapter(answering(said(a=-0.5)), "t", "m", [], {"a": -0.5})


async def test_an_adapter_that_its_engine_has_left_out_is_refused() -> None:
    with pytest.raises(Mistaken, match=r"The adapter changes nothing: .* answers as 'm' does"):
        await check_adapter(answering(said(a=-0.5, b=-2.0), said(a=-0.5001, b=-2.0001)), "t", "m", [])


async def test_tokens_that_are_as_likely_as_each_other_may_change_places_in_another_batch() -> None:
    with pytest.raises(Mistaken, match="The adapter changes nothing"):
        await check_adapter(answering(said(a=-0.5, b=-2.0), said(a=-0.5, c=-2.001)), "t", "m", [])


NO_TOKENS = {"content": [{"token": "", "logprob": 0.0, "top_logprobs": []}]}


@pytest.mark.parametrize(
    "nothing", [{"choices": []}, {"choices": [{"logprobs": {"content": []}}]}, {"choices": [{"logprobs": NO_TOKENS}]}]
)
async def test_an_adapter_that_says_nothing_is_refused(nothing: Any) -> None:
    with pytest.raises(Mistaken, match="The model 't' answers with nothing"):
        await check_adapter(answering(nothing, said(a=-0.5)), "t", "m", [])
