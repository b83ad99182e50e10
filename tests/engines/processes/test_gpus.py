"""GPUs are found where there are some, and none is given twice."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from engines.errors import GpuError
from engines.processes.gpus import Gpus, available, check_demand


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the only folder in which commands are looked for, on a machine that restricts no GPUs."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return tmp_path


def install_nvidia_smi(path: Path, script: str) -> None:
    command = path / "nvidia-smi"
    command.write_text(f"#!/bin/sh\n{script}\n")
    command.chmod(0o755)


def test_without_a_driver_there_are_none(path: Path) -> None:
    assert available() == ()


def test_the_driver_lists_them(path: Path) -> None:
    install_nvidia_smi(path, '[ "$*" = "--query-gpu=index --format=csv,noheader" ] && printf "0\\n1\\n2\\n"')
    assert available() == ("0", "1", "2")


def test_a_driver_that_fails_has_none(path: Path) -> None:
    install_nvidia_smi(path, 'echo "NVIDIA-SMI has failed because it could not communicate with the driver."; exit 9')
    assert available() == ()


def test_a_driver_that_cannot_be_asked_is_an_error(path: Path) -> None:
    install_nvidia_smi(path, "")
    (path / "nvidia-smi").write_bytes(b"\x7fELF, but not really")
    with pytest.raises(GpuError, match=r"^nvidia-smi cannot be asked which GPUs there are: .*Exec format error"):
        available()


@pytest.mark.parametrize(
    ("visible", "devices"),
    [
        ("2,0", ("2", "0")),
        (" 1 , GPU-8932f937 ", ("1", "GPU-8932f937")),
        ("", ()),
        ("-1", ()),
        ("1,-1,0", ("1",)),
        ("0,0,1", ("0", "1")),
    ],
)
def test_what_the_operator_allows_comes_first(
    path: Path, monkeypatch: pytest.MonkeyPatch, visible: str, devices: Sequence[str]
) -> None:
    install_nvidia_smi(path, 'printf "0\\n1\\n2\\n3\\n"')
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert available() == devices


def test_every_replica_gets_devices_of_its_own_in_order() -> None:
    gpus = Gpus("0123")
    assert [gpus.take(1), gpus.take(0), gpus.take(2)] == [("0",), (), ("1", "2")]
    assert repr(gpus) == "<Gpus [1 of 4 free]>"
    assert gpus.take(2) is None
    assert gpus.take(1) == ("3",)
    assert gpus.devices == ("0", "1", "2", "3")


def test_what_is_given_back_is_given_out_again_in_its_usual_order() -> None:
    gpus = Gpus(["GPU-5", "GPU-6", "GPU-7"])
    first, rest = gpus.take(1), gpus.take(2)
    assert first is not None
    assert rest is not None
    gpus.give_back(rest)
    gpus.give_back(first)
    assert gpus.take(3) == ("GPU-5", "GPU-6", "GPU-7")


def test_too_few_devices_say_who_asks_for_how_many() -> None:
    wanted = {"a": (2, 2), "cpu": (1, 0), "b": (1, 1)}
    check_demand(wanted, 5)
    with pytest.raises(GpuError) as caught:
        check_demand(wanted, 1)
    assert str(caught.value) == (
        "The models ask for 5 GPUs (a: 2 x 2, b: 1 x 1), but 1 can be used; "
        "lower replicas or gpus, or widen CUDA_VISIBLE_DEVICES."
    )


def test_a_model_that_is_scaled_to_zero_must_be_able_to_have_a_replica() -> None:
    check_demand({"m": (0, 2)}, 2)
    with pytest.raises(GpuError) as caught:
        check_demand({"m": (0, 4)}, 2)
    assert str(caught.value) == (
        "A replica of m asks for 4 GPUs, but 2 can be used; lower gpus, or widen CUDA_VISIBLE_DEVICES."
    )


def test_exactly_those_that_are_asked_for_are_taken_or_none() -> None:
    gpus = Gpus("0123")
    assert gpus.take(1) == ("0",)
    assert not gpus.take_these(("0", "1"))
    assert gpus.take_these(("3", "1"))
    assert gpus.take(2) is None
    gpus.give_back(("3", "1"))
    assert gpus.take(3) == ("1", "2", "3")
    assert gpus.take_these(())
