"""``headgate tune`` makes a job and shows how it goes, on a terminal in one line and else line by line."""

from __future__ import annotations

import asyncio
import io
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.cli.main import main
from gateway.cli.tune import Display, standing
from tests.kit.gateways import gateway
from tests.kit.tuning import EXAMPLES, TRAIN, tunable, weights

RUNNING: dict[str, Any] = {
    "status": "running",
    "progress": {"phase": "train", "share": 0.45},
    "estimated_finish": 185,
}
STEP: dict[str, Any] = {"type": "metrics", "message": "Step 1/4: training loss=0.5000", "data": {"train_loss": 0.5}}


GIVEN = "--method full --time-budget 30 --augment --no-quantize --distill 1 --temperature 4"
TAKEN = {
    "method": "full",
    "time_budget": 30.0,
    "augment": True,
    "quantize": False,
    "prune": None,
    "distill": {"layers": 1, "temperature": 4.0},
}
"""Options, and the hyperparameters of the job that is made of them."""

REFUSED = {
    "--prune 3 --distill 3": "distill is given beside prune; give one of the two",
    "--prune 0": "Expected `int` >= 1",
    "--prune-heads 1": "Expected `float` < 1.0",
    "--temperature 4": "missing required field `layers`",
    "--distill 3 --temperature 0.5": "Expected `float` >= 1",
    "--time-budget -1": "Expected `float` > 0",
}
"""What the gateway does not take, and what it says."""


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def folder() -> Iterator[Path]:
    """Make a folder whose path is short enough for sockets, with the weights of a base."""
    with tempfile.TemporaryDirectory(prefix="hg-") as path:
        weights(Path(path))
        (Path(path) / "reviews.jsonl").write_bytes(EXAMPLES)
        yield Path(path)


def test_how_a_job_stands_fits_on_a_line() -> None:
    numbers = {"train_loss": 0.51234, "train_mean_token_accuracy": 0.875, "step": 3}
    assert standing(RUNNING, numbers, 90.0) == "train  45%   loss 0.5123   accuracy 87.5%   1:35 left"
    assert standing({"status": "queued"}, {}, 0.0) == "queued"
    assert standing(RUNNING | {"estimated_finish": 10}, {}, 90.0) == "train  45%   0:00 left"


def test_a_terminal_shows_numbers_in_their_place_and_a_file_line_by_line() -> None:
    shown = {}
    for out in (Terminal(), io.StringIO()):
        display = Display(out)
        display.event({"type": "message", "message": "Fine-tuning job started"})
        display.event(STEP)
        display.status(RUNNING, 180.0)
        assert display.end({"status": "succeeded", "fine_tuned_model": "ft:m"}) == 0
        shown[type(out)] = out.getvalue()
    clear = "\r\x1b[K"
    assert shown[Terminal] == (
        f"{clear}Fine-tuning job started\n{clear}train  45%   loss 0.5000   0:05 left{clear}ft:m is served.\n"
    )
    assert shown[io.StringIO] == "Fine-tuning job started\nStep 1/4: training loss=0.5000\nft:m is served.\n"


def test_a_job_that_fails_says_why_once() -> None:
    out = io.StringIO()
    display = Display(out)
    display.event({"type": "message", "message": "The job failed: no memory"})
    assert display.end({"status": "failed", "error": {"message": "no memory"}}) == 1
    assert display.end({"status": "cancelled", "error": None}) == 1
    assert out.getvalue() == (
        "The job failed: no memory\nThe job's status is failed.\nThe job's status is cancelled.\n"
    )


def test_a_file_that_is_not_there_is_told(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["tune", "m", "--data", str(tmp_path / "none"), "--url", "http://127.0.0.1:1"]) == 1
    assert "No such file" in capsys.readouterr().err


@pytest.mark.slow
async def test_a_model_is_tuned_and_its_job_is_listed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    models, settings = tunable(folder)
    async with gateway(models, ready=(), train=TRAIN, **settings) as running:

        async def headgate(*words: str) -> tuple[int, str, str]:
            code = await asyncio.to_thread(main, [*words, "--url", running.address])
            said = capsys.readouterr()
            return code, said.out, said.err

        data = str(folder / "reviews.jsonl")
        options = [*GIVEN.split(), "--data", data, "--validation", data, "--suffix", "mine"]
        code, said, _ = await headgate("tune", "base", *options)
        assert code == 0
        lines = said.splitlines()
        assert "Step 4/4: training loss=0.2500" in lines
        assert lines[-1].startswith("ft:base:headgate:mine:")
        job = lines[0].partition(":")[0]
        async with httpx.AsyncClient() as http:
            made = (await http.get(f"{running.address}/v1/fine_tuning/jobs/{job}")).json()
        assert made["method"]["supervised"]["hyperparameters"].items() >= TAKEN.items()
        code, said, _ = await headgate("jobs")
        assert (code, len(said.splitlines())) == (0, 1)
        assert said.startswith(f"{job}  ")
        assert "  succeeded         base  ft:base:headgate:mine:" in said
        assert await headgate("jobs", "cancel", job) == (
            1,
            "",
            f"headgate: The job {job} is succeeded; only one that has not ended can be cancelled.\n",
        )
        assert (await headgate("tune", "plain", "--data", data))[0] == 1
        for words, reason in REFUSED.items():
            code, _, said = await headgate("tune", "base", "--data", data, *words.split())
            assert (code, reason in said) == (1, True), said
        code, _, said = await headgate("tune", "base", "--data", data, "--validation", str(folder / "none"))
        assert (code, "No such file" in said) == (1, True), said
        async with httpx.AsyncClient() as http:
            files = (await http.get(f"{running.address}/v1/files?purpose=fine-tune")).json()["data"]
        assert {file["id"] for file in files} == {made["training_file"], made["validation_file"]}
