"""What a job has made is served, asked, and only then published; and whatever comes between, nothing stays half."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from engines.tuning.records import Task
from gateway.config.gateway import Files
from gateway.config.schema import Config
from gateway.core.errors import EngineRefusal, Unavailable
from gateway.files.records import FileQuery
from gateway.files.store import FileCounts, FileStore
from gateway.tuning.client import TuningClient
from gateway.tuning.published import PublishedModels
from gateway.tuning.publisher import Publisher, Refused, Serving
from tests.kit.eventually import eventually

NAME = "ft:base:acme::1"
_RIGHT = msgspec.json.encode({"data": [{"probs": [0.5]}]})


def _began_with(logprob: float) -> tuple[int, bytes]:
    """Answer a chat with a first token of this log-probability."""
    token = {"token": "a", "logprob": logprob}
    return 200, msgspec.json.encode({"choices": [{"logprobs": {"content": [{**token, "top_logprobs": [token]}]}}]})


class Server(TuningClient):
    """A tuning server that gives each task once, and remembers what it is told."""

    def __init__(self, *tasks: Task) -> None:
        model = {"engine": "onnx", "source": "/m", "tasks": ["embed"], "tuning": {"source": "/w"}}
        super().__init__(Config.model_validate({"models": {"base": model}}))
        self.tasks = list(tasks)
        self.told: list[tuple[str, Any]] = []
        self.refuses: Exception | None = None
        self.between: Callable[[], None] = lambda: None
        """Called before each task but the first."""
        self.asked_again = asyncio.Event()

    async def get(self, path: str, **query: str) -> bytes:
        assert (path, query) == ("/tasks", {})
        if not self.tasks:
            self.asked_again.set()
            await asyncio.get_running_loop().create_future()
        if self.told:
            self.between()
        return msgspec.json.encode(self.tasks.pop(0))

    async def post(self, path: str, body: bytes = b"{}", **query: str) -> bytes:
        assert not query
        self.told.append((path, msgspec.json.decode(body)))
        refusal, self.refuses = self.refuses, None
        if refusal is not None:
            raise refusal
        return b""


class House:
    """A gateway as the publisher sees it: what is ready, how it answers, and what has been applied."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.published = PublishedModels(folder / "models")
        self.ready = {NAME}
        self.answer: Callable[[], tuple[int, bytes]] = lambda: (200, _RIGHT)
        self.applied: list[list[str]] = []
        self.said: list[str] = []
        self.no_room = False
        self.loaded: list[str] = []
        self.asked: list[str] = []
        self.files = FileStore(Files(folder=folder / "files"), FileCounts())

    def task(self, do: str = "publish", kind: str = "classifier") -> Task:
        result = self.folder / "job" / "result"
        for name in ("model", "adapter"):
            (result / name).mkdir(parents=True, exist_ok=True)
        told = {"tasks": ["classify"], "golden": {"text": "x", "answer": [0.5]}}
        (result / "model.json").write_bytes(msgspec.json.encode(told))
        (result / "metrics.csv").write_text("step\n1\n")
        with (result.parent / "training.jsonl").open("wb") as file:
            for asked in ("a long question", "a"):
                chat = [{"role": "user", "content": asked}, {"role": "assistant", "content": "b"}]
                file.write(msgspec.json.encode({"messages": chat}) + b"\n\n")
        return Task(do, "ftjob-1", NAME, "base", kind, "a", str(result.parent))  # type: ignore[arg-type]

    async def does(self, server: Server) -> None:
        """Let the publisher do all tasks."""
        serving = Serving(self._apply, self.ready.__contains__, self._load, self._ask)
        self.publisher = Publisher(server, self.published, self.files, serving, self.said.append)
        running = asyncio.create_task(self.publisher.run())
        try:
            async with asyncio.timeout(10):
                await server.asked_again.wait()
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    def kept(self) -> list[str]:
        """Name what is served after a restart."""
        kept = PublishedModels(self.folder / "models")
        kept.read()
        return [model.name for model in kept]

    def _apply(self) -> None:
        if self.no_room and list(self.published):
            raise Refused("The models ask for 3 engines without a GPU.")
        self.applied.append([model.name for model in self.published])

    async def _load(self, name: str, base: str, folder: str) -> None:
        if "none" in folder or self.no_room:
            raise Refused("The adapter does not fit its base.")
        self.loaded.append(f"{name} of {base}")

    async def _ask(self, path: str, body: bytes) -> tuple[int, bytes]:
        asked = msgspec.json.decode(body)
        assert path == "/classify" or asked["messages"] == [{"role": "user", "content": "a"}]
        self.asked.append(asked["model"])
        return self.answer()


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    made = House(tmp_path)
    yield made
    await made.files.stop()


async def test_a_model_is_served_asked_and_written_down(house: House) -> None:
    server = Server(house.task())
    await house.does(server)
    assert house.applied == [[NAME]]
    assert house.kept() == [NAME]
    assert server.told == [("/jobs/ftjob-1/published", {"result_files": ["file-1"]})]
    (file,) = await house.files.files("a", FileQuery())
    assert (file.id, file.purpose, file.filename) == ("file-1", "fine-tune-results", "step_metrics.csv")


async def test_a_task_that_was_cut_is_done_again_and_nothing_is_there_twice(house: House) -> None:
    server = Server(house.task(), house.task())
    server.refuses = Unavailable("The server was killed.")
    await house.does(server)
    assert [path for path, _ in server.told] == ["/jobs/ftjob-1/published"] * 2
    assert house.applied == [[NAME]]
    assert len(await house.files.files("a", FileQuery())) == 1


