"""OpenAI's fine-tuning API, asked by OpenAI's SDK, with a real tuning server behind it.

The training is a script that follows the protocol; everything else is what users get: uploads, jobs in all their
states, models that are served, asked and deleted.
"""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from openai import AsyncOpenAI

from gateway.tuning.job_tally import ENDED, UNDER_WAY
from tests.kit.gateways import RunningGateway, gateway
from tests.kit.tuning import EXAMPLES, TRAIN, job_of, tunable, until, weights

pytestmark = pytest.mark.slow


@pytest.fixture
def folder() -> Iterator[Path]:
    """Make a folder whose path is short enough for sockets, with the weights of a base."""
    with tempfile.TemporaryDirectory(prefix="hg-") as path:
        weights(Path(path))
        yield Path(path)


@asynccontextmanager
async def tuning(folder: Path, **settings: Any) -> AsyncIterator[RunningGateway]:
    """Run a gateway with a base that nothing is started for, and another that cannot be tuned."""
    models, kept = tunable(folder)
    async with gateway(models, ready=(), train=TRAIN, **kept, **settings) as running:
        yield running


@asynccontextmanager
async def sdk(running: RunningGateway, key: str = "unused") -> AsyncIterator[AsyncOpenAI]:
    # The server takes a moment until it is there; the SDK tries again by itself.
    async with AsyncOpenAI(base_url=f"{running.address}/v1", api_key=key, max_retries=8) as api:
        yield api


async def classified(running: RunningGateway, model: str | None) -> tuple[int, Any]:
    async with httpx.AsyncClient() as http:
        asked = {"model": model, "input": "good"}
        answer = await http.post(f"{running.address}/classify", json=asked, timeout=120)
        return answer.status_code, answer.json()


async def test_a_job_ends_with_a_model_that_answers_and_can_be_deleted(folder: Path) -> None:
    async with tuning(folder) as running, sdk(running) as api:
        supervised = {"hyperparameters": {"n_epochs": 2, "method": "probe", "time_budget": 5.0}}
        job = await job_of(
            api, "mine", seed=7, metadata={"team": "a"}, method={"type": "supervised", "supervised": supervised}
        )
        assert (job.status, job.model, job.seed, job.fine_tuned_model) == ("validating_files", "base", 7, None)
        done = await until(api, job, "succeeded", "failed")
        assert done.error is None
        assert done.fine_tuned_model == f"ft:base:headgate:mine:{job.id.removeprefix('ftjob-')[:8]}"
        assert (done.trained_tokens, done.hyperparameters.batch_size) == (1234, 32)
        status, answer = await classified(running, done.fine_tuned_model)
        assert (status, answer["data"][0]["label"]) == (200, "good")
        assert done.fine_tuned_model in [model.id async for model in api.models.list()]
        (results,) = done.result_files
        assert (await api.files.retrieve(results)).purpose == "fine-tune-results"
        assert (await api.files.content(results)).text.startswith("step,train_loss,train_accuracy,")
        steps = [event async for event in api.fine_tuning.jobs.list_events(job.id, limit=3) if event.type == "metrics"]
        assert [event.message for event in steps][-1] == "Step 1/4: training loss=1.0000"
        checkpoints = [each async for each in api.fine_tuning.jobs.checkpoints.list(job.id, limit=3)]
        assert [each.step_number for each in checkpoints] == [4, 3, 2, 1]
        assert [each.id async for each in api.fine_tuning.jobs.list(metadata={"team": "a"})] == [job.id]
        assert [each.id async for each in api.fine_tuning.jobs.list(metadata={"team": "b"})] == []
        assert (await api.models.delete(done.fine_tuned_model)).deleted
        assert [model.id async for model in api.models.list()] == []
        assert (await classified(running, done.fine_tuned_model))[0] == 404
        with pytest.raises(openai.NotFoundError, match="no fine-tuned model"):
            await api.models.delete(done.fine_tuned_model)


async def test_a_model_that_answers_wrongly_fails_its_job_and_is_not_there(folder: Path) -> None:
    async with tuning(folder) as running, sdk(running) as api:
        failed = await until(api, await job_of(api, "lies"), "succeeded", "failed")
        assert failed.error is not None
        assert (failed.status, failed.error.code, failed.fine_tuned_model) == ("failed", "publishing_failed", None)
        assert "the golden input 'good' is answered [0.880797, 0.119203]" in failed.error.message
        assert [model.id async for model in api.models.list()] == []


