"""What the data plane decides by: one immutable value, swapped as a whole by a reload."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.config.gateway import GatewayConfig
from gateway.core.keys import Key, Keyring
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
    def of(cls, config: GatewayConfig, registry: Registry) -> Snapshot:
        """Take over what a configuration says."""
        return cls(
            registry=registry,
            keyring=Keyring((Key(key.id, frozenset(key.models)), key.sha256) for key in config.keys),
            origins=frozenset(origin.encode() for origin in config.cors_origins),
            max_json_depth=config.limits.max_json_depth,
            max_n=config.limits.max_n,
        )
