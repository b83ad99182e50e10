"""What is submitted to a Ray cluster for a training, and the file by which a later server finds it again."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from engines.tuning.child import STOP_SECONDS, environment_of
from engines.tuning.whole_file import write_whole


class Submission(msgspec.Struct, frozen=True):
    """One job of the cluster, and whether it was asked to stop."""

    id: str
    stopped: bool = False


class SubmissionFile:
    """The job of the cluster that is under way for a training, until its end is known. Its methods block.

    It is written before the job is submitted, so a server that is killed leaves no job that the next one does not find.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def __repr__(self) -> str:
        return f"<SubmissionFile {self.path}>"

    @classmethod
    def beside(cls, log: Path) -> SubmissionFile:
        """Give that of the training which has this log."""
        return cls(log.with_name("ray.json"))

    def read(self) -> Submission | None:
        """Read which job there is, if there is one. Raises ``OSError``."""
        try:
            return msgspec.json.decode(self.path.read_bytes(), type=Submission)
        except FileNotFoundError:
            return None
        except msgspec.DecodeError as error:
            raise OSError(f"{self.path} does not name a job of the Ray cluster: {error}") from None

    def write(self, submission: Submission) -> None:
        """Write it down in one step. Raises ``OSError``."""
        write_whole(self.path, msgspec.json.encode(submission))

    def remove(self) -> None:
        """Note that the job has ended. Raises ``OSError``."""
        self.path.unlink(missing_ok=True)


def request_of(command: Sequence[str], log: Path, *, gateway: str, threads: int, memory_bytes: int) -> dict[str, Any]:
    """Write the job of a training, but for its id, as the Jobs API takes it.

    Its output goes to its log on the storage that all nodes share, where it is also after the loss of a node.
    """
    # Ray reads how a job is stopped from the environment of the job: SIGTERM, and SIGKILL after so many seconds.
    stopping = {"RAY_JOB_STOP_SIGNAL": "SIGTERM", "RAY_JOB_STOP_WAIT_TIME_S": f"{STOP_SECONDS:.0f}"}
    limit = f"ulimit -d {memory_bytes // 1024}"
    return {
        "entrypoint": f"{limit} && exec {shlex.join(command)} >>{shlex.quote(str(log))} 2>&1",
        "runtime_env": {"env_vars": environment_of(threads) | stopping},
        # Memory is what Ray counts with when it chooses a node; the limit above is what holds.
        "entrypoint_num_cpus": threads,
        "entrypoint_memory": memory_bytes,
        "metadata": {"headgate": gateway, "headgate_training": log.parent.name},
    }
