"""Which models there are, as OpenAI lists them."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from gateway.api.local.route import GatewayInfo, LocalRequest, LocalResponse
from gateway.core.errors import BadRequest, GatewayError, ModelNotFound
from gateway.core.keys import Key
from gateway.pools.model import Model

_TUNED = "ft:"
"""What the names of fine-tuned models begin with."""


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


class ModelDeleted(msgspec.Struct):
    """What OpenAI says when a model is deleted."""

    id: str
    object: str = "model"
    deleted: bool = True


async def list_models(info: GatewayInfo, request: LocalRequest) -> LocalResponse:
    """List the models that can answer, of those that the key may use, aliases too."""
    return LocalResponse(msgspec.json.encode(ModelList(list(_cards(info, request.key)))))


async def show_model(info: GatewayInfo, request: LocalRequest) -> LocalResponse:
    """Show one model. Raises ``ModelNotFound`` also for one that the key may not use or that cannot answer now."""
    name = request.parameter
    for card in _cards(info, request.key):
        if card.id == name:
            return LocalResponse(msgspec.json.encode(card))
    raise ModelNotFound(f"The model {name[:200]!r} is not one that can answer you now; see /v1/models.", param="model")


async def delete_model(info: GatewayInfo, request: LocalRequest) -> LocalResponse:
    """Serve a fine-tuned model no longer, and remove its files. Raises ``BadRequest`` for a configured model."""
    request.key.check_tune()
    name = request.parameter
    try:
        if info.tuning is None or not info.tuning.wanted:
            raise ModelNotFound(f"There is no fine-tuned model {name[:200]!r} of yours.", param="model")
        await info.tuning.post("/models/delete", msgspec.json.encode({"name": name}), owner=request.key.id)
    except GatewayError as error:
        model = info.registry.names.get(name)
        # Of a model that it may not use, a key does not learn that there is one.
        known = model is not None and request.key.may_use(model.name)
        if error.status == 404 and known and not name.startswith(_TUNED):
            raise BadRequest(
                f"The model {name[:200]!r} is configured in a file; only fine-tuned models can be deleted.",
                param="model",
                code="model_not_deletable",
            ) from None
        raise
    return LocalResponse(msgspec.json.encode(ModelDeleted(name)))


def _cards(info: GatewayInfo, key: Key) -> Iterator[ModelCard]:
    for name, model in info.registry.names.items():
        if model.ready and key.may_use(model.name):
            yield _card(name, model, info.started_at)


def _card(name: str, model: Model, created: int) -> ModelCard:
    parent = None if model.parent is None else model.parent.name
    return ModelCard(name, created, root=model.root, parent=parent, max_model_len=model.max_model_len)
