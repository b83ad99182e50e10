from __future__ import annotations

import io
from pathlib import Path

import pytest

from examples.sentiment_monitoring import __main__ as sentiment_monitoring
from examples.sentiment_monitoring.__main__ import main
from examples.texts import TOPICS, RatedText
from tests.examples.fake_gateway import FakeGateway, fake_gateway
from tests.examples.sentiment_monitoring.test_webhook import Receiver, receiving

TEXTS = [
    RatedText(topic, str(number), -2.0 if number % 10 < 3 else 2.0, f"{topic} {'bad' if number % 10 < 3 else 'good'}")
    for topic in TOPICS
    for number in range(100)
]


def label(model: str, text: str) -> str:
    """Answer rightly."""
    topic, _, tone = text.partition(" ")
    return topic if "monitoring-topic" in model else "negative" if tone == "bad" else "positive"


@pytest.fixture(autouse=True)
def known_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take a few made-up texts for the data, and ask for a job's state again at once."""
    monkeypatch.setattr(sentiment_monitoring, "rated_texts", lambda: TEXTS)
    monkeypatch.setattr("examples.classifiers._POLL_SECONDS", 0.0)


def test_it_makes_two_classifiers_and_finds_the_planted_shift(capsys: pytest.CaptureFixture[str]) -> None:
    with fake_gateway(FakeGateway(label=label)) as gateway, receiving(Receiver()) as receiver:
        options = ["--pace", "1e6", "--texts", "3000", "--metrics", "127.0.0.1:0", "--webhook", receiver.url]
        assert main(["--url", gateway.url, "--key", "sk-1", *options]) == 0
    assert gateway.keys == {"Bearer sk-1"}
    assert [order["suffix"] for order in gateway.orders] == ["monitoring-topic", "monitoring-sentiment"]
    said = capsys.readouterr().out
    assert "metrics at http://127.0.0.1:" in said
    assert "*** Negative texts have jumped: products, " in said
    assert "the stream has ended: 3,000 texts" in said
    first = receiver.got[0]
    assert (first["topic"], first["state"], first["negative_examples"]) == ("products", "raised", ["products bad"] * 3)


def test_it_reads_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "texts.jsonl"
    file.write_bytes(b'{"text": "news bad"}\n{"text": 3}\n\xff broken bytes\n' + b"word " * 10_000 + b"\none")
    with fake_gateway(FakeGateway(label=label)) as gateway:
        assert main(["--url", gateway.url, "--source", str(file)]) == 0
    said = capsys.readouterr()
    assert "line 2 is passed over" in said.err
    assert "the stream has ended: 4 texts" in said.out


def test_it_reads_stdin(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"news bad\nfilms good\n")))
    with fake_gateway(FakeGateway(label=label)) as gateway:
        assert main(["--url", gateway.url, "--source", "-"]) == 0
    assert "has ended: 2 texts" in capsys.readouterr().out


def test_a_file_that_is_not_there_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with fake_gateway(FakeGateway(label=label)) as gateway:
        assert main(["--url", gateway.url, "--source", str(tmp_path / "none")]) == 1
    assert "No such file or directory" in capsys.readouterr().err


def test_it_measures_and_draws(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with fake_gateway(FakeGateway(label=label)) as gateway:
        assert main(["--url", gateway.url, "--measure", "--seeds", "2", "--svg", str(tmp_path / "a.svg")]) == 0
    said = capsys.readouterr().out
    assert "| films | " in said
    assert "false alarms in 2 streams" in said
    assert (tmp_path / "a.svg").read_text().startswith("<svg")


def test_a_wrong_option_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["--pace", "0"])
    assert "argument --pace: expected a number above 0, not '0'" in capsys.readouterr().err
