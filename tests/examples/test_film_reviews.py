from __future__ import annotations

import pytest

from examples import film_reviews
from examples.classifiers import Verdict
from examples.film_reviews import accuracy, main, rated
from examples.texts import RatedText
from tests.examples.fake_gateway import FakeGateway, fake_gateway

GOOD, BAD = RatedText("films", "1", 3.0, "Fine."), RatedText("films", "2", -3.0, "Dire.")
OTHERS = [RatedText("films", "3", 0.1, "It is a film."), RatedText("news", "4", -3.0, "War.")]


def test_reviews_are_sentences_about_films_that_are_good_or_bad() -> None:
    assert rated([GOOD, *OTHERS, BAD]) == [GOOD, BAD]


def test_accuracy_is_the_share_of_right_verdicts() -> None:
    verdicts = [Verdict("good", 0.9), Verdict("good", 0.6)]
    assert accuracy([GOOD, BAD], verdicts) == 0.5


def test_the_program_makes_asks_and_measures(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = [RatedText("films", str(number), 1.0 if number % 2 else -1.0, f"{number}") for number in range(100)]
    monkeypatch.setattr(film_reviews, "rated_texts", lambda: texts)
    monkeypatch.setattr("examples.classifiers._POLL_SECONDS", 0.0)
    right = FakeGateway(label=lambda model, text: "bad" if text.isdigit() and int(text) % 2 == 0 else "good")
    with fake_gateway(right) as gateway:
        assert main(["--url", gateway.url, "--key", "sk-1"]) == 0
    assert gateway.keys == {"Bearer sk-1"}
    said = capsys.readouterr().out
    held_out = sum(each.held_out for each in texts)
    assert "good (90%): A film to see twice." in said
    assert f"100.0% of {held_out} sentences that it has not learnt from are classified rightly" in said
    assert gateway.uploads[0].count(b'"label"') == 100 - held_out


def test_without_a_gateway_it_says_how_to_start_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(film_reviews, "rated_texts", lambda: [GOOD, BAD])
    with fake_gateway() as gateway:
        pass
    assert main(["--url", gateway.url]) == 1
    assert "start a gateway with `make serve`" in capsys.readouterr().err
