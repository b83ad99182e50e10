"""``headgate probe`` asks a running gateway, and tells what is wrong with data, model and gateway."""

from __future__ import annotations

import asyncio
import json
from hashlib import sha256
from pathlib import Path

import pytest

from gateway.cli.main import main
from tests.loadtest.served import good_or_bad

LINES = [{"text": "good good film", "label": "good"}, {"text": "Bad", "label": "bad"}, {"text": "cat", "label": "good"}]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    file = tmp_path / "data.jsonl"
    write(file, *LINES)
    return file


def write(file: Path, *lines: dict[str, str]) -> None:
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))


async def probe(*words: str | Path) -> int:
    return await asyncio.to_thread(main, ["probe", *map(str, words)])


async def test_a_classifier_is_probed_the_same_each_time(
    tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with good_or_bad(tmp_path) as running:
        options = ("judge", "--data", data, "--url", running.address, "--seed", "4")
        assert await probe(*options, "--json", tmp_path / "found.json", "--svg", tmp_path / "found.svg") == 0
        first = capsys.readouterr().out
        assert await probe(*options) == 0
    assert capsys.readouterr().out == first
    assert first.startswith("judge on 3 texts of data.jsonl (seed 4); one text is 33 points.\n")
    assert "| as written | 0 | 100.0 % |  |  |" in first
    assert "| upper case | 3 | 100.0 % | 0.0 | 0.0 % |" in first
    found = json.loads((tmp_path / "found.json").read_text())
    assert [row["name"] for row in found["rows"]][:3] == ["as written", "typos", "upper case"]
    assert found["rows"][0] == {"name": "as written", "changed": 0, "accuracy": 1.0, "flips": None}
    assert (tmp_path / "found.svg").read_text().startswith("<svg ")


async def test_two_classifiers_stand_side_by_side(
    tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with good_or_bad(tmp_path, classifiers=("judge", "other")) as running:
        options = ("--data", data, "--url", running.address)
        files = ("--json", tmp_path / "found.json", "--svg", tmp_path / "found.svg")
        assert await probe("judge", "other", *options, *files) == 0
        said = capsys.readouterr().out
        # A model that is named twice is measured once.
        assert await probe("other", "other", *options) == 0
        assert capsys.readouterr().out.startswith("other on 3 texts of data.jsonl (seed 0)")
        assert await probe("judge", "nobody", *options, "--json", tmp_path / "none.json") == 1
    assert "| texts | changed | judge | other |" in said
    assert "| upper case | 3 | 100.0 % (+0.0) | 100.0 % (+0.0) |" in said
    found = json.loads((tmp_path / "found.json").read_text())
    assert [(each["model"], each["rows"][0]["accuracy"]) for each in found] == [("judge", 1.0), ("other", 1.0)]
    drawn = (tmp_path / "found.svg").read_text()
    assert (">judge</text>" in drawn, ">other</text>" in drawn) == (True, True)
    told = capsys.readouterr()
    assert ("nobody" in told.err, told.out, (tmp_path / "none.json").exists()) == (True, "", False)


async def test_a_label_that_the_model_does_not_have_is_told_by_its_line(
    tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(data, *LINES, *[{"text": "dog", "label": "ugly"}] * 2)
    async with good_or_bad(tmp_path) as running:
        assert await probe("judge", "--data", data, "--url", running.address, "--json", tmp_path / "found") == 2
    said = capsys.readouterr()
    assert (said.out, (tmp_path / "found").exists()) == ("", False)
    assert said.err.startswith(f"headgate: {data}:4: label: ")
    assert "This model has no label 'ugly'; its labels are 'good', 'bad'." in said.err


async def test_what_is_no_classifier_needs_a_key_or_is_not_there_is_told(
    tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = [{"id": "k", "sha256": sha256(b"sk-k").hexdigest()}]
    async with good_or_bad(tmp_path, keys=keys) as running:
        options = ("--data", data, "--url", running.address)
        assert await probe("judge", *options) == 1
        assert "answers 401: " in capsys.readouterr().err
        monkeypatch.setenv("PROBE_KEY", "sk-k")
        assert await probe("vectors", *options, "--key-env", "PROBE_KEY") == 1
        assert "The model 'vectors' does not support /classify; these can: judge." in capsys.readouterr().err
        assert await probe("judge", *options, "--key-env", "PROBE_KEY") == 0
    assert await probe("judge", "--data", data, "--url", "http://127.0.0.1:1") == 1
    assert "No gateway answers at http://127.0.0.1:1 (--url): " in capsys.readouterr().err
    assert await probe("judge", "--data", data, "--url", "nowhere") == 1
    assert capsys.readouterr().err.startswith("headgate: --url: ")


@pytest.mark.parametrize("content", ["", '{"text": "a"}'])
def test_data_that_cannot_be_used_is_told(tmp_path: Path, content: str, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "data.jsonl"
    file.write_text(content)
    assert main(["probe", "m", "--data", str(file)]) == 2
    assert capsys.readouterr().err.startswith(f"headgate: {file}:")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["m"], "the following arguments are required: --data"),
        (["m", "--data", "d", "--key-env", "NOBODY_HAS_THIS"], "no environment variable NOBODY_HAS_THIS, or it"),
        (["m", "--data", "d", "--max-texts", "0"], "0 is not a whole number from 1"),
    ],
)
def test_a_wrong_command_line_is_told(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["probe", *words])
    assert message in capsys.readouterr().err
