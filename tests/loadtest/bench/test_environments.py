"""A program is installed once, into an environment of its own; where it cannot be had, that is said."""

import asyncio
import zipfile
from pathlib import Path

import pytest

from loadtest.bench.environments import Missing, environment


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that stands in for PyPI, with one package in it, ``greeting`` 1.5; the network is not used."""
    folder = tmp_path / "shop"
    folder.mkdir()
    about = "greeting-1.5.dist-info"
    with zipfile.ZipFile(folder / "greeting-1.5-py3-none-any.whl", "w") as wheel:
        wheel.writestr("greeting.py", "def main():\n    print('hello')\n")
        wheel.writestr(f"{about}/METADATA", "Metadata-Version: 2.1\nName: greeting\nVersion: 1.5\n")
        wheel.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{about}/entry_points.txt", "[console_scripts]\ngreet = greeting:main\n")
        wheel.writestr(f"{about}/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


@pytest.mark.slow
async def test_a_program_is_installed_once(shop: Path, tmp_path: Path) -> None:
    told: list[str] = []
    commands = await environment("greeting", "1.5", tmp_path / "envs", told.append)
    greeting = await asyncio.create_subprocess_exec(commands / "greet", stdout=asyncio.subprocess.PIPE)
    assert (await greeting.communicate())[0] == b"hello\n"
    assert told == [f"installing greeting==1.5 into {tmp_path}/envs/greeting-1.5"]
    (shop / "greeting-1.5-py3-none-any.whl").unlink()
    assert await environment("greeting", "1.5", tmp_path / "envs", told.append) == commands
    assert len(told) == 1


@pytest.mark.slow
async def test_what_cannot_be_installed_is_missing_and_is_tried_again(shop: Path, tmp_path: Path) -> None:
    told: list[str] = []
    for _ in range(2):
        with pytest.raises(
            Missing, match=r"^No matching distribution found for greeting==2\.0; `pip install greeting==2"
        ):
            await environment("greeting", "2.0", tmp_path / "envs", told.append)
    assert len(told) == 2
