"""A model proves at the start that it answers what it answered when its golden input was recorded."""

from __future__ import annotations

import tomllib

import msgspec
import pytest

from engines.onnx.errors import ModelError
from engines.onnx.model.golden import as_toml, check, record
from engines.onnx.model.model import Model
from engines.onnx.options import Golden


@pytest.mark.parametrize(
    ("model", "texts", "answer"),
    [
        ("classifier", ("good",), [0.880797, 0.119203]),
        ("embedder", ("cat",), [0.0995037, 0.597022, 0.796030]),
        ("cross_encoder", ("good", "good cat"), [0.880797]),
        ("token_classifier", ("cat",), [0.909443, 0.0452785, 0.0452785, 0.0452785, 0.909443, 0.0452785]),
    ],
)
def test_what_was_recorded_holds_until_the_answer_changes(
    request: pytest.FixtureRequest, model: str, texts: tuple[str, ...], answer: list[float]
) -> None:
    loaded: Model = request.getfixturevalue(model)
    recorded = record(loaded, *texts)
    assert recorded.answer[:6] == pytest.approx(answer, abs=1e-5)
    assert len(recorded.answer) <= 8
    table = tomllib.loads(as_toml(recorded))["golden"]
    again = msgspec.convert(table, Golden)
    assert again == recorded
    check(loaded, again)
    check(loaded, msgspec.structs.replace(again, answer=[again.answer[0] + 0.0009]))
    with pytest.raises(ModelError, match=r"model\.onnx: the golden input .* is answered .* not .* as recorded"):
        check(loaded, msgspec.structs.replace(again, answer=[again.answer[0] + 0.0011]))


def test_a_shorter_answer_than_was_recorded_is_another_one(classifier: Model) -> None:
    with pytest.raises(ModelError, match="as recorded"):
        check(classifier, Golden("good", [*record(classifier, "good").answer, 0.0]))


def test_an_answer_that_is_no_number_is_another_one(classifier: Model) -> None:
    with pytest.raises(ModelError, match="as recorded"):
        check(classifier, Golden("good", [float("nan")]))


@pytest.mark.parametrize(("model", "texts"), [("cross_encoder", ("good",)), ("classifier", ("good", "bad"))])
def test_only_a_cross_encoder_is_asked_with_two_texts(
    request: pytest.FixtureRequest, model: str, texts: tuple[str, ...]
) -> None:
    loaded: Model = request.getfixturevalue(model)
    with pytest.raises(ValueError, match="a cross-encoder needs a pair of texts"):
        record(loaded, *texts)
    with pytest.raises(ModelError, match="the golden input cannot be asked"):
        check(loaded, Golden(texts[0], [0.5], texts[1] if len(texts) > 1 else None))


def test_a_golden_text_that_is_too_long_is_told(classifier: Model) -> None:
    with pytest.raises(ModelError, match="cannot be asked: This model's maximum context length is 16 tokens"):
        check(classifier, Golden("good " * 20, [0.5]))
