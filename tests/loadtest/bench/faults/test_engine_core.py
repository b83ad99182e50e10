"""The core of a vLLM is found below the gateway, and the configurations that are compared are right."""

from __future__ import annotations

import subprocess
import sys

import pytest

from gateway.config.load import load
from gateway.config.models import VllmModel
from loadtest.bench.faults.engine_core import CASES, NoCore, configuration, core_below


def test_each_case_is_a_configuration_of_the_language_model_alone(tmp_path_factory: pytest.TempPathFactory) -> None:
    for options in CASES.values():
        file = tmp_path_factory.mktemp("c") / "models.toml"
        file.write_text(configuration(replicas=int(options["replicas"]), hold=options["hold"]))
        (model,) = load(file).models.values()
        assert isinstance(model, VllmModel)
        assert (model.replicas, model.limits.hold) == (options["replicas"], options["hold"])


def test_the_core_is_found_by_its_name_among_all_that_descend_from_a_process() -> None:
    core = "import ctypes; ctypes.CDLL(None).prctl(15, b'VLLM::EngineCor'); print(flush=True); input()"
    launcher = "import subprocess, sys; core = subprocess.Popen([sys.executable, '-c', sys.argv[1]]); print(core.pid)"
    program = [sys.executable, "-c", f"{launcher}; sys.stdout.flush(); core.wait()", core]
    with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as engine:
        assert engine.stdout is not None
        lines = sorted((engine.stdout.readline(), engine.stdout.readline()))
        assert core_below(engine.pid) == int(lines[-1])
        engine.communicate("\n")
    with pytest.raises(NoCore):
        core_below(engine.pid)
