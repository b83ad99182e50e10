"""The LoRA adapters as operators see them, and the order to load one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from gateway.pools.adapters import AdapterStatus
from gateway.pools.model import Model


class AdapterOrder(msgspec.Struct, forbid_unknown_fields=True):
    """The body of ``POST /adapters``: load the adapter in the folder ``source`` as ``name``, of the model ``base``."""

    name: str
    base: str
    source: str


def adapters_and_replicas(
    adapters: Sequence[Model], statuses: Callable[[Model], Sequence[AdapterStatus]]
) -> Mapping[str, Any]:
    """Show all adapters, each with its state at every replica of its base."""
    return {
        "adapters": [
            {
                "name": adapter.name,
                "base": None if adapter.parent is None else adapter.parent.name,
                "source": adapter.root,
                "replicas": [
                    {"name": each.replica, "state": each.state, "reason": each.reason} for each in statuses(adapter)
                ],
            }
            for adapter in adapters
        ]
    }
