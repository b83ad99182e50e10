"""``[models.NAME]``: one model, as options that every model has and options of the engine that runs it.

Each engine has a class of its own; ``engine`` says which one a table is, and ``ModelConfig`` is any of them. What an
engine's own process is told is declared with the engine (``engines.onnx.options``) and becomes options here.

**Groups.** Options that belong together stand in a table of their own, ``[models.NAME.GROUP]``: a class in a file of
its own, and one field of ``ModelBase``. ``limits: ModelLimits`` is read as ``model.limits.max_queue``. A new option
goes into a group; a new group is a class, a field, and a row in ``reference.SECTIONS``. The options of ``_FLAT_GROUPS``
were written in ``[models.NAME]`` itself before there were groups, and may be written so for ever; the same option in
both places is a mistake.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, get_args

import msgspec
from pydantic import (
    BeforeValidator,
    Field,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    field_validator,
)

from engines.onnx.options import Golden, OnnxOptions
from gateway.config.addresses import EngineUrl
from gateway.config.canary import CanaryTable
from gateway.config.checks import key_in_environment, onnx_mistakes, onnx_task, sleep_mistakes, weight_mistakes
from gateway.config.discovery import DiscoverTable
from gateway.config.flat_groups import TableOfGroups
from gateway.config.guard import GuardTable
from gateway.config.model_limits import ModelLimits
from gateway.config.model_timeouts import ModelTimeouts
from gateway.config.paths import FilePath
from gateway.config.ray import RayModelTable
from gateway.config.scaling import ScalingTable
from gateway.config.slo import Slo
from gateway.config.source import FilesSource, ModelSource
from gateway.config.struct_fields import table_of, with_options_of
from gateway.config.table import SECRET, Mistake, Place, Table, nearest, plain
from gateway.config.tuning import ModelTuning
from gateway.config.types import (
    ALL_ENGINES,
    ALL_POLICIES,
    ALL_TASKS,
    ONNX_TASKS,
    EngineName,
    HeaderName,
    ModelName,
    Placement,
    PolicyName,
    Seconds,
    Task,
    Weight,
)

GoldenTable = table_of(Golden)
"""``[models.NAME.golden]``: a text and what the model must answer to it before it becomes ready."""


class ModelBase(TableOfGroups):
    """What every model has, whichever engine runs it."""

    flat_groups: ClassVar[Mapping[str, type[Table]]] = {"limits": ModelLimits}

    engine: EngineName = Field(
        description="What answers: `vllm` and `onnx` are started here, `remote` runs elsewhere.",
        examples=["vllm"],
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
    aliases: tuple[ModelName, ...] = Field(
        (),
        description="Other names for the model.",
        strict=False,
        examples=[["gpt-4o"]],
    )
    policy: PolicyName | None = Field(
        None,
        description=f"How a replica is chosen for a request: {', '.join(f'`{name}`' for name in ALL_POLICIES)}; see "
        "[scheduling.md](scheduling.md). Default: `prefix` for a model with two replicas or more that can `generate` "
        "(of a remote one, `tasks` must say so; one with `discover` counts as having several), else `least_in_flight`.",
        examples=["least_tokens"],
    )
    prefix_cache_tokens: int | None = Field(
        None,
        gt=0,
        le=1_000_000_000,
        description="policy `prefix`: how many tokens the KV cache of a replica has room for. Default: what its vLLM "
        "says in its metrics, or 1,000,000 where it says nothing. Rather too large than too small.",
        examples=[412_000],
    )
    session_header: HeaderName = Field(
        "x-session-id",
        description="policy `session`: the header that names a request's session, whose requests go to one replica as "
        "long as that is not overloaded. Without it the session is the body's `prompt_cache_key`, else its `user`.",
    )
    required: bool = Field(True, description="Whether the gateway is ready only when this model is.")
    health_interval: Seconds = Field(
        5.0,
        description="Time between two probes of a replica, in seconds; while requests to it are answered, five of six "
        "are left out.",
    )
    outlier_factor: float = Field(
        5.0,
        ge=0,
        le=1000,
        description="How many times later than those of its peers the responses of a replica must begin for it to be "
        "ejected for a while (see [resilience.md](resilience.md#replicas-that-are-slow)); 0: it never is for that.",
    )
    send_priority: bool = Field(
        False, description="Whether `priority` is passed on; vLLM must run with priority scheduling."
    )
    cache_salt: bool = Field(
        False, description="Whether each API key gets a prefix cache of its own (vLLM's `cache_salt`)."
    )
    hedge: bool = Field(
        True,
        description="Whether a second replica is asked when the response to an embedding, a classification or a score "
        "is later than 95 % of them; the first response wins, and at most 5 % of the requests are asked twice.",
    )
    fallback: tuple[ModelName, ...] = Field(
        (),
        description="Models of this file that are asked instead, in this order, where this one has no capacity or no "
        "ready replica, has failed, or the request is too long for it, and nothing of a response was sent. The "
        "response says so in `x-headgate-fallback`. The fallbacks of those models are not followed.",
        strict=False,
        examples=[["small"]],
    )
    limits: ModelLimits = Field(default_factory=ModelLimits, description="See `[models.NAME.limits]`.")
    slo: Slo = Field(default_factory=Slo, description="See `[models.NAME.slo]`.")
    timeouts: ModelTimeouts = Field(default_factory=ModelTimeouts, description="See `[models.NAME.timeouts]`.")
    guard: GuardTable | None = Field(None, description="See `[models.NAME.guard]`.")
    canary: CanaryTable | None = Field(None, description="See `[models.NAME.canary]`.")

    @property
    def policy_here(self) -> PolicyName:
        """How a replica is chosen, with the default filled in."""
        return self.policy or "least_in_flight"

    @property
    def weighted(self) -> bool:
        """Whether another policy is made because replicas are not all alike; some see their weights by themselves."""
        return False

    @classmethod
    def mistakes(cls, given: Mapping[str, Any]) -> Iterator[Mistake]:
        """Find options that mean nothing without another, and those that are given twice."""
        if "session_header" in given and given.get("policy") != "session":
            yield Mistake(("session_header",), "has a meaning for policy = 'session' only")
        if "prefix_cache_tokens" in given and given.get("policy", "prefix") != "prefix":
            yield Mistake(("prefix_cache_tokens",), "has a meaning for policy = 'prefix' only")
        yield from super().mistakes(given)

    @classmethod
    def unknown(cls, name: str) -> str:
        """Say which engine an option belongs to, or which one may have been meant."""
        if owners := _engines_with(name):
            own = get_args(cls.model_fields["engine"].annotation)
            return f"is an option of engine = {_alternatives(owners)}, not of {_alternatives(own)}"
        close = nearest(name, {*cls.known(), *_OWNERS})
        if close is None or not (owners := _engines_with(close)) or close in cls.model_fields:
            return super().unknown(name)
        return f"is not an option; did you mean {close!r}, of engine = {_alternatives(owners)}?"


_MANY = 2
"""As many replicas as a policy needs to choose: there may be so many where they are discovered."""


def _default_policy(tasks: Sequence[Task], replicas: int) -> PolicyName:
    return "prefix" if "generate" in tasks and replicas > 1 else "least_in_flight"


def _engine_option(value: Any) -> Any:
    listed = isinstance(value, list | tuple) and all(isinstance(each, str) for each in value)
    if not listed and not isinstance(value, str | int | float | bool):
        raise ValueError("expected text, a number, a boolean or a list of texts")
    return value


EngineOption = Annotated[str | int | float | bool | list[str], BeforeValidator(_engine_option)]
"""An option of an engine's own command line."""


