"""An error of a job says what, and in which field."""

from __future__ import annotations

from engines.train.errors import JobError


def test_an_error_has_openais_fields() -> None:
    error = JobError("invalid_model", "It is none.", "model")
    assert (error.code, error.message, error.param, str(error)) == (
        "invalid_model",
        "It is none.",
        "model",
        "It is none.",
    )
    assert JobError("a", "b").param is None
