"""OpenAI's ``metadata``: what clients write down beside a batch or a job, for themselves."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.core.errors import BadRequest

_MOST_PAIRS, _LONGEST_NAME, _LONGEST_VALUE = 16, 64, 512


def check_metadata(metadata: Mapping[str, str] | None) -> None:
    """Hold metadata to OpenAI's limits. Raises ``BadRequest`` naming the pair."""
    if metadata is None:
        return
    if len(metadata) > _MOST_PAIRS:
        raise BadRequest(f"metadata has {len(metadata)} pairs; at most {_MOST_PAIRS} are kept.", param="metadata")
    for name, value in metadata.items():
        if len(name) > _LONGEST_NAME or len(value) > _LONGEST_VALUE:
            raise BadRequest(
                f"metadata[{name[:_LONGEST_NAME]!r}] is too long; names have up to {_LONGEST_NAME} characters and "
                f"values up to {_LONGEST_VALUE}.",
                param="metadata",
            )
