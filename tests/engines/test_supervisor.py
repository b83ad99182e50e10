"""A supervisor starts engines, tells what they do, starts them again after a crash, and leaves none behind.

The engines are real processes: the simulator, or a few lines of shell where it is about how they fail.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import subprocess
import sys
import tempfile
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from engines import supervisor
from engines.errors import ContentError, EngineError, SourceError
from engines.processes.restart import RestartPolicy
from engines.spec import EngineSpec, FolderSource, Launch, Listen, Progress
from engines.supervisor import ReplicaStatus, State, Supervisor
from tests.engines.child_processes import PATIENCE, Roll
from tests.kit.leaks import nothing_left
from tests.kit.shell_engine import SMALL, Shell

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
SIMULATOR = f"exec {sys.executable} -m loadtest.simulator --model m --uds $SOCKET"
USUAL = RestartPolicy()
SOON = RestartPolicy(first=0.01)
"""Engines are started again almost at once."""


class Watched:
    """A supervisor, and all that it has said."""

    def __init__(
        self, folder: Path, launcher: Shell, specs: Sequence[EngineSpec], restarts: RestartPolicy = USUAL
    ) -> None:
        self.said: list[ReplicaStatus] = []
        self._news = asyncio.Event()
        self._heard: dict[str, int] = {}
        self.supervisor = Supervisor(
            folder=folder,
            cache=folder,
            on_change=self._hear,
            launchers={"vllm": launcher},
            restarts=restarts,
        )
        for spec in specs:
            for _ in range(spec.replicas):
                self.supervisor.add(spec)

    def _hear(self, status: ReplicaStatus) -> None:
        self.said.append(status)
        self._news.set()

    async def until(self, state: State, replica: str = "m-0") -> ReplicaStatus:
        """Wait for the next time that a replica is said to be in a state."""
        async with asyncio.timeout(PATIENCE):
            while True:
                for at in range(self._heard.get(replica, 0), len(self.said)):
                    if (self.said[at].replica, self.said[at].state) == (replica, state):
                        self._heard[replica] = at + 1
                        return self.said[at]
                self._news.clear()
                await self._news.wait()

    def states(self, replica: str = "m-0") -> list[str]:
        return [status.state.value for status in self.said if status.replica == replica]


@pytest.fixture
def folder() -> Iterator[Path]:
    """Make a folder whose path is short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="hg-") as path:
        yield Path(path)


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask engines often whether they are ready; these are there at once."""
    monkeypatch.setattr(supervisor, "_POLL_SECONDS", 0.01)


def spec(model: str = "m", **changes: object) -> EngineSpec:
    known: dict[str, object] = {"model": model, "engine": "vllm", "source": FolderSource(Path("files"))}
    return EngineSpec(**known | changes)  # type: ignore[arg-type]


@asynccontextmanager
async def watching(
    folder: Path, launcher: Shell, *specs: EngineSpec, restarts: RestartPolicy = USUAL
) -> AsyncIterator[Watched]:
    """Run a supervisor until the block ends."""
    watched = Watched(folder, launcher, specs or (spec(),), restarts)
    watched.supervisor.start()
    try:
        yield watched
    finally:
        await watched.supervisor.stop(PATIENCE)


async def get(address: str, path: str = "/health") -> str:
    """Ask an engine at ``unix:/…`` and return its status line."""
    reader, writer = await asyncio.open_unix_connection(address.removeprefix("unix:"))
    writer.write(f"GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode())
    line = await reader.readline()
    writer.close()
    await writer.wait_closed()
    return line.decode().strip()


async def test_an_engine_is_fetched_started_and_ready_to_answer_at_its_address(folder: Path) -> None:
    async with watching(folder, Shell(SIMULATOR)) as watched:
        assert repr(watched.supervisor) == "<Supervisor [<SupervisedReplica 'm-0' [fetching]>]>"
        ready = await watched.until(State.READY)
        assert ready == ReplicaStatus("m", "m-0", State.READY, f"unix:{folder}/m-0.sock")
        assert await get(ready.address) == "HTTP/1.1 200 OK"
        assert watched.supervisor.statuses == (ready,)
    assert watched.states() == ["fetching", "starting", "ready", "stopped"]
    assert watched.said[0].reason == "looking"


async def test_every_replica_of_every_model_has_a_process_of_its_own(folder: Path, roll: Roll) -> None:
    launcher = Shell(f"echo $$ > {roll.path}; {SMALL}")
    two = spec("a", replicas=2)
    async with watching(folder, launcher, two, spec("b")) as watched:
        for replica in ("a-0", "a-1", "b-0"):
            await watched.until(State.READY, replica)
        engines = [roll.next() for _ in range(3)]
        assert len({engine.pid for engine in engines}) == 3
        addresses = {status.address for status in watched.supervisor.statuses}
        assert [await get(address) for address in addresses] == ["HTTP/1.1 200 OK"] * 3
    assert not any(engine.alive for engine in engines)


@pytest.mark.parametrize("model", ["org/model:7b", "a/../../b", "ü", "long" * 50])
async def test_a_models_name_need_not_be_the_name_of_a_file(folder: Path, model: str) -> None:
    async with watching(folder, Shell(), spec(model)) as watched:
        ready = await watched.until(State.READY, f"{model}-0")
        assert Path(ready.address.removeprefix("unix:")).parent == folder
        assert await get(ready.address) == "HTTP/1.1 200 OK"


def test_names_that_look_alike_as_files_have_sockets_of_their_own(folder: Path) -> None:
    supervised = Supervisor(folder=folder, cache=folder, on_change=print)
    assert len({supervised.add(spec(model)).address for model in ("a/b", "a:b", "a_b")}) == 3


async def test_a_socket_that_a_killed_engine_left_is_not_in_the_way(folder: Path) -> None:
    (folder / "m-0.sock").touch()
    async with watching(folder, Shell()) as watched:
        await watched.until(State.READY)


async def test_a_folder_whose_path_is_too_long_for_a_socket_says_so(folder: Path) -> None:
    deep = folder / ("x" * 100)
    deep.mkdir()
    async with watching(deep, Shell()) as watched:
        failed = await watched.until(State.FAILED)
        assert failed.reason == (
            f"The socket's path {deep}/m-0.sock is too long; set a shorter TMPDIR. Next try in 1 s."
        )


async def test_an_engine_that_fails_to_start_is_quoted(folder: Path) -> None:
    launcher = Shell("echo loading; echo 'ValueError: no such dtype' >&2; exit 3")
    async with watching(folder, launcher, restarts=SOON) as watched:
        failed = await watched.until(State.RESTARTING)
        assert failed.reason == (
            "It ended with exit code 3 before it was ready. Its last words:\n"
            "loading\nValueError: no such dtype\nNext try in 0.01 s."
        )
        launcher.script = SMALL
        await watched.until(State.READY)
    assert "ready" in watched.states()


async def test_only_the_last_words_of_a_talkative_engine_are_quoted(folder: Path) -> None:
    async with watching(folder, Shell("seq 100000; exit 1")) as watched:
        failed = await watched.until(State.RESTARTING)
        words = failed.reason.removesuffix("\nNext try in 1 s.").splitlines()
        assert words[1:] == [str(number) for number in range(99986, 100001)]


async def test_an_engine_that_ends_in_silence_is_said_to(folder: Path) -> None:
    async with watching(folder, Shell("kill -9 $$")) as watched:
        failed = await watched.until(State.RESTARTING)
        assert failed.reason == ("It ended with exit code 137 before it was ready. It said nothing. Next try in 1 s.")


async def test_an_engine_that_is_not_installed_is_named(folder: Path) -> None:
    class Absent(Shell):
        def launch(self, spec: EngineSpec, folder: Path, devices: Sequence[str], listen: Listen) -> Launch:
            return Launch(("/nowhere/vllm",), {})

    async with watching(folder, Absent()) as watched:
        failed = await watched.until(State.RESTARTING)
        assert "/nowhere/vllm cannot be started: No such file or directory" in failed.reason


async def test_an_engine_that_does_not_become_ready_in_time_is_ended(folder: Path, roll: Roll) -> None:
    code = """
