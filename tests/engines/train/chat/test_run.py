"""A chat model's job makes an adapter that vLLM can load and that changes what the model says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.engines.train.tiny_models import events, needed, reviews, write_chat_model, write_job

torch = needed()

from engines.files.adapters import check_fit, read_adapter  # noqa: E402
from engines.train.__main__ import main  # noqa: E402
from engines.train.chat.run import held_back  # noqa: E402
from engines.train.examples import Chat, ChatData, Message  # noqa: E402

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_chat_model(tmp_path_factory.mktemp("models") / "chat")


def chats(count: int) -> list[Any]:
    return [
        {"messages": [{"role": "user", "content": each["text"]}, {"role": "assistant", "content": each["label"]}]}
        for each in reviews(count)
    ]


def job(folder: Path, base: Path, **fields: Any) -> Path:
    given = {"kind": "lora", "method": "lora", "hyperparameters": {"n_epochs": 12, "learning_rate_multiplier": 20.0}}
    return write_job(folder, base, chats(60), **given | fields)


def test_an_adapter_is_saved_that_fits_its_base_and_answers_better(tmp_path: Path, base: Path) -> None:
    folder = job(tmp_path / "job", base)
    assert main([str(folder)]) == 0
    adapter = folder / "result" / "adapter"
    read = read_adapter(adapter)
    check_fit(read, base)
    assert read.rank == 8
    assert len(read.modules) == 7
    assert json.loads((adapter / "adapter_config.json").read_text())["base_model_name_or_path"] == "tiny"
    metrics = events(folder, "metrics")
    assert metrics[-1]["valid_loss"] < 0.7 * metrics[0]["train_loss"]
    assert {"card.md", "loss.svg", "metrics.csv"} <= {path.name for path in (folder / "result").iterdir()}
    assert events(folder, "resolved")[0]["hyperparameters"]["batch_size"] == 8


def test_an_adapter_that_changes_nothing_is_a_failure(tmp_path: Path, base: Path) -> None:
    folder = job(tmp_path / "job", base, hyperparameters={"n_epochs": 1, "learning_rate_multiplier": 1e-9})
    assert main([str(folder)]) == 3
    error = json.loads((folder / "error.json").read_text())
    assert error["code"] == "adapter_without_effect"
    assert not (folder / "result").exists()


def test_texts_with_labels_train_no_chat_model(tmp_path: Path, base: Path) -> None:
    folder = write_job(tmp_path / "job", base, reviews(20), kind="lora", method="lora")
    assert main([str(folder)]) == 3
    assert 'expected {"messages": […]}' in json.loads((folder / "error.json").read_text())["message"]


def test_a_tenth_is_held_back_unless_there_is_a_file() -> None:
    given: list[Chat] = [(Message("assistant", str(n), True),) for n in range(40)]
    data = held_back(ChatData(given, []), 1)
    assert (len(data.training), len(data.validation)) == (36, 4)
    assert not set(data.training) & set(data.validation)
    assert held_back(ChatData(given, given[:1]), 1) == ChatData(given, given[:1])
