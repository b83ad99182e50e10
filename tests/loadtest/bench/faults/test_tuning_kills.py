"""The jobs that are disturbed learn from examples that can be learnt, and what is killed is found by its module."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from gateway.config.load import load
from gateway.config.models import OnnxModel
from loadtest.bench.faults.tuning_kills import BASE, EXAMPLES, configuration, process_of

PARENT = """
import json, subprocess, sys
child = subprocess.Popen([sys.executable, *json.loads(sys.argv[1])], stdin=subprocess.PIPE, text=True)
child.communicate(sys.stdin.readline())
"""
CHILD = "import os; print(os.getpid(), flush=True); input()"


@contextmanager
def parent_of(*command: str) -> Iterator[tuple[int, int]]:
    """Run a process with a child that waits; give both process ids."""
    started = [sys.executable, "-c", PARENT, json.dumps(command)]
    with subprocess.Popen(started, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.pid, int(process.stdout.readline())
        process.communicate("\n")


def test_the_base_is_the_default_embedder_and_all_is_kept_in_one_folder(tmp_path: Path) -> None:
    (tmp_path / "models.toml").write_text(configuration(tmp_path))
    config = load(tmp_path / "models.toml")
    assert list(config.models) == [BASE]
    model = config.models[BASE]
    assert isinstance(model, OnnxModel)
    assert model.tuning is not None
    assert (config.gateway.tuning.folder, config.gateway.files.folder) == (tmp_path / "tuning", tmp_path / "files")


def test_each_label_has_as_many_examples_and_no_text_comes_twice() -> None:
    examples = [msgspec.json.decode(line) for line in EXAMPLES.splitlines()]
    assert Counter(each["label"] for each in examples) == {"card": 40, "transfer": 40, "cash": 40}
    assert len({each["text"] for each in examples}) == len(examples)


def test_a_process_is_found_by_the_module_that_it_runs() -> None:
    with parent_of("-c", CHILD, "engines.train") as (parent, child):
        assert process_of(parent, "engines.train") == child
        assert process_of(parent, "engines.tuning") is None


def test_what_starts_a_process_is_not_taken_for_it(tmp_path: Path) -> None:
    shim = tmp_path / "shim.py"
    shim.write_text(CHILD)
    with parent_of(str(shim), "-m", "engines.train") as (parent, _):
        assert process_of(parent, "engines.train") is None
