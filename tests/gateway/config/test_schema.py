"""A configuration as values: never changed, never at odds with itself."""

from __future__ import annotations

import re
from datetime import date
from typing import Any

import pytest
from pydantic import ValidationError

from gateway.config.schema import Config

REMOTE: dict[str, Any] = {"engine": "remote", "urls": ["http://a"]}


def test_a_configuration_never_changes() -> None:
    config = Config.model_validate({"models": {"m": REMOTE}})
    with pytest.raises(ValidationError, match="frozen"):
        config.gateway.listen = "0.0.0.0:1"  # type: ignore[misc]
    with pytest.raises(TypeError, match="does not support item assignment"):
        config.models["n"] = config.models["m"]  # type: ignore[index]


def test_clashes_are_found_in_a_configuration_that_was_not_read_from_a_file() -> None:
    model = REMOTE | {"aliases": ["n"]}
    with pytest.raises(ValidationError, match=r"models\.m\.aliases\n  'n' already names 'n'"):
        Config.model_validate({"models": {"m": model, "n": model | {"aliases": []}}})


def test_a_configuration_survives_the_way_to_another_process() -> None:
    key = {"id": "alice", "sha256": "0" * 64, "group": "team", "limits": {"requests_per_minute": 3}}
    group = {"expires": date(2030, 1, 1), "endpoints": ["/v1/embeddings"], "priority": -1}
    package = {"package": "a==1", "files": {"model.onnx": {"path": "a/b", "sha256": "1" * 64}}}
    onnx = {"engine": "onnx", "tasks": ["embed"], "source": package, "golden": {"text": "a", "answer": [0.5]}}
    vllm = {"engine": "vllm", "source": "./a", "max_queue": 3, "limits": {"max_in_flight": 2}, "args": {"x": ["y"]}}
    config = Config.model_validate(
        {
            "gateway": {"keys": [key], "groups": {"team": group}, "cache": "/c", "limits": {"max_n": 3}},
            "models": {"m": REMOTE, "n": onnx, "v": vllm},
        }
    )
    assert Config.model_validate_json(config.model_dump_json(exclude_unset=True)) == config


def test_models_and_keys_that_are_checked_already_are_checked_against_each_other() -> None:
    config = Config.model_validate({"models": {"m": REMOTE, "n": REMOTE}})
    keyed = config.gateway.model_validate({"keys": [{"id": "a", "sha256": "0" * 64, "models": ["absent"]}]})
    alias = type(config.models["m"]).model_validate(REMOTE | {"aliases": ["n"]})
    with pytest.raises(ValidationError) as caught:
        Config.model_validate({"gateway": keyed, "models": {"m": alias, "n": config.models["n"]}})
    assert [error["loc"] for error in caught.value.errors()] == [("models", "m", "aliases"), ("gateway", "keys")]


@pytest.mark.parametrize(
    ("key", "group", "reason"),
    [
        ({"group": "taem"}, {}, "the key 'a' names the group 'taem', which is not there"),
        ({"models": ["m"]}, {"models": ["n"]}, "the key 'a' names models that its group 'team' may not use: m"),
        (
            {"endpoints": ["/classify", "/score"]},
            {"endpoints": ["/score"]},
            "the key 'a' names endpoints that its group 'team' may not use: /classify",
        ),
        ({}, {"models": ["absent"]}, "names unknown models: absent"),
    ],
)
def test_a_key_is_in_a_group_that_is_there_and_only_narrows_it(
    key: dict[str, Any], group: dict[str, Any], reason: str
) -> None:
    keys = [{"id": "a", "sha256": "0" * 64, "group": "team"} | key]
    given = {"gateway": {"keys": keys, "groups": {"team": group}}, "models": {"m": REMOTE, "n": REMOTE}}
    with pytest.raises(ValidationError, match=re.escape(reason)):
        Config.model_validate(given)


@pytest.mark.parametrize(
    ("guard", "reason"),
    [("nobody", "there is no model 'nobody'"), ("n", "'n' cannot do `classify`; name a classifier")],
)
def test_a_guard_is_a_classifier_of_the_file(guard: str, reason: str) -> None:
    models = {"m": REMOTE | {"guard": {"model": guard, "block": ["bad"]}}, "n": REMOTE | {"tasks": ["generate"]}}
    with pytest.raises(ValidationError, match=re.escape(reason)):
        Config.model_validate({"models": models})


@pytest.mark.parametrize(
    ("fallback", "reason"),
    [
        ("m", "a model cannot take its own place; name another"),
        ("nobody", "there is no table [models.nobody], a fallback's name"),
        ("also-n", "there is no table [models.also-n], a fallback's name: an alias or an adapter is none"),
    ],
)
def test_a_fallback_is_another_model_of_the_file(fallback: str, reason: str) -> None:
    model = {"engine": "remote", "urls": ["http://a"]}
    other = model | {"fallback": ["m"], "aliases": ["also-n"]}
    with pytest.raises(ValidationError, match=re.escape(reason)):
        Config.model_validate({"models": {"m": model | {"fallback": [fallback]}, "n": other}})


