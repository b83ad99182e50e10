"""The ONNX engine is started as our own server, on files that need no conversion."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from engines.errors import ContentError, SourceError
from engines.files.int8_variant import digest
from engines.launchers.onnx import OnnxRuntime
from engines.onnx.command_line import KEY_VARIABLE
from engines.onnx.options import OnnxOptions
from engines.spec import EngineSpec, FolderSource, HubSource, Port

FOLDER, SOCKET = Path("/models/guard"), Path("/run/guard-0.sock")
WORDS = "-m engines.onnx --model-name guard --folder /models/guard --uds /run/guard-0.sock --task classify"
COMMAND = (sys.executable, *WORDS.split())


def spec(**changes: object) -> EngineSpec:
    known: dict[str, object] = {"model": "guard", "engine": "onnx", "source": FolderSource(FOLDER)}
    return EngineSpec(**known | {"tasks": ("classify",)} | changes)  # type: ignore[arg-type]


def test_the_command_names_the_model_its_files_its_task_and_its_socket() -> None:
    launch = OnnxRuntime().launch(spec(), FOLDER, (), SOCKET)
    assert launch.command == COMMAND
    assert launch.ready_path == "/health"


def test_at_a_port_it_answers_only_who_knows_the_key_which_is_on_no_command_line() -> None:
    launch = OnnxRuntime().launch(spec(), FOLDER, (), Port(20_001, "s3cret"))
    assert "--host 0.0.0.0 --port 20001" in " ".join(launch.command)
    assert "--uds" not in launch.command
    assert "s3cret" not in " ".join(launch.command)
    assert launch.environment[KEY_VARIABLE] == "s3cret"


def test_the_models_options_follow_and_then_those_of_the_engine() -> None:
    options = OnnxOptions(labels=("benign", "injection"), max_length=256, moderation={"hate": ["injection"]})
    launch = OnnxRuntime().launch(spec(onnx=options, args={"threads": 2}), FOLDER, (), SOCKET)
    told = ("--labels=benign,injection", "--max-length=256", "--moderate=hate=injection")
    assert launch.command == (*COMMAND, *told, "--threads", "2")


def test_each_replica_sees_its_own_gpus_and_no_others() -> None:
    assert OnnxRuntime().launch(spec(), FOLDER, ("0", "1"), SOCKET).environment == {"CUDA_VISIBLE_DEVICES": "0,1"}
    assert OnnxRuntime().launch(spec(), FOLDER, (), SOCKET).environment == {"CUDA_VISIBLE_DEVICES": ""}


def test_a_replica_with_a_gpu_runs_on_it() -> None:
    assert OnnxRuntime().launch(spec(), FOLDER, ("3",), SOCKET).command == (*COMMAND, "--gpu")


def test_the_operators_environment_wins() -> None:
    launch = OnnxRuntime().launch(spec(env={"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "7"}), FOLDER, (), SOCKET)
    assert launch.environment == {"CUDA_VISIBLE_DEVICES": "7", "OMP_NUM_THREADS": "1"}


def test_a_hub_is_refused_with_what_to_name_instead(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"'org/guard' is no folder here.*name a folder with model\.onnx"):
        OnnxRuntime().prepare(spec(source=HubSource("org/guard")), tmp_path, print)


def test_its_files_are_used_where_they_are(tmp_path: Path) -> None:
    here = EngineSpec("guard", "onnx", FolderSource(tmp_path))
    assert OnnxRuntime().prepare(here, tmp_path / "cache", print) == tmp_path
    gone = EngineSpec("guard", "onnx", FolderSource(tmp_path / "gone"))
    with pytest.raises(SourceError, match="gone does not exist"):
        OnnxRuntime().prepare(gone, tmp_path / "cache", print)


def test_a_variant_is_the_folder_that_was_promoted(tmp_path: Path) -> None:
    (tmp_path / "int8").mkdir()
    (tmp_path / "model.onnx").write_bytes(b"large")
    (tmp_path / "int8" / "model.onnx").write_bytes(b"small")
    card = {"source": digest(tmp_path), "graph": digest(tmp_path / "int8")}
    (tmp_path / "int8" / "card.json").write_text(json.dumps(card))
    wanted = spec(source=FolderSource(tmp_path), onnx=OnnxOptions(variant="int8"))
    assert OnnxRuntime().prepare(wanted, tmp_path / "cache", print) == tmp_path / "int8"


def test_a_variant_that_was_not_promoted_is_refused_with_the_command(tmp_path: Path) -> None:
    wanted = spec(source=FolderSource(tmp_path), onnx=OnnxOptions(variant="int8"))
    with pytest.raises(ContentError, match=r"no promoted int8 variant .* headgate quantize guard --data FILE"):
        OnnxRuntime().prepare(wanted, tmp_path / "cache", print)