import contextlib, itertools, os, socket
listening = socket.socket(socket.AF_UNIX)
listening.bind(os.environ["SOCKET"])
listening.listen()
for answer in itertools.cycle([b"HTTP/1.1 503 Service Unavailable\\r\\n\\r\\n", b"garbage\\n", b"x" * 70_000, b""]):
    asked, _ = listening.accept()
    with asked, contextlib.suppress(OSError):  # A probe that has given up waiting hangs up.
        asked.recv(4096)
        asked.sendall(answer)
"""
    # The shell speaks: on a busy machine Python begins late.
    say = f"echo waiting for weights; echo $$ > {roll.path}"
    launcher = Shell(f"{say}; exec {sys.executable} -S -c {shlex.quote(code)}")
    async with watching(folder, launcher, spec(startup_timeout=4.0), restarts=SOON) as watched:
        engine = await asyncio.to_thread(roll.next)
        failed = await watched.until(State.RESTARTING)
        assert failed.reason == "It was not ready within 4 s. Its last words:\nwaiting for weights\nNext try in 0.01 s."
        assert not engine.alive
    assert "ready" not in watched.states()


async def test_an_engine_that_crashes_is_started_again(folder: Path, roll: Roll) -> None:
    async with watching(folder, Shell(f"echo $$ > {roll.path}; {SMALL}"), restarts=SOON) as watched:
        await watched.until(State.READY)
        first = roll.next()
        first.kill()
        crashed = await watched.until(State.RESTARTING)
        assert crashed.reason.startswith("It ended with exit code 137. Its last words:\nm listens")
        again = await watched.until(State.READY)
        assert await get(again.address) == "HTTP/1.1 200 OK"
        assert roll.next().pid != first.pid
    assert watched.states() == ["fetching", "starting", "ready", "restarting", "starting", "ready", "stopped"]


async def test_a_crash_of_one_replica_leaves_the_others_alone(folder: Path, roll: Roll) -> None:
    launcher = Shell(f"[ $SOCKET = {folder}/m-0.sock ] && echo $$ > {roll.path}; {SMALL}")
    async with watching(folder, launcher, spec(replicas=2)) as watched:
        await watched.until(State.READY, "m-0")
        await watched.until(State.READY, "m-1")
        roll.next().kill()
        await watched.until(State.RESTARTING)
        assert [status.state for status in watched.supervisor.statuses] == [State.RESTARTING, State.READY]
        assert await get(watched.supervisor.statuses[1].address) == "HTTP/1.1 200 OK"


async def test_an_engine_sleeps_and_is_woken_and_its_process_stays(folder: Path, roll: Roll) -> None:
    async with watching(folder, Shell(f"echo $$ > {roll.path}; {SIMULATOR} --enable-sleep-mode")) as watched:
        ready = await watched.until(State.READY)
        await watched.supervisor.sleep("m-0", 2)
        assert (await watched.until(State.ASLEEP)).reason == "sleep level 2"
        watched.supervisor.wake("m-0")
        assert (await watched.until(State.STARTING)).reason == "waking up from sleep level 2"
        assert await watched.until(State.READY) == ready
        assert await get(ready.address) == "HTTP/1.1 200 OK"
        assert roll.next().alive
        await watched.supervisor.sleep("m-0", 1)
    assert watched.states()[-2:] == ["asleep", "stopped"]


async def test_an_engine_that_ends_asleep_is_not_started_again(folder: Path, roll: Roll) -> None:
    async with watching(folder, Shell(f"echo $$ > {roll.path}; {SMALL}"), restarts=SOON) as watched:
        await watched.until(State.READY)
        await watched.supervisor.sleep("m-0", 1)
        roll.next().kill()
        stopped = await watched.until(State.STOPPED)
        assert stopped.reason.startswith("It ended while it was asleep. It ended with exit code 137.")
        await watched.supervisor.remove("m-0", PATIENCE)
    assert watched.states() == ["fetching", "starting", "ready", "asleep", "stopped", "stopped"]


async def test_an_engine_that_cannot_be_woken_is_started_anew(folder: Path, roll: Roll) -> None:
    # It answers everything with 200 and nothing, and so never says that it is awake.
    async with watching(folder, Shell(f"echo $$ > {roll.path}; {SMALL}"), restarts=SOON) as watched:
        await watched.until(State.READY)
        first = roll.next()
        await watched.supervisor.sleep("m-0", 1)
        watched.supervisor.wake("m-0")
        failed = await watched.until(State.RESTARTING)
        assert failed.reason.startswith("It could not be woken. It did not say that it is awake, but ''.")
        await watched.until(State.READY)
        assert not first.alive
        assert roll.next().alive
    asleep = ["asleep", "starting", "restarting", "starting", "ready", "stopped"]
    assert watched.states() == ["fetching", "starting", "ready", *asleep]


async def test_an_engine_that_does_not_sleep_is_said_to(folder: Path) -> None:
    async with watching(folder, Shell(SIMULATOR)) as watched:
        await watched.until(State.READY)
        with pytest.raises(EngineError, match="answered 404"):
            await watched.supervisor.sleep("m-0", 1)
        failed = await watched.until(State.FAILED)
        assert failed.reason.startswith("It does not sleep, and is stopped. /sleep?level=1 answered 404")


async def test_who_fails_at_once_waits_longer_each_time_and_who_served_does_not(folder: Path, roll: Roll) -> None:
    launcher = Shell("exit 1")
    async with watching(folder, launcher, restarts=RestartPolicy(0.01, longest=0.04, healthy=0)) as watched:
        pauses = [(await watched.until(State.RESTARTING)).reason.split()[-2] for _ in range(4)]
        assert pauses == ["0.01", "0.02", "0.04", "0.04"]
        launcher.script = f"echo $$ > {roll.path}; {SMALL}"
        await watched.until(State.READY)
        roll.next().kill()
        while "before it was ready" in (crashed := await watched.until(State.RESTARTING)).reason:
            pass  # It failed once more before the script was another.
        assert crashed.reason.endswith("Next try in 0.01 s.")


@pytest.mark.parametrize("failure", [SourceError("The index is away."), OSError("The disk is full.")])
async def test_files_that_are_not_to_be_had_are_tried_again(folder: Path, failure: Exception) -> None:
    async with watching(folder, Shell(fails=[failure]), restarts=SOON) as watched:
        assert (await watched.until(State.FAILED)).reason == f"{failure} Next try in 0.01 s."
        await watched.until(State.READY)


async def test_files_that_are_wrong_are_not_tried_again_for_any_replica(folder: Path) -> None:
    launcher = Shell(fails=[ContentError("The digest is wrong."), AssertionError("It was fetched again.")])
    async with watching(folder, launcher, spec(replicas=2), restarts=SOON) as watched:
        for replica in ("m-0", "m-1"):
            assert (await watched.until(State.FAILED, replica)).reason == "The digest is wrong."


async def test_an_engine_that_is_stopped_may_end_in_its_own_way(folder: Path, roll: Roll) -> None:
    script = f"trap 'echo done > {folder}/farewell; exit 0' TERM; echo $$ > {roll.path}; sleep 600 & wait"
    async with watching(folder, Shell(script)):
        engine = await asyncio.to_thread(roll.next)
    assert not engine.alive
    assert (folder / "farewell").read_text() == "done\n"


async def test_an_engine_that_does_not_listen_is_stopped_after_its_grace_with_all_that_it_started(
    folder: Path, roll: Roll
) -> None:
    call = f"trap '' TERM; echo $$ > {roll.path}"
    async with watching(
        folder, Shell(f"{call}; setsid --fork sh -c {shlex.quote(f'{call}; exec sleep 600')}; sleep 600")
    ) as watched:
        processes = [await asyncio.to_thread(roll.next) for _ in range(2)]
        await watched.supervisor.stop(0.05)
        assert not any(process.alive for process in processes)


async def test_stopping_does_not_wait_for_files_that_are_being_brought(folder: Path) -> None:
    began, go_on = threading.Event(), threading.Event()

    class Slow(Shell):
        def prepare(self, spec: EngineSpec, cache: Path, progress: Progress) -> Path:
            began.set()
            assert go_on.wait(PATIENCE)
            return cache

    async with watching(folder, Slow()) as watched:
        await asyncio.to_thread(began.wait)
        await watched.supervisor.stop(PATIENCE)
        assert watched.states() == ["stopped"]
        go_on.set()


async def test_stopping_does_not_wait_for_the_next_try(folder: Path) -> None:
    async with watching(folder, Shell("exit 1")) as watched:
        await watched.until(State.RESTARTING)
        await watched.supervisor.stop(PATIENCE)
        assert watched.states() == ["fetching", "starting", "restarting", "stopped"]


async def test_what_was_never_started_can_be_stopped(folder: Path) -> None:
    watched = Watched(folder, Shell(), [spec()])
    await watched.supervisor.stop(PATIENCE)
    assert watched.states() == ["stopped"]


async def test_a_socket_of_who_was_never_started_is_left_to_its_owner(folder: Path) -> None:
    class Refused(Shell):
        def launch(self, spec: EngineSpec, folder: Path, devices: Sequence[str], listen: Listen) -> Launch:
            raise SourceError("Another one listens there.")

    (folder / "m-0.sock").touch()
    async with watching(folder, Refused()) as watched:
        await watched.until(State.FAILED)
    assert watched.states()[-1] == "stopped"
    assert (folder / "m-0.sock").exists()


async def test_replicas_come_and_go_while_others_run(folder: Path, roll: Roll) -> None:
    async with watching(folder, Shell(f"echo $$ $DEVICES > {roll.path}; {SMALL}")) as watched:
        await watched.until(State.READY)
        stays = roll.next()
        added = watched.supervisor.add(spec(env={"A": "b"}), ["3", "5"])
        assert (added.replica, added.state) == ("m-1", State.FETCHING)
        await watched.until(State.READY, "m-1")
        await watched.supervisor.remove("m-0", PATIENCE)
        assert not stays.alive
        assert [status.replica for status in watched.supervisor.statuses] == ["m-1"]
        assert await get(added.address) == "HTTP/1.1 200 OK"
        assert watched.supervisor.add(spec()).replica == "m-0"
        await watched.until(State.READY, "m-0")


async def test_an_engine_is_told_its_gpus(folder: Path) -> None:
    async with watching(folder, Shell("echo on $DEVICES; exit 1")) as watched:
        watched.supervisor.add(spec(), ["3", "5"])
        assert "on 3,5" in (await watched.until(State.RESTARTING, "m-1")).reason


async def test_a_supervisor_leaves_nothing_behind(folder: Path) -> None:
    once = f"[ -e {folder}/second ] || {{ touch {folder}/second; exit 1; }}"
    async with (
        nothing_left(),
        watching(folder, Shell(f"{once}; {SMALL}"), spec(replicas=2), restarts=SOON) as watched,
    ):
        await watched.until(State.READY, "m-0")
        await watched.until(State.READY, "m-1")
    assert "restarting" in {status.state for status in watched.said}
    assert sorted(os.listdir(folder)) == ["m-0.log", "m-1.log", "second"]  # noqa: PTH208 - nothing else is going on


async def test_stopping_at_any_moment_leaves_no_process(folder: Path) -> None:
    before = children()
    for turns in (*range(8), 20, 50):
        async with watching(folder, Shell("exec sleep 600")) as watched:
            for _ in range(turns):
                await asyncio.sleep(0)
            await watched.supervisor.stop(PATIENCE)
            assert children() <= before


def children() -> set[str]:
    """List the ids of this process's children, also of those that have ended and were not awaited."""
    return set(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())


