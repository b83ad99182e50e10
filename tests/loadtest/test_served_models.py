"""Served models are asked in batches, and why one does not answer is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from loadtest.http_client import HttpClient
from loadtest.served_models import AskError, ServedModels, served_at
from tests.kit.gateways import gateway, remote
from tests.kit.scripted import scripted_engine, whole
from tests.loadtest.served import good_or_bad


async def test_many_texts_are_answered_in_their_order(tmp_path: Path) -> None:
    texts = ["good", "bad", "bad bad"] * 40
    async with good_or_bad(tmp_path) as running, HttpClient(running.address) as client:
        models = ServedModels(running.address, client)
        found = await models.classes("judge", texts)
        assert [each.label for each in found] == ["good", "bad", "bad"] * 40
        assert found[2].probs[1] > found[1].probs[1] > 0.5
        choices = await models.choices("vectors", ["cat", "cat " * 50, "good"], [[0.5, 0.5], [0.5, 0.5], [0.9, 0.1]], 2)
        assert sorted(choice.index for choice in choices) in ([0, 2], [1, 2])
        assert await models.classes("judge", []) == []


async def test_a_label_that_the_model_does_not_have_is_told_with_those_that_it_has(tmp_path: Path) -> None:
    async with good_or_bad(tmp_path) as running, HttpClient(running.address) as client:
        models = ServedModels(running.address, client)
        await models.check_label("judge", "bad")
        with pytest.raises(AskError, match="no label 'ugly'; its labels are 'good', 'bad'") as caught:
            await models.check_label("judge", "ugly")
        assert caught.value.param == "explain.label"


async def test_a_model_that_is_no_classifier_and_one_that_is_not_there_are_told(tmp_path: Path) -> None:
    async with good_or_bad(tmp_path) as running, HttpClient(running.address) as client:
        models = ServedModels(running.address, client)
        with pytest.raises(AskError, match=r"400: The model 'vectors' does not support /classify; these can: judge"):
            await models.classes("vectors", ["good"])
        with pytest.raises(AskError, match=r"/classify answers 404: .*'none'"):
            await models.classes("none", ["good"])


async def test_no_gateway_and_one_that_answers_something_else_are_told() -> None:
    async with HttpClient("http://127.0.0.1:1") as client:
        with pytest.raises(AskError, match=r"^No gateway answers at http://127.0.0.1:1 \(--url\): "):
            await ServedModels("http://127.0.0.1:1", client).classes("m", ["good"])
    async with (
        scripted_engine() as engine,
        gateway({"m": remote(engine.url, tasks=["classify"])}) as running,
        HttpClient(running.address) as client,
    ):
        engine.answer = [whole(b'{"data":[{"label":3}]}')]
        with pytest.raises(AskError, match=r"/classify of .* does not answer as expected: "):
            await ServedModels(running.address, client).classes("m", ["good"])
        engine.answer = [whole(b"oops", b"418 Teapot")]
        with pytest.raises(AskError, match="/classify answers 418: oops"):
            await ServedModels(running.address, client).classes("m", ["good"])


async def test_what_is_no_address_is_told() -> None:
    with pytest.raises(AskError, match=r"^--url: "):
        async with served_at("nowhere", None):
            pass
