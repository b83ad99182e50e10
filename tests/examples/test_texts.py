from __future__ import annotations

from pathlib import Path

import pytest

from engines.errors import SourceError
from examples.texts import SHA256, RatedText, rated_texts

LINES = {
    "movieReviewSnippets_GroundTruth.txt": "1\t2.5\tA film to see twice.\n2\t-3.1\t Dire. \n",
    "amazonReviewSnippets_GroundTruth.txt": "7_1\t-0.4\tIt is a box.\n7_2\t-2\tIt broke.\n",
    "nytEditorialSnippets_GroundTruth.txt": "3_1\t0.5\tA good law.\n",
    "tweets_GroundTruth.txt": "9\t1\tYay.\n",
}


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Point the cache of files at an empty folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "headgate/files"


def test_texts_are_read_from_the_cache(cache: Path) -> None:
    folder = cache / SHA256[:24]
    folder.mkdir(parents=True)
    for name, lines in LINES.items():
        (folder / name).write_text(lines, encoding="utf-8")
    assert {(each.topic, each.source, each.sentiment, each.text) for each in rated_texts()} == {
        ("films", "1", "positive", "A film to see twice."),
        ("films", "2", "negative", "Dire."),
        ("products", "7", "neutral", "It is a box."),
        ("products", "7", "negative", "It broke."),
        ("news", "3", "positive", "A good law."),
        ("tweets", "9", "positive", "Yay."),
    }


@pytest.mark.slow  # It starts pip.
def test_a_download_that_fails_says_why_and_leaves_nothing(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    with pytest.raises(
        SourceError, match=r"vaderSentiment==3\.3\.2 could not be downloaded: .*No matching distribution"
    ):
        rated_texts(lambda line: None)
    assert [each.name for each in cache.iterdir()] == [f"{SHA256[:24]}.lock"]


def test_whole_articles_are_held_out() -> None:
    articles = [[RatedText("news", str(article), 1.0, f"{line}") for line in range(5)] for article in range(300)]
    assert all(len({each.held_out for each in lines}) == 1 for lines in articles)
    held_out = sum(lines[0].held_out for lines in articles)
    assert 30 < held_out < 90  # A fifth, about.
