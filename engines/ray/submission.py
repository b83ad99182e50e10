"""What is submitted for a replica, and what its job says of itself, so that a gateway finds its jobs again."""

from __future__ import annotations

import hashlib
import hmac
import random
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from engines.ray.head import Head
from engines.ray.jobs import Job
from engines.ray.order import VARIABLE, Order
from engines.spec import EngineSpec, RayDemand

_GATEWAY, _INSTANCE, _MODEL = "headgate", "headgate_instance", "headgate_model"
_SPEC, _REPLICA, _PORT, _NONCE = "headgate_spec", "headgate_replica", "headgate_port", "headgate_nonce"


@dataclass(frozen=True, slots=True)
class Placed:
    """One job: its id, and the port and key at which its engine answers."""

    submission_id: str
    port: int
    key: str = field(repr=False)


def new_job(head: Head, spec: EngineSpec, replica: str) -> tuple[Placed, dict[str, Any]]:
    """Draw an id, a port and a key for one more job of a replica, and write it as the Jobs API takes it."""
    cluster, nonce = head.cluster, secrets.token_hex(16)
    # It names a file on the node.
    submission_id = f"{cluster.name}-{re.sub(r'[^A-Za-z0-9._-]', '_', replica)}-{secrets.token_hex(4)}"
    port = random.randint(*cluster.ports)  # noqa: S311 - no secret
    placed = Placed(submission_id, port, key_of(cluster.token, nonce))
    labels = {_INSTANCE: head.instance, _MODEL: spec.model, _REPLICA: replica, _PORT: str(port), _NONCE: nonce}
    metadata = {_GATEWAY: cluster.name, _SPEC: digest_of(head, spec)} | labels
    return placed, request_of(spec, cluster.python, placed) | {"metadata": metadata}


def is_ours(head: Head, job: Job) -> bool:
    """Whether a job that has not ended was submitted by a gateway of this name."""
    given = job.metadata or {}
    known = {_SPEC, _NONCE} <= given.keys() and given.get(_PORT, "").isdecimal() and job.submission_id is not None
    return known and not job.ended and given.get(_GATEWAY) == head.cluster.name


def placed_of(head: Head, job: Job) -> Placed:
    """Read where the engine of such a job answers, and by which key."""
    assert job.metadata is not None
    key = key_of(head.cluster.token, job.metadata[_NONCE])
    return Placed(str(job.submission_id), int(job.metadata[_PORT]), key)


def runs(head: Head, job: Job, spec: EngineSpec) -> bool:
    """Whether such a job is exactly what a replica is to be now."""
    return (job.metadata or {}).get(_SPEC) == digest_of(head, spec)


def instance_of(job: Job) -> str:
    """Say which gateway has submitted a job."""
    return (job.metadata or {}).get(_INSTANCE, "")


def key_of(token: Callable[[], str], nonce: str) -> str:
    """Derive a replica's key: who may submit jobs to the cluster can find it again, and it is stored nowhere."""
    return hmac.digest(_token(token), nonce.encode(), "sha256").hex()


def digest_of(head: Head, spec: EngineSpec) -> str:
    """Name exactly what a job runs, so that nobody without the token learns anything of it."""
    order = msgspec.json.encode([Order.of(spec), spec.ray], order="deterministic", enc_hook=dict)
    return hmac.new(_token(head.cluster.token), order, hashlib.sha256).hexdigest()[:32]


def _token(token: Callable[[], str]) -> bytes:
    try:
        return token().encode()
    except OSError:
        return b""


def request_of(spec: EngineSpec, python: str, placed: Placed) -> dict[str, Any]:
    """Write the job of a replica, as the Jobs API takes it. It asks for something, else it runs on the head's node."""
    demand = spec.ray or RayDemand()
    order = msgspec.structs.replace(Order.of(spec), port=placed.port, key=placed.key)
    runtime_env = dict(demand.runtime_env)
    runtime_env["env_vars"] = {**runtime_env.get("env_vars", {}), VARIABLE: order.written()}
    asked = {
        "entrypoint_num_cpus": demand.cpus,
        "entrypoint_num_gpus": spec.gpus,
        "entrypoint_memory": demand.memory,
        "entrypoint_resources": dict(demand.resources),
        "entrypoint_label_selector": dict(demand.labels),
    }
    return {
        "entrypoint": f"exec {python} -m engines.ray",
        "submission_id": placed.submission_id,
        "runtime_env": runtime_env,
        **{name: value for name, value in asked.items() if value},
    }
