"""The benchmark works: everything in little, with no word about how fast it is."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from loadtest.bench.__main__ import main
from loadtest.bench.deployment import deployed
from loadtest.bench.environments import Missing
from loadtest.bench.peer_gateways import Gateway, Peer
from loadtest.bench.report import PARTS
from loadtest.bench.scaling import CURVES


async def again(log: Callable[[str], None]) -> Gateway:
    """Find a second Headgate: a peer that needs no network."""
    return Gateway("again", "Headgate again", deployed)


async def nowhere(log: Callable[[str], None]) -> Gateway:
    """Find nothing."""
    raise Missing("it is not here")


MEASURED = (CURVES[0].name, "memory", "soak", "limits", "batch", "peers", "prefix")
"""One curve, because each has a test of its own, and every other part that needs no GPU."""


@pytest.mark.slow
def test_parts_are_measured_and_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "page.md"
    page.write_text("".join(f"<!-- bench: {part} -->\n<!-- end -->\n" for part in ("machine", *PARTS)))
    peers = (Peer("again", again), Peer("nowhere", nowhere))
    trace = tmp_path / "trace.jsonl"
    line = '{"timestamp": %d, "input_length": 1100, "output_length": 8, "hash_ids": [0, %d, %d]}'
    trace.write_text("\n".join(line % (100 * number, number % 5, number) for number in range(20)))
    arguments = ["--smoke", "--out", str(tmp_path), "--page", str(page), "--trace", str(trace)]
    assert main([*arguments, "--gateway", "prefix=ours", *MEASURED], peers) == 0
    curve = CURVES[0]
    found = json.loads((tmp_path / f"{curve.name}.json").read_text())
    assert [point["value"] for point in found["points"]] == list(curve.values[:2])
    assert all(point["responses"] > 0 and point["failed"] == 0 for point in found["points"])
    assert (tmp_path / f"{curve.name}.svg").read_text().startswith("<svg")
    for part in ("memory", "soak", "prefix"):
        assert json.loads((tmp_path / f"{part}.json").read_text())["failed"] == 0
    found = json.loads((tmp_path / "peers.json").read_text())
    assert [(each["name"], each["failed"]) for each in found["gateways"]] == [("again", 0), ("headgate", 0)]
    assert "Headgate again" in (tmp_path / "peers.svg").read_text()
    assert page.read_text().count("\n| ") > 30
    assert "Left out: nowhere (it is not here)." in page.read_text()
    assert f"part {len(MEASURED)} of {len(MEASURED)}: prefix" in capsys.readouterr().out


def test_an_unknown_part_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["kyes"])
    assert ended.value.code == 2
    assert "there is no part 'kyes'; the parts are: connections" in capsys.readouterr().err


def test_conversations_have_to_be_given(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["prefix"])
    assert ended.value.code == 2
    assert "the part prefix needs --trace" in capsys.readouterr().err
    missing = tmp_path / "none.jsonl"
    with pytest.raises(SystemExit):
        main(["prefix", "--smoke", "--trace", str(missing), "--out", str(tmp_path)])
    assert f"--trace: there is no file {missing}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--seconds nan", "--seconds: nan is not a positive number"),
        ("--rounds 0", "--rounds: 0 is not a number of at least 1"),
        ("--minutes -1", "--minutes: -1 is not a positive number"),
        ("--requests x", "--requests: 'x' is not a whole number"),
        ("--page /none.md", "--page: there is no file /none.md"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_anything_is(
    options: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["keys", *options.split()])
    assert said in capsys.readouterr().err


def test_a_gpu_has_to_be_there(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert main(["gpu"]) == 2
    assert "the shape 8b needs a GPU, and there is none" in capsys.readouterr().err
    with pytest.raises(SystemExit) as ended:
        main(["gpu", "--input-tokens", "8192"])
    assert ended.value.code == 2
    assert "are more than the 8192 tokens that the shape 8b can have" in capsys.readouterr().err


def test_a_gateway_that_is_no_command_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["prefix", "--gateway", "mine"])
    assert ended.value.code == 2
    assert "'mine' is no gateway: expected NAME=COMMAND" in capsys.readouterr().err
