"""Each source file has its mirrored test, and imports point one way: between the trees, and inside each of them."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGED = ("gateway", "engines", "loadtest")
"""The trees that users install."""

TREES = ("deploy", "examples", *PACKAGED)

FORBIDDEN = {
    "deploy": {"engines", "examples", "gateway", "loadtest", "tests"},
    "examples": {"deploy", "gateway", "tests"},
    "gateway": {"examples", "loadtest", "onnxruntime", "tests", "torch", "transformers", "vllm"},
    "engines": {"examples", "gateway", "loadtest", "tests"},
    "loadtest": {"examples", "tests"},
}
"""What each tree must never import, not even inside a function."""

LAZY = {f"gateway/cli/{name}.py": {"loadtest"} for name in ("bench", "probe", "suggest")}
"""The exceptions: a command that is another tree's may be started by the command line, which then imports it for this
alone, inside a function. ``headgate serve`` never loads it, and nothing else of the gateway knows it."""


SPINE = {
    "gateway": (
        {"__main__"},
        {"cli"},
        {"serve"},
        {"app"},
        {"adapters", "fleet"},
        {"processes", "reload", "shared_limits"},
        {"data_plane", "plane"},
        {"console", "drain"},
        {"api"},
        {"exchange"},
        {"control", "discovery"},
        {"observe"},
        {"scaling", "tuning"},
        {"batches"},
        {"files", "pools"},
        {"config"},
        {"http"},
        {"core"},
    ),
    "engines": (
        {"tuning"},
        {"ray"},
        {"supervisor"},
        {"launchers"},
        {"files"},
        {"processes"},
        {"robustness", "spec"},
        {"errors", "field_choices", "perturbations"},
    ),
    "engines.onnx": (
        {"__main__", "quantize"},
        {"http"},
        {"serving"},
        {"model"},
        {"protocol"},
        {"errors"},
        {"command_line"},
        {"options"},
        {"categories"},
    ),
    "engines.train": (
        {"__main__"},
        {"chat", "classifier"},
        {"loop", "plots"},
        {"checkpoints", "events", "history", "schedule", "stop"},
        {"examples", "job"},
        {"errors", "lines"},
    ),
    "deploy.monitoring": (
        {"__main__"},
        {"files"},
        {"alert_cases", "everything"},
        {"alerts", "dashboards"},
        {"dashboard"},
        {"panels", "promql"},
        {"objectives"},
    ),
    "loadtest": (
        {"bench"},
        {"__main__"},
        {"cli", "probe", "simulator", "suggest"},
        {"arguments", "progress", "queuewatch", "report", "served_models"},
        {"compare", "labelled", "plan", "preflight", "ramp"},
        {"load", "mix", "summary", "traces"},
        {"arrivals", "http_client", "option_values", "record", "svg", "workload"},
    ),
}
"""The layers of a package from top to bottom: a file imports only from layers below its own, also for types alone."""

BESIDE = {"engines.onnx", "engines.train"}
"""Packages inside another that has a spine, which have one of their own: a program by itself."""


@cache
def sources() -> dict[Path, str]:
    """Return all source files, relative to the root, and their code."""
    files = sorted(path.relative_to(ROOT) for tree in TREES for path in (ROOT / tree).rglob("*.py"))
    return {file: (ROOT / file).read_text(encoding="utf-8") for file in files}


@cache
def parsed(code: str) -> list[ast.AST]:
    """Return all that a file consists of; each file is asked about several things."""
    return list(ast.walk(ast.parse(code)))


@pytest.fixture(scope="module", autouse=True)
def forgotten() -> Iterator[None]:
    """Forget in the end what all files consist of: that are millions of objects."""
    yield
    parsed.cache_clear()


def mirror(source: Path) -> Path:
    """Return where the test of a source file belongs: ``a/b.py`` -> ``tests/a/test_b.py``."""
    return Path("tests") / source.parent / f"test_{source.stem.strip('_')}.py"


def behaves(code: str) -> bool:
    """Tell whether a file has any function with a body: what only declares or re-exports needs no test."""
    functions = [each for each in parsed(code) if isinstance(each, (ast.FunctionDef, ast.AsyncFunctionDef))]
    return any(not is_declaration(statement) for each in functions for statement in each.body)


def is_declaration(statement: ast.stmt) -> bool:
    """Tell whether a statement is a docstring, ``...`` or ``pass``."""
    return isinstance(statement, ast.Pass) or (
        isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    )


def imported(code: str, *, lazily: bool = True) -> set[str]:
    """Return the top-level packages that a file imports anywhere, except by relative imports.

    Without ``lazily``: those that it imports as soon as it is imported itself.
    """
    names: set[str] = set()
    inside = {
        id(part)
        for function in parsed(code)
        if not lazily and isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef))
        for part in ast.walk(function)
    }
    for each in parsed(code):
        if id(each) in inside:
            continue
        if isinstance(each, ast.Import):
            names.update(alias.name.partition(".")[0] for alias in each.names)
        elif isinstance(each, ast.ImportFrom) and each.level == 0 and each.module:
            names.add(each.module.partition(".")[0])
    return names


def test_each_source_file_has_its_mirrored_test() -> None:
    missing = [
        f"{source} has no {mirror(source)}"
        for source, code in sources().items()
        if behaves(code) and not (ROOT / mirror(source)).exists()
    ]
    assert missing == []


def test_imports_point_one_way() -> None:
    wrong = {}
    for source, code in sources().items():
        forbidden, lazy = FORBIDDEN[source.parts[0]], LAZY.get(str(source), set())
        if found := (imported(code) & forbidden - lazy) | (imported(code, lazily=False) & forbidden):
            wrong[str(source)] = found
    assert wrong == {}


def layer_of(module: str) -> tuple[str, int] | None:
    """Return the package whose spine a module belongs to, and its layer there, 0 at the top; ``None`` without one."""
    package = max((each for each in SPINE if module.startswith(f"{each}.")), key=len, default=None)
    if package is None:
        return None
    room = module.removeprefix(f"{package}.").partition(".")[0]
    return package, next(number for number, layer in enumerate(SPINE[package]) if room in layer)


def room_of(module: str) -> str:
    """Return the part of its package that a module belongs to: a folder, or a file beside the folders."""
    package = max((each for each in SPINE if module.startswith(f"{each}.")), key=len)
    return ".".join(module.split(".")[: package.count(".") + 2])


def modules_imported(code: str) -> set[str]:
    """Return every module that a file names in an import, wherever it stands; ``from a import b`` names ``a.b``.

    Whether ``a.b`` is a module or a name in ``a`` makes no difference to the layer that it is in.
    """
    names: set[str] = set()
    for each in parsed(code):
        if isinstance(each, ast.Import):
            names.update(alias.name for alias in each.names)
        elif isinstance(each, ast.ImportFrom) and each.level == 0 and each.module:
            names.update(f"{each.module}.{alias.name}" for alias in each.names)
    return names


def module_of(source: Path) -> str:
    """Return the name by which a source file is imported, with ``__init__`` for a package's own file."""
    return ".".join(source.with_suffix("").parts)


