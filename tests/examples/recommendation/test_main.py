"""The program as somebody runs it, against a gateway that embeds words as numbers."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from examples.recommendation.__main__ import main
from tests.examples.fake_models import in_base64


class WordCounts(BaseHTTPRequestHandler):
    """``/v1/embeddings`` of a model that counts the words of a text, in 16 drawers."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        data = [
            {"object": "embedding", "index": index, "embedding": in_base64(_counts(text))}
            for index, text in enumerate(asked["input"])
        ]
        known = asked["model"] == "minilm"
        usage = {"prompt_tokens": 1, "total_tokens": 1}
        answer = {"object": "list", "model": asked["model"], "data": data, "usage": usage}
        body = json.dumps(answer if known else {"error": {"message": "no such model"}}).encode()
        self.send_response(200 if known else 404)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as the base class names it
        """Keep the output of the tests clean."""


def _counts(text: str) -> list[float]:
    counts = [0.01] * 16
    for word in text.split():
        counts[zlib.crc32(word.encode()) % 16] += 1.0
    return counts


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), WordCounts)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    thread.join()
    server.server_close()


def run(url: str, folder: Path, *arguments: str) -> int:
    return main(["--url", url, "--cache", str(folder / "cache"), *arguments])


def own(folder: Path, items: str, choices: str) -> list[str]:
    (folder / "items.csv").write_text(f"id,text\n{items}")
    (folder / "choices.csv").write_text(f"person,item,day\n{choices}")
    return ["--items", str(folder / "items.csv"), "--choices", str(folder / "choices.csv")]


def test_it_shows_two_simulated_people_and_one_that_is_not_known(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(url, tmp_path) == 0
    said = capsys.readouterr().out
    assert "person-1 has chosen, the latest last:" in said
    assert said.count("Because you chose") == 10
    assert "somebody new is not known: nothing was chosen yet.\nWhat most people choose:\n 1. " in said


def test_items_of_one_own_with_one_choice_and_texts_of_any_length(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    items = f"a,card\nb,{'card ' * 10_000}\nc,weather tomorrow\n"
    assert run(url, tmp_path, *own(tmp_path, items, "ada,a,1\n"), "--person", "ada", "--count", "1") == 0
    said = capsys.readouterr().out
    assert " 1. card card" in said
    assert max(map(len, said.splitlines())) < 150


def test_who_has_chosen_everything(url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(url, tmp_path, *own(tmp_path, "a,card\n", "ada,a,1\n"), "--person", "ada") == 0
    assert "nothing: every item has been chosen" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--model", "other"], "The gateway refused to embed with other: "),
        (["--url", "http://127.0.0.1:1/v1"], "No gateway answers at http://127.0.0.1:1/v1; start one with: make serve"),
        (["--items", "/nowhere.csv"], "/nowhere.csv: cannot be read: "),
    ],
)
def test_what_is_wrong_is_said(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    assert run(url, tmp_path, *arguments) == 1
    assert capsys.readouterr().err.startswith(said)


def test_people_are_not_simulated_for_items_without_intents(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(url, tmp_path, *own(tmp_path, "a,card\n", "")[:2]) == 1
    assert "people can only be simulated for items with intent and domain" in capsys.readouterr().err


def test_a_count_is_a_number_from_one_on(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--count", "0"])
    assert "--count: expected a number from 1 on, not '0'" in capsys.readouterr().err
