"""Errors are told in vLLM's shape, and name the file where a file is at fault."""

from __future__ import annotations

from pathlib import Path

import pytest

from engines.onnx.errors import (
    BadRequest,
    InferenceFailed,
    ModelError,
    ModelNotFound,
    Overloaded,
    RequestError,
    error_body,
)


def test_an_error_is_vllms_object_in_vllms_order() -> None:
    assert error_body("No.", "BadRequestError", 400, "input[3]") == (
        b'{"error":{"message":"No.","type":"BadRequestError","param":"input[3]","code":400}}'
    )


def test_an_error_about_no_field_in_particular_says_null() -> None:
    assert BadRequest("No.").body() == (b'{"error":{"message":"No.","type":"BadRequestError","param":null,"code":400}}')


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (BadRequest, 400, "BadRequestError"),
        (ModelNotFound, 404, "NotFoundError"),
        (InferenceFailed, 500, "InternalServerError"),
        (Overloaded, 503, "ServiceUnavailableError"),
    ],
)
def test_each_error_has_vllms_status_and_type(error: type[RequestError], status: int, kind: str) -> None:
    assert error("No.").body() == error_body("No.", kind, status)


def test_a_message_may_hold_whatever_a_client_wrote() -> None:
    assert BadRequest('"\n\x00 é').body() == (
        '{"error":{"message":"\\"\\n\\u0000 é","type":"BadRequestError","param":null,"code":400}}'.encode()
    )


def test_a_models_error_names_the_file() -> None:
    error = ModelError(Path("models/m/model.onnx"), "no such file")
    assert str(error) == "models/m/model.onnx: no such file"
