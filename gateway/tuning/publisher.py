"""Publishes what jobs have made: serves it, asks it, and only then lets the job succeed; and withdraws what is deleted.

What is to be done comes from the tuning server, one task after the other, and each can be done again from its
beginning: a gateway that is killed in the middle of one finds it open when it starts again.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from engines.tuning.records import JobError, Published, Task
from gateway.core.errors import GatewayError, Unavailable
from gateway.files.store import FileStore
from gateway.tuning.client import TuningClient
from gateway.tuning.golden import Ask, FirstTokens, Mistaken, check_adapter, check_classifier, first_tokens
from gateway.tuning.published import PublishedModel, PublishedModels

_READY_SECONDS = 600.0
"""How long a model may take to be ready."""

_WARM_UP_SECONDS = 120.0
"""How long the first chat of an engine may take. Meanwhile no other model is published."""

_LOOKED_AT = 100
"""Of so many conversations the shortest is asked: a model reads it before it answers."""

_MEANWHILE = 409
"""The status by which the tuning server refuses a report about a job that has been cancelled meanwhile."""

_RESULTS = "metrics.csv"
_RESULTS_NAME = "step_metrics.csv"
_RESULTS_PURPOSE = "fine-tune-results"

_NEXT_TRY = re.compile(r"\sNext try in [0-9.]+ s\.$")
"""What a supervisor adds to why an engine has ended; one that is being tried out has had its try."""

_TRY_AGAIN_SECONDS = 0.5
"""Pause before a server is asked again that does not answer; its supervisor starts another."""


class Refused(Exception):
    """A model cannot be served; the message says why."""


class _Asked(NamedTuple):
    """What a base was asked for a job while that trained, and what it has answered."""

    job: str
    chat: list[dict[str, Any]]
    answer: FirstTokens


class Serving:
    """What the publisher has the gateway do: each part is given by who owns it."""

    def __init__(
        self,
        apply: Callable[[], None],
        is_ready: Callable[[str], bool],
        load_adapter: Callable[[str, str, str], Awaitable[None]],
        ask: Ask,
    ) -> None:
        self.apply = apply
        """Takes over the configuration with the published models of now. Raises ``Refused``, and changes nothing."""
        self.is_ready = is_ready
        """Whether a model can answer."""
        self.load_adapter = load_adapter
        """Loads an adapter, of a name, a base and a folder, before clients may ask for it. Raises ``Refused``."""
        self.ask = ask
        """Asks a path of the gateway itself."""


class Publisher:
    """Does what the tuning server's jobs need of the gateway. ``say`` tells people."""

    def __init__(
        self,
        client: TuningClient,
        published: PublishedModels,
        files: FileStore,
        serving: Serving,
        say: Callable[[str], None],
    ) -> None:
        self._client = client
        self._published = published
        self._files = files
        self._serving = serving
        self._say = say
        self._failed: dict[str, str] = {}
        """Why engines of models have ended that are being tried out."""
        self._asked: dict[str, _Asked] = {}
        """By the base, as long as its engines are the same."""
        self._changed = asyncio.Event()

    def __repr__(self) -> str:
        return f"<Publisher {self._published!r}>"

    async def run(self) -> None:
        """Do one task after the other, for ever."""
        while True:
            try:
                task = msgspec.json.decode(await self._client.get("/tasks"), type=Task | None)
                if task is not None:
                    await self._do(task)
            except (GatewayError, OSError, Refused) as error:
                if isinstance(error, GatewayError) and error.status == _MEANWHILE:
                    # The job has become another: what is to be done now, the next task says.
                    continue
                if not isinstance(error, Unavailable):
                    self._say(f"a fine-tuned model waits to be published or withdrawn: {error}")
                await asyncio.sleep(_TRY_AGAIN_SECONDS)

    def note(self, model: str, trouble: str = "") -> None:
        """Look again: an engine of a model is ready, or has ended because of a ``trouble``."""
        if trouble:
            self._failed[model] = trouble
        self._asked.pop(model, None)
        self._changed.set()

    # inside

    async def _do(self, task: Task) -> None:
        if task.do == "warm_up":
            await self._warm_up(task)
            return
        if task.do == "withdraw":
            await self._withdraw(task)
            return
        try:
            await self._publish(task)
        except Refused as error:
            if self._published.remove(task.id):
                self._serving.apply()
            self._say(f"the fine-tuned model {task.name} is not published: {error}")
            # Where files are is the log's affair.
            shown = _NEXT_TRY.sub("", str(error)).replace(f"{task.folder}/", "")
            reason = JobError("publishing_failed", f"The model was trained, but it is not served: {shown}")
            await self._client.post(f"/jobs/{task.id}/refused", msgspec.json.encode(reason))

    async def _warm_up(self, task: Task) -> None:
        """Ask the base of an adapter that is being trained what the adapter will be asked, and remember its answer.

        The first chat of an engine takes many times as long as the next ones, so that is not left until the adapter is
        there. A base that is not ready is not waited for: it is asked beside the adapter then.
        """
        if self._serving.is_ready(task.base):
            with suppress(Mistaken, OSError, TimeoutError):
                chat = await asyncio.to_thread(_short_chat, Path(task.folder))
                async with asyncio.timeout(_WARM_UP_SECONDS):
                    answer = await first_tokens(self._serving.ask, task.base, chat)
                self._asked[task.base] = _Asked(task.id, chat, answer)
        await self._client.post(f"/jobs/{task.id}/warmed_up")

    async def _publish(self, task: Task) -> None:
        """Serve a model, ask it, write down that it is served, and let its job succeed. Raises ``Refused``."""
        model = await asyncio.to_thread(_model_of, task)
        if model not in self._published:
            if task.kind == "lora":
                await self._serving.load_adapter(model.name, model.base, model.folder)
            self._published.try_out(model)
            self._serving.apply()
        await self._until_ready(model.name)
        try:
            if task.kind == "lora":
                await self._check_adapter(task)
            else:
                await check_classifier(self._serving.ask, model.name, model.options.get("golden"))
        except Mistaken as error:
            raise Refused(str(error)) from None
        await asyncio.to_thread(self._published.keep, task.id)
        results = await self._keep_results(task)
        await self._client.post(f"/jobs/{task.id}/published", msgspec.json.encode(Published(results)))
        self._say(f"the fine-tuned model {task.name} is served")

    async def _check_adapter(self, task: Task) -> None:
        """Compare an adapter with its base, which need not be asked again if it was before. Raises ``Mistaken``."""
        asked = self._asked.get(task.base)
        if asked is not None and asked.job == task.id:
            await check_adapter(self._serving.ask, task.name, task.base, asked.chat, asked.answer)
        else:
            chat = await asyncio.to_thread(_short_chat, Path(task.folder))
            await check_adapter(self._serving.ask, task.name, task.base, chat)

    async def _withdraw(self, task: Task) -> None:
        """Serve a model no longer; requests that have begun go on."""
        self._published.remove(task.id)
        self._serving.apply()
        await self._client.post(f"/jobs/{task.id}/withdrawn")
        self._say(f"the fine-tuned model {task.name} is served no longer")

    async def _until_ready(self, name: str) -> None:
        """Wait for an engine to serve a model. Raises ``Refused`` when one has ended instead."""
        self._failed.pop(name, None)
        try:
            async with asyncio.timeout(_READY_SECONDS):
                while not self._serving.is_ready(name):
                    if name in self._failed:
                        raise Refused(self._failed.pop(name))
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise Refused(f"It was not ready within {_READY_SECONDS:g} s.") from None

    async def _keep_results(self, task: Task) -> list[str]:
        """Let the owner read the metrics of each step as a file."""
        path = Path(task.folder) / "result" / _RESULTS
        if not path.is_file():
            return []
        file_id = f"file-{task.id.removeprefix('ftjob-')}"
        await self._files.keep_result(task.owner, file_id, _RESULTS_NAME, _RESULTS_PURPOSE, path)
        return [file_id]


def _model_of(task: Task) -> PublishedModel:
    """Read what a training has made. Raises ``Refused``. Blocks."""
    result = Path(task.folder) / "result"
    if task.kind == "lora":
        return PublishedModel(task.id, task.name, task.base, task.kind, task.owner, str(result / "adapter"))
    try:
        options: dict[str, Any] = msgspec.json.decode((result / "model.json").read_bytes(), type=dict[str, Any])
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Refused(f"The training does not say how its model is served: {error}.") from None
    return PublishedModel(task.id, task.name, task.base, task.kind, task.owner, str(result / "model"), options)


def _short_chat(folder: Path) -> list[dict[str, Any]]:
    """Give a short conversation that was trained on, without its last answer. Blocks."""
    with (folder / "training.jsonl").open("rb") as file:
        lines = [line for line in islice(file, _LOOKED_AT) if line.strip()]
    messages: list[dict[str, Any]] = msgspec.json.decode(min(lines, key=len))["messages"]
    return messages[:-1]
