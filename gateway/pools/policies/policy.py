"""What a policy is, and what it may read of a request."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from gateway.core.context import RequestContext
from gateway.pools.policies.prompt_blocks import Prompt
from gateway.pools.replica import Replica


class Routable(Protocol):
    """What a policy may read of a request. What has to be decoded for it is decoded when a policy asks."""

    @property
    def context(self) -> RequestContext:
        """The request's head, its headers among it, and the model that it asks for."""

    @property
    def prompt(self) -> Prompt:
        """About how many tokens its prompt has, and what that begins with."""

    @property
    def streams(self) -> bool:
        """Whether its response is a stream of events."""

    @property
    def max_tokens(self) -> int:
        """Most tokens that its response may have, 0 if it does not say."""

    @property
    def adapter(self) -> str | None:
        """The LoRA adapter that must be loaded where it is sent, if it asks for one."""

    def session_key(self, header: bytes) -> bytes:
        """Give what requests of one session have in common; empty where the request does not say.

        That is the value of ``header`` (lower case), else of the body's ``prompt_cache_key``, else of its ``user``.
        """


class Policy(Protocol):
    """Picks one of the ready replicas. It decides at once and awaits nothing.

    A policy may also have these methods, each of which is looked up once, when its pool is built:

    - ``assigned(replica, request)``: a request is sent to a replica, be it the only one that was ready;
    - ``released(replica, request)``: that request is no longer there, called exactly once for each ``assigned``;
    - ``replicas_changed(replicas)``: the pool has these replicas from now on, ready or not;
    - ``state_changed(replica)``: a replica of the pool is in another state, or has another weight.

    One with ``reads_load = True`` reads ``foreign`` and ``cache_tokens`` of replicas, for which engines are asked.
    """

    def pick(self, candidates: Sequence[Replica], request: Routable) -> Replica:
        """Choose one of ``candidates``, which are ready, not tried yet for this request, and more than one."""


Assigned = Callable[[Replica, Routable], None]
"""The shape of ``assigned`` and ``released``."""
