"""Time and memory of a process and its children."""

import os
import subprocess
import sys

import pytest

from loadtest.bench.process_usage import cpu_seconds, own_cpu_seconds, resident_bytes, tree

CHILD = """
import subprocess, sys
inner = subprocess.Popen([sys.executable, "-c", "x = bytearray(64_000_000); print('ready', flush=True); input()"],
                         stdin=subprocess.PIPE, stdout=subprocess.PIPE)
inner.stdout.readline()
print("ready", inner.pid, flush=True)
input()
inner.communicate(b"\\n")
"""


@pytest.mark.slow
def test_children_count_with_their_parent() -> None:
    with subprocess.Popen([sys.executable, "-c", CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as outer:
        assert outer.stdout is not None
        inner = int(outer.stdout.readline().split()[1])
        assert list(tree(outer.pid)) == [outer.pid, inner]
        assert resident_bytes(outer.pid) > 64_000_000
        assert cpu_seconds(outer.pid) > own_cpu_seconds(outer.pid) > 0
        outer.communicate(b"\n")
    assert resident_bytes(outer.pid) == 0


def test_work_takes_processor_time() -> None:
    before = cpu_seconds(os.getpid())
    used = 0
    while cpu_seconds(os.getpid()) - before < 0.02:
        used += sum(range(10_000))
    assert used
