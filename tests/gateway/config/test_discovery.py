"""``[models.NAME.discover]`` names one source of replicas, and says what is expected where it does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.config.discovery import DiscoverTable, ServicePort
from gateway.config.load import load
from gateway.config.models import RemoteModel
from gateway.config.schema import Config
from tests.gateway.config.mistakes import Write, mistakes

MODEL = '[models.m]\nengine = "remote"\n'
TABLE = f"{MODEL}[models.m.discover]\n"


def discover(config: Config) -> DiscoverTable:
    model = config.models["m"]
    assert isinstance(model, RemoteModel)
    assert model.discover is not None
    return model.discover


@pytest.mark.parametrize(
    ("options", "source"),
    [
        ('dns = "http://vllm.default.svc:8000"', "dns http://vllm.default.svc:8000"),
        ('dns = "http://vllm:8000/v1"\ninterval = 0.5', "dns http://vllm:8000/v1"),
        ('file = "/etc/replicas.json"', "file /etc/replicas.json"),
        ('kubernetes = "default/vllm:http"', "kubernetes default/vllm:http"),
        ('kubernetes = "default/vllm:8000"', "kubernetes default/vllm:8000"),
    ],
)
def test_a_model_whose_replicas_are_discovered_needs_no_addresses(write: Write, options: str, source: str) -> None:
    config = load(write(f"{TABLE}{options}\n"))
    assert discover(config).source == source
    # As another process gets it.
    sent = Config.model_validate_json(config.model_dump_json(exclude_unset=True))
    assert sent == config


def test_a_file_is_beside_the_configuration(write: Write, tmp_path: Path) -> None:
    assert discover(load(write(f'{TABLE}file = "replicas.json"\n'))).file == tmp_path / "replicas.json"


def test_addresses_may_be_listed_besides(write: Write) -> None:
    model = load(write(f'{MODEL}urls = ["http://a"]\n[models.m.discover]\nfile = "b"\n')).models["m"]
    assert isinstance(model, RemoteModel)
    assert (model.urls, model.discover is not None) == (("http://a",), True)


def test_where_there_may_be_many_replicas_their_prefix_caches_count() -> None:
    table = {"engine": "remote", "tasks": ["generate"], "discover": {"kubernetes": "a/b:http"}}
    assert Config.model_validate({"models": {"m": table}}).models["m"].policy_here == "prefix"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ("", "3: models.m.discover: names no source of replicas; expected one of dns, file, kubernetes"),
        (
            'file = "a"\ndns = "http://a:1"',
            "4: models.m.discover.file: dns is given too; expected one of dns, file, kubernetes",
        ),
        ('dns = "vllm:8000"', "4: models.m.discover.dns: 'vllm:8000' is not an address; expected http://HOST:PORT"),
        ('dns = "unix:/a"', "4: models.m.discover.dns: 'unix:/a' names a socket; expected http://NAME:PORT"),
        ('dns = "https://a"', "4: models.m.discover.dns: 'https://a' is https, but a certificate is for the name"),
        ('dns = "http://10.0.0.1:1"', "4: models.m.discover.dns: 'http://10.0.0.1:1' is an address already; expected"),
        ('dns = "http://[::1]:1"', "4: models.m.discover.dns: 'http://[::1]:1' is an address already; expected"),
        (
            'kubernetes = "vllm:http"',
            "4: models.m.discover.kubernetes: expected NAMESPACE/SERVICE:PORT, for example default/vllm:http "
            "(it is 'vllm:http')",
        ),
        ('kubernetes = "a/b?c:http"', "4: models.m.discover.kubernetes: expected NAMESPACE/SERVICE:PORT"),
        ('file = "a"\ninterval = 2.0', "5: models.m.discover.interval: has a meaning for dns only"),
        (
            'dns = "http://a"\ninterval = 0.0',
            "5: models.m.discover.interval: input should be greater than or equal to 0.1",
        ),
        ('file = "a"\nmax_replicas = 0', "5: models.m.discover.max_replicas: input should be greater than 0"),
        ('fil = "a"', "4: models.m.discover.fil: is not an option; did you mean 'file'?"),
    ],
)
def test_what_is_no_source_of_replicas(write: Write, options: str, told: str) -> None:
    first, *_ = mistakes(write(f"{TABLE}{options}\n"))
    assert first.startswith(f"models.toml:{told}")


def test_a_password_in_a_name_is_not_shown(write: Write) -> None:
    (line,) = mistakes(write(f'{TABLE}dns = "http://u:secret@a"\n'))
    assert "holds credentials" in line
    assert "secret" not in line


def test_only_replicas_elsewhere_are_discovered(write: Write) -> None:
    assert mistakes(write('[models.m]\nengine = "vllm"\nsource = "a/b"\ndiscover = {file = "a"}\n')) == [
        'models.toml:4: models.m.discover: is an option of engine = "remote", not of "vllm"'
    ]


def test_a_port_of_a_service_is_read_from_text() -> None:
    assert ServicePort.parse("default/vllm:http") == ("default", "vllm", "http")
    with pytest.raises(ValueError, match=r"^expected NAMESPACE/SERVICE:PORT, for example default/vllm:http$"):
        ServicePort.parse("Default/vllm")
