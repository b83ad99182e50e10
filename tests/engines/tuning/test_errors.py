"""What is refused has OpenAI's shape."""

from __future__ import annotations

import json

from engines.tuning.errors import TuningError, no_such_job


def test_an_error_names_its_field_and_its_code() -> None:
    error = no_such_job("ftjob-1")
    assert error.status == 404
    assert json.loads(error.body())["error"] == {
        "message": "There is no fine-tuning job 'ftjob-1'.",
        "type": "invalid_request_error",
        "param": "fine_tuning_job_id",
        "code": "not_found",
    }


def test_what_is_not_the_clients_mistake_is_told_apart() -> None:
    error = TuningError(507, "insufficient_storage", "There is no room.")
    assert json.loads(error.body())["error"]["type"] == "server_error"
