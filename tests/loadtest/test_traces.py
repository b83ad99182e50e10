"""TraceRequest traffic is read in the formats that its publishers use, and a mistake in it is named."""

from __future__ import annotations

import time
from itertools import pairwise
from pathlib import Path

import pytest

from loadtest import traces
from loadtest.traces import TraceError, TraceRequest

TRACES = Path(__file__).parents[3] / "shared" / "data" / "traces"

MOONCAKE = """\
{"timestamp": 0, "input_length": 1030, "output_length": 5, "hash_ids": [0, 1, 2]}
{"timestamp": 1500, "input_length": 600, "output_length": 6, "hash_ids": [0, 3]}
"""

AZURE = """\
TIMESTAMP,ContextTokens,GeneratedTokens
2023-11-16 18:17:03.9799600,4808,10
2023-11-16 18:17:05.4799600,3180,8
"""


@pytest.fixture
def published() -> Path:
    if not TRACES.is_dir():
        pytest.skip("the published traces are not beside this repository")
    return TRACES


def written(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_mooncake(tmp_path: Path) -> None:
    first, second = traces.read(written(tmp_path, "t.jsonl", MOONCAKE))
    assert first == TraceRequest(0.0, 1030, 5, (0, 1, 2))
    assert second == TraceRequest(1.5, 600, 6, (0, 3))


def test_azure(tmp_path: Path) -> None:
    first, second = traces.read(written(tmp_path, "t.csv", AZURE))
    assert (first.tokens_in, first.tokens_out, first.blocks) == (4808, 10, ())
    assert second.at - first.at == pytest.approx(1.5)


def test_no_hour_is_missing_or_twice_in_a_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = "2026-03-29 01:59:59.0000000,1,1", "2026-03-29 03:00:00.0000000,1,1"
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    try:
        first, second = traces.read(written(tmp_path, "t.csv", "\n".join((AZURE.splitlines()[0], *lines))))
    finally:
        monkeypatch.undo()
        time.tzset()
    assert second.at - first.at == 3601


@pytest.mark.parametrize(("name", "text"), [("t.jsonl", MOONCAKE), ("t.csv", AZURE)])
def test_a_byte_order_mark_and_empty_lines_are_passed_over(tmp_path: Path, name: str, text: str) -> None:
    assert traces.read(written(tmp_path, name, f"\ufeff{text}\n\n")) == traces.read(written(tmp_path, name, text))


def test_requests_come_in_the_order_of_time(tmp_path: Path) -> None:
    lines = MOONCAKE.splitlines()
    found = traces.read(written(tmp_path, "t.jsonl", "\n".join(reversed(lines))))
    assert [each.at for each in found] == [0.0, 1.5]


def test_a_limit_reads_no_further(tmp_path: Path) -> None:
    assert len(traces.read(written(tmp_path, "t.jsonl", MOONCAKE + "rubbish\n"), limit=1)) == 1
    assert len(traces.read(written(tmp_path, "t.csv", AZURE), limit=1)) == 1


def test_equal_hashes_are_equal_text_and_lengths_are_kept() -> None:
    one, other = TraceRequest(0.0, 1030, 5, (0, 1, 2)).prompt(0), TraceRequest(1.0, 600, 5, (0, 3)).prompt(0)
    assert (len(one.split()), len(other.split())) == (1030, 600)
    assert one.split()[:512] == other.split()[:512]
    assert one.split()[512:600] != other.split()[512:]


def test_more_hashes_than_tokens_make_no_longer_text() -> None:
    assert len(TraceRequest(0.0, 512, 5, (0, 1, 2)).prompt(0).split()) == 512


def test_a_prompt_without_hashes_has_its_length_too() -> None:
    assert len(TraceRequest(0.0, 77, 5).prompt(0).split()) == 77


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("t.jsonl", MOONCAKE + '{"timestamp": 1}\n', "t.jsonl, line 3: Object missing required field `input_length`"),
        ("t.jsonl", MOONCAKE.replace("600", "0"), "t.jsonl, line 2: Expected `int` >= 1 - at `$.input_length`"),
        ("t.csv", AZURE + "yesterday,1,2\n", "t.csv, line 4: TIMESTAMP,ContextTokens,GeneratedTokens were expected"),
        ("t.csv", "a,b\n1,2\n", "t.csv, line 2: TIMESTAMP,ContextTokens,GeneratedTokens were expected"),
        ("t.csv", AZURE.replace(",8\n", ",0\n"), "t.csv, line 3: ContextTokens,GeneratedTokens: Expected `int` >= 1"),
        ("t.csv", AZURE.replace("4808", "9" * 20), "t.csv, line 2: ContextTokens,GeneratedTokens: Expected `int` <= "),
        ("t.csv", AZURE + '"' + "a" * 200_000 + '",1,1\n', "t.csv: field larger than field limit"),
        ("t.jsonl", "", "t.jsonl: no requests in it"),
        ("t.txt", "", "a trace is a .jsonl file like Mooncake's or a .csv file like Azure's"),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, name: str, text: str, message: str) -> None:
    with pytest.raises(TraceError) as caught:
        traces.read(written(tmp_path, name, text))
    assert message in str(caught.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="No such file"):
        traces.read(tmp_path / "t.csv")


@pytest.mark.parametrize(
    ("name", "number"), [("mooncake_conversation_trace.jsonl", 12_031), ("azure_llm_2023_code.csv", 8_819)]
)
def test_the_published_traces_are_read_whole(published: Path, name: str, number: int) -> None:
    found = traces.read(published / name)
    assert len(found) == number
    assert all(later.at >= earlier.at for earlier, later in pairwise(found))
