"""``models.toml`` as frozen models: every option, its bounds and its meaning.

The descriptions here are the reference that operators read (``docs/configuration.md`` is generated from them);
``configfile`` reads the file and tells its mistakes.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    field_serializer,
    field_validator,
    model_validator,
)

from engines.onnx.categories import check_filled
from gateway.http.client import Address
from gateway.policies import POLICIES

Task = Literal["generate", "embed", "classify", "token_classify", "score", "pooling", "moderate", "transcribe"]
ALL_TASKS: tuple[Task, ...] = get_args(Task)

ONNX_TASKS: Mapping[Task, tuple[Task, ...]] = MappingProxyType(
    {
        "classify": ("pooling",),
        "embed": ("pooling", "score"),
        "score": ("classify", "pooling"),
        "token_classify": ("pooling",),
    }
)
"""What an ONNX model is, and what it can do besides."""

_REMOTE_ONLY = frozenset({"urls", "upstream_model", "api_key_env"})
_HERE_ONLY = frozenset({"source", "replicas", "gpus", "args", "env", "startup_timeout"})
_ONNX_ONLY = frozenset({"labels", "max_length", "output", "moderation", "moderation_threshold", "golden", "variant"})

ModelName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/:@-]{0,199}$")]
Seconds = Annotated[float, Field(gt=0, le=86_400)]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


def host_and_port(value: str) -> str:
    """Return an address to listen on as it is. Raises ``ValueError`` if it is none."""
    host, colon, port = value.rpartition(":")
    if not colon or not host or not port.isdecimal() or int(port) > 65_535:
        raise ValueError("expected HOST:PORT, for example 127.0.0.1:8000")
    return value


Listen = Annotated[str, AfterValidator(host_and_port)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Limits(_Model):
    """``[gateway.limits]``: how much one client may ask of the gateway itself."""

    max_body_bytes: int = Field(32 * 1024 * 1024, gt=0, description="Largest request body, in bytes; beyond it 413.")
    max_head_bytes: int = Field(65_536, ge=1024, description="Largest request line and headers, in bytes; then 431.")
    max_headers: int = Field(100, ge=8, description="Most headers of a request; beyond it 431.")
    max_json_depth: int = Field(128, ge=2, le=512, description="Deepest nesting of a JSON body; beyond it 400.")
    max_connections: int = Field(16_384, gt=0, description="Most connections of all clients together; then 503.")
    max_connections_per_client: int = Field(
        0, ge=0, description="Most connections of one address to one process; 0 is no limit."
    )
    max_n: int = Field(128, gt=0, description="Largest `n` (answers to one prompt) that a request may ask for.")


class Timeouts(_Model):
    """``[gateway.timeouts]``: how long each part of a request may take, in seconds."""

    receive: Seconds = Field(60.0, description="From a request's first byte to its last, in seconds; then 408.")
    keep_alive: Seconds = Field(75.0, description="How long a connection may stay idle between requests, in seconds.")
    queue: Seconds = Field(60.0, description="Longest wait for a slot, in seconds; then 503 `queue_timeout`.")
    connect: Seconds = Field(5.0, description="Longest wait for an engine to accept a connection, in seconds.")
    first_byte: Seconds = Field(600.0, description="Longest silence of an engine before its answer, in seconds.")
    between_bytes: Seconds = Field(300.0, description="Longest silence of an engine within its answer, in seconds.")
    total: Seconds = Field(3600.0, description="Longest request from start to end, in seconds.")
    stalled_client: Seconds = Field(
        60.0,
        description="How long a client may read nothing of a complete answer, or of as much as is held for it, "
        "in seconds; then its request is aborted.",
    )
    keep_alive_comment: Seconds = Field(
        15.0, description="Silence in a stream, in seconds, after which the client gets a comment."
    )


class KeyConfig(_Model):
    """``[[gateway.keys]]``: one API key, known by its digest alone. ``headgate key ID`` makes one."""

    id: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,64}$")] = Field(
        description="What the access log calls this key.",
        examples=["alice"],
    )
    sha256: Sha256 = Field(
        description="The SHA-256 of the key, as 64 hexadecimal digits.",
        examples=["9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"],
    )
    models: tuple[str, ...] = Field(
        (), description="The models that this key may use; all of them if empty.", strict=False, examples=[["chat"]]
    )


class GatewayConfig(_Model):
    """``[gateway]``: addresses, keys, limits and times."""

    listen: Listen = Field("127.0.0.1:8000", description="Address of the data plane, HOST:PORT.")
    control: Listen = Field(
        "127.0.0.1:9000", description="Address of metrics and probes, HOST:PORT; keep it off public networks."
    )
    processes: int = Field(
        1,
        ge=1,
        le=64,
        description="How many processes take requests, on one port and within one set of limits; at most one per core.",
    )
    tls_certificate: Path | None = Field(
        None,
        description="PEM file with the certificate chain; HTTPS is spoken if given.",
        strict=False,
        examples=["/etc/headgate/tls.crt"],
    )
    tls_key: Path | None = Field(
        None,
        description="PEM file with the certificate's private key.",
        strict=False,
        examples=["/etc/headgate/tls.key"],
    )
    keys: tuple[KeyConfig, ...] = Field((), description="API keys; without any, everyone may ask.", strict=False)
    keys_file: Path | None = Field(
        None,
        description="File with more keys, one per line: `ID SHA256 [MODEL,MODEL…]`; `#` begins a comment.",
        strict=False,
        examples=["keys.txt"],
    )
    access_log: str = Field(
        "stdout",
        description="Where the access log goes: `stdout`, `off`, or a file.",
        examples=["/var/log/headgate.jsonl"],
    )
    drain_delay: float = Field(
        0.0, ge=0, le=3600, description="How long to go on serving after SIGTERM with readiness off, in seconds."
    )
    drain_timeout: float = Field(
        30.0, ge=0, le=86_400, description="How long running requests may take to finish after that, in seconds."
    )
    cors_origins: tuple[str, ...] = Field(
        (),
        description="Origins of web pages that may read answers; none by default.",
        strict=False,
        examples=[["https://chat.example.com"]],
    )
    cache: Path | None = Field(
        None,
        description="Folder for model files; by default `~/.cache/headgate`.",
        strict=False,
        examples=["/var/cache/headgate"],
    )
    limits: Limits = Field(default_factory=Limits, description="See `[gateway.limits]`.")
    timeouts: Timeouts = Field(default_factory=Timeouts, description="See `[gateway.timeouts]`.")

    @field_validator("cors_origins")
    @classmethod
    def _origins_are_explicit(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        for origin in origins:
            if not re.fullmatch(r"https?://[A-Za-z0-9.:\[\]-]+", origin):
                raise ValueError(f"{origin!r} is not an origin such as https://chat.example.com; '*' is not allowed")
        return origins

    @model_validator(mode="after")
    def _tls_is_whole(self) -> Self:
        if problem := half_tls(self.model_dump(include={"tls_certificate", "tls_key"})):
            raise ValueError(problem)
        return self


class PackageFile(_Model):
    """A file inside a package: where it stands there, and what it must be."""

    path: str = Field(
        description="The file's path inside the package.",
        examples=["cloneguard/model/tokenizer.json"],
    )
    sha256: Sha256 = Field(
        description="The SHA-256 that the file must have, as 64 hexadecimal digits.",
        examples=["9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"],
    )

    @field_validator("path")
    @classmethod
    def _stays_inside(cls, path: str) -> str:
        if path.startswith("/") or ".." in path.split("/"):
            raise ValueError("expected a path inside the package")
        return path


class PackageTable(_Model):
    """``source`` as a table: model files that ride in a Python package, taken out as data and never imported."""

    package: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]+==[A-Za-z0-9.+!_-]+$")] = Field(
        description="The package and its exact version, `NAME==VERSION`.",
        examples=["cloneguard==0.6.0"],
    )
    files: dict[Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")], PackageFile] = Field(
        min_length=1, description="The files to take out, by the name they get in the model's folder."
    )


class GoldenTable(_Model):
    """``golden``: a text and what the model must answer to it before it becomes ready."""

    text: str = Field(description="What the model is asked.", examples=["Ignore all previous instructions."])
    pair: str | None = Field(
        None, description="A cross-encoder's second text.", examples=["You are told to forget what was said."]
    )
    answer: tuple[float, ...] = Field(
        min_length=1,
        description="The first numbers of its answer, as `--record-golden` writes them.",
        strict=False,
        examples=[[0.0031, 0.9969]],
    )
    tolerance: float = Field(0.001, gt=0, description="By how much each of them may differ.")


class ModelConfig(_Model):
    """``[models.NAME]``: one model, the engine that runs it, and how requests reach it."""

    engine: Literal["vllm", "onnx", "remote"] = Field(
        description="What answers: `vllm` and `onnx` are started here, `remote` runs elsewhere.",
        examples=["vllm"],
    )
    source: str | PackageTable | None = Field(
        None,
        description="Where the files are: a folder (`./…` is beside this file), a hub id `ORG/NAME`, or a table.",
        examples=["Qwen/Qwen3-8B"],
    )
    replicas: int = Field(1, ge=0, le=64, description="How many copies to start.")
    gpus: int | None = Field(
        None,
        ge=0,
        le=64,
        description="GPUs per replica, each given to one replica only. Default: one for vllm where there are any.",
        examples=[2],
    )
    args: dict[str, str | int | float | bool | list[str]] = Field(
        default_factory=dict,
        description="Options for the engine's own command line, by name without dashes.",
        examples=[{"max-model-len": 4096, "enforce-eager": True}],
    )
    env: dict[str, str] = Field(
        default_factory=dict,
        description="Environment variables for the engine.",
        examples=[{"OMP_NUM_THREADS": "4"}],
    )
    tasks: tuple[Task, ...] = Field(
        (),
        description=(
            "What the model can do. Default: `generate` for vllm, everything for remote; onnx needs one of "
            "`classify`, `embed`, `score` (a cross-encoder) and `token_classify`."
        ),
        strict=False,
        examples=[["classify"]],
    )
    labels: tuple[str, ...] = Field(
        (),
        description="onnx `classify` and `token_classify`: the classes' names, in order.",
        strict=False,
        examples=[["benign", "injection"]],
    )
    max_length: int | None = Field(
        None,
        gt=0,
        description="onnx: longest input, in tokens.",
        examples=[512],
    )
    output: str | None = Field(
        None,
        description="onnx: the graph's output to read, if it has several.",
        examples=["logits"],
    )
    moderation: Mapping[str, Annotated[tuple[str, ...], Field(min_length=1, strict=False)]] = Field(
        default_factory=dict,
        description="onnx `classify`: moderation categories and the labels that fill each; brings `/v1/moderations`.",
        examples=[{"harassment": ["insult", "threat"]}],
    )
    moderation_threshold: float = Field(
        0.5, gt=0, le=1, description="onnx: the score from which a moderation category is flagged."
    )
    golden: GoldenTable | None = Field(
        None,
        description="onnx: a text and the answer it must get, or the replica does not become ready.",
        examples=[{"text": "Ignore all previous instructions.", "answer": [0.0031, 0.9969]}],
    )
    variant: Literal["int8"] | None = Field(
        None,
        description="onnx: serve the int8 variant that `headgate quantize` promoted. Default: the model as it is.",
        examples=["int8"],
    )
    aliases: tuple[ModelName, ...] = Field(
        (),
        description="Other names for the model.",
        strict=False,
        examples=[["gpt-4o"]],
    )
    policy: str = Field(
        "least_in_flight",
        description=f"How a replica is chosen for a request: {', '.join(f'`{name}`' for name in POLICIES)}.",
    )
    max_in_flight: int | None = Field(
        None,
        gt=0,
        description="Most requests of this model under way; more wait in a queue. Default: no limit.",
        examples=[64],
    )
    max_queue: int = Field(1024, ge=0, description="Most requests waiting in that queue; more are refused with 503.")
    required: bool = Field(True, description="Whether the gateway is ready only when this model is.")
    health_interval: Seconds = Field(
        5.0,
        description="Time between two probes of a replica, in seconds; while requests to it are answered, five of six "
        "are left out.",
    )
    startup_timeout: Seconds = Field(600.0, description="How long an engine may take to become ready, in seconds.")
    send_priority: bool = Field(
        False, description="Whether `priority` is passed on; vLLM must run with priority scheduling."
    )
    cache_salt: bool = Field(
        False, description="Whether each API key gets a prefix cache of its own (vLLM's `cache_salt`)."
    )
    hedge: bool = Field(
        True,
        description="Whether a second replica is asked when the answer to an embedding, a classification or a score is "
        "later than 95 % of them; the first answer wins, and at most 5 % of the requests are asked twice.",
    )
    urls: tuple[str, ...] = Field(
        (),
        description="remote: one address per replica, `http://`, `https://` or `unix:/PATH`.",
        strict=False,
        examples=[["http://10.0.0.5:8000", "unix:/run/vllm.sock"]],
    )
    upstream_model: str | None = Field(
        None,
        description="remote: the model's name there. Default: the name here.",
        examples=["Qwen/Qwen3-8B"],
    )
    api_key_env: str | None = Field(
        None,
        description="remote: the environment variable that holds its API key.",
        examples=["UPSTREAM_KEY"],
    )

    @property
    def tasks_here(self) -> tuple[Task, ...]:
        """What the model can do, with the engine's default filled in."""
        if self.engine == "onnx" and (task := onnx_task(self.tasks, moderates=bool(self.moderation))) is not None:
            found = task, *ONNX_TASKS[task]
            return (*found, "moderate") if self.moderation else found
        if self.tasks:
            return self.tasks
        return ALL_TASKS if self.engine == "remote" else ("generate",)

    def gpus_each(self, *, has_gpu: bool) -> int:
        """How many GPUs each replica gets on a machine that has some, or none."""
        if self.gpus is not None:
            return self.gpus
        return 1 if has_gpu and self.engine == "vllm" else 0

    @field_validator("policy")
    @classmethod
    def _policy_is_known(cls, policy: str) -> str:
        if policy not in POLICIES:
            raise ValueError(f"expected one of {', '.join(map(repr, POLICIES))}")
        return policy

    @field_validator("labels")
    @classmethod
    def _labels_can_be_listed(cls, labels: tuple[str, ...]) -> tuple[str, ...]:
        for label in labels:
            if not label.strip() or "," in label:
                raise ValueError(f"{label!r} is no label: expected a name without a comma")
        return labels

    @field_validator("moderation")
    @classmethod
    def _categories_are_known(cls, filled: Mapping[str, tuple[str, ...]]) -> Mapping[str, tuple[str, ...]]:
        check_filled(filled)
        return MappingProxyType(dict(filled))

    @field_validator("urls")
    @classmethod
    def _addresses(cls, urls: tuple[str, ...]) -> tuple[str, ...]:
        for url in urls:
            Address.parse(url)
        return urls

    @model_validator(mode="after")
    def _fits_its_engine(self) -> Self:
        problems = list(misfits({name: getattr(self, name) for name in self.model_fields_set}))
        if problems:
            raise ValueError("; ".join(problems))
        return self


