"""Writes the OpenAPI document as one page for people: each endpoint with its fields and a request to paste.

It needs no script and nothing from elsewhere, so it can be read offline and in any browser.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

Node = Mapping[str, Any]

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8881; --accent: light-dark(#0b57a4, #7db8f5); }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { margin-bottom: 0; } h2 { margin-top: 2.5rem; border-bottom: 1px solid var(--line); }
details { border: 1px solid var(--line); border-radius: 6px; margin: .5rem 0; }
summary { cursor: pointer; padding: .5rem .75rem; } details > div { padding: 0 .75rem .75rem; }
code, pre { font: 14px/1.45 ui-monospace, monospace; }
pre { background: var(--soft); padding: .75rem; white-space: pre-wrap; border-radius: 6px; }
.method { display: inline-block; min-width: 4.5rem; font-weight: 600; color: var(--accent); }
table { border-collapse: collapse; width: 100%; } caption { text-align: left; font-weight: 600; padding: .5rem 0; }
th, td { text-align: left; vertical-align: top; padding: .25rem .5rem; border-top: 1px solid var(--line); }
""".strip()


def page(document: Node) -> str:
    """Write the page. Whatever stands in the document is shown as text."""
    info = document["info"]
    return "\n".join(
        (
            "<!doctype html>",
            '<html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(info['title'])}: the API</title><style>{_STYLE}</style></head><body>",
            f"<h1>{escape(info['title'])}</h1><p>Version {escape(info['version'])}. ",
            'The same for programs: <a href="/openapi.json">openapi.json</a>.</p>',
            f"<main><p>{_marked(info['description'])}</p>",
            *_groups(document),
            "</main></body></html>",
        )
    )


def _groups(document: Node) -> Iterator[str]:
    groups: dict[str, list[tuple[str, str, Node]]] = {}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            groups.setdefault(operation["tags"][0], []).append((method.upper(), path, operation))
    for name, rows in groups.items():
        yield f"<section><h2>{escape(name)}</h2>"
        for method, path, operation in rows:
            yield from _operation(document, method, path, operation)
        yield "</section>"


def _operation(document: Node, method: str, path: str, operation: Node) -> Iterator[str]:
    yield f'<details id="{escape(operation["operationId"])}"><summary><span class="method">{method}</span> '
    yield f"<code>{escape(path)}</code> {escape(operation['summary'])}</summary><div>"
    yield from _parameters(operation)
    if "requestBody" in operation:
        media, content = next(iter(operation["requestBody"]["content"].items()))
        yield from _fields(document, content["schema"], f"Request ({media})")
        if "example" in content:
            yield f"<pre>{escape(_curl(path, content['example']))}</pre>"
    answer = operation["responses"]["200"]
    for media, content in answer.get("content", {}).items():
        if "$ref" in content["schema"]:
            yield from _fields(document, content["schema"], f"Response ({media})")
        else:
            yield f"<p>Response: <code>{escape(media)}</code></p>"
    yield "</div></details>"


def _parameters(operation: Node) -> Iterator[str]:
    rows = [
        (each["name"], f"in the {each['in']}", each.get("description", "")) for each in operation.get("parameters", ())
    ]
    if rows:
        yield _table("Parameters", rows)


def _fields(document: Node, reference: Node, caption: str) -> Iterator[str]:
    schema = _resolved(document, reference)
    required = schema.get("required", ())
    # What must be there comes first.
    fields = sorted(schema["properties"].items(), key=lambda field: field[0] not in required)
    yield _table(
        caption,
        [
            (name, _kind(field) + ("" if name in required else ", optional"), field.get("description", ""))
            for name, field in fields
        ],
    )


def _table(caption: str, rows: list[tuple[str, str, str]]) -> str:
    lines = (f"<tr><th><code>{escape(a)}</code></th><td>{escape(b)}</td><td>{_marked(c)}</td></tr>" for a, b, c in rows)
    return f"<table><caption>{escape(caption)}</caption>{''.join(lines)}</table>"


def _kind(schema: Node) -> str:
    """Say what kind of value a schema allows, in a few words."""
    if "anyOf" in schema:
        return " or ".join(map(_kind, schema["anyOf"]))
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "enum" in schema:
        return " or ".join(json.dumps(value) for value in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {_kind(schema['items'])}" if schema.get("items") else "list"
    if schema.get("format") == "binary":
        return "file"
    return str(schema.get("type", "any"))


def _resolved(document: Node, reference: Node) -> Node:
    found: Node = document["components"]["schemas"][reference["$ref"].rpartition("/")[2]]
    return found


def _curl(path: str, example: object) -> str:
    """Write a request as a command; the shell finds its base URL in ``$HEADGATE``."""
    body = json.dumps(example, ensure_ascii=False).replace("'", "'\\''")
    return (
        f"curl ${{HEADGATE:-http://127.0.0.1:8000}}{path} \\\n  -H 'content-type: application/json' \\\n  -d '{body}'"
    )


def _marked(text: str) -> str:
    """Escape a text, with what stands between backticks as code."""
    parts = escape(text).split("`")
    return "".join(f"<code>{part}</code>" if index % 2 else part for index, part in enumerate(parts))