class LocalModel(ModelBase):
    """A model whose engines the gateway starts."""

    source: ModelSource = Field(
        description="Where the files are: a folder, a hub id `ORG/NAME`, or a table; a folder that begins with "
        "`./` or `../` is beside this file.",
        examples=["Qwen/Qwen3-8B"],
    )
    replicas: int = Field(1, ge=0, le=64, description="How many copies to start.")
    scaling: ScalingTable | None = Field(None, description="See `[models.NAME.scaling]`.")
    placement: Placement = Field(
        "local",
        description="Where replicas run: `local`, on this machine, or `ray`, on the nodes of the cluster of "
        "`[gateway.ray]`. See [ray.md](ray.md).",
        examples=["ray"],
    )
    ray: RayModelTable | None = Field(None, description="See `[models.NAME.ray]`.")
    gpus: int | None = Field(
        None,
        ge=0,
        le=64,
        description="GPUs per replica, each given to one replica only. Default: one for vllm where there are any, and "
        "always on a Ray cluster.",
        examples=[2],
    )
    args: dict[str, EngineOption] = Field(
        default_factory=dict,
        description="Options for the engine's own command line, by name without dashes.",
        examples=[{"max-model-len": 4096, "enforce-eager": True}],
    )
    env: Annotated[dict[str, str], SECRET] = Field(
        default_factory=dict,
        description="Environment variables for the engine.",
        examples=[{"OMP_NUM_THREADS": "4"}],
    )
    startup_timeout: Seconds = Field(600.0, description="How long an engine may take to become ready, in seconds.")

    @property
    def replicas_at_first(self) -> int:
        """How many replicas are started before anything has been asked."""
        return self.replicas if self.scaling is None else self.scaling.min

    @property
    def from_zero(self) -> bool:
        """Whether there may be no replica until something is asked."""
        return self.scaling is not None and self.scaling.min == 0

    @property
    def replicas_at_most(self) -> int:
        """How many replicas there may be."""
        return self.replicas if self.scaling is None else self.scaling.max

    @classmethod
    def mistakes(cls, given: Mapping[str, Any]) -> Iterator[Mistake]:
        """Find numbers of replicas that contradict each other, and a model that nobody could wake."""
        yield from super().mistakes(given)
        scaling = plain(given, "scaling")
        if "replicas" in given and scaling:
            yield Mistake(("replicas",), "is given beside the table 'scaling', which has min and max instead")
        if given.get("ray") is not None and given.get("placement") != "ray":
            yield Mistake(("ray",), "has a meaning for placement = 'ray' only")
        if scaling.get("sleep_level") is not None:
            yield from sleep_mistakes(given)
        hold = given.get("hold", plain(given, "limits").get("hold"))
        if scaling.get("min") == 0 and hold == 0:
            yield Mistake(("limits", "hold"), "is 0, but with scaling.min = 0 requests have to wait for a replica")

    def gpus_each(self, *, has_gpu: bool) -> int:
        """How many GPUs each replica gets on a machine that has some, or none."""
        if self.gpus is not None:
            return self.gpus
        return 1 if (has_gpu or self.placement == "ray") and self.engine == "vllm" else 0

    @classmethod
    def place(cls, at: Place, given: Any) -> Place:
        """Leave out the form of ``source`` that pydantic chose."""
        return super().place((at[0], *at[2:]) if len(at) > 1 and at[0] == "source" else at, given)