async def test_an_engine_whose_guardian_is_killed_is_replaced_with_all_that_it_started(
    folder: Path, roll: Roll
) -> None:
    child = shlex.quote(f"echo $$ > {roll.path}; exec sleep 600")
    script = f"echo $PPID > {roll.path}; echo $$ > {roll.path}; sh -c {child} & {SMALL}"
    async with watching(folder, Shell(script), restarts=SOON) as watched:
        await watched.until(State.READY)
        shim, *started = [roll.next() for _ in range(3)]
        shim.kill()
        assert (await watched.until(State.RESTARTING)).reason.startswith("It ended with exit code -9.")
        assert all(process.ends() for process in started)
        await watched.until(State.READY)


def test_no_engine_outlives_a_supervisor_that_is_killed(folder: Path, roll: Roll) -> None:
    child = shlex.quote(f"trap '' TERM; echo $$ > {roll.path}; exec sleep 600")
    script = f"echo $$ > {roll.path}; setsid --fork sh -c {child}; exec sleep 600"
    code = f"""
import asyncio, uvloop
from pathlib import Path
from tests.engines.test_supervisor import Shell, Watched, spec

async def watch():
    watched = Watched(Path({str(folder)!r}), Shell({script!r}), [spec(replicas=3)])
    watched.supervisor.start()
    await asyncio.Event().wait()

uvloop.run(watch())
"""
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT)
    try:
        processes = [roll.next() for _ in range(6)]
        assert all(process.alive for process in processes)
    finally:
        parent.kill()
        parent.wait()
    assert all(process.ends() for process in processes)
