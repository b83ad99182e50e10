"""A configuration is put together of its file and of what has changed since, and taken over whole or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gateway.config.models import adapters_of
from gateway.config.schema import Config
from gateway.core.start_error import StartError
from gateway.reload.config_in_force import ConfigInForce
from gateway.tuning.published import PublishedModels
from gateway.tuning.publisher import Refused
from tests.kit.gateways import remote


def configured(**adapters: Any) -> Config:
    return Config.model_validate({"models": {"m": remote("http://a", adapters=adapters)}})


class Applied:
    """A configuration in force, and all that were applied; a ``trouble`` refuses the next one."""

    def __init__(self, folder: Path, **adapters: str) -> None:
        self.applied: list[Config] = []
        self.trouble = ""
        self.config = ConfigInForce(configured(**adapters), PublishedModels(folder), self._apply)

    def _apply(self, config: Config) -> None:
        if self.trouble:
            raise StartError(self.trouble)
        self.applied.append(config)

    @property
    def adapters(self) -> dict[str, str]:
        return dict(adapters_of(self.config.current.models["m"]))


def test_what_commands_have_changed_is_on_top_of_the_file(tmp_path: Path) -> None:
    made = Applied(tmp_path, old="/old", kept="/kept")
    assert (made.applied, made.adapters) == ([], {"old": "/old", "kept": "/kept"})
    made.config.add_adapter("new", "m", "/new")
    made.config.remove_adapter("old")
    assert made.adapters == {"kept": "/kept", "new": "/new"}
    assert made.applied[-1] is made.config.current


def test_a_reload_has_all_that_the_file_names_and_keeps_what_was_added(tmp_path: Path) -> None:
    made = Applied(tmp_path, old="/old")
    made.config.add_adapter("new", "m", "/new")
    made.config.remove_adapter("old")
    made.config.reload(configured(old="/old", other="/other"))
    assert made.adapters == {"old": "/old", "other": "/other", "new": "/new"}


def test_a_reload_that_is_refused_leaves_all_as_it_was(tmp_path: Path) -> None:
    made = Applied(tmp_path, old="/old")
    made.config.remove_adapter("old")
    before = made.config.current
    made.trouble = "No certificate."
    with pytest.raises(StartError, match="No certificate"):
        made.config.reload(configured(other="/other"))
    assert made.config.current is before
    made.trouble = ""
    made.config.add_adapter("new", "m", "/new")
    assert made.adapters == {"new": "/new"}


def test_an_adapter_that_cannot_be_added_or_taken_away_leaves_all_as_it_was(tmp_path: Path) -> None:
    made = Applied(tmp_path, old="/old")
    before = made.config.current
    made.trouble = "No certificate."
    with pytest.raises(StartError, match="No certificate"):
        made.config.add_adapter("refused", "m", "/refused")
    with pytest.raises(StartError, match="No certificate"):
        made.config.remove_adapter("old")
    assert made.config.current is before
    # Nor do they come along with the next change.
    made.trouble = ""
    made.config.add_adapter("new", "m", "/new")
    assert made.adapters == {"old": "/old", "new": "/new"}


def test_what_cannot_be_published_is_refused_with_the_reason(tmp_path: Path) -> None:
    made = Applied(tmp_path)
    made.config.serve_published()
    assert len(made.applied) == 1
    made.trouble = "Too few GPUs."
    with pytest.raises(Refused, match="Too few GPUs"):
        made.config.serve_published()
