"""What options of a model mean together, and to the environment."""

from __future__ import annotations

import re

import pytest
from pydantic import ValidationError

from gateway.config.checks import is_visible_ascii, key_in_environment
from gateway.config.models import RemoteModel
from tests.gateway.config.mistakes import Write, mistakes

CLASSIFIER = 'engine = "onnx"\nsource = "./a"\ntasks = ["classify"]\n'


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ('engine = "onnx"\nsource = "./b"', '1: models.m.tasks: must be one of ["classify"], ["embed"], ["score"] and'),
        ('engine = "onnx"\nsource = "./b"\ntasks = ["generate"]', "4: models.m.tasks: must be one of"),
        ('engine = "onnx"\nsource = "./b"\ntasks = ["classify", "embed"]', "4: models.m.tasks: must be one of"),
        (
            'engine = "onnx"\nsource = "./b"\ntasks = ["classify", "moderate"]',
            '4: models.m.tasks: has "moderate", but moderation does not say which labels fill which categories',
        ),
        (
            'engine = "onnx"\nsource = "./b"\ntasks = ["embed"]\nmoderation = { hate = ["rude"] }',
            '5: models.m.moderation: needs a classifier: tasks = ["classify"]',
        ),
        (
            CLASSIFIER + 'labels = ["a"]\nmoderation = { hate = ["b"] }',
            "6: models.m.moderation.hate: names b, not among labels",
        ),
        (CLASSIFIER + "labels = 3\nmoderation = 4", "5: models.m.labels: expected a list"),
    ],
)
def test_options_of_an_onnx_model_fit_together(write: Write, options: str, told: str) -> None:
    assert mistakes(write(f"[models.m]\n{options}\n"))[0].startswith(f"models.toml:{told}")


def test_what_does_not_fit_is_told_beside_what_is_wrong_by_itself(write: Write) -> None:
    path = write(
        '[gateway]\ntls_key = "a"\nlisen = 1\n\n'
        '[models.m]\nengine = "remote"\nurls = ["ftp://a"]\nreplicas = 3\napi_key_env = "NOT_SET_ANYWHERE"\n\n'
        '[models.o]\nengine = "onnx"\nsource = "./o"\npolcy = "x"\ntasks = ["generate"]\nmax_queue = -1\n'
    )
    assert [":".join(line.split(":")[1:3]) for line in mistakes(path)] == [
        "3: gateway.lisen",
        "1: gateway",
        "7: models.m.urls.0",
        "9: models.m.api_key_env",
        "8: models.m.replicas",
        "16: models.o.max_queue",
        "14: models.o.polcy",
        "15: models.o.tasks",
    ]


@pytest.mark.parametrize(
    ("weights", "reason"),
    [
        ({"http://b": 1}, "its address no. 1 is not among urls, written as there"),
        ({"http://a": 0}, "are all 0, so that nothing would be asked; give one address more, or remove it"),
        ({"http://a": -1}, "greater than or equal to 0"),
    ],
)
def test_a_weight_is_for_an_address_and_one_at_least_is_asked(weights: dict[str, float], reason: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(reason)):
        RemoteModel.model_validate({"engine": "remote", "urls": ["http://a"], "weights": weights})


def test_a_key_is_taken_without_the_white_space_around_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UPSTREAM_KEY", " sk-secret\r\n")
    assert key_in_environment("UPSTREAM_KEY") == "sk-secret"


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "names 'UPSTREAM_KEY', which is not set in the environment, or empty"),
        (" \n", "names 'UPSTREAM_KEY', which is not set in the environment, or empty"),
        ("sk-\u00e9", "expected visible ASCII"),
        ("sk-a\r\nx-admin: 1", "expected visible ASCII"),
        ("sk a", "expected visible ASCII"),
        ("sk-\x7f", "expected visible ASCII"),
    ],
    ids=repr,
)
def test_a_key_that_could_not_be_sent_is_told_and_not_shown(
    write: Write, monkeypatch: pytest.MonkeyPatch, value: str | None, reason: str
) -> None:
    if value is None:
        monkeypatch.delenv("UPSTREAM_KEY", raising=False)
    else:
        monkeypatch.setenv("UPSTREAM_KEY", value)
    path = write('[models.m]\nengine = "remote"\nurls = ["http://a"]\napi_key_env = "UPSTREAM_KEY"\n')
    (line,) = mistakes(path)
    assert line.startswith("models.toml:4: models.m.api_key_env: ")
    assert reason in line
    assert "sk" not in line


def test_a_key_in_the_place_of_the_variables_name_is_not_shown(write: Write) -> None:
    (line,) = mistakes(write('[models.m]\nengine = "remote"\nurls = ["http://a"]\napi_key_env = "sk-12345"\n'))
    assert line == (
        "models.toml:4: models.m.api_key_env: expected the name of an environment variable, which holds the key"
    )


@pytest.mark.parametrize(
    ("text", "visible"), [("a~!", True), ("", False), ("a b", False), ("a\n", False), ("é", False)]
)
def test_what_a_header_line_may_hold(text: str, *, visible: bool) -> None:
    assert is_visible_ascii(text) is visible
