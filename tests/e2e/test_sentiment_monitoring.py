"""``examples/sentiment_monitoring`` against the default models, with classifiers that have learnt for seconds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from examples.classifiers import connect, find_or_make
from examples.sentiment_monitoring.__main__ import SENTIMENT, TOPIC, main
from examples.texts import rated_texts
from tests.e2e.conftest import Served

pytestmark = pytest.mark.slow

QUICKLY: dict[str, Any] = {"method": "probe", "quantize": False, "time_budget": 5}
"""How the classifiers are made here; tests/e2e/test_film_reviews.py lets a program make one as users would."""

TEXTS = [
    *["The film is a masterpiece, and the actors are superb."] * 320,
    *["The plot of this movie is dreadful, and the acting is even worse."] * 40,
    "Cinema",
    "word " * 10_000,
]


def test_a_stream_that_turns_negative_raises_an_alert(
    fine_tuning: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "texts.jsonl"
    file.write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS))
    url = f"{fine_tuning.address}/v1"
    learnt = [each for each in rated_texts() if not each.held_out][:300]
    with connect(url) as client:
        find_or_make(client, TOPIC, [(each.text, each.topic) for each in learnt], **QUICKLY)
        find_or_make(client, SENTIMENT, [(each.text, each.sentiment) for each in learnt], **QUICKLY)
    assert main(["--url", url, "--source", str(file)]) == 0
    said = capsys.readouterr().out
    assert said.count("is there already") == 2
    assert "*** Negative texts have jumped: films, " in said
    assert f"the stream has ended: {len(TEXTS)} texts" in said
