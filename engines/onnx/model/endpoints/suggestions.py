"""The endpoint ``/v1/suggest``, which says which texts to label next."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from engines.onnx.errors import BadRequest
from engines.onnx.model.endpoints.endpoint import Endpoint, Plan
from engines.onnx.model.selection import Numbers, choose, uncertainty
from engines.onnx.model.tasks import Embed, Row
from engines.onnx.model.tokens import PromptTokenizer
from engines.onnx.protocol.requests import SuggestRequest
from engines.onnx.protocol.responses import ListResponse, Suggestion


class SuggestEndpoint(Endpoint[SuggestRequest]):
    """``/v1/suggest`` of an embedder: how unlike texts are is seen by their vectors."""

    request_type = SuggestRequest
    id_prefix = "sugg"

    def __init__(self, name: str, tokenizer: PromptTokenizer, task: Embed) -> None:
        super().__init__(name, tokenizer)
        self._task = task

    def plan(self, asked: SuggestRequest) -> Plan:
        """Embed each text, and choose among them."""
        alone = isinstance(asked.input, str)
        given = [asked.input] if isinstance(asked.input, str) else asked.input
        weights = None if asked.probs is None else _uncertainty(asked.probs, len(given))
        texts = self._tokenizer.encode_texts(given, asked, lambda index: "input" if alone else f"input[{index}]")

        def respond(rows: Sequence[Row], name: str) -> ListResponse:
            picked = choose(self._task.pooled(rows, activate=True), asked.count, weights)
            data = [Suggestion(index, None if weights is None else float(weights[index])) for index in picked]
            return self._listed(name, data, texts)

        return Plan(texts, respond)


def _uncertainty(probs: Sequence[Sequence[float]], texts: int) -> Numbers:
    """Say how uncertain each class is. Raises ``BadRequest`` if the numbers are not those of the texts."""
    if len(probs) != texts:
        raise BadRequest(f"Expected the probabilities of {texts} texts, got those of {len(probs)}", param="probs")
    width = len(probs[0])
    for index, row in enumerate(probs):
        if len(row) != width or not row:
            raise BadRequest(
                f"Expected as many probabilities for each text, one at least, as for the first; that has {width}, this "
                f"one {len(row)}",
                param=f"probs[{index}]",
            )
    return uncertainty(np.array(probs, np.float32))
