"""The reference page of ``models.toml``, written from the models beside this file.

``python -m gateway.config.reference`` prints it.
"""

from __future__ import annotations

import collections.abc
import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from gateway.config.canary import CanaryTable
from gateway.config.discovery import DiscoverTable
from gateway.config.gateway import (
    Batches,
    Files,
    GatewayConfig,
    GroupConfig,
    KeyConfig,
    KeyLimitsConfig,
    Limits,
    Redis,
    Timeouts,
)
from gateway.config.guard import GuardTable
from gateway.config.model_limits import ModelLimits
from gateway.config.model_timeouts import ModelTimeouts
from gateway.config.models import GoldenTable, ModelBase, OnnxModel, RemoteModel, VllmModel
from gateway.config.ray import RayModelTable, RayTable
from gateway.config.scaling import ScalingTable
from gateway.config.slo import Slo
from gateway.config.source import PackageFile, PackageTable
from gateway.config.tracing import Tracing
from gateway.config.tuning import ModelTuning, Tuning

EXAMPLE = """\
[gateway]
listen = "127.0.0.1:8000"
drain_timeout = 60.0

[models.chat]
engine = "remote"
urls = ["http://10.0.0.5:8000", "http://10.0.0.6:8000"]
upstream_model = "Qwen/Qwen3-8B"
aliases = ["gpt-4o"]

[models.chat.limits]
max_in_flight = 64
"""
"""The small configuration with which the page begins. It is valid."""


class Section(NamedTuple):
    """One table of the page: its heading, the model that validates it, what it is for, and what was said before.

    The options of ``beyond`` have a section of their own, though ``model`` has them too.
    """

    heading: str
    model: type[BaseModel]
    purpose: str
    beyond: type[BaseModel] | None = None

    def options(self) -> Iterator[tuple[str, FieldInfo]]:
        """Give the section's options, without the tables below it that have a section of their own."""
        own_section = {each.model for each in SECTIONS}
        said = self.beyond.model_fields if self.beyond is not None else {}
        for name, field in self.model.model_fields.items():
            if name not in said and not (own_section & set(_innermost(field.annotation)) and field.examples is None):
                yield name, field


