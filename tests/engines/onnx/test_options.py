"""Each option is declared once, with all that is said of it anywhere."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from subprocess import run
from typing import Any

import pytest

from engines.onnx.options import Golden, OnnxOptions, Option, options_of

DECLARED: Mapping[str, Option] = {option.name: option for option in options_of(OnnxOptions)}


def test_a_declaration_is_taken_apart() -> None:
    length, threshold = DECLARED["max_length"], DECLARED["moderation_threshold"]
    assert (length.kind, length.optional, length.default, length.meta.gt) == (int, True, None, 0)
    assert (threshold.kind, threshold.optional, threshold.default, threshold.meta.le) == (float, False, 0.5, 1)
    assert [option.name for option in options_of(Golden) if option.required] == ["text", "answer"]


@pytest.mark.parametrize("option", [*options_of(OnnxOptions), *options_of(Golden)], ids=lambda option: option.name)
def test_each_option_has_a_meaning_and_an_example(option: Option) -> None:
    assert option.meta.description is not None
    assert option.meta.description.endswith(".")
    assert option.meta.examples or option.default is not None


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("labels", ["a,b"], "'a,b' is no label"),
        ("labels", [" "], "' ' is no label"),
        ("labels", ["a", "b", "a"], "'a' is given twice"),
        ("moderation", {"hat": ["a"]}, "'hat' is none of OpenAI's categories"),
        ("moderation", {"hate": []}, "'hate' names no labels"),
        ("moderation", {"hate": ["a,b"]}, "'a,b' is no label"),
        ("moderation", {"x-a=b": ["a"]}, "'x-a=b' is no category"),
    ],
)
def test_what_the_type_allows_and_the_option_does_not(name: str, value: Any, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        DECLARED[name].check(value)


def test_a_number_of_a_golden_answer_is_finite() -> None:
    (answer,) = (option for option in options_of(Golden) if option.name == "answer")
    assert answer.check([0.5, -1.0]) == [0.5, -1.0]
    with pytest.raises(ValueError, match="finite"):
        answer.check([float("nan")])


@pytest.mark.slow
def test_neither_the_server_nor_what_checks_configurations_is_needed_to_read_them() -> None:
    code = (
        "import sys, engines.onnx.command_line; print({'pydantic', 'onnxruntime', 'numpy', 'aiohttp'} & {*sys.modules})"
    )
    assert run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
