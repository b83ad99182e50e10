"""The Helm chart, rendered by the real Helm: valid for old and new Kubernetes, and true of the gateway.

What it makes of ``values.yaml`` is what the gateway reads and what autoscalers ask for.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml  # type: ignore[import-untyped]
from prometheus_client.parser import text_string_to_metric_families

from gateway.config.load import load
from gateway.config.models import RemoteModel
from gateway.observe.counters import Counters
from gateway.observe.exposition import Exposition
from gateway.pools.registry import Registry
from tests.gateway.pools.made import model, replica
from tests.kit.kubectl import unpack
from tests.kit.waiters import Waiter

CHART = Path(__file__).parent.parent.parent / "deploy/chart"
SMALLEST = ["image=i", "model=m", "shutdownTimeout=60", "scaling.mode=none"]
"""What a model must have that is added to those of the chart."""

CUSTOM = {"ScaledObject", "ServiceMonitor"}
"""Kinds of others, which Kubernetes has no schema of."""

MODES = {
    "none": ["models.chat.scaling.mode=none"],
    "keda": ["models.chat.scaling.mode=keda"],
    "hpa": ["models.chat.scaling.mode=hpa", "models.chat.scaling.min=1"],
}


class Helm:
    """The real Helm, on the chart."""

    def __init__(self, path: Path, home: Path) -> None:
        self._path = path
        self._environment = {"HOME": str(home), "PATH": ""}

    def run(self, *arguments: str) -> tuple[int, str]:
        done = subprocess.run(
            [str(self._path), *arguments], capture_output=True, text=True, env=self._environment, check=False
        )
        return done.returncode, done.stdout + done.stderr

    def rendered(self, *values: str, kubernetes: str = "1.37") -> list[dict[str, Any]]:
        sets = [word for value in values for word in ("--set", value)]
        code, text = self.run("template", "rel", str(CHART), "--namespace", "ns", "--kube-version", kubernetes, *sets)
        assert code == 0, text
        return [each for each in yaml.safe_load_all(text) if each]

    def refusal(self, *values: str, kubernetes: str = "1.37") -> str:
        sets = [word for value in values for word in ("--set", value)]
        code, text = self.run("template", "rel", str(CHART), "--kube-version", kubernetes, *sets)
        assert code != 0
        return text


@pytest.fixture(scope="module")
def helm(tmp_path_factory: pytest.TempPathFactory) -> Helm:
    folder = tmp_path_factory.mktemp("helm")
    return Helm(unpack("helm", folder), folder)


def one(manifests: list[dict[str, Any]], kind: str, name: str) -> dict[str, Any]:
    (found,) = [each for each in manifests if each["kind"] == kind and each["metadata"]["name"] == name]
    return found


def test_helm_finds_no_fault(helm: Helm) -> None:
    code, said = helm.run("lint", "--strict", str(CHART))
    assert code == 0, said


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kubernetes", ["1.32", "1.37"])
def test_manifests_are_valid(helm: Helm, mode: str, kubernetes: str) -> None:
    for manifest in helm.rendered(*MODES[mode], "serviceMonitor.enabled=true", kubernetes=kubernetes):
        if manifest["kind"] not in CUSTOM:
            kubernetes_validate.validate(manifest, kubernetes, strict=True)


def test_the_values_that_the_page_shows_make_its_models_and_no_others(helm: Helm, tmp_path: Path) -> None:
    (shown,) = re.findall(r"```yaml\n(# my-values.yaml\n.*?)```", (CHART / "README.md").read_text(), re.DOTALL)
    (tmp_path / "my-values.yaml").write_text(shown)
    code, text = helm.run("template", "rel", str(CHART), "--values", str(tmp_path / "my-values.yaml"))
    assert code == 0, text
    engines = [each for each in yaml.safe_load_all(text) if each and each["kind"] == "Deployment"]
    assert [each["metadata"]["name"] for each in engines] == ["rel-llama", "rel-gateway"]


def test_names_that_look_like_numbers_or_answers_stay_names(helm: Helm) -> None:
    small = [f"models.123.{value}" for value in SMALLEST]
    manifests = helm.rendered(*small, "models.123.env.NO=x")
    for manifest in manifests:
        kubernetes_validate.validate(manifest, "1.37", strict=True)
    (container,) = one(manifests, "Deployment", "rel-123")["spec"]["template"]["spec"]["containers"]
    assert container["env"] == [{"name": "NO", "value": "x"}]


def test_the_gateway_reads_its_configuration_and_finds_the_engines(helm: Helm, tmp_path: Path) -> None:
    manifests = helm.rendered("models.chat.hold=77")
    text = one(manifests, "ConfigMap", "rel-models")["data"]["models.toml"]
    (tmp_path / "models.toml").write_text(text)
    config = load(tmp_path / "models.toml")
    chat = config.models["chat"]
    assert isinstance(chat, RemoteModel)
    assert chat.discover is not None
    assert chat.discover.kubernetes == "ns/rel-chat:http"
    assert (chat.upstream_model, chat.limits.hold) == ("Qwen/Qwen3-8B", 77.0)
    service = one(manifests, "Service", "rel-chat")
    assert service["spec"]["ports"] == [{"name": "http", "port": 8000, "targetPort": "http"}]


def test_services_and_budgets_select_their_pods(helm: Helm) -> None:
    manifests = helm.rendered()
    for kind, deployment, selectors in (
        ("gateway", "rel-gateway", ("rel", "rel-control")),
        ("engine", "rel-chat", ("rel-chat",)),
    ):
        pods = one(manifests, "Deployment", deployment)["spec"]["template"]["metadata"]["labels"]
        assert pods["app.kubernetes.io/component"] == kind
        for name in selectors:
            assert one(manifests, "Service", name)["spec"]["selector"].items() <= pods.items()
        budget = one(manifests, "PodDisruptionBudget", deployment)
        assert budget["spec"]["selector"]["matchLabels"].items() <= pods.items()


def test_times_to_end_add_up(helm: Helm) -> None:
    manifests = helm.rendered("gateway.drainDelay=7", "gateway.drainTimeout=50", "models.chat.shutdownTimeout=90")
    gateway = one(manifests, "Deployment", "rel-gateway")["spec"]["template"]["spec"]
    assert gateway["terminationGracePeriodSeconds"] >= 7 + 50 + 5
    engine = one(manifests, "Deployment", "rel-chat")["spec"]["template"]["spec"]
    (container,) = engine["containers"]
    pause = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert "--shutdown-timeout=90" in container["args"]
    assert engine["terminationGracePeriodSeconds"] >= pause + 90 + 30


@pytest.mark.parametrize("mode", ["keda", "hpa"])
def test_who_scales_a_deployment_alone_says_how_many_pods_there_are(helm: Helm, mode: str) -> None:
    assert "replicas" not in one(helm.rendered(*MODES[mode]), "Deployment", "rel-chat")["spec"]
    assert one(helm.rendered(), "Deployment", "rel-chat")["spec"]["replicas"] == 1


def test_what_keda_asks_for_is_one_series_in_every_state(helm: Helm) -> None:
    (trigger,) = one(helm.rendered(*MODES["keda"]), "ScaledObject", "rel-chat")["spec"]["triggers"]
    location = re.fullmatch(r'(\w+)\{model="([a-z]+)"\}', trigger["metadata"]["valueLocation"])
    assert location is not None
    name, labelled = location.groups()
    counters, registry = Counters(), Registry([model("chat"), model("other", replica("o-0"))])
    exposition = Exposition(lambda: counters, lambda: registry, "1", "abc")

    def values() -> list[float]:
        families = text_string_to_metric_families(exposition.text().decode())
        samples = [sample for family in families for sample in family.samples]
        return [each.value for each in samples if (each.name, each.labels.get("model")) == (name, labelled)]

    assert values() == [0.0]
    registry.find("chat").pool.set_on_demand(on_demand=True)
    registry.find("chat").pool.set_waits(30.0, None)
    registry.find("chat").pool.admission.admit(Waiter())
    assert values() == [1.0]
    registry.find("chat").pool.add(replica("chat-0"))
    assert values() == [1.0]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (["models.chat.scaling.mode=fast"], "/models/chat/scaling/mode"),
        (["models.chat.scaling.mode=keda", "models.chat.scaling.target=0"], "/models/chat/scaling/target"),
        (["models.chat.scaling.mode=keda", "models.chat.scaling.min=5"], "scaling.min is 5, more than max = 4"),
        (["models.chat.scaling.mode=keda", "models.chat.hold=0"], "models.chat.hold is missing or 0"),
        (["models.chat.scaling.mode=hpa", "models.chat.scaling.idle=null"], "models.chat.scaling.idle is missing"),
        (["models.chat.scaling.mode=keda", "models.chat.scaling.min=null"], "models.chat.scaling.min is missing"),
        (["models.chat.shutdownTimeout=null"], "shutdownTimeout"),
        ([f"models.gateway.{value}" for value in SMALLEST], "models.gateway: the chart's own objects"),
        (["models.chat.replica=3"], "replica"),
        (["models.Chat_2.image=a"], "Chat_2"),
        (["gateway.replicas=0"], "/gateway/replicas"),
        (["gateway.drainDelay=-1"], "/gateway/drainDelay"),
    ],
)
def test_a_value_that_is_wrong_is_named(helm: Helm, values: list[str], said: str) -> None:
    assert said in helm.refusal(*values)


def test_old_kubernetes_is_told_that_its_hpa_cannot_scale_to_zero(helm: Helm) -> None:
    to_zero = ["models.chat.scaling.mode=hpa", "models.chat.scaling.min=0"]
    assert "can do from Kubernetes 1.37 on, and this is v1.36" in helm.refusal(*to_zero, kubernetes="1.36")
    scaler = one(helm.rendered(*to_zero), "HorizontalPodAutoscaler", "rel-chat")
    assert scaler["spec"]["minReplicas"] == 0
