"""``models.toml`` as frozen models: every option, its bounds and its meaning.

The descriptions here are the reference that operators read (``docs/configuration.md`` is generated from them);
``load`` reads the file and tells its mistakes.
"""

from __future__ import annotations

import os
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import suppress
from types import MappingProxyType
from typing import Any

from pydantic import Field, ValidationError, field_serializer, field_validator

from gateway.config.checks import timeouts_amiss
from gateway.config.gateway import GatewayConfig, GroupConfig, KeyConfig, Timeouts
from gateway.config.models import ModelConfig, TaggedModel, adapters_of
from gateway.config.table import Mistake, Place, Table, plain
from gateway.config.tracing import Tracing, settings_of
from gateway.config.types import ALL_ENGINES, ALL_TASKS, ModelName


class Config(Table):
    """The whole file."""

    gateway: GatewayConfig = Field(default_factory=GatewayConfig, description="The table `[gateway]`.")
    models: Mapping[ModelName, TaggedModel] = Field(min_length=1, description="A table `[models.NAME]` for each model.")

    @field_validator("models", mode="after")
    @classmethod
    def _freeze(cls, models: Mapping[str, ModelConfig]) -> Mapping[str, ModelConfig]:
        return MappingProxyType(dict(models))

    @field_serializer("models")
    def _thaw(self, models: Mapping[str, ModelConfig]) -> dict[str, ModelConfig]:
        return dict(models)

    @classmethod
    def mistakes(cls, given: Mapping[str, Any]) -> Iterator[Mistake]:
        """Find names that mean two things or nothing, timeouts that cannot pass, and variables that are no use."""
        aliases, keys, groups = _aliases_in(given), _keys_in(given), _groups_in(given)
        yield from _adapters_amiss(given, aliases)
        # From here on an adapter is a model as any other.
        aliases = {name: [] for names in _adapters_in(given).values() for name in names} | aliases
        yield from clashes(aliases, keys)
        yield from groups_amiss(aliases, keys, groups)
        yield from _fallbacks_amiss(given)
        yield from _guards_amiss(given)
        yield from _tracing_amiss(given)
        yield from _timeouts_amiss(given)
        yield from _canaries_amiss(given)
        yield from _placements_amiss(given)

    @classmethod
    def place(cls, at: Place, given: Any) -> Place:
        """Leave out the engine of a model, by which pydantic chose the class that it is checked by."""
        if len(at) > 2 and at[0] == "models" and at[2] in ALL_ENGINES:
            model = plain(plain(given, "models"), str(at[1]))
            if model.get("engine") == at[2]:
                at = (*at[:2], *at[3:])
        return super().place(at, given)


def names_of(config: Config) -> frozenset[str]:
    """Give all names that clients may use: of models, their aliases and their adapters."""
    return frozenset(
        name for model, settings in config.models.items() for name in (model, *settings.aliases, *adapters_of(settings))
    )


def clashes(aliases: Mapping[str, Sequence[str]], keys: Sequence[KeyConfig]) -> Iterator[Mistake]:
    """Find what is wrong between tables. ``aliases`` are given for every model."""
    owner: dict[str, str] = {name: name for name in aliases}
    for name, others in aliases.items():
        for alias in others:
            if alias in owner:
                yield Mistake(("models", name, "aliases"), f"{alias!r} already names {owner[alias]!r}")
            owner.setdefault(alias, name)
    ids: set[str] = set()
    digests: dict[str, str] = {}
    for key in keys:
        if key.id in ids:
            yield Mistake(("gateway", "keys"), f"the id {key.id!r} is given to two keys")
        if key.sha256 in digests:
            yield Mistake(("gateway", "keys"), f"{key.id!r} and {digests[key.sha256]!r} are the same key")
        ids.add(key.id)
        digests.setdefault(key.sha256, key.id)
        unknown = [model for model in key.models if model not in aliases]
        if unknown:
            yield Mistake(("gateway", "keys"), f"the key {key.id!r} names unknown models: {', '.join(unknown)}")


def model_names(given: Mapping[str, Any]) -> Container[str]:
    """Give the names of all models and of their adapters, which keys may name."""
    adapters = _adapters_in(given)
    return {*adapters, *(name for names in adapters.values() for name in names)}


