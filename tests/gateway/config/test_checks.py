"""What options of a model mean together."""

from __future__ import annotations

import pytest

from tests.gateway.config.mistakes import Write, mistakes


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ('engine = "remote"', "urls is missing: name at least one address"),
        ('engine = "remote"\nurls = []', "urls is missing: name at least one address"),
        ('engine = "vllm"', "source is missing: name a folder, a hub id or a package"),
        ('engine = "vllm"\nsource = "a/b"\nurls = ["http://a"]', "urls has no meaning for engine = 'vllm'"),
        ('engine = "vllm"\nsource = "a/b"\nlabels = ["a"]', "labels has no meaning for engine = 'vllm'"),
        ('engine = "vllm"\nsource = "a/b"\nvariant = "int8"', "variant has no meaning for engine = 'vllm'"),
        ('engine = "remote"\nurls = ["http://a"]\ngpus = 1', "gpus has no meaning for engine = 'remote'"),
        ('engine = "vllm"\nsource = "a/b"\noutput = "a"', "output has no meaning for engine = 'vllm'"),
        ('engine = "onnx"\nsource = "a/b"', 'tasks must be one of ["classify"], ["embed"], ["score"] and'),
        ('engine = "onnx"\nsource = "a/b"\ntasks = ["generate"]', "tasks must be one of"),
        ('engine = "onnx"\nsource = "a/b"\ntasks = ["classify", "embed"]', "tasks must be one of"),
        ('engine = "onnx"\nsource = "a/b"\ntasks = ["classify", "moderate"]', 'tasks has "moderate", but moderation'),
        (
            'engine = "onnx"\nsource = "a/b"\ntasks = ["embed"]\nmoderation = { hate = ["rude"] }',
            "moderation needs a classifier",
        ),
        (
            'engine = "onnx"\nsource = "a/b"\ntasks = ["classify"]\nlabels = ["a"]\nmoderation = { hate = ["b"] }',
            "moderation.hate names b, not among labels",
        ),
        (
            'engine = "remote"\nurls = ["http://a"]\napi_key_env = "HEADGATE_TEST_UNSET"',
            "api_key_env names 'HEADGATE_TEST_UNSET', which is not set in the environment",
        ),
    ],
)
def test_what_does_not_fit_the_engine_is_told(write: Write, options: str, reason: str) -> None:
    (line,) = mistakes(write(f"[models.m]\n{options}\n"))
    assert line.startswith(f"models.toml:1: models.m: {reason}")


def test_all_that_does_not_fit_the_engine_is_told_at_once(write: Write) -> None:
    (line,) = mistakes(write('[models.m]\nengine = "remote"\nreplicas = 2\nsource = "a/b"\n'))
    assert line == (
        "models.toml:1: models.m: replicas has no meaning for engine = 'remote'; "
        "source has no meaning for engine = 'remote'; urls is missing: name at least one address"
    )


def test_what_does_not_fit_is_told_beside_what_is_wrong_by_itself(write: Write) -> None:
    path = write(
        '[gateway]\ntls_key = "a"\nlisen = 1\n\n'
        '[models.m]\nengine = "remote"\nurls = ["ftp://a"]\nreplicas = 3\napi_key_env = "NOT_SET_ANYWHERE"\n\n'
        '[models.o]\nengine = "onnx"\nsource = "./o"\npolcy = "x"\ntasks = 3\n'
    )
    told = mistakes(path)
    assert [line.partition(": ")[2].split(":")[0] for line in told] == [
        "gateway.lisen",
        "models.m.urls",
        "models.o.tasks",
        "models.o.polcy",
        "gateway",
        "models.m",
    ]
    assert told[-1] == (
        "models.toml:5: models.m: replicas has no meaning for engine = 'remote'; "
        "api_key_env names 'NOT_SET_ANYWHERE', which is not set in the environment"
    )
