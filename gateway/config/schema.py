"""``models.toml`` as frozen models: every option, its bounds and its meaning.

The descriptions here are the reference that operators read (``docs/configuration.md`` is generated from them);
``configfile`` reads the file and tells its mistakes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Self

from pydantic import (
    Field,
    field_serializer,
    field_validator,
    model_validator,
)

from gateway.config.gateway import GatewayConfig, KeyConfig
from gateway.config.models import ModelConfig
from gateway.config.types import ModelName, _Model


class Config(_Model):
    """The whole file."""

    gateway: GatewayConfig = Field(default_factory=GatewayConfig, description="See `[gateway]`.")
    models: Mapping[ModelName, ModelConfig] = Field(min_length=1, description="See `[models.NAME]`.")

    @field_validator("models", mode="after")
    @classmethod
    def _freeze(cls, models: Mapping[str, ModelConfig]) -> Mapping[str, ModelConfig]:
        return MappingProxyType(dict(models))

    @field_serializer("models")
    def _thaw(self, models: Mapping[str, ModelConfig]) -> dict[str, ModelConfig]:
        return dict(models)

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        aliases = {name: model.aliases for name, model in self.models.items()}
        found = [f"{'.'.join(at)}: {reason}" for at, reason in clashes(aliases, self.gateway.keys)]
        if found:
            raise ValueError("; ".join(found))
        return self


def clashes(aliases: Mapping[str, Sequence[str]], keys: Sequence[KeyConfig]) -> Iterator[tuple[tuple[str, ...], str]]:
    """Find what is wrong between tables: where it stands, and what it is. ``aliases`` are given for every model."""
    owner: dict[str, str] = {name: name for name in aliases}
    for name, others in aliases.items():
        for alias in others:
            if alias in owner:
                yield ("models", name, "aliases"), f"{alias!r} already names {owner[alias]!r}"
            owner.setdefault(alias, name)
    ids: set[str] = set()
    digests: dict[str, str] = {}
    for key in keys:
        if key.id in ids:
            yield ("gateway", "keys"), f"the id {key.id!r} is given to two keys"
        if key.sha256 in digests:
            yield ("gateway", "keys"), f"{key.id!r} and {digests[key.sha256]!r} are the same key"
        ids.add(key.id)
        digests.setdefault(key.sha256, key.id)
        unknown = [model for model in key.models if model not in aliases]
        if unknown:
            yield ("gateway", "keys"), f"the key {key.id!r} names unknown models: {', '.join(unknown)}"
