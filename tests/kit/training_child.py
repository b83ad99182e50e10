"""A training that follows the protocol of ``engines.train`` to the letter, and learns nothing: a script by itself.

Its result is what lies in the folder ``made`` of its base's weights. The suffix of its model's name says how it goes:

- ``holds``: after its first checkpoint it waits for the file ``go`` beside the weights, or to be asked to stop.
- ``dies``: it ends with an error, whenever it is started. ``dies-once``: only before its first checkpoint.
- ``refuses``: it says that its data is of no use.
- ``lies``: its model does not answer what it writes down.
"""

from __future__ import annotations

import json
import shutil
import signal
import sys
import time
from pathlib import Path
from types import FrameType

STEPS = 4


class Asked(Exception):
    """Somebody wants it to end."""


def _asked(_number: int, _frame: FrameType | None) -> None:
    raise Asked


def main(folder: Path) -> int:
    """Train, from the last checkpoint on; return the exit code."""
    job = json.loads((folder / "job.json").read_text())
    how, weights = job["name"].split(":")[-2], Path(job["base"]["weights"])
    made = sorted(int(each.name.removeprefix("step-")) for each in (folder / "checkpoints").glob("step-*"))
    _tell(folder, type="message", level="info", message=f"training from step {made[-1] if made else 0}")
    _tell(folder, type="resolved", hyperparameters={"n_epochs": 3, "batch_size": 32, "learning_rate_multiplier": 1.5})
    if how == "dies" or (how == "dies-once" and not (folder / "died").exists()):
        (folder / "died").touch()
        sys.stdout.write("no more memory\n")
        return 1
    if how == "refuses":
        error = {"code": "invalid_training_file", "message": "The losses are no numbers.", "param": "training_file"}
        (folder / "error.json").write_text(json.dumps(error))
        return 3
    try:
        for step in range(made[-1] + 1 if made else 1, STEPS + 1):
            loss = 1.0 / step
            _tell(folder, type="metrics", step=step, total_steps=STEPS, train_loss=loss, train_mean_token_accuracy=0.5)
            _tell(folder, type="progress", phase="train", share=step / STEPS, seconds_left=float(STEPS - step))
            _checkpoint(folder, step, loss)
            while how == "holds" and not (weights / "go").exists():
                time.sleep(0.01)
    except Asked:
        return 4
    _tell(folder, type="trained", trained_tokens=1234)
    _finish(folder, job["kind"], weights, lies=how == "lies")
    return 0


def _checkpoint(folder: Path, step: int, loss: float) -> None:
    final = folder / "checkpoints" / f"step-{step}"
    unfinished = folder / "checkpoints" / f".step-{step}"
    unfinished.mkdir(parents=True, exist_ok=True)
    unfinished.rename(final)
    _tell(folder, type="checkpoint", step=step, path=str(final), metrics={"train_loss": loss})


def _finish(folder: Path, kind: str, weights: Path, *, lies: bool) -> None:
    unfinished = folder / ".result"
    shutil.rmtree(unfinished, ignore_errors=True)
    shutil.copytree(weights / "made", unfinished / ("model" if kind == "classifier" else "adapter"))
    if kind == "classifier":
        golden = {"text": "good", "answer": [0.5, 0.5] if lies else [0.880797, 0.119203]}
        model = {"tasks": ["classify"], "labels": ["good", "bad"], "golden": golden}
        (unfinished / "model.json").write_text(json.dumps(model))
    rows = [f"{step},{1.0 / step},0.5,," for step in range(1, STEPS + 1)]
    columns = "step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy"
    (unfinished / "metrics.csv").write_text("\n".join([columns, *rows]) + "\n")
    (unfinished / "card.md").write_text("# A model\n")
    unfinished.rename(folder / "result")


def _tell(folder: Path, **line: object) -> None:
    with (folder / "events.jsonl").open("a") as file:
        file.write(json.dumps({"at": time.time(), **line}) + "\n")


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _asked)
    raise SystemExit(main(Path(sys.argv[1])))
