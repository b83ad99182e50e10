"""Looks at the files of examples as a whole before a job is queued."""

from __future__ import annotations

from pathlib import Path

from engines.train import errors, examples
from engines.tuning.records import JobError, Kind


def check_examples(kind: Kind, training: Path, validation: Path | None) -> JobError | None:
    """Say why these examples cannot be trained on, ``None`` where they can. Blocks.

    The training reads them by the same code.
    """
    try:
        (examples.read_texts if kind == "classifier" else examples.read_chats)(training, validation)
    except errors.JobError as error:
        return JobError(error.code, error.message, error.param)
    return None
