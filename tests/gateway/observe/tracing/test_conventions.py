"""The names of attributes are those of OpenTelemetry's own package."""

from __future__ import annotations

from typing import get_args

from opentelemetry.semconv import schemas
from opentelemetry.semconv._incubating.attributes import gen_ai_attributes as gen_ai
from opentelemetry.semconv.attributes import client_attributes, error_attributes, http_attributes, server_attributes

from gateway.config.types import Endpoint
from gateway.observe.tracing import conventions


def test_stable_names_are_those_of_the_conventions() -> None:
    assert conventions.ERROR_TYPE == error_attributes.ERROR_TYPE
    assert conventions.HTTP_METHOD == http_attributes.HTTP_REQUEST_METHOD
    assert conventions.HTTP_ROUTE == http_attributes.HTTP_ROUTE
    assert conventions.HTTP_STATUS == http_attributes.HTTP_RESPONSE_STATUS_CODE
    assert conventions.CLIENT_ADDRESS == client_attributes.CLIENT_ADDRESS
    assert conventions.SERVER_ADDRESS == server_attributes.SERVER_ADDRESS
    assert conventions.SERVER_PORT == server_attributes.SERVER_PORT
    assert conventions.SCHEMA_URL in {each.value for each in schemas.Schemas}


def test_names_for_generative_ai_are_those_of_the_conventions() -> None:
    assert conventions.GEN_AI_OPERATION == gen_ai.GEN_AI_OPERATION_NAME
    assert conventions.GEN_AI_PROVIDER == gen_ai.GEN_AI_PROVIDER_NAME
    assert conventions.GEN_AI_MODEL == gen_ai.GEN_AI_REQUEST_MODEL
    assert conventions.GEN_AI_INPUT_TOKENS == gen_ai.GEN_AI_USAGE_INPUT_TOKENS
    assert conventions.GEN_AI_OUTPUT_TOKENS == gen_ai.GEN_AI_USAGE_OUTPUT_TOKENS
    assert conventions.GEN_AI_CACHED_TOKENS == gen_ai.GEN_AI_USAGE_CACHE_READ_INPUT_TOKENS
    assert conventions.GEN_AI_FIRST_CHUNK == gen_ai.GEN_AI_RESPONSE_TIME_TO_FIRST_CHUNK


def test_operations_and_providers_are_values_of_the_conventions() -> None:
    operations = {each.value for each in gen_ai.GenAiOperationNameValues}
    providers = {each.value for each in gen_ai.GenAiProviderNameValues}
    assert set(conventions.OPERATIONS.values()) <= operations
    assert conventions.provider_of("/v1/messages") == "anthropic"
    assert conventions.provider_of("/v1/chat/completions") == "openai"
    assert {"anthropic", "openai"} <= providers


def test_operations_are_of_endpoints_that_there_are() -> None:
    assert set(conventions.OPERATIONS) <= set(get_args(Endpoint))
