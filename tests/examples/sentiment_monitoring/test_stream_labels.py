from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

import httpx
import pytest

from examples.sentiment_monitoring.stream_labels import StreamLabels, passing
from tests.examples.fake_gateway import FakeGateway, fake_gateway


@contextmanager
def labelling(gateway: FakeGateway, failed: Callable[[], None] = lambda: None) -> Iterator[StreamLabels]:
    with fake_gateway(gateway), closing(StreamLabels(gateway.url, "topics", "tones", failed)) as labels:
        yield labels


def answer(model: str, text: str) -> str:
    return f"{model} of {text}"


def test_each_text_gets_a_topic_and_a_sentiment() -> None:
    with labelling(FakeGateway(label=answer)) as labels:
        assert labels.label(["a", "b"]) == [("topics of a", "tones of a"), ("topics of b", "tones of b")]


def test_a_topic_that_is_not_probable_is_unsure() -> None:
    with labelling(FakeGateway(label=answer, probability=0.4)) as labels:
        assert labels.label(["a"]) == [("unsure", "tones of a")]


def test_a_gateway_that_cannot_answer_now_is_asked_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pauses: list[float] = []
    failures: list[None] = []
    monkeypatch.setattr("examples.sentiment_monitoring.stream_labels.time.sleep", pauses.append)
    with labelling(FakeGateway(label=answer, failures=[503, 503]), lambda: failures.append(None)) as labels:
        assert labels.label(["a"]) == [("topics of a", "tones of a")]
    assert len(failures) == len(pauses)
    assert pauses in ([1.0], [1.0, 2.0])  # Both requests of one try may have failed, or one of each.
    assert "not now" in (said := capsys.readouterr().err)
    assert "trying again in 1 s" in said


def test_what_asking_again_would_not_change_is_raised() -> None:
    with labelling(FakeGateway(failures=[404, 404])) as labels, pytest.raises(httpx.HTTPStatusError):
        labels.label(["a"])


@pytest.mark.parametrize(("status", "expected"), [(400, False), (404, False), (408, True), (429, True), (503, True)])
def test_which_failures_may_be_over_soon(status: int, expected: bool) -> None:
    request = httpx.Request("POST", "http://x")
    assert passing(httpx.HTTPStatusError("", request=request, response=httpx.Response(status))) is expected
    assert passing(httpx.ConnectError("refused"))
