"""What the page shows, as JSON: all models with a line each, or one model with all that is known of it."""

from __future__ import annotations

from collections.abc import Mapping
from time import perf_counter, time
from typing import Any

from gateway.control.page.history import STEP_SECONDS, Ring, times
from gateway.control.page.journal import Journal
from gateway.control.page.sampler import BAD_STATES, Sampler
from gateway.control.scaling import scaling_of
from gateway.control.view import GatewayView
from gateway.pools.model import Model
from gateway.pools.pool import Pool
from gateway.pools.replica import Replica, ReplicaState
from gateway.scaling.scaler import ScaledModel

_SHOWN = 50
"""Decisions and errors, and replicas that are not ready, that are shown at once."""

_DIGITS = 4
"""Significant digits of what is measured."""


class PageState:
    """Puts together what the page shows, from the gateway's objects and from what was sampled of them."""

    def __init__(self, gateway: GatewayView, sampler: Sampler, journal: Journal) -> None:
        self._gateway = gateway
        self._sampler = sampler
        self._journal = journal
        self._started = time()
        self.api: str | None = None
        """Where clients ask, once the gateway serves."""

    def __repr__(self) -> str:
        return f"<PageState of {len(self._gateway.plane.registry.models)} models>"

    def overview(self) -> dict[str, Any]:
        """Show all models with a line each, and everything else that is about the gateway as a whole."""
        plane, sampler, now = self._gateway.plane, self._sampler, time()
        models, local = plane.registry.models, self._gateway.local_models()
        pools = dict.fromkeys(model.pool for model in models)
        load = sampler.load()
        not_ready = [(pool, replica) for pool in pools for replica in pool.replicas if not replica.ready]
        return {
            "at": now,
            "gateway": self._whole(),
            "api": self.api,
            "keys": any(plane.keyring),
            "now": {
                **_short(sampler.all_rates),
                "running": load.running,
                "waiting": load.waiting,
                "oldest_wait": round(load.oldest_wait, 1),
                "replicas_ready": sum(len(pool.ready) for pool in pools),
                "replicas": sum(len(pool.replicas) for pool in pools),
            },
            "models": [self._line(model, local.get(model.name)) for model in models],
            "not_ready": [self._replica(pool, replica) for pool, replica in not_ready[:_SHOWN]],
            "not_ready_total": len(not_ready),
            "history": _hour(sampler.history.all, now),
            "decisions": self._journal.latest()[:_SHOWN],
            "recent_errors": list(reversed(sampler.errors))[:_SHOWN],
        }

    def model(self, name: str) -> dict[str, Any] | None:
        """Show one model with its replicas, its queue and its hour; ``None``: there is no such model."""
        plane = self._gateway.plane
        model = next((each for each in plane.registry.models if each.name == name), None)
        if model is None:
            return None
        pool, sampler, now = model.pool, self._sampler, time()
        ring, counted = sampler.history.of(name), sampler.counted.get(name)
        local = self._gateway.local_models()
        scaled = local.get(name)
        return {
            "at": now,
            "gateway": self._whole(),
            **self._line(model, scaled),
            "aliases": model.aliases,
            "upstream_name": model.upstream_name,
            "required": model.required,
            "fallback": model.fallback,
            "max_model_len": model.max_model_len,
            "policy": type(pool.policy).__name__,
            "shares_pool_with": [
                each.name for each in plane.registry.models if each.pool is pool and each is not model
            ][:_SHOWN],
            "runs_here": name in local,
            "scaling": self.scaling(scaled),
            "queue": {
                "max_queue": pool.admission.max_queue,
                "open": pool.admission.open,
                "tokens_in_flight": pool.load(perf_counter()).tokens,
                # Each process queues its own requests, and this one has none where there are several.
                "classes": None if plane.processes else pool.admission.waiting_by_class(),
            },
            "replicas": [
                {
                    **self._replica(pool, replica),
                    "attempts": {
                        outcome: by_replica.get(replica.name, 0)
                        for outcome, by_replica in (counted.attempts if counted else {}).items()
                    },
                }
                for replica in pool.replicas
            ],
            "totals": None
            if counted is None
            else {
                "tokens": counted.tokens,
                "admissions": counted.admissions,
                "aborts": dict(counted.aborts),
                "retries": dict(counted.retries),
                "recoveries": dict(counted.recoveries),
                "fallbacks": dict(counted.fallbacks),
            },
            "history": None if ring is None else _hour(ring, now),
            # What happens to a replica is written down for its pool, which is called after its first model.
            "decisions": [each for each in self._journal.latest() if each.model in (name, pool.name)][:_SHOWN],
            "recent_errors": [each for each in reversed(sampler.errors) if each.model == name][:_SHOWN],
        }

    def scaling(self, model: ScaledModel | None) -> Mapping[str, Any] | None:
        """Show how a model is scaled, if it is; its adapters are served by the same replicas."""
        if model is None:
            return None
        adapters = self._gateway.plane.registry.adapters
        names = [model.name, *(each.name for each in adapters if each.parent and each.parent.name == model.name)]
        return scaling_of(model, self._sampler.tokens(names, time()))

    def _whole(self) -> dict[str, Any]:
        """Show how the gateway is as a whole."""
        plane = self._gateway.plane
        models, replicas = plane.registry.models, plane.registry.replicas
        return {
            "uptime_seconds": round(time() - self._started, 1),
            "draining": plane.draining,
            "troubles": list(plane.troubles),
            "processes": list(plane.processes),
            "models": len(models),
            "models_ready": sum(model.pool.on_call for model in models),
            "in_trouble": [replica.name for replica in replicas if replica.state in BAD_STATES][:_SHOWN],
        }

    def _line(self, model: Model, scaled: ScaledModel | None) -> dict[str, Any]:
        pool = model.pool
        load = pool.load(perf_counter())
        rates = _short(self._sampler.rates.get(model.name, {}))
        # Models that share a pool share what runs and waits there; what is sampled of it is as old as the rates.
        return {
            "model": model.name,
            "pool": pool.name,
            "tasks": sorted(model.tasks),
            **rates,
            "running": load.running,
            "waiting": load.waiting,
            "oldest_wait": round(load.oldest_wait, 1),
            "limit": pool.admission.limit,
            "ready": len(pool.ready),
            "desired": None if scaled is None else scaled.desired,
            "states": _states(pool),
            "reason": next((replica.reason for replica in pool.replicas if replica.reason), ""),
        }

    def _replica(self, pool: Pool, replica: Replica) -> dict[str, Any]:
        seen = self._sampler.seen.get(replica.name)
        return {
            "replica": replica.name,
            "model": pool.name,
            "address": replica.address.url,
            "state": replica.state,
            "ready": replica.ready,
            "reason": replica.reason,
            "in_flight": replica.in_flight,
            "answers": replica.answers,
            "leaving": replica.leaving,
            "since": None if seen is None else seen.since,
        }


def _states(pool: Pool) -> dict[ReplicaState, int]:
    states = [replica.state for replica in pool.replicas]
    return {state: states.count(state) for state in dict.fromkeys(states)}


def _hour(ring: Ring, now: float) -> dict[str, Any]:
    """Give an hour as columns of the same length; a step without a number is NaN, which JSON calls ``null``."""
    step = int(now // STEP_SECONDS)
    columns = {name: [_rounded(number) for number in column] for name, column in ring.read(step).items()}
    return {"step_seconds": STEP_SECONDS, "times": list(times(step)), **columns}


def _short(numbers: Mapping[str, float | None]) -> dict[str, float | None]:
    return {name: None if number is None else _rounded(number) for name, number in numbers.items()}


def _rounded(number: float) -> float:
    return float(f"{number:.{_DIGITS}g}")
