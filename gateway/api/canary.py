"""Which of two models answers a request: the one that was named, or its canary."""

from __future__ import annotations

import random
from hashlib import blake2b

from gateway.config.canary import CanaryTable
from gateway.core.context import RequestContext
from gateway.exchange.upstream_request import session_of
from gateway.pools.model import Model
from gateway.pools.registry import Registry

_HEADER = b"x-headgate-model: %b\r\n"
"""Says in the response which of the two it is from."""


def chosen(context: RequestContext, registry: Registry, model: Model, canary: CanaryTable) -> Model:
    """Choose for one request, and say so in its response.

    A session is hashed to a number from 0 to 100 and goes to the canary if that is below the weight. So all its
    requests have the same model, and a weight that grows moves no session back. Without one such a number is drawn.
    """
    session = session_of(context.head.headers, context.body, canary.session_header.lower().encode())
    drawn = _number(model.name, session) if session else random.random() * 100  # noqa: S311 - no secret
    answers = registry.find(canary.model) if drawn < canary.weight else model
    context.response_headers += _HEADER % answers.name.encode()
    return answers


def _number(name: str, session: bytes) -> float:
    """Hash a session; with the model's name, so that not the same ones try every canary."""
    digest = blake2b(session, digest_size=8, person=blake2b(name.encode(), digest_size=16).digest()).digest()
    return int.from_bytes(digest, "big") / 2**64 * 100