def upward(source: Path) -> list[str]:
    """Return the imports of a file that do not point down the spine."""
    module = module_of(source)
    own = layer_of(module)
    wrong = []
    for name in modules_imported(sources()[source]):
        other = layer_of(name)
        if own is None or other is None or other[0] != own[0] or room_of(name) == room_of(module):
            continue
        if other[1] <= own[1]:
            wrong.append(name)
    return sorted(wrong)


def test_imports_point_down_the_spine() -> None:
    wrong = {str(source): upward(source) for source in sources() if source.name != "__init__.py"}
    assert {source: imports for source, imports in wrong.items() if imports} == {}


def test_no_two_files_import_each_other() -> None:
    files = {module_of(source).removesuffix(".__init__"): source for source in sources()}
    arrows = {
        module: {
            target
            for name in modules_imported(sources()[source])
            if (target := name if name in files else name.rpartition(".")[0]) in files and target != module
        }
        for module, source in files.items()
    }
    assert circle(arrows) == []


def circle(arrows: dict[str, set[str]]) -> list[str]:
    """Return the modules of a circle of imports, in their order; none if there is no circle."""
    done: set[str] = set()

    def visit(module: str, path: list[str]) -> list[str]:
        if module in path:
            return path[path.index(module) :]
        if module in done:
            return []
        for target in sorted(arrows[module]):
            if found := visit(target, [*path, module]):
                return found
        done.add(module)
        return []

    return next((found for module in sorted(arrows) if (found := visit(module, []))), [])


@pytest.mark.parametrize(
    ("arrows", "expected"),
    [
        ({"a": {"b"}, "b": {"c"}, "c": set()}, []),
        ({"a": {"b"}, "b": {"c"}, "c": {"b"}}, ["b", "c"]),
        ({"a": {"b", "c"}, "b": {"c"}, "c": set()}, []),
    ],
)
def test_a_circle_of_imports_is_found(arrows: dict[str, set[str]], expected: list[str]) -> None:
    assert circle(arrows) == expected


def test_imports_for_types_alone_are_seen() -> None:
    code = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from a.b import C\n"
    assert modules_imported(code) == {"typing.TYPE_CHECKING", "a.b.C"}


def test_tests_are_no_packages() -> None:
    assert [str(path) for path in (ROOT / "tests").rglob("__init__.py")] == []


@pytest.mark.parametrize(
    ("source", "test"),
    [
        ("gateway/http/sse.py", "tests/gateway/http/test_sse.py"),
        ("engines/onnx/__main__.py", "tests/engines/onnx/test_main.py"),
        ("gateway/api/__init__.py", "tests/gateway/api/test_init.py"),
    ],
)
def test_where_a_mirrored_test_belongs(source: str, test: str) -> None:
    assert mirror(Path(source)) == Path(test)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ('"""Only words."""\nfrom a import b\n', False),
        ("class A:\n    def b(self) -> int: ...\n", False),
        ('class A:\n    x: int\n\n    def b(self) -> int:\n        """Say what."""\n', False),
        ("def a() -> int:\n    return 1\n", True),
        ("async def a() -> int:\n    raise ValueError\n", True),
    ],
)
def test_what_counts_as_behaviour(code: str, expected: bool) -> None:
    assert behaves(code) == expected


def test_every_import_is_seen() -> None:
    code = "import a.b\nfrom c.d import e\nfrom . import f\ndef g():\n    import h as i\n    from .j import k\n"
    assert imported(code) == {"a", "c", "h"}
    assert imported(code, lazily=False) == {"a", "c"}


def test_the_benchmark_is_not_in_the_wheel() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert set(settings["packages"]) == set(PACKAGED)
    assert settings["exclude"] == ["loadtest/bench"]
    assert (ROOT / settings["exclude"][0] / "__main__.py").exists()
