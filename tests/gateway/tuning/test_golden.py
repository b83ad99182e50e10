"""A model is compared with what it must answer before anybody else asks it."""

from __future__ import annotations

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


def said(*tokens: tuple[str, float]) -> dict[str, Any]:
    content = [{"token": token, "logprob": logprob} for token, logprob in tokens]
    return {"choices": [{"logprobs": {"content": content}}]}


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
    await check_adapter(answering(said(("a", -0.5)), said(("b", -0.5))), "t", "m", [])
    await check_adapter(answering(said(("a", -0.5)), said(("a", -0.9))), "t", "m", [])


async def test_an_adapter_that_its_engine_has_left_out_is_refused() -> None:
    with pytest.raises(Mistaken, match=r"The adapter changes nothing: .* answers as 'm' does"):
        await check_adapter(answering(said(("a", -0.5)), said(("a", -0.5001))), "t", "m", [])
