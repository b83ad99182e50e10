"""Builds the keys of a configuration, with their groups, restrictions and limits."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.config.gateway import GatewayConfig, GroupConfig, KeyConfig, KeyLimitsConfig
from gateway.core.keys import Key, Keyring
from gateway.core.limits import RATES, KeyLimits, Quota, Rate, UsageStore, group_owner, key_owner

_NO_GROUP = GroupConfig()


def keyring_of(config: GatewayConfig, usage: UsageStore) -> Keyring:
    """Build the keys. What they have used according to ``usage`` counts on."""
    shared = config.redis is not None
    quotas = {owner: _quota(owner, limits, usage, shared=shared) for owner, limits in limited_owners(config).items()}
    return Keyring((_key(key, config, quotas, usage), key.sha256) for key in config.keys)


def limited_owners(config: GatewayConfig) -> dict[str, KeyLimitsConfig]:
    """Give the limits of all keys and groups that have any, by the names under which their usage is kept."""
    groups = {group_owner(name): group.limits for name, group in config.groups.items()}
    owners = groups | {key_owner(key.id): key.limits for key in config.keys}
    return {owner: limits for owner, limits in owners.items() if any(value for _, value in limits)}


def _key(key: KeyConfig, config: GatewayConfig, quotas: Mapping[str, Quota], usage: UsageStore) -> Key:
    """Build a key: what it says itself goes before what its group says, and the earlier day of expiry holds."""
    group = config.groups[key.group] if key.group is not None else _NO_GROUP
    owners = [key_owner(key.id), *([group_owner(key.group)] if key.group is not None else ())]
    own = [quotas[owner] for owner in owners if owner in quotas]
    priority = key.priority if key.priority is not None else group.priority
    return Key(
        id=key.id,
        models=frozenset(key.models or group.models),
        group=key.group or "",
        priority=priority or 0,
        endpoints=frozenset(key.endpoints or group.endpoints),
        tune=bool(group.tune if key.tune is None else key.tune) and group.tune is not False,
        expires=min((day for day in (key.expires, group.expires) if day is not None), default=None),
        limits=KeyLimits(own, usage.lock(owners[-1])) if own else None,
    )


def _quota(owner: str, limits: KeyLimitsConfig, usage: UsageStore, *, shared: bool) -> Quota:
    given = {name: limit for name in RATES if (limit := getattr(limits, name)) is not None}
    return Quota(
        owner,
        [
            Rate(name, limit, usage.window(owner, name), usage.lease(owner, name) if shared else None)
            for name, limit in given.items()
        ],
        limits.max_in_flight,
        usage.in_flight(owner) if limits.max_in_flight is not None else None,
    )