async def test_a_model_that_answers_wrongly_is_taken_back(house: House) -> None:
    house.answer = lambda: (200, msgspec.json.encode({"data": [{"probs": [0.9]}]}))
    server = Server(house.task())
    await house.does(server)
    assert house.applied == [[NAME], []]
    assert house.kept() == []
    ((path, error),) = server.told
    assert (path, error["code"]) == ("/jobs/ftjob-1/refused", "publishing_failed")
    assert "answers 'x' with [0.9], not with [0.5]" in error["message"]


async def test_a_model_for_which_there_is_no_room_fails_its_job(house: House) -> None:
    house.no_room = True
    server = Server(house.task())
    await house.does(server)
    assert server.told[0][1]["message"].endswith("it is not served: The models ask for 3 engines without a GPU.")
    assert list(house.published) == []


async def test_an_engine_that_ends_instead_of_being_ready_fails_the_job(house: House) -> None:
    house.ready.clear()
    task = house.task()
    server = Server(task)
    running = asyncio.create_task(house.does(server))
    await eventually(lambda: house.applied)
    house.publisher.note("another", "It ended.")
    house.publisher.note(NAME, f"It ended with exit code 1: {task.folder}/result/model. Next try in 1 s.")
    await running
    assert server.told[0][1]["message"].endswith("It ended with exit code 1: result/model.")
    assert house.applied[-1] == []


async def test_an_engine_that_becomes_ready_is_awaited(house: House) -> None:
    house.ready.clear()
    server = Server(house.task())
    running = asyncio.create_task(house.does(server))
    await eventually(lambda: house.applied)
    house.ready.add(NAME)
    house.publisher.note(NAME)
    await running
    assert house.kept() == [NAME]


async def test_a_job_that_was_cancelled_meanwhile_is_withdrawn(house: House) -> None:
    server = Server(house.task(), house.task("withdraw"))
    server.refuses = EngineRefusal(409, "The job is cancelled.")
    await house.does(server)
    assert [path for path, _ in server.told] == ["/jobs/ftjob-1/published", "/jobs/ftjob-1/withdrawn"]
    assert house.applied == [[NAME], []]
    assert house.kept() == []


async def test_an_adapter_is_loaded_before_clients_may_ask_for_it(house: House) -> None:
    logprobs = iter((-0.5, -0.9))
    house.answer = lambda: _began_with(next(logprobs))
    server = Server(house.task(kind="lora"))
    await house.does(server)
    assert house.loaded == [f"{NAME} of base"]
    assert house.kept() == [NAME]
    assert house.asked == [NAME, "base"]


async def test_the_base_of_an_adapter_is_asked_while_that_is_trained(house: House) -> None:
    house.ready = {"base"}
    house.answer = lambda: _began_with(-0.5)
    server = Server(house.task("warm_up", "lora"))
    await house.does(server)
    assert house.asked == ["base"]
    assert server.told == [("/jobs/ftjob-1/warmed_up", {})]
    assert (house.applied, house.kept(), house.said) == ([], [], [])


@pytest.mark.parametrize(
    ("job", "restarted", "asked"),
    [
        ("ftjob-1", "", ["base", NAME]),
        ("ftjob-1", "another", ["base", NAME]),
        ("ftjob-1", "base", ["base", NAME, "base"]),
        ("ftjob-2", "", ["base", NAME, "base"]),
    ],
)
async def test_its_answer_holds_for_that_job_and_that_engine(
    job: str, restarted: str, asked: list[str], house: House
) -> None:
    house.ready = {"base", NAME}
    logprobs = iter((-0.5, -0.9, -0.5))
    house.answer = lambda: _began_with(next(logprobs))
    server = Server(msgspec.structs.replace(house.task("warm_up", "lora"), id=job), house.task(kind="lora"))
    server.between = lambda: house.publisher.note(restarted)
    await house.does(server)
    assert house.asked == asked
    assert house.kept() == [NAME]


async def test_an_adapter_that_answers_as_its_base_did_is_taken_back(house: House) -> None:
    house.ready = {"base", NAME}
    house.answer = lambda: _began_with(-0.5)
    server = Server(house.task("warm_up", "lora"), house.task(kind="lora"))
    await house.does(server)
    assert house.asked == ["base", NAME]
    assert house.kept() == []
    assert "The adapter changes nothing" in server.told[-1][1]["message"]


async def test_what_becomes_of_that_changes_nothing(house: House) -> None:
    house.answer = lambda: (503, b"{}")
    task = house.task("warm_up", "lora")
    asleep = Server(task)
    await house.does(asleep)
    assert house.asked == []
    house.ready = {"base"}
    fails = Server(task)
    await house.does(fails)
    assert house.asked == ["base"]
    (Path(task.folder) / "training.jsonl").unlink()
    cancelled = Server(task)
    await house.does(cancelled)
    for server in (asleep, fails, cancelled):
        assert server.told == [("/jobs/ftjob-1/warmed_up", {})]
    assert house.said == []


async def test_an_adapter_that_does_not_fit_is_never_served(house: House) -> None:
    house.no_room = True
    server = Server(house.task(kind="lora"))
    await house.does(server)
    assert house.applied == []
    assert server.told[0][0] == "/jobs/ftjob-1/refused"


async def test_a_training_that_says_nothing_of_its_model_is_refused(house: House) -> None:
    task = house.task()
    (Path(task.folder) / "result" / "model.json").unlink()
    server = Server(task)
    await house.does(server)
    assert "does not say how its model is served" in server.told[0][1]["message"]
