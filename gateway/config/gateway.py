"""``[gateway]`` and the tables below it: addresses, keys, limits and timeouts."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import date
from types import MappingProxyType
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, ValidationInfo, field_serializer, field_validator

from gateway.config.checks import timeouts_amiss
from gateway.config.paths import FilePath, folder_of, resolved
from gateway.config.ray import RayTable
from gateway.config.table import SECRET, Mistake, Table
from gateway.config.tracing import Tracing
from gateway.config.tuning import Tuning
from gateway.config.types import Day, Endpoint, KeyName, Seconds, Sha256


def host_and_port(value: str) -> str:
    """Return an address to listen on as it is. Raises ``ValueError`` if it is none."""
    host, colon, port = value.rpartition(":")
    if not colon or not host or not port.isdecimal() or int(port) > 65_535:
        raise ValueError("expected HOST:PORT, for example 127.0.0.1:8000")
    return value


Listen = Annotated[str, AfterValidator(host_and_port)]


def _redis_url(value: str) -> str:
    """Return the address of a Redis server as it is. Raises ``ValueError`` that does not show it if it is none."""
    expected = (
        "expected redis://HOST:PORT, rediss://HOST:PORT or unix:///PATH, with a password as in redis://:PASSWORD@HOST"
    )
    try:
        url = urlsplit(value)
        named = url.hostname and url.port != 0 and re.fullmatch(r"(/\d{0,4})?", url.path)
    except ValueError:
        raise ValueError(expected) from None
    if (url.scheme == "unix" and url.path.startswith("/")) or (url.scheme in ("redis", "rediss") and named):
        return value
    raise ValueError(expected)


class Limits(Table):
    """``[gateway.limits]``: how much clients may ask of the gateway itself, each of them and all together."""

    max_body_bytes: int = Field(32 * 1024 * 1024, gt=0, description="Largest request body, in bytes; beyond it 413.")
    max_total_body_bytes: int = Field(
        1024**3,
        gt=0,
        description="Most bytes of bodies that one process holds, of all requests that arrive, wait or are answered; "
        "then 503 `body_memory_exhausted`. Uploads of files are not counted.",
    )
    max_head_bytes: int = Field(65_536, ge=1024, description="Largest request line and headers, in bytes; then 431.")
    max_headers: int = Field(100, ge=8, description="Most headers of a request; beyond it 431.")
    max_json_depth: int = Field(128, ge=2, le=512, description="Deepest nesting of a JSON body; beyond it 400.")
    max_connections: int = Field(16_384, gt=0, description="Most connections of all clients together; then 503.")
    max_connections_per_client: int = Field(
        0,
        ge=0,
        description="Most connections of one address to one process; then 429. 0 is no limit, and must be so behind a "
        "proxy, from whose address all clients come.",
    )
    max_loop_lag: float = Field(
        0.5,
        ge=0,
        le=60,
        description="How late the event loop may be, in seconds, as the median of five ticks; beyond it a share of "
        "the requests is refused with 503 `gateway_overloaded`, the lowest classes first. 0 refuses none.",
    )
    max_n: int = Field(128, gt=0, description="Largest `n` (answers to one prompt) that a request may ask for.")

    @classmethod
    def mistakes(cls, given: Mapping[str, Any]) -> Iterator[Mistake]:
        """Find a limit for all bodies together that is less than that for one."""
        names = ("max_body_bytes", "max_total_body_bytes")
        one, together = (given.get(name, cls.model_fields[name].default) for name in names)
        if isinstance(one, int) and isinstance(together, int) and together < one:
            yield Mistake(
                (next(name for name in reversed(names) if name in given),),
                f"max_total_body_bytes is {together}, and must be max_body_bytes ({one}) at least",
            )


class Timeouts(Table):
    """``[gateway.timeouts]``: how long each part of a request may take, in seconds."""

    receive: Seconds = Field(
        60.0,
        description="From a request's first byte to its last, in seconds; then 408. For the upload of a file, the "
        "longest silence of the client.",
    )
    keep_alive: Seconds = Field(75.0, description="How long a connection may stay idle between requests, in seconds.")
    queue: Seconds = Field(60.0, description="Longest wait for a slot, in seconds; then 503 `queue_timeout`.")
    connect: Seconds = Field(
        5.0,
        description="Longest wait for an engine to accept a connection, in seconds; then another replica is asked, or "
        "504 `connect_timeout`. A model may have its own; so with the next three.",
    )
    first_byte: Seconds = Field(
        600.0,
        description="Longest silence of an engine before its response, in seconds; then another replica is asked, or "
        "504 `first_byte_timeout`. A response that is no stream begins when all of it was generated.",
    )
    between_bytes: Seconds = Field(
        300.0,
        description="Longest silence of an engine within its response, in seconds; then its stream is recovered, or "
        "ends with `between_bytes_timeout`.",
    )
    total: Seconds = Field(
        3600.0, description="Longest request from start to end, in seconds; then 504 `total_timeout`."
    )
    stalled_client: Seconds = Field(
        60.0,
        description="How long a client may read nothing of a complete response, or of as much as is held for it, "
        "in seconds; then its request is aborted.",
    )
    keep_alive_comment: Seconds = Field(
        15.0, description="Silence in a stream, in seconds, after which the client gets a comment."
    )

    @classmethod
    def mistakes(cls, given: Mapping[str, Any]) -> Iterator[Mistake]:
        """Find parts of a request that may take longer than the whole of it."""
        total = given.get("total", cls.model_fields["total"].default)
        if isinstance(total, int | float):
            yield from timeouts_amiss(given, total)


class Files(Table):
    """``[gateway.files]``: where uploaded files are kept, and how much of them."""

    folder: FilePath | None = Field(
        None,
        description="Folder for uploaded files, made when the first one comes; by default `headgate/files` in the "
        "user's data folder (`$XDG_DATA_HOME`, else `~/.local/share`).",
        examples=["/var/lib/headgate/files"],
    )
    max_file_bytes: int = Field(
        512 * 1024 * 1024, gt=0, description="Largest file that is uploaded in one request, in bytes; beyond it 413."
    )
    max_upload_bytes: int = Field(
        8 * 1024 * 1024 * 1024, gt=0, description="Largest file that is uploaded in parts, in bytes; beyond it 413."
    )
    max_bytes: int = Field(
        100 * 1024 * 1024 * 1024,
        ge=0,
        description="How much all files of one key may take, in bytes; beyond it 413; 0 is no limit.",
    )


class Batches(Table):
    """``[gateway.batches]``: how much batches may do."""

    max_concurrency: int = Field(
        64,
        gt=0,
        le=4096,
        description="How many lines of batches may run at once for one model; how many do is found by how its engines "
        "and interactive requests fare.",
    )
    max_lines: int = Field(50_000, gt=0, le=1_000_000, description="How many lines one batch may have.")
    max_batches: int = Field(
        100, ge=0, description="How many batches of one key may be under way; beyond it 429; 0 is no limit."
    )


class Redis(Table):
    """``[gateway.redis]``: the Redis through which several nodes share the limits of keys and groups."""

    url: Annotated[str, AfterValidator(_redis_url), SECRET] = Field(
        description="Address of the Redis server: `redis://[[USER]:PASSWORD@]HOST[:PORT][/DB]`, the same with "
        "`rediss://` for TLS, or `unix:///PATH`. It is never shown.",
        examples=["rediss://:s3cret@10.0.0.9:6379/0"],
        repr=False,
    )
    prefix: str = Field(
        "headgate",
        pattern=r"^[A-Za-z0-9._:-]{1,64}$",
        description="What the names of all keys in Redis begin with; nodes with the same one share their limits.",
    )


_MOST = 10**15
"""Redis counts with doubles, which are exact up to a few times this."""


class KeyLimitsConfig(Table):
    """``limits`` of a key or of a group: how much it may ask of all models together, over all processes."""

    requests_per_minute: int | None = Field(
        None, gt=0, le=_MOST, description="Most requests within 60 s; beyond it 429. No limit if unset.", examples=[60]
    )
    requests_per_day: int | None = Field(
        None,
        gt=0,
        le=_MOST,
        description="Most requests within 24 hours; beyond it 429. No limit if unset.",
        examples=[10_000],
    )
    tokens_per_minute: int | None = Field(
        None,
        gt=0,
        le=_MOST,
        description="Most tokens within 60 s, of prompts and of what is generated; beyond it 429. No limit if unset.",
        examples=[150_000],
    )
    tokens_per_day: int | None = Field(
        None,
        gt=0,
        le=_MOST,
        description="Most tokens within 24 hours; beyond it 429. No limit if unset.",
        examples=[10**7],
    )
    max_in_flight: int | None = Field(
        None,
        gt=0,
        le=_MOST,
        description="Most requests at once, those that wait included; then 429. No limit if unset.",
        examples=[8],
    )


class Restrictions(Table):
    """What a key may do, or what all keys of a group may do."""

    models: tuple[str, ...] = Field(
        (), description="The models that may be used; all of them if empty.", strict=False, examples=[["chat"]]
    )
    endpoints: tuple[Endpoint, ...] = Field(
        (),
        description="The endpoints that may be used; all of them if empty.",
        strict=False,
        examples=[["/v1/chat/completions", "/v1/embeddings"]],
    )
    expires: Day | None = Field(
        None,
        description="The first day on which the key no longer works, in UTC; then 401. Never if unset.",
        examples=[date(2030, 1, 1)],
    )
    priority: int | None = Field(
        None,
        ge=-1000,
        le=1000,
        description="The class of requests when they wait: lower numbers come first; 0 if unset.",
        examples=[10],
    )
    tune: bool | None = Field(
        None,
        description="Whether fine-tuning jobs may be made, and their models deleted; not if unset. Without keys "
        "everyone may.",
        examples=[True],
    )
    limits: KeyLimitsConfig = Field(default_factory=KeyLimitsConfig, description="See the limits of keys and groups.")


class GroupConfig(Restrictions):
    """``[gateway.groups.NAME]``: what holds for all keys of a group together."""


class KeyConfig(Restrictions):
    """``[[gateway.keys]]``: one API key, known by its digest alone. ``headgate key ID`` makes one."""

    id: KeyName = Field(
        description="What the access log calls this key.",
        examples=["alice"],
    )
    sha256: Sha256 = Field(
        description="The SHA-256 of the key, as 64 hexadecimal digits.",
        examples=["9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"],
    )
    group: KeyName | None = Field(
        None,
        description="The group whose restrictions and limits hold too; it is a table `[gateway.groups.NAME]`.",
        examples=["research"],
    )


class GatewayConfig(Table):
    """``[gateway]``: addresses, keys, limits and times."""

    listen: Listen = Field("127.0.0.1:8000", description="Address of the data plane, HOST:PORT.")
    control: Listen = Field(
        "127.0.0.1:9000", description="Address of metrics and probes, HOST:PORT; keep it off public networks."
    )
    metrics_at_listen: bool = Field(
        False,
        description="Whether `/metrics` is answered at `listen` too, as vLLM does it, to clients with a key if there "
        "are any; with several processes it is at `control` only.",
    )
    processes: int = Field(
        1,
        ge=1,
        le=64,
        description="How many processes take requests, on one port and within one set of limits; at most one per core.",
    )
    tls_certificate: FilePath | None = Field(
        None,
        description="PEM file with the certificate chain; HTTPS is spoken if given.",
        examples=["/etc/headgate/tls.crt"],
    )
    tls_key: FilePath | None = Field(
        None,
        description="PEM file with the certificate's private key.",
        examples=["/etc/headgate/tls.key"],
    )
    keys: tuple[KeyConfig, ...] = Field((), description="API keys; without any, everyone may ask.", strict=False)
    keys_file: FilePath | None = Field(
        None,
        description="File with more keys, one per line: `ID SHA256 [MODEL,MODEL…] [group=NAME]`; `#` begins a comment. "
        "With none in it, nor in `keys`, the configuration is refused: everyone might ask.",
        examples=["keys.txt"],
    )
    groups: Mapping[KeyName, GroupConfig] = Field(
        default_factory=dict, description="A table `[gateway.groups.NAME]` for each group of keys."
    )
    cpu_engines: int | None = Field(
        None,
        ge=1,
        le=1000,
        description="Most engines without a GPU that run here at the same time. Replicas that demand asks for beyond "
        "that wait until there is room, or until a scaled model that is idle gives one up. Default: no limit.",
        examples=[4],
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
    cache: FilePath | None = Field(
        None,
        description="Folder for model files; by default `~/.cache/headgate`.",
        examples=["/var/cache/headgate"],
    )
    fast_paths: bool = Field(
        True,
        description="Whether requests, responses and events that repeat are recognised by their bytes; off only to "
        "hunt a bug.",
    )
    limits: Limits = Field(default_factory=Limits, description="See `[gateway.limits]`.")
    files: Files = Field(default_factory=Files, description="See `[gateway.files]`.")
    tuning: Tuning = Field(default_factory=Tuning, description="See `[gateway.tuning]`.")
    batches: Batches = Field(default_factory=Batches, description="See `[gateway.batches]`.")
    timeouts: Timeouts = Field(default_factory=Timeouts, description="See `[gateway.timeouts]`.")
    tracing: Tracing = Field(default_factory=Tracing, description="See `[gateway.tracing]`.")
    redis: Redis | None = Field(
        None, description="See `[gateway.redis]`. Without it, limits hold for this node by itself."
    )
    ray: RayTable | None = Field(None, description="See `[gateway.ray]`.")

    @field_validator("groups", mode="after")
    @classmethod
    def _freeze(cls, groups: Mapping[str, GroupConfig]) -> Mapping[str, GroupConfig]:
        return MappingProxyType(dict(groups))

    @field_serializer("groups")
    def _thaw(self, groups: Mapping[str, GroupConfig]) -> dict[str, GroupConfig]:
        return dict(groups)

    @field_validator("cors_origins")
    @classmethod
    def _origins_are_explicit(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        for origin in origins:
            if not re.fullmatch(r"https?://[A-Za-z0-9.:\[\]-]+", origin):
                raise ValueError(f"{origin!r} is not an origin such as https://chat.example.com; '*' is not allowed")
        return origins

    @field_validator("access_log")
    @classmethod
    def _log_is_beside_the_file(cls, where: str, info: ValidationInfo) -> str:
        return where if where in ("stdout", "off") else str(resolved(where, folder_of(info)))

    @classmethod
    def mistakes(cls, given: Mapping[str, Any]) -> Iterator[Mistake]:
        """Find a certificate without its key, a key alone, and metrics where they would be those of one process."""
        if (given.get("tls_certificate") is None) != (given.get("tls_key") is None):
            yield Mistake((), "tls_certificate and tls_key belong together; give both or none")
        if given.get("metrics_at_listen") is True and given.get("processes", 1) != 1:
            yield Mistake(("metrics_at_listen",), "needs processes = 1; those of several are at the address of control")