def _adapters_amiss(given: Mapping[str, Any], aliases: Mapping[str, Sequence[str]]) -> Iterator[Mistake]:
    """Find adapters that are called as a model, an alias, or another adapter."""
    owner = {alias: name for name, others in aliases.items() for alias in (name, *others)}
    for model, adapters in _adapters_in(given).items():
        for adapter in adapters:
            if adapter in owner:
                yield Mistake(("models", model, "adapters", adapter), f"{adapter!r} already names {owner[adapter]!r}")
            owner.setdefault(adapter, adapter)


def _fallbacks_amiss(given: Mapping[str, Any]) -> Iterator[Mistake]:
    """Find fallbacks that are no other models of this file."""
    models = plain(given, "models")
    for name, model in models.items():
        others = model.get("fallback") if isinstance(model, Mapping) else None
        for other in others if isinstance(others, list | tuple) else ():
            if other == name:
                yield Mistake(("models", name, "fallback"), "a model cannot take its own place; name another")
            elif other not in models:
                reason = f"there is no table [models.{other}], a fallback's name: an alias or an adapter is none"
                yield Mistake(("models", name, "fallback"), reason)


def groups_amiss(
    models: Container[str], keys: Sequence[KeyConfig], groups: Mapping[str, GroupConfig | None]
) -> Iterator[Mistake]:
    """Find groups with models that are not there, and keys whose group is not there or allows less than they say.

    A group that is wrong by itself is ``None``.
    """
    for name, group in groups.items():
        unknown = [model for model in (group.models if group else ()) if model not in models]
        if unknown:
            yield Mistake(("gateway", "groups", name, "models"), f"names unknown models: {', '.join(unknown)}")
    for key in keys:
        if key.group is None:
            continue
        if key.group not in groups:
            yield Mistake(("gateway", "keys"), f"the key {key.id!r} names the group {key.group!r}, which is not there")
        elif (group := groups[key.group]) is not None:
            yield from _beyond_group(key, group)


def _beyond_group(key: KeyConfig, group: GroupConfig) -> Iterator[Mistake]:
    """Find what a key allows that its group does not."""
    for what, own, all_keys in (
        ("models", key.models, group.models),
        ("endpoints", key.endpoints, group.endpoints),
    ):
        beyond = [name for name in own if all_keys and name not in all_keys]
        if beyond:
            reason = f"the key {key.id!r} names {what} that its group {key.group!r} may not use: {', '.join(beyond)}"
            yield Mistake(("gateway", "keys"), reason)


def _guards_amiss(given: Mapping[str, Any]) -> Iterator[Mistake]:
    """Find guards that are no classifiers of this file."""
    models = plain(given, "models")
    for name, model in models.items():
        guard = plain(model, "guard").get("model") if isinstance(model, Mapping) else None
        if not isinstance(guard, str):
            continue
        named = models.get(guard)
        tasks = named.get("tasks") if isinstance(named, Mapping) else None
        does_all = isinstance(named, Mapping) and named.get("engine") == "remote" and not tasks
        if named is None:
            yield Mistake(("models", name, "guard", "model"), f"there is no model {guard!r}")
        elif isinstance(named, Mapping) and not does_all and "classify" not in (tasks or ()):
            yield Mistake(("models", name, "guard", "model"), f"{guard!r} cannot do `classify`; name a classifier")


def _tracing_amiss(given: Mapping[str, Any]) -> Iterator[Mistake]:
    """Find variables of the environment that tracing cannot follow, where its table is right by itself."""
    gateway = given.get("gateway")
    table = gateway.get("tracing", {}) if isinstance(gateway, Mapping) else getattr(gateway, "tracing", {})
    try:
        tracing = Tracing.model_validate(table)
    except ValidationError:
        return
    try:
        settings_of(tracing, os.environ)
    except ValueError as error:
        yield Mistake(("gateway", "tracing"), str(error))


def _timeouts_amiss(given: Mapping[str, Any]) -> Iterator[Mistake]:
    """Find timeouts of models that are longer than their requests may take, also by what the gateway says."""
    gateway = given.get("gateway")
    limits = plain(gateway, "timeouts") if isinstance(gateway, Mapping) else getattr(gateway, "timeouts", {})
    default = limits.get("total") if isinstance(limits, Mapping) else limits.total
    for name, model in plain(given, "models").items():
        timeouts = plain(model, "timeouts") if isinstance(model, Mapping) else {}
        total = timeouts.get("total", Timeouts.model_fields["total"].default if default is None else default)
        if isinstance(total, int | float):
            for mistake in timeouts_amiss(timeouts, total):
                yield Mistake(("models", name, "timeouts", *mistake.at), mistake.reason)


