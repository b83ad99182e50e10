"""The jobs learn from examples that can be learnt, with the default embedder."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import msgspec
import pytest

from gateway.config.load import load
from gateway.config.models import OnnxModel
from loadtest.bench.faults.tuning_job import BASE, EXAMPLES, configuration, json_of
from loadtest.http_client import HttpClient, HttpError
from loadtest.simulator import Faults, SimulatedEngine


def test_the_models_are_those_that_are_named_and_all_is_kept_in_one_folder(tmp_path: Path) -> None:
    (tmp_path / "models.toml").write_text(configuration(tmp_path, BASE))
    config = load(tmp_path / "models.toml")
    assert list(config.models) == [BASE]
    model = config.models[BASE]
    assert isinstance(model, OnnxModel)
    assert model.tuning is not None
    assert (config.gateway.tuning.folder, config.gateway.files.folder) == (tmp_path / "tuning", tmp_path / "files")


def test_each_label_has_as_many_examples_and_no_text_comes_twice() -> None:
    examples = [msgspec.json.decode(line) for line in EXAMPLES.splitlines()]
    assert Counter(each["label"] for each in examples) == {"card": 40, "transfer": 40, "cash": 40}
    assert len({each["text"] for each in examples}) == len(examples)


async def test_what_is_no_success_is_said() -> None:
    async with SimulatedEngine("m") as engine, HttpClient(engine.address) as client:
        assert (await json_of(client.get("/v1/models")))["data"][0]["id"] == "m"
        engine.faults = Faults(unhealthy=True)
        with pytest.raises(HttpError, match="status 503"):
            await json_of(client.get("/health"))
