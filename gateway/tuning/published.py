"""Models that jobs have made and the gateway serves, on top of what the configuration's file says.

Each is one small file in the tuning folder, written when its model has been asked and has answered rightly, so that a
gateway that starts again serves the same models. The files of the models themselves stay where their jobs made them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
from pydantic import ValidationError

from engines.tuning.records import Kind
from engines.tuning.whole_file import write_whole
from gateway.config.gateway import GatewayConfig
from gateway.config.models import ModelConfig, OnnxModel, VllmModel
from gateway.config.schema import Config, names_of


class NotServable(Exception):
    """A model cannot be part of the configuration; the message says why."""


class PublishedModel(msgspec.Struct, frozen=True):
    """One model: its job, its owner's key, and its files. ``options`` are those of a table of an ONNX model."""

    job: str
    name: str
    base: str
    kind: Kind
    owner: str
    folder: str
    options: dict[str, Any] = {}


class PublishedModels:
    """The models of one tuning folder, once they are read. What cannot be read or served is left out, and told once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._models: dict[str, PublishedModel] = {}
        """By the ids of their jobs."""
        self._troubles: dict[str, bool] = {}
        """What could not be read or served, in lines for people, and whether that has been told."""

    def __repr__(self) -> str:
        return f"<PublishedModels {[model.name for model in self._models.values()]}>"

    def __iter__(self) -> Iterator[PublishedModel]:
        return iter(self._models.values())

    def read(self) -> None:
        """Read which models were published by those that had the folder before."""
        for file in sorted(self._folder.glob("*.json")):
            try:
                model = msgspec.json.decode(file.read_bytes(), type=PublishedModel)
            except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
                self._troubles[f"{file} describes no fine-tuned model: {error}"] = False
            else:
                self._models[model.job] = model

    def new_troubles(self) -> list[str]:
        """Give what could not be read or served, each once."""
        told = [trouble for trouble, was_told in self._troubles.items() if not was_told]
        self._troubles |= dict.fromkeys(told, True)
        return told

    def try_out(self, model: PublishedModel) -> None:
        """Let a model be part of the configuration until this process ends."""
        self._models[model.job] = model

    def keep(self, job: str) -> None:
        """Let a model be part of the configuration for ever. Raises ``OSError``."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_whole(self._folder / f"{job}.json", msgspec.json.encode(self._models[job]))

    def remove(self, job: str) -> bool:
        """Let a model be part of the configuration no longer; return whether it was. Raises ``OSError``."""
        (self._folder / f"{job}.json").unlink(missing_ok=True)
        return self._models.pop(job, None) is not None

    def applied_to(self, config: Config) -> Config:
        """Give a configuration with these models; one that does not go with it is left out, and told of."""
        for model in self._models.values():
            try:
                config = added(config, model)
            except NotServable as error:
                self._troubles.setdefault(f"the fine-tuned model {model.name} is not served: {error}", False)
        return config


def added(config: Config, model: PublishedModel) -> Config:
    """Add one model to a configuration. Raises ``NotServable``."""
    if model.name in names_of(config):
        raise NotServable(f"{model.name!r} is a model, an alias or an adapter already")
    if not Path(model.folder).is_dir():
        raise NotServable(f"its folder {model.folder} is not there")
    changed = _classifier(model) if model.kind == "classifier" else _with_adapter(config, model)
    gateway = config.gateway.model_copy(update=_permissions(config.gateway, model))
    return config.model_copy(update={"gateway": gateway, "models": {**config.models, **changed}})


def _classifier(model: PublishedModel) -> Mapping[str, ModelConfig]:
    own = {"engine": "onnx", "source": model.folder, "required": False}
    try:
        return {model.name: OnnxModel.model_validate(model.options | own)}
    except ValidationError as error:
        reasons = "; ".join(f"{'.'.join(map(str, each['loc']))} {each['msg']}" for each in error.errors())
        raise NotServable(f"what the training says of it is not valid: {reasons}") from None


def _with_adapter(config: Config, model: PublishedModel) -> Mapping[str, ModelConfig]:
    base = config.models.get(model.base)
    if not isinstance(base, VllmModel) or base.adapters is None:
        raise NotServable(f"its base {model.base!r} is not there, or takes no adapters")
    return {model.base: base.model_copy(update={"adapters": {**base.adapters, model.name: Path(model.folder)}})}


def _permissions(gateway: GatewayConfig, model: PublishedModel) -> Mapping[str, Any]:
    """Let the key that has made a model use it, also where it may use some models only, and so its group."""
    owner = next((key for key in gateway.keys if key.id == model.owner), None)
    if owner is None:
        return {}
    keys = tuple(
        key.model_copy(update={"models": _more(key.models, model.name)}) if key is owner else key
        for key in gateway.keys
    )
    groups = {
        name: group.model_copy(update={"models": _more(group.models, model.name)}) if name == owner.group else group
        for name, group in gateway.groups.items()
    }
    return {"keys": keys, "groups": groups}


def _more(models: Iterable[str], name: str) -> tuple[str, ...]:
    """Add a model to those that may be used; where none is named, all of them may."""
    named = tuple(models)
    return (*named, name) if named else ()
