"""How a job ends without a result: it can never succeed, or it is to go on later."""

from __future__ import annotations


class JobError(Exception):
    """The job can never succeed; ``code`` and ``param`` are as in OpenAI's errors, the latter a field of the job."""

    def __init__(self, code: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.param = param


class Stopped(Exception):
    """The job was asked to stop (SIGTERM); it goes on from its last checkpoint when it is started again."""
