"""``[models.NAME.discover]``: where the addresses of a model's replicas are looked up, and what such a place may be."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from ipaddress import ip_address
from typing import Annotated, Any, NamedTuple

from pydantic import AfterValidator, Field

from gateway.config.paths import FilePath
from gateway.config.table import SECRET, Mistake, Table
from gateway.http.address import Address

_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
"""A name in Kubernetes (RFC 1123, a DNS label)."""

_SERVICE = re.compile(rf"({_LABEL})/({_LABEL}):({_LABEL})")

SOURCES = ("dns", "file", "kubernetes")
"""The options of which a table has exactly one."""


class ServicePort(NamedTuple):
    """A port of a Kubernetes service, by its name or by the number that its pods listen on."""

    namespace: str
    service: str
    port: str

    @classmethod
    def parse(cls, text: str) -> ServicePort:
        """Read ``NAMESPACE/SERVICE:PORT``. Raises ``ValueError``."""
        match = _SERVICE.fullmatch(text)
        if match is None:
            raise ValueError("expected NAMESPACE/SERVICE:PORT, for example default/vllm:http")
        return cls(*match.groups())


def _name_to_resolve(given: str) -> str:
    """Check that an address has a name whose addresses can be asked for. Raises ``ValueError``."""
    url = given.strip()
    address = Address.parse(url)
    if address.path is not None:
        raise ValueError(f"{url!r} names a socket; expected http://NAME:PORT")
    if address.tls:
        raise ValueError(
            f"{url!r} is https, but a certificate is for the name, and what is asked are the addresses behind it; "
            "expected http://NAME:PORT, or list https addresses in urls"
        )
    try:
        ip_address(address.host)
    except ValueError:
        return url
    raise ValueError(f"{url!r} is an address already; expected http://NAME:PORT, or list it in urls")


def _service(given: str) -> str:
    ServicePort.parse(given)
    return given


class DiscoverTable(Table):
    """``[models.NAME.discover]``: one place that knows which replicas a model has, and how it is looked at."""

    dns: Annotated[Annotated[str, AfterValidator(_name_to_resolve)] | None, SECRET] = Field(
        None,
        description="A name with a replica behind each of its A and AAAA records, as `http://NAME:PORT`, with the base "
        "path of the engines' API if it has one.",
        examples=["http://vllm.default.svc.cluster.local:8000"],
    )
    file: FilePath | None = Field(
        None,
        description="A file in the format of Prometheus' `file_sd_configs`, as JSON: a list of groups, whose "
        "`targets` are `HOST:PORT` or addresses as in `urls`.",
        examples=["replicas.json"],
    )
    kubernetes: Annotated[str, AfterValidator(_service)] | None = Field(
        None,
        description="A service of the Kubernetes cluster that the gateway runs in, as `NAMESPACE/SERVICE:PORT`; PORT "
        "is the name of a port of the service, or the number that its pods listen on. Its EndpointSlices are watched.",
        examples=["default/vllm:http"],
    )
    interval: float = Field(
        5.0,
        ge=0.1,
        le=3600,
        description="Time between two look-ups of a name, in seconds. A file is looked at each second, and a service "
        "is watched.",
    )
    max_replicas: int = Field(
        1000,
        gt=0,
        le=10_000,
        description="Most addresses that become replicas. Of more than this, those stay that are replicas already, "
        "and the others are taken in the order of their addresses; the log says so.",
    )

    @property
    def source(self) -> str:
        """What is looked at, as one text: the option and its value."""
        return next(f"{name} {value}" for name in SOURCES if (value := getattr(self, name)) is not None)

    @classmethod
    def mistakes(cls, given: Mapping[str, Any]) -> Iterator[Mistake]:
        """Find a table with no place to look at or with several, and options of another place."""
        named = [name for name in SOURCES if given.get(name) is not None]
        if not named:
            yield Mistake((), f"names no source of replicas; expected one of {', '.join(SOURCES)}")
        for name in named[1:]:
            yield Mistake((name,), f"{named[0]} is given too; expected one of {', '.join(SOURCES)}")
        if "interval" in given and named and "dns" not in named:
            yield Mistake(("interval",), "has a meaning for dns only")
