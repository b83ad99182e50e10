"""The names of spans and their attributes, by OpenTelemetry's semantic conventions, version 1.44.

The conventions for generative AI are still in development, so their names stand here alone and change in one place:
https://opentelemetry.io/docs/specs/semconv/gen-ai/. What is said and what is answered is never an attribute.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

SCHEMA_URL = "https://opentelemetry.io/schemas/1.44.0"

ERROR_TYPE = "error.type"
HTTP_METHOD = "http.request.method"
HTTP_ROUTE = "http.route"
HTTP_STATUS = "http.response.status_code"
CLIENT_ADDRESS = "client.address"
SERVER_ADDRESS = "server.address"
SERVER_PORT = "server.port"

GEN_AI_OPERATION = "gen_ai.operation.name"
GEN_AI_PROVIDER = "gen_ai.provider.name"
GEN_AI_MODEL = "gen_ai.request.model"
GEN_AI_INPUT_TOKENS = "gen_ai.usage.input_tokens"
GEN_AI_OUTPUT_TOKENS = "gen_ai.usage.output_tokens"
GEN_AI_CACHED_TOKENS = "gen_ai.usage.cache_read.input_tokens"
GEN_AI_FIRST_CHUNK = "gen_ai.response.time_to_first_chunk"
"""Seconds from the client's request to the first piece of a stream."""

KEY_ID = "headgate.key.id"
OUTCOME = "headgate.attempt.outcome"
REPLICA = "headgate.replica"
REQUEST_ID = "headgate.request.id"
STREAMED = "headgate.response.streamed"

QUEUE, FIRST_BYTE, STREAM = "queue", "first byte", "stream"
"""The names of spans of the gateway itself."""

OPERATIONS: Mapping[str, str] = MappingProxyType(
    {
        "/v1/chat/completions": "chat",
        "/v1/completions": "text_completion",
        "/v1/responses": "chat",
        "/v1/messages": "chat",
        "/v1/embeddings": "embeddings",
    }
)
"""What generative AI is asked for, by endpoint; other endpoints are none of its operations."""


def provider_of(endpoint: str) -> str:
    """Name whose API an endpoint is: that is what the attribute tells, where the engine may be anything."""
    return "anthropic" if endpoint.startswith("/v1/messages") else "openai"
