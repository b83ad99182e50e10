"""``examples/sentiment_monitoring.py`` against the default models, with classifiers that have learnt for seconds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from examples.classifiers import connect, find
from examples.sentiment_monitoring import SENTIMENT, TOPIC, main
from tests.e2e.conftest import Served

pytestmark = pytest.mark.slow

TEXTS = [
    *["The film is a masterpiece, and the actors are superb."] * 320,
    *["The plot of this movie is dreadful, and the acting is even worse."] * 40,
    "Cinema",
    "word " * 10_000,
]


def test_a_stream_that_turns_negative_raises_an_alert(
    served: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "texts.jsonl"
    file.write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS))
    url = f"{served.address}/v1"
    assert main(["--url", url, "--source", str(file), "--time-budget", "3", "--examples", "300"]) == 0
    said = capsys.readouterr().out
    assert "*** Negative texts have jumped: films, " in said
    assert f"the stream has ended: {len(TEXTS)} texts" in said
    with connect(url) as client:
        assert None not in (find(client, TOPIC), find(client, SENTIMENT))
