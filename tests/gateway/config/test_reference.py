"""The reference page lists every option with a valid example, and the committed page is the generated one."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, Field, create_model
from pydantic.fields import FieldInfo

from gateway.config.gateway import GatewayConfig
from gateway.config.load import load
from gateway.config.models import ModelBase, OnnxModel, VllmModel
from gateway.config.reference import EXAMPLE, SECTIONS, Section, example, page, toml, type_of
from gateway.config.schema import Config

ROOT = Path(__file__).parents[3]
OPTIONS = [
    pytest.param(section.model, name, field, id=f"{section.heading}.{name}")
    for section in SECTIONS
    for name, field in section.options()
]


def test_the_committed_page_is_the_generated_one() -> None:
    assert (ROOT / "docs/configuration.md").read_text() == page(), "run `make docs`"


@pytest.mark.slow
def test_the_command_prints_the_page() -> None:
    command = [sys.executable, "-m", "gateway.config.reference"]
    assert subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout == page()


def test_the_page_begins_with_a_task_and_a_valid_configuration(tmp_path: Path) -> None:
    assert page().index("```toml") < page().index("| key |")
    file = tmp_path / "models.toml"
    file.write_text(EXAMPLE)
    assert list(load(file).models) == ["chat"]


@pytest.mark.parametrize(("model", "name", "field"), OPTIONS)
def test_each_option_has_a_row_a_meaning_and_a_valid_example(
    model: type[BaseModel], name: str, field: FieldInfo
) -> None:
    assert field.description
    assert f"| `{name}` | " in page()
    value = tomllib.loads(example(name, field))[name]
    annotation: Any = field.annotation
    alone = create_model("Alone", __config__=model.model_config, option=(annotation, field))
    assert alone.model_validate({"option": value})


def test_no_option_is_left_out() -> None:
    def keys(model: type[BaseModel]) -> set[str]:
        return set(model.model_fields)

    listed = {name for section in SECTIONS for name, _ in section.options()}
    own_table = {
        "keys",
        "groups",
        "limits",
        "timeouts",
        "files",
        "tuning",
        "batches",
        "guard",
        "discover",
        "scaling",
        "tracing",
        "slo",
        "redis",
        "canary",
        "ray",
    }
    assert set().union(*(keys(section.model) for section in SECTIONS)) == listed | own_table
    assert keys(Config) == {"gateway", "models"}


@pytest.mark.parametrize(
    ("model", "name", "expected"),
    [
        (GatewayConfig, "listen", "text"),
        (GatewayConfig, "cache", "path"),
        (GatewayConfig, "cors_origins", "list of text"),
        (GatewayConfig, "drain_delay", "number, ≥ 0, ≤ 3600"),
        (VllmModel, "replicas", "integer, ≥ 0, ≤ 64"),
        (VllmModel, "source", "text or table"),
        (VllmModel, "env", "table of text"),
        (OnnxModel, "labels", "list of text"),
        (OnnxModel, "max_length", "integer, > 0"),
        (OnnxModel, "moderation", "table of list of text"),
        (OnnxModel, "variant", '`"int8"`'),
        (OnnxModel, "golden", "table"),
        (ModelBase, "required", "boolean"),
        (ModelBase, "engine", '`"vllm"` or `"onnx"` or `"remote"`'),
    ],
)
def test_types_are_named_in_words(model: type[BaseModel], name: str, expected: str) -> None:
    assert type_of(model.model_fields[name]) == expected


@pytest.mark.parametrize(
    "value",
    [True, 0, 16_384, 2.5, 'say "hé"', ["a", "b"], [], {}, {"a-b": 1, "c.d": [False], "e": {"f": "g"}}],
    ids=repr,
)
def test_values_are_written_as_toml(value: object) -> None:
    assert tomllib.loads(f"key = {toml(value)}") == {"key": value}


def test_a_bar_does_not_end_a_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    class Table(BaseModel):
        either: str = Field("a", description="a | b")

    monkeypatch.setattr("gateway.config.reference.SECTIONS", (Section("`[t]`", Table, "A table."),))
    assert '| `either` | text | `"a"` |  | a \\| b | `either = "a"` |' in page()


def test_an_option_of_every_model_is_listed_once_and_one_of_an_engine_in_its_section() -> None:
    sections = {section.heading: [name for name, _ in section.options()] for section in SECTIONS}
    of_engines = [names for heading, names in sections.items() if "with `engine" in heading]
    assert len(of_engines) == 3
    assert not any(set(names) & set(ModelBase.model_fields) for names in of_engines)
    assert "urls" in sections['`[models.NAME]` with `engine = "remote"`']
    assert "labels" in sections['`[models.NAME]` with `engine = "onnx"`']
    assert sections["`[models.NAME.limits]`"] == [
        "max_in_flight",
        "max_tokens_in_flight",
        "max_queue",
        "queue_timeout",
        "hold",
    ]
