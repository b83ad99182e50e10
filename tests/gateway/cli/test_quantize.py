"""``headgate quantize`` works on the models of a configuration, and ends with its process."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from gateway.cli.main import main
from tests.engines.onnx.quantize.encoder import write_encoder
from tests.engines.onnx.tiny import WORDS
from tests.gateway.cli.processes import REMOTE, headgate, running, says

pytestmark = pytest.mark.slow

GUARD = """\
[models.guard]
engine = "onnx"
source = "./guard"
tasks = ["classify"]
variant = "int8"
labels = ["fine", "nasty"]
max_length = 9
"""


def test_quantize_takes_only_the_onnx_models_of_the_configuration(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "models.toml"
    config.write_text(REMOTE.format(url="http://127.0.0.1:1"))
    assert main(["quantize", "m", "--config", str(config), "--data", "a.csv"]) == 2
    assert capsys.readouterr().err == f"headgate: {config} has no ONNX model 'm'; it has no ONNX models\n"


def test_a_model_without_a_measure_of_its_answers_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "models.toml"
    config.write_text('[models.ranker]\nengine = "onnx"\nsource = "./ranker"\ntasks = ["score"]\n')
    assert main(["quantize", "ranker", "--config", str(config), "--data", "a.csv"]) == 2
    assert capsys.readouterr().err == "headgate: ranker has the task score; expected classify or embed\n"


def test_quantize_does_what_the_configuration_says(tmp_path: Path) -> None:
    (tmp_path / "guard").mkdir()
    (tmp_path / "models.toml").write_text(GUARD)
    done = headgate("quantize", "guard", "--data", "absent.csv", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: guard: absent.csv: cannot be read: ")


async def test_sigterm_ends_the_work_and_leaves_nothing_unfinished(tmp_path: Path) -> None:
    (tmp_path / "guard").mkdir()
    folder = write_encoder(tmp_path / "guard")
    (tmp_path / "models.toml").write_text(GUARD)
    (tmp_path / "data.csv").write_text("text\n" + "".join(f"good {word}\n" for word in WORDS[4:]))
    # Nobody reads it, so that the work stops there.
    os.mkfifo(tmp_path / "card.json")
    command = "gateway quantize guard --data data.csv --variants per-token --card card"
    async with running(*command.split(), cwd=tmp_path) as process:
        await says(process, "per-token: .* wanted")
        assert [file.name for file in folder.glob(".quantizing-*")] != []
        process.terminate()
        assert await process.wait() == 128 + signal.SIGTERM
        # The work was this process: what had its standard output has let go of it.
        assert process.stdout is not None
        assert await process.stdout.read() == b""
    assert {file.name for file in folder.iterdir()} == {"model.onnx", "tokenizer.json"}
