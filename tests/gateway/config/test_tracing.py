"""Where spans are sent and of how many requests, by the file and by OpenTelemetry's variables."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from gateway.config.schema import Config
from gateway.config.tracing import Tracing, TracingSettings, settings_of

HERE = "http://127.0.0.1:4318"


def settings(environment: dict[str, str] | None = None, **table: Any) -> TracingSettings:
    found = settings_of(Tracing.model_validate(table), environment or {})
    assert found is not None
    return found


def test_it_is_off_by_default() -> None:
    assert settings_of(Tracing(), {}) is None
    assert settings_of(Tracing(sample_ratio=0.5), {"OTEL_SERVICE_NAME": "x"}) is None


def test_an_endpoint_turns_it_on_for_all_requests_unless_their_clients_say_otherwise() -> None:
    assert settings(endpoint=HERE) == TracingSettings(
        f"{HERE}/v1/traces", {}, ratio=1.0, parent_based=True, resource={"service.name": "headgate"}
    )


@pytest.mark.parametrize(
    ("endpoint", "url"),
    [
        (HERE, f"{HERE}/v1/traces"),
        (f"{HERE}/", f"{HERE}/v1/traces"),
        (f"{HERE}/v1/traces", f"{HERE}/v1/traces"),
        ("https://otlp.example.com/otlp", "https://otlp.example.com/otlp/v1/traces"),
    ],
)
def test_the_path_is_added_where_it_is_missing(endpoint: str, url: str) -> None:
    assert settings(endpoint=endpoint).url == url
    assert settings({"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint}).url == url


def test_the_variable_for_traces_is_taken_as_it_is_and_before_the_other() -> None:
    both = {
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://a:4318/here",
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://b:4318",
    }
    assert settings(both).url == "http://a:4318/here"
    assert settings(both, endpoint=HERE).url == f"{HERE}/v1/traces"


@pytest.mark.parametrize("off", [{"OTEL_SDK_DISABLED": "True"}, {"OTEL_TRACES_EXPORTER": "none"}])
def test_the_environment_turns_it_off(off: dict[str, str]) -> None:
    assert settings_of(Tracing(endpoint=HERE), off) is None


@pytest.mark.parametrize(
    ("sampler", "argument", "ratio", "parent_based"),
    [
        ("always_on", "", 1.0, False),
        ("always_off", "", 0.0, False),
        ("traceidratio", "0.25", 0.25, False),
        ("traceidratio", "", 1.0, False),
        ("parentbased_always_on", "0.25", 1.0, True),
        ("parentbased_always_off", "", 0.0, True),
        ("parentbased_traceidratio", "0.01", 0.01, True),
        ("", "0.25", 1.0, True),
    ],
)
def test_the_samplers_of_opentelemetry(sampler: str, argument: str, ratio: float, parent_based: bool) -> None:
    environment = {"OTEL_TRACES_SAMPLER": sampler, "OTEL_TRACES_SAMPLER_ARG": argument}
    found = settings(environment, endpoint=HERE)
    assert (found.ratio, found.parent_based) == (ratio, parent_based)


def test_the_file_comes_before_the_environment() -> None:
    environment = {
        "OTEL_TRACES_SAMPLER": "traceidratio",
        "OTEL_TRACES_SAMPLER_ARG": "0.5",
        "OTEL_SERVICE_NAME": "theirs",
        "OTEL_EXPORTER_OTLP_HEADERS": "x-key=theirs,x-team=a",
    }
    table = {"sample_ratio": 0.01, "parent_based": True, "service_name": "ours", "headers": {"X-Key": "ours"}}
    found = settings(environment, endpoint=HERE, **table)
    assert (found.ratio, found.parent_based) == (0.01, True)
    assert found.resource == {"service.name": "ours"}
    assert found.headers == {"x-key": "ours", "x-team": "a"}


def test_attributes_and_headers_are_percent_encoded_lists() -> None:
    environment = {
        "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=prod, team=a%20b,service.name=listed,",
        "OTEL_EXPORTER_OTLP_HEADERS": "Authorization=Basic%20eA%3D%3D",
    }
    found = settings(environment, endpoint=HERE)
    assert found.resource == {"deployment.environment.name": "prod", "team": "a b", "service.name": "listed"}
    assert found.headers == {"authorization": "Basic eA=="}
    for_traces = environment | {"OTEL_EXPORTER_OTLP_TRACES_HEADERS": "x-key=k", "OTEL_SERVICE_NAME": "named"}
    found = settings(for_traces, endpoint=HERE)
    assert found.resource["service.name"] == "named"
    assert found.headers == {"x-key": "k"}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OTEL_TRACES_SAMPLER", "jaeger_remote"),
        ("OTEL_TRACES_SAMPLER_ARG", "2"),
        ("OTEL_TRACES_SAMPLER_ARG", "nan"),
        ("OTEL_TRACES_SAMPLER_ARG", "half"),
        ("OTEL_RESOURCE_ATTRIBUTES", "team"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "secret"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "x-key=a%0Ab"),
        ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "x%20key=a"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "127.0.0.1:4318"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://user:secret@127.0.0.1:4318"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
    ],
)
def test_a_variable_that_cannot_be_followed_is_named(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, given in {
        "OTEL_EXPORTER_OTLP_ENDPOINT": HERE,
        "OTEL_TRACES_SAMPLER": "traceidratio",
        name: value,
    }.items():
        monkeypatch.setenv(variable, given)
    with pytest.raises(ValidationError) as caught:
        Config.model_validate({"models": {"m": {"engine": "remote", "urls": [HERE]}}})
    (error,) = caught.value.errors()
    assert error["loc"] == ("gateway", "tracing")
    assert name in error["msg"]
    assert "secret" not in error["msg"]


def test_nothing_is_wrong_with_variables_of_what_is_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "jaeger_remote")
    Config.model_validate({"models": {"m": {"engine": "remote", "urls": [HERE]}}})


def test_a_receiver_that_only_speaks_grpc_is_no_hindrance_where_the_file_names_another() -> None:
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4317", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}
    assert settings(environment, endpoint=HERE).url == f"{HERE}/v1/traces"


@pytest.mark.parametrize(
    "table",
    [
        {"endpoint": "127.0.0.1:4318"},
        {"endpoint": "http://"},
        {"endpoint": "http://a:b"},
        {"endpoint": "http://user:word@a:4318"},
        {"endpoint": HERE, "headers": {"x-key": "a\nb"}},
        {"endpoint": "grpc://a:4317"},
        {"endpoint": HERE, "sample_ratio": 1.5},
        {"endpoint": HERE, "service_name": ""},
        {"endpoint": HERE, "headers": {"x key": "v"}},
        {"endpoint": HERE, "samples": 1},
    ],
)
def test_a_table_that_is_wrong_is_a_mistake(table: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Tracing.model_validate(table)


def test_a_wrong_header_is_not_shown() -> None:
    with pytest.raises(ValidationError) as caught:
        Tracing.model_validate({"endpoint": HERE, "headers": {"x-key": 7_777}})
    assert "7777" not in str(caught.value)
    assert "7_777" not in str(caught.value)