async def test_a_job_is_paused_resumed_and_cancelled(folder: Path) -> None:
    async with tuning(folder) as running, sdk(running) as api:
        jobs, job = api.fine_tuning.jobs, await job_of(api, "holds")
        running_job = await until(api, job, "running")
        assert (await jobs.pause(running_job.id)).status == "paused"  # type: ignore[comparison-overlap]
        with pytest.raises(openai.BadRequestError, match="is paused; only one that is queued") as refused:
            await jobs.pause(job.id)
        assert refused.value.code == "wrong_state"
        assert (await jobs.resume(job.id)).status == "queued"
        await until(api, job, "running")
        assert (await jobs.cancel(job.id)).status == "cancelled"
        with pytest.raises(openai.BadRequestError, match="is cancelled; only one that has not ended can be cancelled"):
            await jobs.cancel(job.id)


async def until_counted(running: RunningGateway, *samples: str) -> None:
    """Scrape the metrics until they have these samples; each status is counted a moment after it is told."""
    async with asyncio.timeout(240):
        while True:
            if set(samples) <= set((await running.metrics()).splitlines()):
                return
            await asyncio.sleep(0.05)


async def test_jobs_are_counted_by_their_status(folder: Path) -> None:
    async with tuning(folder) as running, sdk(running) as api:
        await until_counted(
            running,
            *(f'headgate_fine_tuning_jobs{{status="{each}"}} 0.0' for each in UNDER_WAY),
            *(f'headgate_fine_tuning_jobs_ended_total{{status="{each}"}} 0.0' for each in ENDED),
        )
        job, waiting = await job_of(api, "holds"), await job_of(api, "holds")
        await until_counted(
            running, 'headgate_fine_tuning_jobs{status="running"} 1.0', 'headgate_fine_tuning_jobs{status="queued"} 1.0'
        )
        await api.fine_tuning.jobs.pause(waiting.id)
        await api.fine_tuning.jobs.cancel(job.id)
        await until_counted(
            running,
            'headgate_fine_tuning_jobs{status="running"} 0.0',
            'headgate_fine_tuning_jobs{status="paused"} 1.0',
            'headgate_fine_tuning_jobs_ended_total{status="cancelled"} 1.0',
        )


REFUSED: list[tuple[dict[str, Any], str | None, str]] = [
    ({"model": "nothing"}, "model", "cannot be fine-tuned, because it does not run here; these can: base, chat"),
    ({"model": "plain"}, "model", r"the table \[models\.plain\.tuning\] names them"),
    ({"training_file": "file-none"}, "training_file", "There is no file 'file-none'"),
    ({"validation_file": "file-none"}, "validation_file", "There is no file 'file-none'"),
    ({"suffix": "a:b"}, "suffix", "it may have letters, digits"),
    ({"suffix": "a" * 65}, "suffix", "length <= 64"),
    ({"seed": -1}, "seed", ">= 0"),
    ({"hyperparameters": {"n_epochs": 0}}, "hyperparameters.n_epochs", ">= 1"),
    ({"hyperparameters": {"epochs": 1}}, "hyperparameters.epochs", "unknown field `epochs`"),
    ({"hyperparameters": {"method": "some"}}, "hyperparameters.method", "may be auto, full, lora, probe, top_layers"),
    ({"hyperparameters": {"prune": {"layers": 0}}}, "hyperparameters.prune.layers", ">= 1"),
    ({"hyperparameters": {"prune": {}}}, "hyperparameters.prune", "missing both `layers` and `heads`"),
    ({"hyperparameters": {"prune": {"layers": 3, "heads": 1}}}, "hyperparameters.prune.heads", "< 1.0"),
    ({"hyperparameters": {"distill": {"layers": 3, "teacher": "m"}}}, "hyperparameters.distill.teacher", "`teacher`"),
    (
        {"hyperparameters": {"prune": {"layers": 3}, "distill": {"layers": 3}}},
        "hyperparameters.distill",
        "give one of the two",
    ),
    ({"method": {"type": "dpo", "dpo": {}}}, "method.type", "'dpo' is not supported; the only one is 'supervised'"),
    ({"method": {"type": "supervised", "hyperparameters": {"n_epochs": 1}}}, "method.hyperparameters", "unknown field"),
    ({"metadata": {"team": "a" * 513}}, "metadata", r"metadata\['team'\] is too long"),
    ({"method": {"type": "supervised"}, "hyperparameters": {}}, "hyperparameters", "given beside method"),
    ({"integrations": [{"type": "wandb", "wandb": {"project": "p"}}]}, "integrations", "not supported"),
    ({"extra_body": {"colour": "red"}}, "colour", "unknown field `colour`"),
]


