"""What ``[models.NAME]`` may say."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.config.load import load
from gateway.config.schema import Config
from gateway.config.types import ALL_TASKS
from tests.gateway.config.mistakes import DIGEST, REMOTE, Write, mistakes

REMOTE_MODEL: dict[str, Any] = {"engine": "remote", "urls": ["http://a"]}
ONNX = {"engine": "onnx", "source": "./a"}


@pytest.mark.parametrize(
    "url", ["http://a:1", "https://a", "https://a:8443/v1", "http://[::1]:1", "unix:/a.sock", "unix:///a.sock"]
)
def test_remote_addresses(write: Write, url: str) -> None:
    assert load(write(f'[models.m]\nengine = "remote"\nurls = ["{url}"]\n')).models["m"].urls == (url,)


@pytest.mark.parametrize(
    "url",
    ["", "a:1", "ftp://a", "http://", "unix:", "http://a:0x1", "http://a:99999", "https://ü.example"],
)
def test_what_is_no_remote_address(write: Write, url: str) -> None:
    (line,) = mistakes(write(f'[models.m]\nengine = "remote"\nurls = ["{url}"]\n'))
    assert line.startswith("models.toml:3: models.m.urls: ")


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("1", "models.m.source"),
        ('{ package = "a", files = { b = { path = "c", sha256 = "DIGEST" } } }', "models.m.source.package"),
        ('{ package = "a==1", files = {} }', "models.m.source.files"),
        ('{ package = "a==1", files = { b = { path = "c" } } }', "models.m.source.files.b.sha256"),
        (
            '{ package = "a==1", files = { b = { path = "../c", sha256 = "DIGEST" } } }',
            "models.m.source.files.b.path",
        ),
        ('{ package = "a==1", files = { ".b" = { path = "c", sha256 = "DIGEST" } } }', "models.m.source.files..b"),
        ('{ package = "a==1", files = { b = { path = "c", sha256 = "F0" } } }', "models.m.source.files.b.sha256"),
    ],
)
def test_a_wrong_source_is_told_by_its_own_key(write: Write, source: str, expected: str) -> None:
    lines = mistakes(write(f'[models.m]\nengine = "vllm"\nsource = {source}\n'.replace("DIGEST", DIGEST)))
    assert {line.split(": ")[1] for line in lines} == {expected}


@pytest.mark.parametrize("policy", ["least_in_flight", "round_robin"])
def test_a_policy_is_chosen_by_name(write: Write, policy: str) -> None:
    assert load(write(f'{REMOTE}policy = "{policy}"\n')).models["m"].policy == policy


def test_an_unknown_policy_is_told_with_those_that_there_are(write: Write) -> None:
    assert mistakes(write(f'{REMOTE}policy = "fastest"\n')) == [
        "models.toml:4: models.m.policy: input should be 'least_in_flight', 'round_robin', 'random', 'power_of_two' or "
        "'session' (it is 'fastest')"
    ]


def test_a_session_header_is_a_header_and_for_the_policy_that_reads_it(write: Write) -> None:
    assert mistakes(write(f'{REMOTE}session_header = "x-chat"\n')) == [
        "models.toml:1: models.m: session_header has a meaning for policy = 'session' only"
    ]
    (mistake,) = mistakes(write(f'{REMOTE}policy = "session"\nsession_header = "x chat"\n'))
    assert mistake.startswith("models.toml:5: models.m.session_header: string should match pattern")


@pytest.mark.parametrize("label", ["a,b", "", " "])
def test_a_label_that_could_not_be_listed(write: Write, label: str) -> None:
    path = write(f'[models.m]\nengine = "onnx"\nsource = "./m"\ntasks = ["classify"]\nlabels = ["{label}"]\n')
    (line,) = mistakes(path)
    assert line.startswith(f"models.toml:5: models.m.labels: {label!r} is no label: expected a name without a comma")


@pytest.mark.parametrize(
    ("model", "tasks"),
    [
        (REMOTE_MODEL, ALL_TASKS),
        (REMOTE_MODEL | {"tasks": ["embed", "score"]}, ("embed", "score")),
        ({"engine": "vllm", "source": "a/b"}, ("generate",)),
        (ONNX | {"tasks": ["classify"]}, ("classify", "pooling")),
        (ONNX | {"tasks": ["classify"], "moderation": {"hate": ["rude"]}}, ("classify", "pooling", "moderate")),
        (ONNX | {"tasks": ["moderate", "classify"], "moderation": {"x-a": ["b"]}}, ("classify", "pooling", "moderate")),
        (ONNX | {"tasks": ["embed"]}, ("embed", "pooling", "score")),
        (ONNX | {"tasks": ["score", "embed"]}, ("embed", "pooling", "score")),
        (ONNX | {"tasks": ["score"]}, ("score", "classify", "pooling")),
        (ONNX | {"tasks": ["classify", "score"]}, ("score", "classify", "pooling")),
        (ONNX | {"tasks": ["token_classify"]}, ("token_classify", "pooling")),
    ],
)
def test_what_a_model_can_do_depends_on_its_engine(model: dict[str, Any], tasks: tuple[str, ...]) -> None:
    assert Config.model_validate({"models": {"m": model}}).models["m"].tasks_here == tasks


@pytest.mark.parametrize(
    ("engine", "gpus", "has_gpu", "expected"),
    [
        ("vllm", None, True, 1),
        ("vllm", None, False, 0),
        ("vllm", 2, True, 2),
        ("vllm", 0, True, 0),
        ("onnx", None, True, 0),
    ],
)
def test_gpus_of_each_replica(engine: str, gpus: int | None, has_gpu: bool, expected: int) -> None:
    tasks = ["embed"] if engine == "onnx" else []
    given = {} if gpus is None else {"gpus": gpus}
    config = Config.model_validate({"models": {"m": {"engine": engine, "source": "a/b", "tasks": tasks, **given}}})
    assert config.models["m"].gpus_each(has_gpu=has_gpu) == expected
