"""A plan says what a request needs to be computed."""

from __future__ import annotations

from engines.onnx.model.model import Model
from engines.onnx.protocol.requests import ClassifyRequest
from tests.engines.onnx.tiny import BAD, CLS, GOOD, SEP


def test_a_plan_counts_the_tokens_of_all_texts(classifier: Model) -> None:
    plan = classifier.endpoints["/classify"].plan(ClassifyRequest(input=["good", "bad bad"]))
    assert list(map(list, plan.texts)) == [[CLS, GOOD, SEP], [CLS, BAD, BAD, SEP]]
    assert plan.tokens == 7


def test_the_response_is_made_of_the_rows_and_named_after_the_endpoint_and_the_request(classifier: Model) -> None:
    plan = classifier.endpoints["/classify"].plan(ClassifyRequest(input="good"))
    response = plan.respond(list(classifier.compute(plan.texts)), "7")
    assert repr(response).startswith("ListResponse(id='classify-7', created=")
