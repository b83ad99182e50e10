"""``docker compose up``: the services find each other, their files are there, and nobody else can reach them."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

ROOT = Path(__file__).parent.parent.parent


def read(path: str) -> Any:
    return yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))


SERVICES: dict[str, Any] = read("compose.yaml")["services"]
VOLUMES: dict[str, Any] = read("compose.yaml")["volumes"]

every_service = pytest.mark.parametrize("service", SERVICES)


def mounts(service: str) -> dict[str, str]:
    """What is mounted where: the sources by their targets."""
    parts = [each.split(":") for each in SERVICES[service]["volumes"]]
    return {target: source for source, target, *_ in parts}


def inside(service: str, path: str) -> Path | None:
    """Find the file of the repository that a path within a service's container is."""
    for target, source in mounts(service).items():
        if source.startswith("./") and (path == target or path.startswith(f"{target}/")):
            return ROOT / source / path.removeprefix(target).lstrip("/")
    return None


def plugin_is_there() -> bool:
    if (docker := shutil.which("docker")) is None:
        return False
    return subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not plugin_is_there(), reason="needs Docker Compose: https://docs.docker.com/compose/install/")
def test_docker_compose_accepts_the_file() -> None:
    checked = subprocess.run(
        ["docker", "compose", "config", "--quiet"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stderr


@every_service
def test_each_image_is_built_here_or_pinned_by_tag_and_digest(service: str) -> None:
    if "build" in SERVICES[service]:
        dockerfile = (ROOT / SERVICES[service]["build"]["context"] / "Dockerfile").read_text()
        assert f" AS {SERVICES[service]['build']['target']}\n" in dockerfile
    else:
        assert re.fullmatch(r"[\w./-]+:v?\d+\.\d+\.\d+@sha256:[0-9a-f]{64}", SERVICES[service]["image"])


@every_service
def test_each_port_is_published_on_this_machine_alone(service: str) -> None:
    assert [port for port in SERVICES[service]["ports"] if not re.fullmatch(r"127\.0\.0\.1:(\d+):\1", port)] == []


@every_service
def test_what_is_mounted_exists_and_what_is_in_the_repository_is_read_only(service: str) -> None:
    for each in SERVICES[service]["volumes"]:
        source, _, *options = each.split(":")
        if source.startswith("./"):
            assert (ROOT / source).exists(), source
            assert options == ["ro"], source
        else:
            assert source in VOLUMES


@every_service
def test_no_service_can_gain_privileges(service: str) -> None:
    assert SERVICES[service]["cap_drop"] == ["ALL"]
    assert SERVICES[service]["security_opt"] == ["no-new-privileges:true"]


def test_the_gateway_reads_the_models_of_this_repository() -> None:
    models = inside("headgate", "/etc/headgate/models.toml")
    assert models is not None
    assert tomllib.loads(models.read_text())["models"]


def test_requests_may_finish_before_the_container_is_killed() -> None:
    gateway = tomllib.loads((ROOT / "models.toml").read_text()).get("gateway", {})
    grace = int(SERVICES["headgate"]["stop_grace_period"].removesuffix("s"))
    assert grace > gateway.get("drain_delay", 0) + gateway.get("drain_timeout", 30)


def test_prometheus_finds_its_settings_its_rules_and_the_gateways_control_port() -> None:
    path = next(part for part in SERVICES["prometheus"]["command"] if part.startswith("--config.file="))
    settings = inside("prometheus", path.removeprefix("--config.file="))
    assert settings is not None
    read_settings = yaml.safe_load(settings.read_text())
    assert all(list(settings.parent.glob(pattern)) for pattern in read_settings["rule_files"])
    targets = {
        target
        for job in read_settings["scrape_configs"]
        for each in job["static_configs"]
        for target in each["targets"]
    }
    assert targets == {"headgate:9000"}
    assert '"--control", "0.0.0.0:9000"' in (ROOT / "Dockerfile").read_text()


def test_grafana_finds_prometheus_and_the_dashboards() -> None:
    (source,) = read("deploy/grafana/provisioning/datasources/prometheus.yml")["datasources"]
    assert source["url"] == "http://prometheus:9090"
    assert "127.0.0.1:9090:9090" in SERVICES["prometheus"]["ports"]
    (provider,) = read("deploy/grafana/provisioning/dashboards/headgate.yml")["providers"]
    dashboards = inside("grafana", provider["options"]["path"])
    assert dashboards is not None
    home = inside("grafana", SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    assert home in list(dashboards.glob("*.json"))
    assert inside("grafana", "/etc/grafana/provisioning") == ROOT / "deploy/grafana/provisioning"


def test_grafana_takes_rates_over_at_least_four_scrapes() -> None:
    (source,) = read("deploy/grafana/provisioning/datasources/prometheus.yml")["datasources"]
    assert source["jsonData"]["timeInterval"] == read("deploy/prometheus/prometheus.yml")["global"]["scrape_interval"]


def test_grafana_has_no_account_to_log_in_to() -> None:
    environment = SERVICES["grafana"]["environment"]
    assert environment["GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION"] == "true"
    assert environment["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"