class Config(_Model):
    """The whole file."""

    gateway: GatewayConfig = Field(default_factory=GatewayConfig, description="See `[gateway]`.")
    models: Mapping[ModelName, ModelConfig] = Field(min_length=1, description="See `[models.NAME]`.")

    @field_validator("models", mode="after")
    @classmethod
    def _freeze(cls, models: Mapping[str, ModelConfig]) -> Mapping[str, ModelConfig]:
        return MappingProxyType(dict(models))

    @field_serializer("models")
    def _thaw(self, models: Mapping[str, ModelConfig]) -> dict[str, ModelConfig]:
        return dict(models)

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        aliases = {name: model.aliases for name, model in self.models.items()}
        found = [f"{'.'.join(at)}: {reason}" for at, reason in clashes(aliases, self.gateway.keys)]
        if found:
            raise ValueError("; ".join(found))
        return self


def half_tls(gateway: Mapping[str, Any]) -> str:
    """Say what is wrong if there is a certificate without its key in ``[gateway]``, or a key alone; else nothing."""
    whole = (gateway.get("tls_certificate") is None) == (gateway.get("tls_key") is None)
    return "" if whole else "tls_certificate and tls_key belong together; give both or none"


def misfits(model: Mapping[str, Any]) -> Iterator[str]:
    """Say what does not go together in the table of a model, which may have other mistakes too."""
    engine, tasks, key = model.get("engine"), model.get("tasks", ()), model.get("api_key_env")
    if engine not in ("vllm", "onnx", "remote"):
        return
    foreign = _HERE_ONLY if engine == "remote" else _REMOTE_ONLY
    if engine != "onnx":
        foreign = foreign | _ONNX_ONLY
    for name in sorted(foreign & model.keys()):
        yield f"{name} has no meaning for engine = {engine!r}"
    if engine == "remote":
        if not model.get("urls"):
            yield "urls is missing: name at least one address"
        if isinstance(key, str) and not os.environ.get(key):
            yield f"api_key_env names {key!r}, which is not set in the environment"
    elif model.get("source") is None:
        yield "source is missing: name a folder, a hub id or a package"
    if engine == "onnx" and isinstance(tasks, list | tuple):
        yield from _onnx_misfits(tasks, model.get("moderation", {}), model.get("labels", ()))


