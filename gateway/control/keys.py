"""Shows keys and groups with their limits and what they have used; never a key's secret, of which nothing is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gateway.core.keys import Key
from gateway.core.limits import Quota
from gateway.core.sliding_window import NANOSECONDS


def keys_and_groups(keys: Sequence[Key], now: float) -> Mapping[str, Any]:
    """Show all keys, and the groups with limits of those that have one; ``now`` is a ``perf_counter`` reading."""
    moment = int(now * NANOSECONDS)
    groups = {key.group: quota for key in keys for quota in _quotas(key) if quota.owner != key.owner}
    return {
        "keys": [
            {
                "id": key.id,
                "group": key.group,
                "priority": key.priority,
                "models": sorted(key.models),
                "endpoints": sorted(key.endpoints),
                "expires": None if key.expires is None else key.expires.isoformat(),
                "limits": {
                    name: value
                    for quota in _quotas(key)
                    if quota.owner == key.owner
                    for name, value in _usage(quota, moment).items()
                },
            }
            for key in keys
        ],
        "groups": [{"name": name, "limits": _usage(quota, moment)} for name, quota in sorted(groups.items())],
    }


def _quotas(key: Key) -> Sequence[Quota]:
    return () if key.limits is None else key.limits.quotas


def _usage(quota: Quota, now: int) -> Mapping[str, Any]:
    """Show the limits of one owner, each with what is used of it."""
    rates = {rate.name: {"limit": rate.limit, "used": rate.window.used(now)} for rate in quota.rates}
    if quota.max_in_flight is None:
        return rates
    return {**rates, "max_in_flight": {"limit": quota.max_in_flight, "used": quota.in_flight}}
