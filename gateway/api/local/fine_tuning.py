"""OpenAI's fine-tuning API: jobs are ordered here, and looked after by the tuning server."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from typing import Annotated, Any, Literal
from urllib.parse import parse_qsl, quote

import msgspec
from msgspec import Meta

from engines.train.job import Distill, Prune
from engines.tuning.records import Hyperparameters, JobOrder, Kind, Method, TrainingFile
from gateway.api.local.json_body import decoded
from gateway.api.local.metadata import check_metadata
from gateway.api.local.route import GatewayInfo, LocalRequest, LocalResponse
from gateway.core.errors import BadRequest
from gateway.tuning.client import TuningClient

_PURPOSE = "fine-tune"

_SUFFIX = re.compile(r"[A-Za-z0-9._-]*")
"""What may stand in a model's name between colons."""

_ORGANIZATION = "headgate"
"""What stands in the names of models where there are no keys, and so no groups."""

_LARGEST_SEED = 2**32 - 1

_IN_METHOD = "method.supervised.hyperparameters"

_LONGEST_ID = 100
"""What is asked for by a longer id is not there, and the tuning server need not read all of it to say so."""

_MOST_LISTED = 100
_METADATA = "metadata["


class HyperparameterOrder(msgspec.Struct, forbid_unknown_fields=True):
    """OpenAI's hyperparameters, and what only this server knows: how a classifier is trained, and for how long."""

    n_epochs: Annotated[int, Meta(ge=1, le=1000)] | Literal["auto"] = "auto"
    batch_size: Annotated[int, Meta(ge=1, le=4096)] | Literal["auto"] = "auto"
    learning_rate_multiplier: Annotated[float, Meta(gt=0, le=1000)] | Literal["auto"] = "auto"
    method: Method = "auto"
    augment: bool = False
    quantize: bool = True
    time_budget: Annotated[float, Meta(gt=0)] | None = None
    prune: Prune | None = None
    distill: Distill | None = None


class SupervisedOrder(msgspec.Struct, forbid_unknown_fields=True):
    """Supervised training."""

    hyperparameters: HyperparameterOrder = msgspec.field(default_factory=HyperparameterOrder)


class MethodOrder(msgspec.Struct, forbid_unknown_fields=True):
    """How to train. Only ``supervised`` is known here; what OpenAI's others are told is not looked at."""

    type: str
    supervised: SupervisedOrder | None = None
    dpo: Any = None
    reinforcement: Any = None


class NewJob(msgspec.Struct, forbid_unknown_fields=True):
    """What ``POST /v1/fine_tuning/jobs`` is told."""

    model: str
    training_file: str
    validation_file: str | None = None
    suffix: Annotated[str, Meta(max_length=64)] | None = None
    seed: Annotated[int, Meta(ge=0, le=_LARGEST_SEED)] | None = None
    method: MethodOrder | None = None
    hyperparameters: HyperparameterOrder | None = None
    integrations: list[dict[str, Any]] | None = None
    metadata: dict[str, str] | None = None


async def create_job(info: GatewayInfo, request: LocalRequest) -> LocalResponse:
    """Order a job."""
    request.key.check_tune()
    asked = decoded(request, NewJob)
    if not request.key.may_use(asked.model):
        raise request.key.not_allowed(asked.model)
    tuning = _tuning(info)
    base, numbers = tuning.base(asked.model, request.key.may_use), _hyperparameters(asked)
    where = "hyperparameters" if asked.method is None else _IN_METHOD
    _check_smaller(numbers, base.kind, where)
    if base.kind != "classifier":
        _check_adapter(numbers, where)
    suffix = asked.suffix or ""
    if not _SUFFIX.fullmatch(suffix):
        raise BadRequest(
            f"suffix is {suffix!r}; it may have letters, digits, '.', '_' and '-', as it is part of a model's name.",
            param="suffix",
        )
    check_metadata(asked.metadata)
    if asked.integrations:
        raise BadRequest(
            "integrations are not supported; the job's events and its file of results have the same numbers.",
            param="integrations",
            code="integrations_not_supported",
        )
    order = JobOrder(
        owner=request.key.id,
        organization=request.key.group or _ORGANIZATION,
        base=asked.model,
        kind=base.kind,
        weights=base.weights,
        training_file=await _file(info, request, asked.training_file, "training_file"),
        validation_file=(
            None
            if asked.validation_file is None
            else await _file(info, request, asked.validation_file, "validation_file")
        ),
        suffix=suffix,
        seed=secrets.randbelow(_LARGEST_SEED) if asked.seed is None else asked.seed,
        method="lora" if base.kind == "lora" else numbers.method,
        hyperparameters=Hyperparameters(numbers.n_epochs, numbers.batch_size, numbers.learning_rate_multiplier),
        time_budget=numbers.time_budget,
        augment=numbers.augment,
        quantize=numbers.quantize,
        prune=numbers.prune,
        distill=numbers.distill,
        metadata=asked.metadata,
    )
    return LocalResponse(await tuning.post("/jobs", msgspec.json.encode(order)))


