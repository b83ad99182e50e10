"""What commands change of the adapters stands on top of what the file says, also when that is read anew."""

from __future__ import annotations

from typing import Any

from gateway.config.models import adapters_of
from gateway.config.schema import Config, names_of
from gateway.reload.adapter_changes import AdapterChanges
from tests.kit.gateways import remote


def configured(**adapters: Any) -> Config:
    models = {"m": remote("http://a", adapters=adapters, aliases=["alias"]), "plain": remote("http://b")}
    return Config.model_validate({"models": models})


def test_what_was_added_and_taken_away_shows_in_a_configuration() -> None:
    changes = AdapterChanges().with_adapter("new", "m", "/new").without("old")
    config = changes.applied_to(configured(old="/old", kept="/kept"))
    assert adapters_of(config.models["m"]) == {"kept": "/kept", "new": "/new"}
    assert names_of(config) == {"m", "alias", "plain", "kept", "new"}
    assert repr(changes) == "<AdapterChanges [1 added, 1 removed]>"


def test_what_was_taken_away_can_be_added_again_and_the_other_way_round() -> None:
    changes = AdapterChanges().with_adapter("new", "m", "/new").without("old")
    again = changes.with_adapter("old", "m", "/other").without("new")
    assert adapters_of(again.applied_to(configured()).models["m"]) == {"old": "/other"}
    assert adapters_of(changes.applied_to(configured(old="/old")).models["m"]) == {"new": "/new"}


def test_a_configuration_without_changes_is_itself() -> None:
    config = configured(old="/old")
    assert AdapterChanges().applied_to(config) is config


def test_a_changed_configuration_reaches_another_process_whole() -> None:
    changes = AdapterChanges().with_adapter("new", "m", "/new")
    config = changes.applied_to(configured())
    again = Config.model_validate_json(config.model_dump_json(exclude_unset=True))
    assert adapters_of(again.models["m"]) == {"new": "/new"}


def test_a_file_that_is_read_anew_has_what_it_names_and_what_was_added() -> None:
    changes = AdapterChanges().with_adapter("new", "m", "/new").without("old")
    config = changes.reloaded().applied_to(configured(old="/old"))
    assert adapters_of(config.models["m"]) == {"old": "/old", "new": "/new"}


def test_what_was_added_gives_way_to_the_file() -> None:
    changes = AdapterChanges().with_adapter("new", "m", "/new").with_adapter("gone", "nobody", "/gone")
    config = changes.applied_to(configured(new="/other"))
    assert adapters_of(config.models["m"]) == {"new": "/other"}


def test_an_adapter_of_a_local_model_stays_a_path() -> None:
    models = {"m": {"engine": "vllm", "source": "a/b", "adapters": {"old": "/old"}}}
    changes = AdapterChanges().with_adapter("new", "m", "/new")
    config = changes.applied_to(Config.model_validate({"models": models}))
    assert adapters_of(config.models["m"]) == {"old": "/old", "new": "/new"}
