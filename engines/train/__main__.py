"""The training child: ``python -m engines.train JOB_FOLDER``.

Exit codes: 0 the result is complete; 3 ``error.json`` says why there will never be one; 4 it was asked to stop and goes
on from its last checkpoint; 2 a wrong command line. Anything else is an accident, after which it may be started again.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from engines.train.checkpoints import Checkpoints
from engines.train.errors import JobError, Stopped
from engines.train.events import EventLog
from engines.train.job import Job, JobFolder
from engines.train.stop import StopSignal

COMPLETE, FAILED, STOPPED = 0, 3, 4


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the job of a folder to its end, and give the exit code."""
    parser = argparse.ArgumentParser(prog="python -m engines.train", description="Run one fine-tuning job.")
    parser.add_argument("folder", type=Path, metavar="JOB_FOLDER", help="the folder with job.json")
    folder = JobFolder(parser.parse_args(arguments).folder)
    if folder.result.exists():
        return COMPLETE
    stop = StopSignal()
    with EventLog(folder.events) as events, stop.listening():
        try:
            _complete(folder, folder.job(), events, stop)
        except JobError as error:
            events.message(error.message, "error")
            folder.write_error(error)
            return FAILED
        except Stopped:
            events.message("The job was asked to stop; it goes on from its last checkpoint.")
            return STOPPED
    return COMPLETE


def _check_packages(job: Job) -> None:
    """Raise ``JobError`` before anything is trained where something is not installed that the job needs."""
    needed = ["torch", "transformers"]
    if job.method == "lora":
        needed.append("peft")
    if job.kind == "lora" and job.base.weights.endswith(".gguf"):
        needed.append("gguf")
    if job.kind == "classifier" and job.quantize:
        needed.append("onnx")
    for package in needed:
        if importlib.util.find_spec(package) is None:
            remedy = f"pip install {package}"
            raise JobError("not_installed", f"The job needs the package {package}, which is missing: {remedy}.")


def _complete(folder: JobFolder, job: Job, events: EventLog, stop: StopSignal) -> None:
    """Make the result under a hidden name, and rename it when it is complete."""
    _check_packages(job)
    # These bring torch, which a job that cannot be read does not need.
    from engines.train.loop import Run

    run = Run(events, Checkpoints(folder.checkpoints), stop)
    shutil.rmtree(folder.unfinished, ignore_errors=True)
    folder.unfinished.mkdir()
    if job.kind == "classifier":
        from engines.train.classifier.run import ClassifierJob

        ClassifierJob(job, run, folder.unfinished).complete()
    else:
        from engines.train.chat.run import ChatJob

        ChatJob(job, run, folder.unfinished).complete()
    folder.unfinished.rename(folder.result)


if __name__ == "__main__":
    # The threads are ours to count.
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # What is to stay has been written. To take torch apart takes seconds beside busy engines, and the job waits for it.
    os._exit(code)
