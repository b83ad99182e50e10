"""The loss of a node is measured on a model that is placed on the cluster; ``tests/e2e/test_ray.py`` does it."""

from __future__ import annotations

import tomllib

from gateway.config.schema import Config
from loadtest.bench.faults.ray_node import MODEL, configuration


def test_the_model_runs_on_the_cluster_alone() -> None:
    config = Config.model_validate(tomllib.loads(configuration("http://127.0.0.1:8265", "/models/m", 3)))
    model = config.models[MODEL]
    assert model.engine == "onnx"
    assert (model.placement, model.replicas, model.source) == ("ray", 3, "/models/m")
    assert config.gateway.ray is not None
    assert config.gateway.ray.address == "http://127.0.0.1:8265"