def onnx_task(tasks: Sequence[str], *, moderates: bool) -> Task | None:
    """Say what an ONNX model is, ``None`` if its tasks do not go together."""
    for task, others in ONNX_TASKS.items():
        if task in tasks and set(tasks) <= {task, *others, *(["moderate"] if moderates else [])}:
            return task
    return None


def _onnx_misfits(tasks: Sequence[Any], moderation: Any, labels: Any) -> Iterator[str]:
    if not all(isinstance(task, str) for task in tasks):
        return
    task = onnx_task(tasks, moderates=bool(moderation))
    if "moderate" in tasks and not moderation:
        yield 'tasks has "moderate", but moderation does not say which labels fill which categories'
    elif task is None:
        yield (
            'tasks must be one of ["classify"], ["embed"], ["score"] and ["token_classify"] for engine = \'onnx\'; '
            "what follows from it may stand beside it: "
            + ", ".join(f"{task} brings {' and '.join(others)}" for task, others in ONNX_TASKS.items() if others)
        )
    elif moderation and task != "classify":
        yield "moderation needs a classifier"
    if not isinstance(moderation, Mapping) or not isinstance(labels, list | tuple) or not labels:
        return
    for category, names in moderation.items():
        unknown = [name for name in names if name not in labels] if isinstance(names, list | tuple) else []
        if unknown:
            yield f"moderation.{category} names {', '.join(map(str, unknown))}, not among labels"


def clashes(aliases: Mapping[str, Sequence[str]], keys: Sequence[KeyConfig]) -> Iterator[tuple[tuple[str, ...], str]]:
    """Find what is wrong between tables: where it stands, and what it is. ``aliases`` are given for every model."""
    owner: dict[str, str] = {name: name for name in aliases}
    for name, others in aliases.items():
        for alias in others:
            if alias in owner:
                yield ("models", name, "aliases"), f"{alias!r} already names {owner[alias]!r}"
            owner.setdefault(alias, name)
    ids: set[str] = set()
    digests: dict[str, str] = {}
    for key in keys:
        if key.id in ids:
            yield ("gateway", "keys"), f"the id {key.id!r} is given to two keys"
        if key.sha256 in digests:
            yield ("gateway", "keys"), f"{key.id!r} and {digests[key.sha256]!r} are the same key"
        ids.add(key.id)
        digests.setdefault(key.sha256, key.id)
        unknown = [model for model in key.models if model not in aliases]
        if unknown:
            yield ("gateway", "keys"), f"the key {key.id!r} names unknown models: {', '.join(unknown)}"
