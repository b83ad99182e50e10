"""What ``[gateway.ray]`` and ``[models.NAME.ray]`` may say."""

from __future__ import annotations

from pathlib import Path

import pytest

from engines.ray.cluster import RayCluster
from gateway.config.load import load
from gateway.config.models import VllmModel
from gateway.config.ray import RayModelTable, RayTable
from gateway.config.schema import Config
from tests.gateway.config.mistakes import Write, mistakes

CLUSTER = '[gateway.ray]\naddress = "http://10.0.0.4:8265"\n'
MODEL = '[models.m]\nengine = "vllm"\nsource = "a/b"\nplacement = "ray"\n'


def test_a_model_may_ask_for_what_ray_knows(write: Write) -> None:
    table = """[models.m.ray]
    num_cpus = 4
    memory = 32_000_000_000
    resources = { fast_disk = 1 }
    label_selector = { "ray.io/accelerator-type" = "H100" }
    runtime_env = { image_uri = "headgate:1", env_vars = { A = "b" } }
    """
    config = load(write(f"{CLUSTER}{MODEL}{table}"))
    model = config.models["m"]
    assert isinstance(model, VllmModel)
    assert model.ray == RayModelTable(
        num_cpus=4.0,
        memory=32_000_000_000,
        resources={"fast_disk": 1.0},
        label_selector={"ray.io/accelerator-type": "H100"},
        runtime_env={"image_uri": "headgate:1", "env_vars": {"A": "b"}},
    )
    assert model.gpus_each(has_gpu=False) == 1
    # As another process gets it.
    assert Config.model_validate_json(config.model_dump_json(exclude_unset=True)) == config


def test_the_cluster_has_defaults_but_for_its_address(write: Write) -> None:
    ray = load(write(f"{CLUSTER}{MODEL}")).gateway.ray
    assert ray is not None
    assert (ray.name, ray.poll, ray.ports, ray.python, ray.token_file) == (
        "headgate",
        1.0,
        (20_000, 29_999),
        "python3",
        None,
    )


def test_the_cluster_is_asked_as_it_is_configured(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("t0ken\n")
    table = RayTable(address="http://h:8265", token_file=tmp_path / "token", name="a", poll=2.0, python="/opt/python")
    assert table.cluster == RayCluster(
        "http://h:8265", "a", str(tmp_path / "token"), 2.0, (20_000, 29_999), "/opt/python"
    )
    assert table.cluster.token() == "t0ken"


def test_a_model_on_ray_needs_to_know_where_the_cluster_is(write: Write) -> None:
    (line,) = mistakes(write(MODEL))
    assert "models.m.placement: is 'ray', but no table [gateway.ray] says where the cluster is" in line


def test_jobs_on_ray_need_to_know_where_the_cluster_is(write: Write) -> None:
    (line,) = mistakes(write(f'[gateway.tuning]\nplacement = "ray"\n{MODEL.replace("ray", "local")}'))
    assert "gateway.tuning.placement: is 'ray', but no table [gateway.ray] says where the cluster is" in line


def test_what_is_asked_of_ray_means_nothing_here(write: Write) -> None:
    (line,) = mistakes(write(f"{CLUSTER}{MODEL.replace('ray', 'local')}[models.m.ray]\nnum_cpus = 1\n"))
    assert "models.m.ray: has a meaning for placement = 'ray' only" in line


def test_what_runs_elsewhere_is_not_placed(write: Write) -> None:
    (line,) = mistakes(write('[models.m]\nengine = "remote"\nurls = ["http://a"]\nplacement = "ray"\n'))
    assert 'models.m.placement: is an option of engine = "vllm" or "onnx"' in line


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ('address = "10.0.0.4:8265"', "gateway.ray.address: "),
        ('address = "unix:/run/ray"', "gateway.ray.address: 'unix:/run/ray' names a socket; expected http://HOST:PORT"),
        ('address = "http://me:secret@h:8265"', "gateway.ray.address: "),
        ("ports = [30000, 20000]", "gateway.ray.ports: begins with 30000, which is more than 20000"),
        ("ports = [80, 20000]", "gateway.ray.ports"),
        ('name = "a b"', "gateway.ray.name: "),
        ('python = "python3; rm"', "gateway.ray.python: "),
        ("poll = 0", "gateway.ray.poll: "),
    ],
)
def test_what_is_wrong_of_a_cluster_is_named(write: Write, option: str, said: str) -> None:
    table = option if option.startswith("address") else f'address = "http://h:8265"\n{option}'
    (line,) = mistakes(write(f"[gateway.ray]\n{table}\n{MODEL}"))
    assert said in line
    assert "secret" not in line


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("num_cpus = 0", "models.m.ray.num_cpus: "),
        ("memory = 0", "models.m.ray.memory: "),
        ('resources = { a = "b" }', "models.m.ray.resources.a: "),
        (
            "runtime_env = { env_vars = { A = 3 } }",
            "runtime_env: expected env_vars to be a table of texts",
        ),
        ("num_gpus = 1", "models.m.ray.num_gpus: "),
    ],
)
def test_what_is_wrong_of_a_model_is_named(write: Write, option: str, said: str) -> None:
    (line,) = mistakes(write(f"{CLUSTER}{MODEL}[models.m.ray]\n{option}\n"))
    assert said in line
