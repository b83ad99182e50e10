"""What an engine's steps cost and how much it holds, as one value; and the engines that were measured, by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """The costs of one engine on one machine, in seconds, and its limits.

    A step takes ``step + prefill_token * prefilled + decode * decoding + attended * attended``: the prompt tokens that
    it reads, the sequences that get their next token, and the pairs of tokens that attention looks at.
    """

    request: float = 0.0
    """Of each request, once, before it can be scheduled: HTTP, the chat template, the tokenizer."""

    step: float = 0.0
    prefill_token: float = 0.0
    decode: float = 0.0
    attended: float = 0.0

    max_num_seqs: int = 256
    """Sequences that run at the same time."""

    max_num_batched_tokens: int = 8192
    """Tokens of one step; a longer prompt is read in several (chunked prefill)."""

    block_size: int = 16
    """Tokens in one block of the KV cache."""

    num_blocks: int = 8192
    """Blocks of the KV cache."""

    def __post_init__(self) -> None:
        for each in fields(self):
            lowest = 0 if each.name in COSTS else 1
            if getattr(self, each.name) < lowest:
                raise ValueError(f"{each.name} must be at least {lowest}, not {getattr(self, each.name)}")

    @property
    def capacity(self) -> int:
        """Tokens for which the KV cache has room."""
        return self.num_blocks * self.block_size

    def faster(self, times: float) -> Profile:
        """Return the same engine on a machine that is so many times as fast."""
        return replace(self, **{name: getattr(self, name) / times for name in COSTS})


COSTS = ("request", "step", "prefill_token", "decode", "attended")
"""The fields that are times, in seconds."""


PROFILES: Mapping[str, Profile] = {
    # Fitted by `python -m loadtest.simulator.calibration` on two cores of an EPYC, see docs/simulator.md.
    "smollm2-135m-cpu": Profile(
        request=0.00505,
        step=0.02435,
        prefill_token=0.000948,
        decode=0.00145,
        attended=7.91e-7,
        max_num_seqs=64,
        max_num_batched_tokens=2048,
        block_size=128,
        num_blocks=182,
    ),
    # Not measured: the order of magnitude of an 8-billion-parameter model in 16 bits on one data-centre GPU.
    "gpu-8b": Profile(
        request=0.004,
        step=0.006,
        prefill_token=0.00004,
        decode=0.00003,
        attended=4e-10,
        num_blocks=32_768,
    ),
}
"""Known engines: measured ones by model and machine, and a shape for what cannot be measured here."""
