"""The policies by the names that a configuration gives them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from gateway.config.models import ModelConfig
from gateway.config.types import PolicyName
from gateway.pools.policies.least_in_flight import LeastInFlight, WeightedLeastInFlight
from gateway.pools.policies.least_tokens import LeastTokens
from gateway.pools.policies.policy import Policy
from gateway.pools.policies.power_of_two import PowerOfTwo, WeightedPowerOfTwo
from gateway.pools.policies.prefix import Prefix
from gateway.pools.policies.random_choice import RandomChoice, WeightedRandomChoice
from gateway.pools.policies.round_robin import RoundRobin, WeightedRoundRobin
from gateway.pools.policies.session import Session

POLICIES: Mapping[PolicyName, Callable[[ModelConfig], Policy]] = MappingProxyType(
    {
        "least_in_flight": lambda model: WeightedLeastInFlight() if model.weighted else LeastInFlight(),
        "least_tokens": lambda model: LeastTokens(weighted=model.weighted),
        "prefix": lambda model: Prefix(model.prefix_cache_tokens),
        "round_robin": lambda model: WeightedRoundRobin() if model.weighted else RoundRobin(),
        "random": lambda model: WeightedRandomChoice() if model.weighted else RandomChoice(),
        "power_of_two": lambda model: WeightedPowerOfTwo() if model.weighted else PowerOfTwo(),
        "session": lambda model: Session(model.session_header),
    }
)
"""How each policy is made for a model."""
