"""What the tuning server refuses, as the gateway passes it on."""

from __future__ import annotations

import msgspec


class TuningError(Exception):
    """A request that cannot be done: an HTTP status, a code and a message for people, and the field that is wrong."""

    def __init__(self, status: int, code: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.param = param

    def body(self) -> bytes:
        """Write it in the shape of OpenAI's errors."""
        kind = "server_error" if self.status >= 500 else "invalid_request_error"
        error = {"message": str(self), "type": kind, "param": self.param, "code": self.code}
        return msgspec.json.encode({"error": error})


def no_such_job(job_id: str) -> TuningError:
    """Give the error for an id that is no job's of this owner."""
    return TuningError(404, "not_found", f"There is no fine-tuning job {job_id[:100]!r}.", "fine_tuning_job_id")