def _canaries_amiss(given: Mapping[str, Any]) -> Iterator[Mistake]:
    """Find canaries that are no other models of this file, have one themselves, or cannot do what they are asked."""
    models = plain(given, "models")
    base_of = {name: base for base, names in _adapters_in(given).items() for name in (base, *names)}
    for name, model in models.items():
        canary = plain(model, "canary").get("model") if isinstance(model, Mapping) else None
        if not isinstance(canary, str):
            continue
        at = ("models", name, "canary", "model")
        named = models.get(base_of.get(canary, ""))
        if canary == name:
            yield Mistake(at, "a model cannot be its own canary; name another")
        elif not isinstance(named, Mapping):
            yield Mistake(at, f"there is no model {canary!r}")
        elif canary in models and named.get("canary") is not None:
            yield Mistake(at, f"{canary!r} has a canary itself; name one that has none")
        elif missing := sorted(_tasks_in(model) - _tasks_in(named)):
            yield Mistake(at, f"{canary!r} cannot do {', '.join(f'`{task}`' for task in missing)}")


def _placements_amiss(given: Mapping[str, Any]) -> Iterator[Mistake]:
    """Find models whose replicas, and jobs that, are to run on a Ray cluster that is not named."""
    gateway = given.get("gateway")
    cluster = gateway.get("ray") if isinstance(gateway, Mapping) else getattr(gateway, "ray", None)
    if cluster is not None:
        return
    reason = "is 'ray', but no table [gateway.ray] says where the cluster is (address = \"http://HEAD:8265\")"
    if isinstance(gateway, Mapping) and plain(gateway, "tuning").get("placement") == "ray":
        yield Mistake(("gateway", "tuning", "placement"), reason)
    for name, model in plain(given, "models").items():
        placed = isinstance(model, Mapping) and model.get("engine") != "remote" and model.get("placement") == "ray"
        if placed:
            yield Mistake(("models", name, "placement"), reason)


def _tasks_in(model: Mapping[str, Any]) -> set[str]:
    """Give what a model is said to do, or what its engine's models do."""
    tasks = model.get("tasks")
    if isinstance(tasks, list | tuple) and tasks:
        return {task for task in tasks if isinstance(task, str)}
    return set(ALL_TASKS) if model.get("engine") == "remote" else {"generate"}


def _aliases_in(given: Mapping[str, Any]) -> dict[str, list[str]]:
    """Give the names of all models and their aliases, as far as they can be read."""
    found: dict[str, list[str]] = {}
    for name, model in plain(given, "models").items():
        aliases = model.get("aliases") if isinstance(model, Mapping) else getattr(model, "aliases", None)
        found[name] = (
            [alias for alias in aliases if isinstance(alias, str)] if isinstance(aliases, list | tuple) else []
        )
    return found


def _adapters_in(given: Mapping[str, Any]) -> dict[str, list[str]]:
    """Give the names of the adapters of each model, as far as they can be read."""
    found = {}
    for name, model in plain(given, "models").items():
        adapters = model.get("adapters") if isinstance(model, Mapping) else getattr(model, "adapters", None)
        found[name] = list(adapters) if isinstance(adapters, Mapping) else []
    return found


def _groups_in(given: Mapping[str, Any]) -> dict[str, GroupConfig | None]:
    """Give the groups of keys, ``None`` for those that are not valid."""
    gateway = given.get("gateway")
    entries = plain(gateway, "groups") if isinstance(gateway, Mapping) else getattr(gateway, "groups", {})
    groups: dict[str, GroupConfig | None] = dict.fromkeys(entries)
    for name, entry in entries.items():
        with suppress(ValidationError):
            groups[name] = GroupConfig.model_validate(entry)
    return groups


def _keys_in(given: Mapping[str, Any]) -> list[KeyConfig]:
    """Give the keys, as far as they are valid."""
    gateway = given.get("gateway")
    entries = gateway.get("keys") if isinstance(gateway, Mapping) else getattr(gateway, "keys", None)
    keys = []
    for entry in entries if isinstance(entries, list | tuple) else []:
        with suppress(ValidationError):
            keys.append(KeyConfig.model_validate(entry))
    return keys
