"""The policies by the names that a configuration gives them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from gateway.config.models import ModelConfig
from gateway.config.types import PolicyName
from gateway.pools.policies.least_in_flight import LeastInFlight
from gateway.pools.policies.least_tokens import LeastTokens
from gateway.pools.policies.policy import Policy
from gateway.pools.policies.power_of_two import PowerOfTwo
from gateway.pools.policies.prefix import Prefix
from gateway.pools.policies.random_choice import RandomChoice
from gateway.pools.policies.round_robin import RoundRobin
from gateway.pools.policies.session import Session

POLICIES: Mapping[PolicyName, Callable[[ModelConfig], Policy]] = MappingProxyType(
    {
        "least_in_flight": lambda _: LeastInFlight(),
        "least_tokens": lambda _: LeastTokens(),
        "prefix": lambda model: Prefix(model.prefix_cache_tokens),
        "round_robin": lambda _: RoundRobin(),
        "random": lambda _: RandomChoice(),
        "power_of_two": lambda _: PowerOfTwo(),
        "session": lambda model: Session(model.session_header),
    }
)
"""How each policy is made for a model."""