def test_a_guard_that_can_do_everything_is_one() -> None:
    config = Config.model_validate({"models": {"m": REMOTE | {"guard": {"model": "n", "block": ["b"]}}, "n": REMOTE}})
    assert config.models["m"].guard is not None


@pytest.mark.parametrize(
    ("own", "gateway", "mistake"),
    [
        ({"first_byte": 9.0, "total": 5.0}, {}, "m.timeouts.first_byte: is longer .* total = 5 s"),
        ({"between_bytes": 9.0}, {"total": 5.0}, "m.timeouts.between_bytes: is longer .* total = 5 s"),
        ({"connect": 4000}, {}, "m.timeouts.connect: is longer .* total = 3600 s"),
        ({}, {"first_byte": 3601.0}, "gateway.timeouts.first_byte: is longer .* total = 3600 s"),
        ({"total": 0}, {}, "m.timeouts.total: input should be greater than 0"),
        ({"first_byte": -1.0}, {}, "m.timeouts.first_byte: input should be greater than 0"),
        ({"between_bytes": "9"}, {}, "m.timeouts.between_bytes: input should be a valid number"),
        ({"first_bite": 1.0}, {}, "m.timeouts.first_bite: .* did you mean 'first_byte'"),
    ],
)
def test_a_timeout_that_cannot_pass_is_named(own: dict[str, Any], gateway: dict[str, Any], mistake: str) -> None:
    model = {"engine": "remote", "urls": ["http://h:1"], "timeouts": own}
    with pytest.raises(ValidationError) as caught:
        Config.model_validate({"gateway": {"timeouts": gateway}, "models": {"m": model}})
    told = [f"{'.'.join(map(str, error['loc']))}: {error['msg']}" for error in caught.value.errors()]
    assert len(told) == 1
    assert re.search(mistake, told[0])


def test_a_total_below_what_the_gateway_allows_an_engine_is_fine() -> None:
    model = {"engine": "remote", "urls": ["http://h:1"], "timeouts": {"total": 5.0}}
    config = Config.model_validate({"gateway": {"timeouts": {"first_byte": 60.0}}, "models": {"m": model}})
    assert config.models["m"].timeouts.total == 5.0


@pytest.mark.parametrize("name", ["m", "alias", "n", "twice"])
def test_an_adapter_has_a_name_of_its_own(name: str) -> None:
    models = {
        "m": REMOTE | {"adapters": {name: "/a"}, "aliases": ["alias"]},
        "n": REMOTE | {"adapters": {"twice": "/b"} if name == "twice" else {}},
    }
    with pytest.raises(ValidationError, match=f"'{name}' already names"):
        Config.model_validate({"models": models})


def test_keys_and_groups_may_name_adapters() -> None:
    key = {"id": "k", "sha256": "0" * 64, "models": ["sql"], "group": "g"}
    given = {"gateway": {"keys": [key], "groups": {"g": {"models": ["sql", "m"]}}}}
    models = {"m": REMOTE | {"adapters": {"sql": "/a"}}}
    config = Config.model_validate(given | {"models": models})
    assert config.gateway.keys[0].models == ("sql",)


def test_an_engine_that_takes_no_adapters_says_so() -> None:
    with pytest.raises(ValidationError, match=r'is an option of engine = "vllm" or "remote", not of "onnx"'):
        Config.model_validate({"models": {"m": {"engine": "onnx", "source": "/m", "adapters": {"sql": "/a"}}}})


@pytest.mark.parametrize(
    ("canary", "reason"),
    [
        ("m", "a model cannot be its own canary; name another"),
        ("nobody", "there is no model 'nobody'"),
        ("chained", "'chained' has a canary itself; name one that has none"),
        ("classifier", "'classifier' cannot do `generate`"),
    ],
)
def test_a_canary_is_another_model_that_can_do_the_same(canary: str, reason: str) -> None:
    models = {
        "m": REMOTE | {"tasks": ["generate"], "canary": {"model": canary, "weight": 5}},
        "chained": REMOTE | {"canary": {"model": "new", "weight": 5}},
        "classifier": REMOTE | {"tasks": ["classify"]},
        "new": REMOTE,
    }
    with pytest.raises(ValidationError, match=re.escape(reason)):
        Config.model_validate({"models": models})


def test_an_adapter_may_be_the_canary_of_its_base() -> None:
    adapted = REMOTE | {"adapters": {"sql": "/a"}, "canary": {"model": "sql", "weight": 5}}
    assert Config.model_validate({"models": {"m": adapted}}).models["m"].canary is not None
