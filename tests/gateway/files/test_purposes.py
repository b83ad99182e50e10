"""What files may be uploaded for, and how long they are kept."""

from __future__ import annotations

import pytest

from gateway.core.errors import BadRequest
from gateway.files.purposes import UPLOADED, check_expiry, check_purpose, kept_for, line_check


@pytest.mark.parametrize("purpose", UPLOADED)
def test_purposes_of_uploads(purpose: str) -> None:
    assert check_purpose(purpose) == purpose


@pytest.mark.parametrize("purpose", ["", "fine-tune-results", "batch_output", "assistants_output", "finetune"])
def test_other_purposes_are_refused_with_those_that_there_are(purpose: str) -> None:
    with pytest.raises(BadRequest, match="assistants, batch, evals, fine-tune, user_data, vision") as refused:
        check_purpose(purpose)
    assert refused.value.param == "purpose"


def test_expiry_is_from_an_hour_to_thirty_days_after_creation() -> None:
    assert [check_expiry("created_at", seconds) for seconds in (3600, 2_592_000)] == [3600, 2_592_000]
    for seconds in (3599, 2_592_001, None, "3600"):
        with pytest.raises(BadRequest, match="from 3600 to 2592000") as refused:
            check_expiry("created_at", seconds)
        assert refused.value.param == "expires_after[seconds]"
    with pytest.raises(BadRequest) as refused:
        check_expiry("now", 3600)
    assert refused.value.param == "expires_after[anchor]"


def test_batches_are_kept_for_thirty_days_and_others_for_ever() -> None:
    assert kept_for("batch", None) == 2_592_000
    assert kept_for("batch", 3600) == 3600
    assert kept_for("user_data", None) is None


def test_only_files_of_lines_are_looked_at() -> None:
    assert {purpose for purpose in UPLOADED if line_check(purpose) is not None} == {"batch", "fine-tune"}