async def test_what_a_job_cannot_be_is_told_with_its_field(folder: Path) -> None:
    models, kept_in = tunable(folder)
    chat = {"engine": "vllm", "source": str(folder / "weights"), "adapters": {}, "replicas": 0, "required": False}
    async with gateway(models | {"chat": chat}, ready=(), train=TRAIN, **kept_in) as running, sdk(running) as api:
        file = await api.files.create(file=("examples.jsonl", EXAMPLES), purpose="fine-tune")
        for asked, param, reason in REFUSED:
            with pytest.raises((openai.BadRequestError, openai.NotFoundError), match=reason) as refused:
                await api.fine_tuning.jobs.create(**({"model": "base", "training_file": file.id} | asked))
            assert refused.value.param == param, asked
        for how in ({"prune": {"layers": 1}}, {"distill": {"layers": 1}}, {"method": "probe"}, {"augment": True}):
            method: Any = {"type": "supervised", "supervised": {"hyperparameters": how}}
            with pytest.raises(openai.BadRequestError, match="is for classifiers; this base becomes a") as no:
                await api.fine_tuning.jobs.create(model="chat", training_file=file.id, method=method)
            assert no.value.param == f"method.supervised.hyperparameters.{next(iter(how))}"
        other = await api.files.create(file=("a.txt", b"a"), purpose="user_data")
        with pytest.raises(openai.BadRequestError, match="has the purpose 'user_data'; expected one"):
            await api.fine_tuning.jobs.create(model="base", training_file=other.id)
        with pytest.raises(openai.BadRequestError, match="'base' is configured in a file") as kept:
            await api.models.delete("base")
        assert kept.value.code == "model_not_deletable"


def key(name: str, **other: Any) -> dict[str, Any]:
    return {"id": name, "sha256": hashlib.sha256(name.encode()).hexdigest(), **other}


async def test_jobs_and_models_belong_to_their_key(folder: Path) -> None:
    keys = [
        key("maker", models=["base"], tune=True),
        key("other", tune=True),
        key("user"),
        key("narrow", models=["base"]),
    ]
    async with tuning(folder, keys=keys) as running, sdk(running, "maker") as maker, sdk(running, "other") as other:
        done = await until(maker, await job_of(maker, "mine"), "succeeded", "failed")
        name = done.fine_tuned_model or ""
        assert name.startswith("ft:base:maker:mine:")
        assert name in [model.id async for model in maker.models.list()]
        with pytest.raises(openai.NotFoundError, match="There is no fine-tuning job"):
            await other.fine_tuning.jobs.retrieve(done.id)
        with pytest.raises(openai.NotFoundError, match="no fine-tuned model"):
            await other.models.delete(name)
        assert [job.id async for job in other.fine_tuning.jobs.list()] == []
        async with sdk(running, "user") as user, sdk(running, "narrow") as narrow:
            with pytest.raises(openai.PermissionDeniedError, match="may not fine-tune models") as refused:
                await job_of(user, "mine")
            assert refused.value.code == "tuning_not_allowed"
            with pytest.raises(openai.PermissionDeniedError, match="may not fine-tune models"):
                await user.models.delete(name)
            assert name in [model.id async for model in user.models.list()]
            assert name not in [model.id async for model in narrow.models.list()]
        assert (await maker.models.delete(name)).deleted


async def test_whatever_is_no_id_of_a_job_is_not_there(folder: Path) -> None:
    async with tuning(folder) as running, sdk(running) as api:
        for wrong in ("{}", "a/b", "x" * 9_000, "\xe4" * 3_000):
            with pytest.raises(openai.NotFoundError, match="There is no fine-tuning job"):
                await api.fine_tuning.jobs.retrieve(wrong)
            with pytest.raises(openai.BadRequestError, match="after which to begin"):
                await api.fine_tuning.jobs.list(after=wrong)


async def test_several_processes_give_the_same_answers(folder: Path) -> None:
    async with tuning(folder, processes=2) as running, sdk(running) as api:
        done = await until(api, await job_of(api, "mine"), "succeeded", "failed")
        assert done.error is None
        assert (await classified(running, done.fine_tuned_model))[0] == 200
        assert (await api.models.delete(done.fine_tuned_model or "")).deleted


async def test_where_nothing_can_be_tuned_the_api_says_how(folder: Path) -> None:
    kept: dict[str, Any] = {"tuning": {"folder": str(folder / "none")}, "files": {"folder": str(folder / "files")}}
    plain = {"engine": "remote", "urls": ["http://127.0.0.1:1"], "required": False}
    async with gateway({"m": plain}, ready=(), **kept) as running, sdk(running) as api:
        with pytest.raises(openai.BadRequestError, match=r"\[models\.NAME\.tuning\]") as refused:
            await api.fine_tuning.jobs.list()
        assert refused.value.code == "tuning_not_configured"
        with pytest.raises(openai.NotFoundError):
            await api.models.delete("ft:m:a:b:c")
