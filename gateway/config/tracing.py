"""``[gateway.tracing]``: where spans of requests are sent, and of how many requests.

What the table does not say is taken from the environment variables that OpenTelemetry defines for it
(https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import unquote, urlsplit

from pydantic import AfterValidator, Field, StringConstraints

from gateway.config.table import SECRET, Table
from gateway.config.types import HeaderName

_PATH = "/v1/traces"

_HEADER_NAME = r"^[A-Za-z0-9-]+$"
_HEADER_VALUE = r"^[ -~]*$"

_SAMPLERS: Mapping[str, tuple[float | None, bool]] = {
    "always_on": (1.0, False),
    "always_off": (0.0, False),
    "traceidratio": (None, False),
    "parentbased_always_on": (1.0, True),
    "parentbased_always_off": (0.0, True),
    "parentbased_traceidratio": (None, True),
}
"""The values of ``OTEL_TRACES_SAMPLER``: a ratio, where it is not that of ``OTEL_TRACES_SAMPLER_ARG``, and whether the
client decides."""


def _receiver(url: str) -> str:
    """Return the address of a receiver as it is. Raises ``ValueError`` if it is none."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0 and "@" not in url
    except ValueError:
        usable = False
    if not usable or not re.fullmatch(r"[!-~]+", url):
        raise ValueError("expected http://HOST:PORT or https://HOST without credentials, which belong into headers")
    return url


_HeaderValue = Annotated[str, StringConstraints(pattern=_HEADER_VALUE)]


class Tracing(Table):
    """``[gateway.tracing]``: where spans of requests are sent, and of how many requests."""

    endpoint: Annotated[Annotated[str, AfterValidator(_receiver)] | None, SECRET] = Field(
        None,
        description="Address of an OpenTelemetry collector, or of anything that takes OTLP over HTTP; `/v1/traces` is "
        "added. Default: `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` of the environment, which is taken as it is, or "
        "`OTEL_EXPORTER_OTLP_ENDPOINT`; without any, nothing is recorded.",
        examples=["http://127.0.0.1:4318"],
    )
    headers: Annotated[dict[HeaderName, _HeaderValue], SECRET] = Field(
        default_factory=dict,
        description="Headers of each request to it, such as a key; those of `OTEL_EXPORTER_OTLP_HEADERS` are added.",
        examples=[{"x-api-key": "secret"}],
    )
    sample_ratio: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Share of the requests that are recorded, from 0 to 1, where the client does not decide. Default: "
        "as `OTEL_TRACES_SAMPLER` and `OTEL_TRACES_SAMPLER_ARG` say, else 1.",
        examples=[0.01],
    )
    parent_based: bool | None = Field(
        None,
        description="Whether a client that sends `traceparent` decides by it whether its request is recorded; `false` "
        "where clients are not trusted with that. Default: as `OTEL_TRACES_SAMPLER` says, else `true`.",
        examples=[False],
    )
    service_name: str | None = Field(
        None,
        min_length=1,
        description="What the gateway is called in traces. Default: `OTEL_SERVICE_NAME`, else `headgate`.",
        examples=["headgate-eu"],
    )


@dataclass(frozen=True, slots=True)
class TracingSettings:
    """How spans are recorded and sent: the table, with what the environment adds."""

    url: str
    headers: Mapping[str, str]
    ratio: float
    parent_based: bool
    resource: Mapping[str, str]
    """What the gateway says of itself, with ``service.name``."""


def settings_of(table: Tracing, environment: Mapping[str, str]) -> TracingSettings | None:
    """Give how spans are sent; ``None`` where nobody has asked for them.

    Raises ``ValueError``, which names the variable, for one that cannot be followed.
    """
    url = None if _is_off(environment) else _url(table, environment)
    if url is None:
        return None
    sampler = environment.get("OTEL_TRACES_SAMPLER") or "parentbased_always_on"
    if sampler not in _SAMPLERS:
        raise ValueError(f"OTEL_TRACES_SAMPLER is {sampler!r}; expected one of {', '.join(_SAMPLERS)}")
    ratio, parent_based = _SAMPLERS[sampler]
    if table.sample_ratio is not None:
        ratio = table.sample_ratio
    attributes = _pairs("OTEL_RESOURCE_ATTRIBUTES", environment)
    named = table.service_name or environment.get("OTEL_SERVICE_NAME") or attributes.get("service.name") or "headgate"
    headers = _headers(environment)
    return TracingSettings(
        url,
        {name.lower(): value for name, value in (headers | table.headers).items()},
        _ratio(environment) if ratio is None else ratio,
        parent_based if table.parent_based is None else table.parent_based,
        attributes | {"service.name": named},
    )


def _is_off(environment: Mapping[str, str]) -> bool:
    """Whether the environment turns tracing off, whatever else is said."""
    disabled = environment.get("OTEL_SDK_DISABLED", "").lower() == "true"
    return disabled or environment.get("OTEL_TRACES_EXPORTER") == "none"


def _url(table: Tracing, environment: Mapping[str, str]) -> str | None:
    """Give the URL to which spans are sent."""
    if table.endpoint is not None:
        return _with_path(table.endpoint)
    for name in ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"):
        given = environment.get(name)
        if not given:
            continue
        for protocol in ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"):
            if environment.get(protocol) == "grpc":
                raise ValueError(
                    f"{protocol} is 'grpc', and {name} is set; spans are sent over HTTP: give its address as endpoint, "
                    "or set OTEL_TRACES_EXPORTER to none"
                )
        try:
            return _receiver(given) if "TRACES" in name else _with_path(_receiver(given))
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
    return None


def _with_path(endpoint: str) -> str:
    base = endpoint.rstrip("/")
    return base if base.endswith(_PATH) else base + _PATH


def _ratio(environment: Mapping[str, str]) -> float:
    given = environment.get("OTEL_TRACES_SAMPLER_ARG") or "1"
    try:
        ratio = float(given)
    except ValueError:
        ratio = -1.0
    if not 0 <= ratio <= 1:
        raise ValueError(f"OTEL_TRACES_SAMPLER_ARG is {given!r}; expected a number from 0 to 1")
    return ratio


def _headers(environment: Mapping[str, str]) -> dict[str, str]:
    name = "OTEL_EXPORTER_OTLP_TRACES_HEADERS"
    if not environment.get(name):
        name = "OTEL_EXPORTER_OTLP_HEADERS"
    headers = _pairs(name, environment)
    for header, value in headers.items():
        if not re.fullmatch(_HEADER_NAME, header) or not re.fullmatch(_HEADER_VALUE, value):
            raise ValueError(f"{name} has what cannot be a header: expected names and values of visible ASCII")
    return headers


def _pairs(name: str, environment: Mapping[str, str]) -> dict[str, str]:
    """Read ``key=value,key=value``, percent-encoded; a value that may be a secret is not shown where it is wrong."""
    found: dict[str, str] = {}
    for pair in environment.get(name, "").split(","):
        key, sign, value = pair.partition("=")
        key, value = unquote(key.strip()), unquote(value.strip())
        if not pair.strip():
            continue
        if not sign or not key:
            raise ValueError(f"{name} is not a list of key=value, separated by commas")
        found[key] = value
    return found
