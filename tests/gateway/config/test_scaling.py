"""What ``[models.NAME.scaling]`` may say."""

from __future__ import annotations

import pytest

from gateway.config.load import load
from gateway.config.models import VllmModel
from tests.gateway.config.mistakes import Write, mistakes

MODEL = '[models.m]\nengine = "vllm"\nsource = "a/b"\n'


def test_bounds_and_defaults(write: Write) -> None:
    model = load(write(f"{MODEL}scaling = {{ min = 0, max = 3 }}\n")).models["m"]
    assert isinstance(model, VllmModel)
    assert model.scaling is not None
    assert (model.scaling.target, model.scaling.idle, model.scaling.keep) == (8.0, 300.0, None)
    assert (model.replicas_at_first, model.replicas_at_most, model.from_zero) == (0, 3, True)
    assert model.policy_here == "prefix"


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("{ min = 3, max = 2 }", "models.m.scaling.min: is 3, more than max = 2"),
        ("{ min = 0, max = 0 }", "models.m.scaling.max: "),
        ("{ max = 2, target = 0 }", "models.m.scaling.target: "),
        ("{ min = 1 }", "models.m.scaling.max: "),
        ("{ max = 2, idle = 5 }", "models.m.scaling.idle: has a meaning for min = 0 only"),
        ("{ max = 2, sleep_level = 3 }", "models.m.scaling.sleep_level: "),
        ("{ max = 1, sleep_level = 1 }", "models.m.scaling.sleep_level: has no effect with min = max = 1"),
        ("{ max = 2, goal = 5 }", "models.m.scaling.goal: "),
    ],
)
def test_what_is_wrong_is_named(write: Write, table: str, said: str) -> None:
    (line,) = mistakes(write(f"{MODEL}scaling = {table}\n"))
    assert said in line


def test_a_number_of_replicas_is_given_once(write: Write) -> None:
    (line,) = mistakes(write(f"{MODEL}replicas = 2\nscaling = {{ max = 3 }}\n"))
    assert "models.m.replicas: is given beside the table 'scaling'" in line


def test_requests_must_be_able_to_wait_for_a_model_at_zero(write: Write) -> None:
    (line,) = mistakes(write(f"{MODEL}hold = 0\nscaling = {{ min = 0, max = 3 }}\n"))
    assert "hold: is 0, but with scaling.min = 0" in line


def test_what_runs_elsewhere_is_not_scaled_here(write: Write) -> None:
    (line,) = mistakes(write('[models.m]\nengine = "remote"\nurls = ["http://a"]\nscaling = { max = 2 }\n'))
    assert 'is an option of engine = "vllm" or "onnx"' in line


def test_replicas_sleep_at_one_of_two_levels(write: Write) -> None:
    model = load(write(f"{MODEL}scaling = {{ max = 2, sleep_level = 2 }}\n")).models["m"]
    assert isinstance(model, VllmModel)
    assert model.scaling is not None
    assert model.scaling.sleep_level == 2


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ('engine = "onnx"\ntasks = ["embed"]', "is for engine = 'vllm', not 'onnx', whose servers cannot sleep"),
        ('engine = "vllm"\nplacement = "ray"', "is for replicas on this machine, not for placement = 'ray'"),
        ('engine = "vllm"\ngpus = 0', "needs GPUs, but gpus is 0: on the CPU vLLM cannot sleep; leave it out"),
    ],
)
def test_what_cannot_sleep_is_named(write: Write, model: str, said: str) -> None:
    ray = '[gateway.ray]\naddress = "http://127.0.0.1:8265"\n' if "ray" in model else ""
    sleeps = "scaling = { max = 2, sleep_level = 1 }"
    (line,) = mistakes(write(f'{ray}[models.m]\n{model}\nsource = "./b"\n{sleeps}\n'))
    assert f"models.m.scaling.sleep_level: {said}" in line
