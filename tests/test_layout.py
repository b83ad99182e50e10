"""Each source file has its mirrored test, and imports point one way."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TREES = ("gateway", "engines", "loadtest")

FORBIDDEN = {
    "gateway": {"loadtest", "onnxruntime", "tests", "torch", "transformers", "vllm"},
    "engines": {"gateway", "loadtest", "tests"},
    "loadtest": {"tests"},
}
"""What each tree must never import, not even inside a function."""

LAZY = {"gateway/__main__.py": {"loadtest"}}
"""The exceptions: a command that is another tree's may be started by the command line, which then imports it for this
alone, inside a function. ``headgate serve`` never loads it, and nothing else of the gateway knows it."""


def sources() -> list[Path]:
    """Return all source files, relative to the root."""
    return sorted(path.relative_to(ROOT) for tree in TREES for path in (ROOT / tree).rglob("*.py"))


def mirror(source: Path) -> Path:
    """Return where the test of a source file belongs: ``a/b.py`` -> ``tests/a/test_b.py``."""
    return Path("tests") / source.parent / f"test_{source.stem.strip('_')}.py"


def behaves(code: str) -> bool:
    """Tell whether a file has any function with a body: what only declares or re-exports needs no test."""
    functions = [
        each for each in ast.walk(ast.parse(code)) if isinstance(each, (ast.FunctionDef, ast.AsyncFunctionDef))
    ]
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
    tree = ast.parse(code)
    inside = {
        id(part)
        for function in ast.walk(tree)
        if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef))
        for part in ast.walk(function)
    }
    for each in ast.walk(tree):
        if not lazily and id(each) in inside:
            continue
        if isinstance(each, ast.Import):
            names.update(alias.name.partition(".")[0] for alias in each.names)
        elif isinstance(each, ast.ImportFrom) and each.level == 0 and each.module:
            names.add(each.module.partition(".")[0])
    return names


@pytest.mark.parametrize("source", sources(), ids=str)
def test_each_source_file_has_its_mirrored_test(source: Path) -> None:
    if behaves((ROOT / source).read_text()):
        assert (ROOT / mirror(source)).exists(), f"{source} has no {mirror(source)}"


@pytest.mark.parametrize("source", sources(), ids=str)
def test_imports_point_one_way(source: Path) -> None:
    code, forbidden = (ROOT / source).read_text(), FORBIDDEN[source.parts[0]]
    wrong = (imported(code) & forbidden - LAZY.get(str(source), set())) | (imported(code, lazily=False) & forbidden)
    assert not wrong, f"{source} must not import {', '.join(sorted(wrong))}"


def test_tests_are_no_packages() -> None:
    assert [str(path) for path in (ROOT / "tests").rglob("__init__.py")] == []


@pytest.mark.parametrize(
    ("source", "test"),
    [
        ("gateway/http/sse.py", "tests/gateway/http/test_sse.py"),
        ("gateway/__main__.py", "tests/gateway/test_main.py"),
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