_RECOVERY = "Whether another replica goes on with the stream of a chat or a completion when its replica dies. "
"""What begins the description of ``recovery``, which two engines have."""


class VllmModel(LocalModel):
    """A model that vLLM runs here."""

    engine: Literal["vllm"]
    recovery: bool = Field(True, description=_RECOVERY + "The text of each stream is kept in memory for it.")
    adapters: dict[ModelName, FilePath] | None = Field(
        None,
        description="LoRA adapters of this model: the folder of each, as PEFT saves it, by the name that clients ask "
        "for. An empty table only lets adapters be loaded by `headgate adapter load`. See [adapters.md](adapters.md).",
        examples=[{"chat-sql": "adapters/sql"}],
    )

    @property
    def tasks_here(self) -> tuple[Task, ...]:
        """What the model can do, with the engine's default filled in."""
        return self.tasks or ("generate",)

    @property
    def policy_here(self) -> PolicyName:
        """How a replica is chosen, with the default filled in."""
        return self.policy or _default_policy(self.tasks_here, self.replicas_at_most)


@with_options_of(OnnxOptions)
class OnnxModel(LocalModel):
    """A small model that our own server on ONNX Runtime runs here."""

    engine: Literal["onnx"]
    source: FilesSource = Field(
        description="Where the files are: a folder, or a table that names them in a package; a folder that begins with "
        "`./` or `../` is beside this file. See [onnx.md](onnx.md#what-the-folder-holds).",
        examples=["./guard"],
    )
    args: dict[str, EngineOption] = Field(
        default_factory=dict,
        description="Options for the engine's own command line, by name without dashes; see "
        "[onnx.md](onnx.md#options).",
        examples=[{"threads": 2, "truncate": True}],
    )
    tuning: ModelTuning | None = Field(None, description="See `[models.NAME.tuning]`.")

    @property
    def options(self) -> OnnxOptions:
        """What the engine is told of the model, as one value."""
        return msgspec.convert(self.model_dump(include=set(OnnxOptions.__struct_fields__)), OnnxOptions)

    @property
    def tasks_here(self) -> tuple[Task, ...]:
        """What the model can do, with what follows from that."""
        moderates = bool(self.options.moderation)
        task = onnx_task(self.tasks, moderates=moderates)
        if task is None:
            return self.tasks
        return (task, *ONNX_TASKS[task], "moderate") if moderates else (task, *ONNX_TASKS[task])

    @classmethod
    def mistakes(cls, given: Mapping[str, Any]) -> Iterator[Mistake]:
        """Find tasks, labels and categories that do not go together."""
        yield from super().mistakes(given)
        yield from onnx_mistakes(given)


