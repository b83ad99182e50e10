"""The lines of batches as requests of the gateway's own, in the name of the key whose batch it is."""

from __future__ import annotations

from dataclasses import replace
from time import perf_counter, time

from gateway.api.internal_head import internal_head
from gateway.api.pipeline import Pipeline
from gateway.api.routes import ROUTES, EngineRoute
from gateway.batches.runner import Answer
from gateway.core.context import BATCH, RequestContext
from gateway.core.errors import ModelNotFound
from gateway.core.keys import ANYONE, Key
from gateway.exchange.internal_call import InternalCall
from gateway.pools.pool import Pool
from gateway.pools.queue import LOWEST_CLASS


class BatchLines:
    """Answers the lines of batches through the pipeline, like requests of clients but for their class: the lowest."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline

    def __repr__(self) -> str:
        return f"<BatchLines of {self._pipeline!r}>"

    def key_of(self, owner: str) -> Key | None:
        """Find the key of an owner; ``None`` for one that is no longer there, or has expired."""
        keys = list(self._pipeline.snapshot.keyring)
        if not keys and not owner:
            return ANYONE
        return next((key for key in keys if key.id == owner and time() < key.expires_at), None)

    def model_of(self, key: Key, endpoint: str, name: str | None) -> str:
        """Give the model that a line asks. Raises a ``GatewayError`` if the key may not, or there is none."""
        route = ROUTES["POST", endpoint]
        assert isinstance(route, EngineRoute)
        if name and not key.models:
            model = self._pipeline.registry.find(name)
        else:
            model = self._pipeline.model_for(route, key, name)
        if route.task is not None and route.task not in model.tasks:
            raise self._pipeline.registry.unable(model, route.task, endpoint, key.may_use)
        return model.name

    def pool_of(self, model: str) -> Pool | None:
        """Find the pool of a model; ``None`` if there is no such model any more."""
        try:
            return self._pipeline.registry.find(model).pool
        except ModelNotFound:
            return None

    async def ask(self, key: Key, endpoint: str, request_id: str, body: bytes) -> Answer:
        """Ask one line; to be cancelled is to stop the engine."""
        if key.endpoints and endpoint not in key.endpoints:
            # The key had the right to it when the batch began.
            error = key.not_allowed_at(endpoint)
            return Answer(error.status, error.body(), error, 0.0, 0)
        head = internal_head(BATCH, endpoint, replace(key, priority=LOWEST_CLASS))
        context = RequestContext(head, request_id, body)
        response = await InternalCall(self._pipeline).ask(context)
        seconds = perf_counter() - context.received_at - context.queued_for
        return Answer(
            response.status, response.body, context.error, seconds, context.output_tokens or context.input_tokens
        )