SECTIONS: tuple[Section, ...] = (
    Section("`[gateway]`", GatewayConfig, "Addresses, TLS, keys and the end of the process."),
    Section(
        "`[gateway.limits]`", Limits, "How much clients may ask of the gateway itself, each of them and all together."
    ),
    Section("`[gateway.timeouts]`", Timeouts, "How long each part of a request may take."),
    Section("`[gateway.files]`", Files, "Uploaded files: where they are kept, and how much of them."),
    Section("`[gateway.batches]`", Batches, "Batches: how much of them may run; see [batches.md](batches.md)."),
    Section(
        "`[gateway.tuning]`",
        Tuning,
        "Fine-tuning jobs: where they and their models are kept, and what they may take; see "
        "[finetuning.md](finetuning.md).",
    ),
    Section(
        "`[gateway.tracing]`",
        Tracing,
        "Spans of requests: where they are sent, and of how many requests. Off without an endpoint; see "
        "[tracing.md](tracing.md).",
    ),
    Section(
        "`[gateway.redis]`",
        Redis,
        "The Redis through which several nodes share the limits of keys and groups. It needs the package `redis`, "
        "which `make install` and the container images have.",
    ),
    Section(
        "`[gateway.ray]`",
        RayTable,
        'The Ray cluster on which replicas of models with `placement = "ray"` run; see [ray.md](ray.md).',
    ),
    Section("`[[gateway.keys]]`", KeyConfig, "One API key; `headgate key ID` makes one and prints this table."),
    Section(
        "`[gateway.groups.NAME]`",
        GroupConfig,
        "A group of keys: what holds for each of its keys, and limits for all of them together. A key may narrow what "
        "its group allows.",
    ),
    Section(
        "`[gateway.groups.NAME.limits]`, and `limits` of a key",
        KeyLimitsConfig,
        "How much a group of keys, or a key, may ask of all models together. A key has its own limits and those of its "
        "group. Below `[[gateway.keys]]` the table is `[gateway.keys.limits]`.",
    ),
    Section(
        "`[models.NAME]`",
        ModelBase,
        "One model. NAME is what clients write as `model`. Every model has these options; those of its engine, below, "
        "stand in the same table.",
    ),
    Section(
        '`[models.NAME]` with `engine = "vllm"`',
        VllmModel,
        "A model that vLLM runs, started by the gateway.",
        ModelBase,
    ),
    Section(
        '`[models.NAME]` with `engine = "onnx"`',
        OnnxModel,
        "A small model that Headgate's own server runs with ONNX Runtime, started by the gateway.",
        ModelBase,
    ),
    Section(
        "`[models.NAME.tuning]`",
        ModelTuning,
        "What fine-tuning jobs start from on this ONNX model; see [finetuning.md](finetuning.md). A model of vLLM "
        "with a table `adapters` is tuned from its own files.",
    ),
    Section(
        '`[models.NAME]` with `engine = "remote"`',
        RemoteModel,
        "A model that runs elsewhere, and that Headgate neither starts nor stops.",
        ModelBase,
    ),
    Section(
        "`[models.NAME.discover]`",
        DiscoverTable,
        "Where a remote model's replicas come from when they are not listed in `urls`: exactly one of `dns`, `file` "
        "and `kubernetes`. See [discovery.md](discovery.md).",
    ),
    Section(
        "`[models.NAME.limits]`",
        ModelLimits,
        "How many requests of a model may be under way, and how many may wait. These options may be written in "
        "`[models.NAME]` too, but not in both.",
    ),
    Section(
        "`[models.NAME.scaling]`",
        ScalingTable,
        "Replicas of an engine that the gateway starts, as many as demand needs; instead of `replicas`. See "
        "[scaling.md](scaling.md).",
    ),
    Section(
        "`[models.NAME.ray]`",
        RayModelTable,
        'What each replica of a model with `placement = "ray"` asks of the cluster. See [ray.md](ray.md).',
    ),
    Section(
        "`[models.NAME.slo]`",
        Slo,
        "How quickly a model is to answer. Nothing is refused or hurried for it: requests are counted as `met` or "
        "`missed`, see [metrics.md](metrics.md#know-whether-objectives-are-met).",
    ),
    Section(
        "`[models.NAME.timeouts]`",
        ModelTimeouts,
        "How long the engines of a model may take, where that is not as `[gateway.timeouts]` has it. A changed timeout "
        "holds for the requests that come after the reload.",
    ),
    Section(
        "`[models.NAME.guard]`",
        GuardTable,
        "A guard model that looks at what clients say before an engine is asked, in chats, completions, responses and "
        "messages. It sees what has been added since the model's last turn. A guard that cannot answer lets nothing "
        "pass: then the response is 503 `guard_failed`.",
    ),
    Section(
        "`[models.NAME.canary]`",
        CanaryTable,
        "Another model that answers a share of the requests for this one, as a new version does that is tried out. The "
        "response says in `x-headgate-model` which one it is from, and metrics count each under its own name.",
    ),
    Section(
        "`[models.NAME.golden]`",
        GoldenTable,
        "A text and the answer with which an ONNX model proves itself at the start.",
    ),
    Section("`[models.NAME.source]`", PackageTable, "Model files that ride in a package, taken out as data."),
    Section('`[models.NAME.source.files."FILE"]`', PackageFile, "One of those files, by the name it gets."),
)
"""Each table of the page, in order."""

_INTRODUCTION = f"""\
# Configuration

<!-- Written by `make docs` from gateway/config/. Change it there. -->

To put Headgate in front of two engines that run already, write this as `models.toml`:

```toml
{EXAMPLE}```

Then check it, and serve it:

```sh
headgate check models.toml
headgate serve --config models.toml
```

`headgate check` starts nothing. It reports all mistakes at once, each with file, line, key and reason, and exits with
0 or 2. The tables below list every key; any other key is a mistake. Where the default is "unset", the meaning says what
happens then.

**Paths.** A relative path begins in the folder of the configuration file, wherever the command is run, and `~` is the
home directory. This holds for every option that names a file or a folder: `tls_certificate`, `tls_key`, `keys_file`,
`cache`, `access_log`, `discover.file`, the socket of a `unix:` address, and `source`, where it begins with `./` or
`../` or names a folder beside the file. What stands in `args` and `env` is the engine's own, and reaches it as it is.

**Addresses** of remote engines are written as OpenAI's clients take a `base_url`: scheme, host, port and base path,
without credentials, query or fragment. The base path is kept, and everything is asked for below it, also `/health` and
other paths without a version. Where it does not end in `/v1`, it stands in the place of the client's `/v1`:

| address | `/v1/chat/completions` is asked for as | `/classify` as |
|---|---|---|
| `http://10.0.0.5:8000` or `http://10.0.0.5:8000/v1` | `/v1/chat/completions` | `/classify` |
| `https://api.example.com/inference/v1` | `/inference/v1/chat/completions` | `/inference/classify` |
| `https://api.example.com/api/paas/v4` | `/api/paas/v4/chat/completions` | `/api/paas/v4/classify` |

**Keys** of engines come from environment variables, which `api_key_env` names. White space around a key is left out;
what remains must be visible ASCII characters. `headgate check` reads these variables too, and never shows what they
hold.
"""