async def list_jobs(info: GatewayInfo, request: LocalRequest) -> LocalResponse:
    """List the key's jobs, the newest first, in pages."""
    given = _query(request)
    metadata = {
        name.removeprefix(_METADATA).removesuffix("]"): value
        for name, value in given.items()
        if name.startswith(_METADATA) and name.endswith("]")
    }
    wanted = {"metadata": msgspec.json.encode(metadata).decode()} if metadata else {}
    return LocalResponse(await _tuning(info).get("/jobs", owner=request.key.id, **_page(given), **wanted))


async def show_job(info: GatewayInfo, request: LocalRequest) -> LocalResponse:
    """Show one job."""
    return LocalResponse(await _tuning(info).get(_path(request), owner=request.key.id))


async def list_events(info: GatewayInfo, request: LocalRequest) -> LocalResponse:
    """List what has happened to a job, the newest first, in pages."""
    page = _page(_query(request))
    return LocalResponse(await _tuning(info).get(f"{_path(request)}/events", owner=request.key.id, **page))


async def list_checkpoints(info: GatewayInfo, request: LocalRequest) -> LocalResponse:
    """List the checkpoints of a job, the newest first, in pages."""
    page = _page(_query(request))
    return LocalResponse(await _tuning(info).get(f"{_path(request)}/checkpoints", owner=request.key.id, **page))


async def pause_job(info: GatewayInfo, request: LocalRequest) -> LocalResponse:
    """Pause a job."""
    return await _act(info, request, "pause")


async def resume_job(info: GatewayInfo, request: LocalRequest) -> LocalResponse:
    """Resume a paused job."""
    return await _act(info, request, "resume")


async def cancel_job(info: GatewayInfo, request: LocalRequest) -> LocalResponse:
    """Cancel a job."""
    return await _act(info, request, "cancel")


async def _act(info: GatewayInfo, request: LocalRequest, action: str) -> LocalResponse:
    request.key.check_tune()
    return LocalResponse(await _tuning(info).post(f"{_path(request)}/{action}", owner=request.key.id))


def _tuning(info: GatewayInfo) -> TuningClient:
    assert info.tuning is not None
    return info.tuning


def _path(request: LocalRequest) -> str:
    return f"/jobs/{quote(request.parameter[:_LONGEST_ID], safe='')}"


async def _file(info: GatewayInfo, request: LocalRequest, file_id: str, param: str) -> TrainingFile:
    """Find a file of examples. Raises ``ObjectNotFound`` or ``BadRequest``, which name the field."""
    try:
        file = await info.files.file(request.key.id, file_id)
    except BadRequest as error:
        error.param = param
        raise
    if file.purpose != _PURPOSE:
        raise BadRequest(
            f"The file {file.id!r} has the purpose {file.purpose!r}; expected one that was uploaded for {_PURPOSE!r}.",
            param=param,
        )
    return TrainingFile(file.id, str(await info.files.path_of(file)))


def _hyperparameters(asked: NewJob) -> HyperparameterOrder:
    """Find the hyperparameters, which may stand in two places. Raises ``BadRequest``."""
    method = asked.method
    if method is None:
        return asked.hyperparameters or HyperparameterOrder()
    if method.type != "supervised":
        raise BadRequest(
            f"The method {method.type[:100]!r} is not supported; the only one is 'supervised'.",
            param="method.type",
            code="method_not_supported",
        )
    if asked.hyperparameters is not None:
        raise BadRequest(
            "hyperparameters are given beside method; give them in method.supervised.hyperparameters alone.",
            param="hyperparameters",
        )
    return HyperparameterOrder() if method.supervised is None else method.supervised.hyperparameters


def _check_smaller(asked: HyperparameterOrder, kind: Kind, where: str) -> None:
    """Refuse what cannot make a smaller model. Raises ``BadRequest`` naming the field."""
    if asked.prune is not None and asked.distill is not None:
        raise BadRequest("distill is given beside prune; give one of the two.", param=f"{where}.distill")
    name = "distill" if asked.prune is None else "prune"
    if kind != "classifier" and (asked.prune or asked.distill) is not None:
        raise BadRequest(
            f"{name} is for classifiers; this base becomes an adapter, which has no layers of its own.",
            param=f"{where}.{name}",
        )


def _check_adapter(asked: HyperparameterOrder, where: str) -> None:
    """Refuse what only a classifier can have. Raises ``BadRequest`` naming the field."""
    if asked.method not in ("auto", "lora"):
        raise BadRequest(
            f"method is {asked.method!r}, which is for classifiers; this base becomes a LoRA adapter.",
            param=f"{where}.method",
        )
    if asked.augment:
        raise BadRequest(
            "augment is for classifiers; this base becomes an adapter, which learns its conversations as they are.",
            param=f"{where}.augment",
        )


def _query(request: LocalRequest) -> Mapping[str, str]:
    return dict(parse_qsl(request.head.target.partition(b"?")[2].decode("latin-1"), keep_blank_values=True))


def _page(given: Mapping[str, str]) -> dict[str, str]:
    """Read which page is asked for. Raises ``BadRequest``; what is not known is passed over."""
    limit = given.get("limit", "20")
    if not (limit.isascii() and limit.isdigit() and len(limit) < 9 and 1 <= int(limit) <= _MOST_LISTED):
        raise BadRequest(f"limit is {limit[:50]!r}; it must be a number from 1 to {_MOST_LISTED}.", param="limit")
    return {"limit": limit} | ({"after": given["after"][:_LONGEST_ID]} if "after" in given else {})
