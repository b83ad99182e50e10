"""What the data plane decides by: one immutable value, swapped as a whole by a reload."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.api.keyring import keyring_of
from gateway.config.gateway import GatewayConfig
from gateway.core.keys import Keyring
from gateway.core.limits import UsageStore
from gateway.pools.registry import Registry


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """The models, keys and limits in force.

    Its identity decides whether what was decided about a request's head still holds when the same head comes again.
    """

    registry: Registry
    keyring: Keyring
    origins: frozenset[bytes]
    """Origins of web pages that may read responses."""
    max_json_depth: int
    max_n: int

    @classmethod
    def of(cls, config: GatewayConfig, registry: Registry, usage: UsageStore) -> Snapshot:
        """Take over what a configuration says; ``usage`` keeps what keys have used beyond it."""
        return cls(
            registry=registry,
            keyring=keyring_of(config, usage),
            origins=frozenset(origin.encode() for origin in config.cors_origins),
            max_json_depth=config.limits.max_json_depth,
            max_n=config.limits.max_n,
        )
