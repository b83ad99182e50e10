"""What ``[models.NAME]`` may say."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.config.load import load
from gateway.config.models import OnnxModel, RemoteModel, VllmModel
from gateway.config.schema import Config
from gateway.config.types import ALL_TASKS
from tests.gateway.config.mistakes import REMOTE, Write, mistakes

REMOTE_MODEL: dict[str, Any] = {"engine": "remote", "urls": ["http://a"]}
ONNX = {"engine": "onnx", "source": "./a"}


@pytest.mark.parametrize("url", ["http://a:1", "https://a", "https://a:8443/v1", "http://[::1]:1", "unix:/a.sock"])
def test_remote_addresses(write: Write, url: str) -> None:
    model = load(write(f'[models.m]\nengine = "remote"\nurls = ["{url}"]\n')).models["m"]
    assert isinstance(model, RemoteModel)
    assert model.urls == (url,)


@pytest.mark.parametrize(
    "url",
    ["", "a:1", "ftp://a", "http://", "unix:", "http://a:0x1", "http://a:99999", "https://ü.example"],
)
def test_what_is_no_remote_address(write: Write, url: str) -> None:
    (line,) = mistakes(write(f'[models.m]\nengine = "remote"\nurls = ["{url}"]\n'))
    assert line.startswith("models.toml:3: models.m.urls.0: ")


@pytest.mark.parametrize("policy", ["least_in_flight", "round_robin"])
def test_a_policy_is_chosen_by_name(write: Write, policy: str) -> None:
    assert load(write(f'{REMOTE}policy = "{policy}"\n')).models["m"].policy == policy


def test_an_unknown_policy_is_told_with_those_that_there_are(write: Write) -> None:
    assert mistakes(write(f'{REMOTE}policy = "fastest"\n')) == [
        "models.toml:4: models.m.policy: input should be 'least_in_flight', 'least_tokens', 'prefix', 'round_robin', "
        "'random', 'power_of_two' or 'session' (it is 'fastest')"
    ]


@pytest.mark.parametrize(
    ("model", "policy"),
    [
        ({"engine": "vllm", "source": "a/b", "replicas": 2}, "prefix"),
        ({"engine": "vllm", "source": "a/b"}, "least_in_flight"),
        ({"engine": "vllm", "source": "a/b", "replicas": 2, "tasks": ["embed"]}, "least_in_flight"),
        ({"engine": "vllm", "source": "a/b", "replicas": 2, "policy": "random"}, "random"),
        ({"engine": "remote", "urls": ["http://a", "http://b"], "tasks": ["generate"]}, "prefix"),
        ({"engine": "remote", "urls": ["http://a", "http://b"]}, "least_in_flight"),
        ({"engine": "remote", "urls": ["http://a"], "tasks": ["generate"]}, "least_in_flight"),
        ({"engine": "remote", "urls": ["http://a"], "policy": "prefix"}, "prefix"),
        ({"engine": "onnx", "source": "./a", "replicas": 2, "tasks": ["classify"]}, "least_in_flight"),
    ],
)
def test_what_generates_at_two_replicas_or_more_is_routed_by_prefix_unless_it_says_otherwise(
    model: dict[str, Any], policy: str
) -> None:
    assert Config.model_validate({"models": {"m": model}}).models["m"].policy_here == policy


def test_the_size_of_the_prefix_cache_is_for_the_policy_that_reads_it(write: Write) -> None:
    assert load(write(f"{REMOTE}prefix_cache_tokens = 1000\n")).models["m"].prefix_cache_tokens == 1000
    assert mistakes(write(f'{REMOTE}policy = "random"\nprefix_cache_tokens = 1000\n')) == [
        "models.toml:5: models.m.prefix_cache_tokens: has a meaning for policy = 'prefix' only"
    ]
    (mistake,) = mistakes(write(f"{REMOTE}prefix_cache_tokens = 0\n"))
    assert mistake.startswith("models.toml:4: models.m.prefix_cache_tokens: input should be greater than 0")


def test_a_session_header_is_a_header_and_for_the_policy_that_reads_it(write: Write) -> None:
    assert mistakes(write(f'{REMOTE}session_header = "x-chat"\n')) == [
        "models.toml:4: models.m.session_header: has a meaning for policy = 'session' only"
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
        (ONNX | {"tasks": ["embed"]}, ("embed", "pooling", "score", "suggest")),
        (ONNX | {"tasks": ["score", "embed"]}, ("embed", "pooling", "score", "suggest")),
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
    config = Config.model_validate({"models": {"m": {"engine": engine, "source": "/b", "tasks": tasks, **given}}})
    model = config.models["m"]
    assert model.engine != "remote"
    assert model.gpus_each(has_gpu=has_gpu) == expected


@pytest.mark.parametrize(
    ("model", "kind"),
    [
        ({"engine": "vllm", "source": "a/b"}, VllmModel),
        (ONNX | {"tasks": ["embed"]}, OnnxModel),
        (REMOTE_MODEL, RemoteModel),
    ],
)
def test_the_engine_says_what_a_model_is(model: dict[str, Any], kind: type) -> None:
    assert type(Config.model_validate({"models": {"m": model}}).models["m"]) is kind


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ('engine = "vllm"\nsource = "a/b"\nurls = ["http://a"]', '4: models.m.urls: is an option of engine = "remote"'),
        (
            'engine = "vllm"\nsource = "a/b"\nlabels = ["a"]',
            '4: models.m.labels: is an option of engine = "onnx", not of "vllm"',
        ),
        (
            'engine = "remote"\nurls = ["http://a"]\ngpus = 1',
            '4: models.m.gpus: is an option of engine = "vllm" or "onnx", not of "remote"',
        ),
        (
            'engine = "vllm"\nsource = "a/b"\nlabel = ["a"]',
            "4: models.m.label: is not an option; did you mean 'labels'",
        ),
        ('engine = "remote"', "1: models.m.urls: is missing; expected: one address per replica: `http://`"),
        ('engine = "remote"\nurls = []', "3: models.m.urls: expected at least one address"),
        ('engine = "vllm"', "1: models.m.source: is missing; expected: where the files are: a folder, a hub id"),
        ('engine = "tgi"', "2: models.m.engine: input should be 'vllm', 'onnx' or 'remote' (it is 'tgi')"),
        ("required = false", "1: models.m.engine: is missing; expected: what answers: `vllm` and `onnx` are started"),
        (
            'engine = "vllm"\nsource = "a/b"\nargs = { x = {} }',
            "4: models.m.args.x: expected text, a number, a boolean",
        ),
    ],
)
def test_what_does_not_fit_the_engine_is_told(write: Write, options: str, told: str) -> None:
    (line,) = mistakes(write(f"[models.m]\n{options}\n"))
    assert line.startswith(f"models.toml:{told}")


def test_an_unknown_engine_hides_no_other_mistake_and_makes_none_up(write: Write) -> None:
    path = write('[models.m]\nengine = "tgi"\nurls = ["http://a"]\nlabels = []\npolcy = "x"\nmax_queue = -1\n')
    assert [line.split(": ")[1] for line in mistakes(path)] == [
        "models.m.engine",
        "models.m.max_queue",
        "models.m.polcy",
    ]


@pytest.mark.parametrize("name", ["vllm", "onnx", "remote", "text", "limits"])
def test_a_model_may_be_called_like_anything_in_the_file(write: Write, name: str) -> None:
    path = write(f'[models.{name}]\nengine = "remote"\nurls = ["http://a"]\nrequired = 3\n')
    assert mistakes(path) == [f"models.toml:4: models.{name}.required: input should be a valid boolean (it is 3)"]


@pytest.mark.parametrize("model", ["3", "[]"])
def test_what_is_no_table_is_no_model(write: Write, model: str) -> None:
    assert mistakes(write(f"[models]\nm = {model}\n")) == ["models.toml:2: models.m: expected a table"]


def test_environment_variables_of_an_engine_are_not_shown(write: Write) -> None:
    (line,) = mistakes(write('[models.m]\nengine = "vllm"\nsource = "a/b"\nenv = { TOKEN = 12345 }\n'))
    assert line == "models.toml:4: models.m.env.TOKEN: input should be a valid string"


def test_a_key_comes_from_the_environment_when_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UPSTREAM_KEY", " sk-hush\n")
    config = Config.model_validate({"models": {"m": REMOTE_MODEL | {"api_key_env": "UPSTREAM_KEY"}, "n": REMOTE_MODEL}})
    keyed, open_to_all = config.models["m"], config.models["n"]
    assert isinstance(keyed, RemoteModel)
    assert isinstance(open_to_all, RemoteModel)
    assert (keyed.api_key, open_to_all.api_key) == ("sk-hush", None)
    assert "hush" not in config.model_dump_json()
