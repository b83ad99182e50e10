"""``headgate suggest`` writes the texts to label next as JSON lines, and tells what is wrong."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from gateway.cli.main import main
from tests.loadtest.served import good_or_bad

LINES = [{"text": "good good"}, {"text": "cat"}, {"text": "bad", "label": "bad"}, {"text": "dog good good good"}]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    file = tmp_path / "data.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in LINES))
    return file


async def suggest(*words: str | Path) -> int:
    return await asyncio.to_thread(main, ["suggest", *map(str, words)])


async def test_texts_without_a_label_are_suggested(
    tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with good_or_bad(tmp_path) as running:
        options = ("--data", data, "--url", running.address, "--embedder", "vectors")
        assert await suggest("judge", *options, "--count", "2") == 0
        first, second = map(json.loads, capsys.readouterr().out.splitlines())
        assert await suggest(*options) == 0
        unlike = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert first == {"line": 2, "text": "cat", "predicted": "good", "uncertainty": 1.0}
    assert second["line"] in (1, 4)
    assert sorted(each["line"] for each in unlike) == [1, 2, 4]
    assert all(set(each) == {"line", "text"} for each in unlike)


async def test_models_that_cannot_and_a_gateway_that_is_not_there_are_told(
    tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with good_or_bad(tmp_path) as running:
        options = ("--data", data, "--url", running.address)
        assert await suggest("vectors", *options, "--embedder", "vectors") == 1
        assert "The model 'vectors' does not support /classify; these can: judge." in capsys.readouterr().err
        assert await suggest("judge", *options, "--embedder", "judge") == 1
        assert "The model 'judge' does not support /v1/suggest; these can: vectors." in capsys.readouterr().err
    assert await suggest("judge", "--data", data, "--url", "http://127.0.0.1:1") == 1
    assert "No gateway answers at http://127.0.0.1:1 (--url): " in capsys.readouterr().err


@pytest.mark.parametrize("content", ["", '{"text": "a", "label": "b"}', '{"text": ""}'])
def test_data_without_texts_is_told(tmp_path: Path, content: str, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "data.jsonl"
    file.write_text(content)
    assert main(["suggest", "m", "--data", str(file)]) == 2
    assert capsys.readouterr().err.startswith(f"headgate: {file}:")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--count", "0"], "0 is not a whole number from 1"),
        (["--count", "1001"], "1001 is more than 1000"),
        (["--max-texts", "10001"], "10001 is more than 10000"),
    ],
)
def test_a_wrong_number_is_told(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["suggest", "m", "--data", "d", *words])
    assert message in capsys.readouterr().err
