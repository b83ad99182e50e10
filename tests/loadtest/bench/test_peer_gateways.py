"""Each peer is had as its users have it, and is started with its own options in front of the engine."""

import sys
from pathlib import Path

import pytest

from loadtest.bench.deployment import DeploymentSpec, instant_engine
from loadtest.bench.environments import Missing
from loadtest.bench.peer_gateways import HEADGATE, PEERS
from tests.kit.wire import Wire

BY_NAME = {peer.name: peer for peer in PEERS}
ROOT = Path(__file__).parent.parent.parent.parent

ENGINE = f'cd {ROOT} && exec {sys.executable} -m loadtest.simulator --instant --ttft 0 --inter-token 0 --port "$port"\n'
"""What stands in for another project's program: all that is looked at is how that is called."""


def program(file: Path, lines: str) -> None:
    """Write a shell script."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("#!/bin/sh\n" + lines)
    file.chmod(0o755)


def test_the_peers_are_those_that_the_promises_are_about() -> None:
    assert list(BY_NAME) == ["nginx", "vllm-router", "sglang-router", "smg"]
    assert HEADGATE.name not in BY_NAME


async def test_it_is_said_what_to_install_where_there_is_no_nginx(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Missing, match="no `nginx` in PATH; Debian's package is"):
        await BY_NAME["nginx"].find(print)


@pytest.mark.slow
async def test_nginx_passes_every_request_to_the_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    version = 'if [ "$1" = -v ]; then echo "nginx version: nginx/9.8.7 (Debian)" >&2; exit; fi\n'
    read = f'cp "$6" {tmp_path}/seen.conf\nport=$(sed -n "s/.*listen 127.0.0.1:\\([0-9]*\\);.*/\\1/p" "$6")\n'
    program(tmp_path / "bin/nginx", version + read + ENGINE)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    gateway = await BY_NAME["nginx"].find(print)
    assert (gateway.name, gateway.title) == ("nginx", "nginx 9.8.7, a plain reverse proxy")
    async with (
        gateway.run(DeploymentSpec(), "http://127.0.0.1:4567") as running,
        await Wire.connect_to(running.address) as wire,
    ):
        await wire.request("POST", "/v1/chat/completions", {})
        assert (await wire.response()).status == 200
    seen = (tmp_path / "seen.conf").read_text()
    assert "upstream engine { server 127.0.0.1:4567; keepalive 256;" in seen
    assert "proxy_buffering off;" in seen


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "version", "command", "first"),
    [
        ("vllm-router", "0.1.17", "vllm-router", "--host"),
        ("sglang-router", "0.3.2", "python", "-m sglang_router.launch_router --host"),
        ("smg", "1.13.0", "smg", "launch --host"),
    ],
)
async def test_a_router_is_started_with_its_options(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, version: str, command: str, first: str
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = tmp_path / f"headgate/bench/{name}-{version}"
    take = 'while [ "$1" != --port ]; do shift; done\nport=$2\n'
    program(folder / "bin" / command, f'echo "$@" > {tmp_path}/seen\n' + take + ENGINE)
    (folder / "installed").touch()
    gateway = await BY_NAME[name].find(print)
    assert (gateway.name, gateway.title) == (name, f"{name} {version}")
    async with instant_engine() as engine, gateway.run(DeploymentSpec(), engine) as running:
        assert running.address.startswith("http://127.0.0.1:")
    seen = (tmp_path / "seen").read_text()
    assert seen.startswith(first)
    assert f"--worker-urls {engine} --policy round_robin" in seen