_URLS = "One address per replica: `http://`, `https://` or `unix:PATH`, with the base path of its API if it has one. "
"""What begins the description of ``urls``, and says what is missing where replicas come from nowhere."""


class RemoteModel(ModelBase):
    """A model that runs elsewhere."""

    engine: Literal["remote"]
    recovery: bool = Field(
        False,
        description=_RECOVERY + "Only for engines that know `continue_final_message`, as vLLM and SGLang do: others "
        "would begin anew in the middle of the response.",
    )
    urls: Annotated[tuple[EngineUrl, ...], SECRET] = Field(
        (),
        description=_URLS + "Required, unless there is a table `[models.NAME.discover]`; with both, the replicas are "
        "those of both. Models with the same `urls`, `discover`, `weights`, `api_key_env`, `policy`, `session_header`, "
        "`prefix_cache_tokens`, `limits`, `timeouts`, `hedge`, `health_interval` and `outlier_factor` share one pool: "
        "its replicas are probed once, and its limits are for all of them together.",
        strict=False,
        examples=[["http://10.0.0.5:8000", "unix:/run/vllm.sock"]],
    )
    discover: DiscoverTable | None = Field(None, description="See `[models.NAME.discover]`.")
    weights: dict[EngineUrl, Weight] = Field(
        default_factory=dict,
        description="How much of the requests each address gets, beside the others; 1 where nothing is said, 0: "
        "nothing new. See [scheduling.md](scheduling.md#replicas-of-different-weights).",
        examples=[{"http://10.0.0.6:8000": 3}],
    )
    upstream_model: str | None = Field(
        None,
        description="The model's name there. Default: the name here.",
        examples=["Qwen/Qwen3-8B"],
    )
    api_key_env: Annotated[str | None, SECRET] = Field(
        None,
        description="The environment variable that holds its API key.",
        examples=["UPSTREAM_KEY"],
    )

    adapters: dict[ModelName, str] | None = Field(
        None,
        description="LoRA adapters that are loaded into its vLLMs, which must run with `--enable-lora` and "
        "`VLLM_ALLOW_RUNTIME_LORA_UPDATING=1`: the folder of each, where those find it, by the name that clients ask "
        "for. See [adapters.md](adapters.md).",
        examples=[{"chat-sql": "/srv/adapters/sql"}],
    )

    @property
    def tasks_here(self) -> tuple[Task, ...]:
        """What the model can do: everything, if nothing is said."""
        return self.tasks or ALL_TASKS

    @property
    def policy_here(self) -> PolicyName:
        """How a replica is chosen, with the default filled in; what can do everything is not known to generate."""
        return self.policy or _default_policy(self.tasks, len(self.urls) if self.discover is None else _MANY)

    @property
    def api_key(self) -> str | None:
        """The key in the environment. Raises ``ValueError`` if it is there no longer."""
        return None if self.api_key_env is None else key_in_environment(self.api_key_env)

    @property
    def weighted(self) -> bool:
        """Whether another policy is made because replicas are not all alike; one that gets nothing does not count."""
        if self.policy_here in ("prefix", "session"):
            return False
        return len({self.weights.get(url, 1.0) for url in self.urls} - {0.0}) > 1

    @classmethod
    def mistakes(cls, given: Mapping[str, Any]) -> Iterator[Mistake]:
        """Find a model whose replicas come from nowhere, and weights that go to no address."""
        yield from super().mistakes(given)
        if given.get("discover") is None:
            if "urls" not in given:
                expected = f"{_URLS[0].lower()}{_URLS[1:].removesuffix('. ')}"
                yield Mistake(("urls",), f"is missing; expected: {expected}, or a table `discover`")
            elif given["urls"] in ([], ()):
                yield Mistake(("urls",), "expected at least one address, or a table `discover`")
        yield from weight_mistakes(given)

    @classmethod
    def place(cls, at: Place, given: Any) -> Place:
        """Leave out an address, which may have a secret in it."""
        return super().place(at[:1] if at[:1] == ("weights",) else at, given)

    @field_validator("api_key_env")
    @classmethod
    def _key_is_there(cls, variable: str | None) -> str | None:
        if variable is not None:
            key_in_environment(variable)
        return variable


