"""``[gateway.ray]`` and ``[models.NAME.ray]``: a Ray cluster, and what each replica of a model asks of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

from engines.ray.cluster import RayCluster
from gateway.config.paths import FilePath
from gateway.config.table import SECRET, Mistake, Table
from gateway.http.address import Address

_PORT = Annotated[int, Field(ge=1024, le=65_535)]


def _head(given: str) -> str:
    """Check the address of a head. Raises ``ValueError``."""
    url = given.strip()
    if Address.parse(url).path is not None:
        raise ValueError(f"{url!r} names a socket; expected http://HOST:PORT, as of Ray's dashboard")
    return url


def _runtime_env(given: Any) -> Any:
    """Check the part of a runtime environment that is added to. Raises ``ValueError``."""
    variables = given.get("env_vars", {}) if isinstance(given, Mapping) else {}
    if not isinstance(variables, Mapping) or not all(isinstance(value, str) for value in variables.values()):
        raise ValueError("expected env_vars to be a table of texts")
    return given


class RayTable(Table):
    """``[gateway.ray]``: the Ray cluster on which replicas of models with `placement = "ray"` run."""

    address: Annotated[str, AfterValidator(_head), SECRET] = Field(
        description="Address of the cluster's head, as of its dashboard. Who can reach it can run any program on the "
        "cluster: keep it off public networks.",
        examples=["http://10.0.0.4:8265"],
    )
    token_file: FilePath | None = Field(
        None,
        description="File with the token of a cluster that runs with `RAY_AUTH_MODE=token`; it is read anew each time.",
        examples=["/run/secrets/ray-token"],
    )
    name: str = Field(
        "headgate",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,39}$",
        description="What the jobs of this gateway are called on the cluster. After a restart it takes over those that "
        "are called so, and stops what it does not need of them; so each gateway needs a name of its own.",
    )
    poll: float = Field(
        1.0, ge=0.1, le=60, description="Time between two looks at the state of a replica's job, in seconds."
    )
    ports: tuple[_PORT, _PORT] = Field(
        (20_000, 29_999),
        description="The first and the last port that engines listen at on the nodes, which the gateway must reach.",
        strict=False,
    )
    python: str = Field(
        "python3",
        pattern=r"^[A-Za-z0-9_./+-]+$",
        description="The Python of the nodes that Headgate is installed for.",
        examples=["/opt/headgate/bin/python"],
    )

    @property
    def cluster(self) -> RayCluster:
        """The cluster, as replicas and trainings ask it."""
        return RayCluster(
            url=self.address,
            name=self.name,
            token_file=None if self.token_file is None else str(self.token_file.absolute()),
            poll=self.poll,
            ports=self.ports,
            python=self.python,
        )

    @classmethod
    def mistakes(cls, given: Mapping[str, Any]) -> Iterator[Mistake]:
        """Find ports in the wrong order."""
        ports = given.get("ports")
        if isinstance(ports, list | tuple) and len(ports) == 2 and all(isinstance(port, int) for port in ports):
            first, last = ports
            if first > last:
                yield Mistake(("ports",), f"begins with {first}, which is more than {last}")


class RayModelTable(Table):
    """``[models.NAME.ray]``: what each replica asks of the Ray cluster beside the model's `gpus`."""

    num_cpus: float = Field(
        1.0,
        gt=0,
        le=10_000,
        description="CPUs. Some have to be asked for: what asks for nothing runs on the node of the head.",
    )
    memory: int | None = Field(None, gt=0, description="Memory, in bytes. Default: any.", examples=[32_000_000_000])
    resources: dict[str, float] = Field(
        default_factory=dict, description="Custom resources of nodes, by name.", examples=[{"fast_disk": 1.0}]
    )
    label_selector: dict[str, str] = Field(
        default_factory=dict,
        description="Labels of the nodes that it may run on, by name.",
        examples=[{"ray.io/accelerator-type": "H100"}],
    )
    runtime_env: Annotated[dict[str, Any], BeforeValidator(_runtime_env), SECRET] = Field(
        default_factory=dict,
        description="The environment that Ray makes for it, as Ray's own documentation has it. Variables for the "
        "engine alone are better in the model's `env`.",
        examples=[{"image_uri": "registry.example.com/headgate:1.0"}],
    )