_UNIT = re.compile(r"\bin (seconds|bytes|tokens)\b")
_BOUNDS = {"gt": ">", "ge": "≥", "lt": "<", "le": "≤"}
_NAMES: Mapping[Any, str] = {bool: "boolean", int: "integer", float: "number", str: "text", Path: "path", date: "date"}


def page() -> str:
    """Write the whole page as Markdown."""
    return "\n".join([_INTRODUCTION, *map(_section, SECTIONS)])


def example(name: str, field: FieldInfo) -> str:
    """Write an option with a valid value, as a line of TOML."""
    value = field.examples[0] if field.examples else field.get_default(call_default_factory=True)
    return f"{name} = {toml(value)}"


def toml(value: Any) -> str:
    """Write a value as TOML does, on one line."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return f"[{', '.join(toml(each) for each in value)}]"
    if isinstance(value, Mapping):
        return f"{{ {', '.join(f'{_key(key)} = {toml(each)}' for key, each in value.items())} }}" if value else "{}"
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, int | float):
        return f"{value:_}" if isinstance(value, int) and value > 9999 else str(value)
    return json.dumps(str(value), ensure_ascii=False)


def type_of(field: FieldInfo) -> str:
    """Name an option's type and bounds in words."""
    bounds = [
        f"{sign} {getattr(constraint, name)}"
        for constraint in field.metadata
        for name, sign in _BOUNDS.items()
        if getattr(constraint, name, None) is not None
    ]
    return ", ".join([_type_name(field.annotation), *bounds])


def _section(section: Section) -> str:
    rows = [_row(name, field) for name, field in section.options()]
    head = ["| key | type | default | unit | meaning | example |", "|---|---|---|---|---|---|"]
    return "\n".join([f"## {section.heading}", "", section.purpose, "", *head, *rows, ""])


def _row(name: str, field: FieldInfo) -> str:
    meaning = field.description or ""
    unit = _UNIT.search(meaning)
    cells = (
        f"`{name}`",
        type_of(field),
        _default(field),
        unit[1] if unit else "",
        meaning,
        f"`{example(name, field)}`",
    )
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    return "unset" if value is None else f"`{toml(value)}`"


def _type_name(annotation: Any) -> str:
    """Name a type: its alternatives, its elements, or the word for a plain one."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type_name(parts[0])
    if origin is Literal:
        return " or ".join(f"`{toml(each)}`" for each in parts)
    if origin in (Union, UnionType):
        return _alternatives(_type_name(each) for each in parts if each is not NoneType)
    if origin in (tuple, list):
        return f"list of {_type_name(parts[0])}"
    if origin in (dict, collections.abc.Mapping):
        return f"table of {_type_name(parts[1])}"
    return _NAMES.get(annotation, "table")


def _alternatives(names: Iterable[str]) -> str:
    return " or ".join(dict.fromkeys(names))


def _innermost(annotation: Any) -> Iterator[Any]:
    """Give every plain type that a type is made of."""
    parts = get_args(annotation)
    if not parts or get_origin(annotation) is Literal:
        yield annotation
    for each in parts if get_origin(annotation) is not Literal else ():
        yield from _innermost(each)


def _key(name: str) -> str:
    """Quote a key that TOML does not take bare."""
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else json.dumps(name)


if __name__ == "__main__":
    sys.stdout.write(page())