class _ModelOfNoEngine(ModelBase):
    """A model whose engine is not known; it is never valid, but its other mistakes are told at the same time."""

    @classmethod
    def arranged(cls, given: Mapping[str, Any]) -> Mapping[str, Any]:
        """Leave out what is an option of some engine."""
        return super().arranged({name: value for name, value in given.items() if not _engines_with(name)})


def _by_engine(given: Any, validate: ValidatorFunctionWrapHandler, info: ValidationInfo) -> Any:
    if isinstance(given, Mapping) and given.get("engine") not in ALL_ENGINES:
        return _ModelOfNoEngine.model_validate(given, context=info.context)
    return validate(given)


_TABLES: Mapping[EngineName, type[ModelBase]] = {"vllm": VllmModel, "onnx": OnnxModel, "remote": RemoteModel}

ModelConfig = VllmModel | OnnxModel | RemoteModel
"""Any model. ``engine`` tells which one it is, also to a type checker."""


def adapters_of(model: ModelConfig) -> Mapping[str, str]:
    """Give the folder of each LoRA adapter that a model has, by the adapter's name."""
    given = None if model.engine == "onnx" else model.adapters
    return {name: str(folder) for name, folder in (given or {}).items()}


TaggedModel = Annotated[ModelConfig, Field(discriminator="engine"), WrapValidator(_by_engine)]
"""The same, as it is read."""


_OWNERS: Mapping[str, tuple[EngineName, ...]] = {
    option: tuple(engine for engine in ALL_ENGINES if option in _TABLES[engine].model_fields)
    for table in _TABLES.values()
    for option in table.model_fields
    if option not in ModelBase.model_fields
}
"""The engines that have an option, by its name, unless all of them have."""


def _engines_with(option: str) -> tuple[EngineName, ...]:
    return _OWNERS.get(option, ())


def _alternatives(engines: Sequence[str]) -> str:
    return " or ".join(f'"{engine}"' for engine in engines)
