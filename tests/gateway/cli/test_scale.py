"""``headgate scale`` fixes how many replicas a model of a running gateway has."""

from __future__ import annotations

import asyncio

import pytest

from gateway.cli.main import main
from gateway.cli.scale import _outcome
from tests.kit.gateways import gateway

MODEL = {"engine": "onnx", "source": "/nowhere", "tasks": ["embed"]}


async def test_a_number_is_fixed_and_left_to_the_gateway_again(capsys: pytest.CaptureFixture[str]) -> None:
    async with gateway({"m": MODEL}, ready=()) as running:

        async def headgate(*words: str) -> tuple[int, str, str]:
            control = running.control.removeprefix("http://")
            code = await asyncio.to_thread(main, ["scale", *words, "--control", control])
            said = capsys.readouterr()
            return code, said.out, said.err

        code, out, _ = await headgate("m", "2")
        assert (code, out.partition(";")[0]) == (0, "m is to have 2 replicas (an operator asked for this number)")
        assert await headgate("m", "auto") == (0, "m has as many replicas as its configuration says.\n", "")
        code, out, _ = await headgate("m", "1")
        assert (code, out.partition(";")[0]) == (0, "m is to have 1 replica (an operator asked for this number)")
        assert await headgate("m", "auto") == (0, "m has as many replicas as its configuration says.\n", "")
        code, _, err = await headgate("n", "2")
        assert (code, err.partition(";")[0]) == (1, "headgate: There is no model 'n' of this configuration")


def test_what_is_waited_for_is_told_as_a_sentence() -> None:
    shown = {"desired": 1, "ready": 0, "explanation": "e", "waits_for": "m-0 is failed: It said nothing."}
    assert _outcome("m", shown) == "m is to have 1 replica (e); ready: 0. It waits for m-0 is failed: It said nothing."
    assert _outcome("m", shown | {"waits_for": ""}) == "m is to have 1 replica (e); ready: 0."


def test_what_is_no_number_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["scale", "m", "many"])
    assert "'many' is neither a number nor 'auto'" in capsys.readouterr().err
