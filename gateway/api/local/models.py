"""What the gateway answers by itself: which models there are, that it lives, and what version it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import unquote

import msgspec

from gateway.core.context import RequestHead
from gateway.core.errors import ModelNotFound, ShuttingDown
from gateway.core.keys import Key
from gateway.pools.model import Model
from gateway.pools.registry import Registry


class GatewayInfo(Protocol):
    """What a page may know of the gateway."""

    @property
    def registry(self) -> Registry:
        """The models in force."""

    @property
    def version(self) -> str:
        """The gateway's version."""

    @property
    def started_at(self) -> int:
        """When it started, in seconds since 1970."""

    @property
    def draining(self) -> bool:
        """Whether it is about to stop."""


@dataclass(frozen=True, slots=True)
class Page:
    """A row of the table of pages: methods, who writes it, and whether it needs a key."""

    methods: tuple[bytes, ...]
    write: Callable[[GatewayInfo, RequestHead], bytes]
    guarded: bool


class ModelCard(msgspec.Struct):
    """One model as OpenAI lists it, with the fields that vLLM adds."""

    id: str
    created: int
    object: str = "model"
    owned_by: str = "headgate"
    root: str | None = None
    parent: str | None = None
    max_model_len: int | None = None


class ModelList(msgspec.Struct):
    """OpenAI's list of models."""

    data: list[ModelCard]
    object: str = "list"


def models(house: GatewayInfo, head: RequestHead) -> bytes:
    """List the models that can answer, of those that the key may use, aliases too."""
    return msgspec.json.encode(ModelList(list(_cards(house, head.key))))


def model(house: GatewayInfo, head: RequestHead) -> bytes:
    """Show one model. Raises ``ModelNotFound`` also for one that the key may not use or that cannot answer now."""
    name = unquote(head.path.removeprefix(b"/v1/models/").decode("latin-1"))
    for card in _cards(house, head.key):
        if card.id == name:
            return msgspec.json.encode(card)
    raise ModelNotFound(f"The model {name[:200]!r} is not one that can answer you now; see /v1/models.", param="model")


def health(house: GatewayInfo, _head: RequestHead) -> bytes:
    """Answer that requests are taken, with an empty body as vLLM does. Raises ``ShuttingDown`` while draining."""
    if house.draining:
        raise ShuttingDown("The gateway is shutting down.", retry_after=1.0)
    return b""


def version(house: GatewayInfo, _head: RequestHead) -> bytes:
    """Tell the gateway's version, in vLLM's shape."""
    return msgspec.json.encode({"version": house.version})


def _cards(house: GatewayInfo, key: Key) -> Iterator[ModelCard]:
    for name, model in house.registry.names.items():
        if model.pool.ready and key.may_use(model.name):
            yield _card(name, model, house.started_at)


def _card(name: str, model: Model, created: int) -> ModelCard:
    return ModelCard(name, created, root=model.name, max_model_len=model.max_model_len)
