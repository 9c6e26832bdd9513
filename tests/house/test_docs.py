"""Documentation: every public thing says what it is, and every example in a docstring or README.md runs."""

from __future__ import annotations

import ast
import doctest
import importlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.house.project import ROOT, label, module_name, sources, tree

Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True)
class Example:
    """The examples of one docstring; `module` is the real name of the module whose names they use."""

    name: str
    module: str
    text: str
    path: Path
    line: int


def docstrings(path: Path) -> Iterator[Example]:
    """Every docstring with examples, by the syntax tree: decorators that replace functions hide none."""
    module = module_name(path)

    def visit(node: ast.AST, name: str) -> Iterator[Example]:
        if isinstance(node, Documented):
            name = f"{name}.{node.name}" if not isinstance(node, ast.Module) else name
            text = ast.get_docstring(node)
            if text and ">>>" in text:
                yield Example(name, module, text, path, node.body[0].lineno)
        for child in ast.iter_child_nodes(node):
            yield from visit(child, name)

    return visit(tree(path), module)


def readme_examples() -> Iterator[Example]:
    """The fenced blocks of README.md that are interpreter sessions; together they are one session."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = [block for block in re.findall(r"^```\w*\n(.*?)^```", text, re.DOTALL | re.MULTILINE) if ">>>" in block]
    if blocks:
        yield Example("README.md", "adjit", "\n".join(blocks), ROOT / "README.md", 0)


EXAMPLES = [*(example for path in sources() for example in docstrings(path)), *readme_examples()]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_examples_run(example: Example) -> None:
    names = dict(vars(importlib.import_module(example.module)))
    case = doctest.DocTestParser().get_doctest(example.text, names, example.name, str(example.path), example.line)
    assert case.examples
    report: list[str] = []
    doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(case, out=report.append)
    assert not report, "".join(report)


def undocumented(program: ast.Module) -> list[str]:
    """The module, and its public top-level classes and functions, without a docstring."""
    public = [node for node in program.body if isinstance(node, Documented) and not node.name.startswith("_")]
    overloads = {node.name for node in public if "overload" in {getattr(d, "id", "") for d in node.decorator_list}}
    missing = [node.name for node in public if not ast.get_docstring(node) and node.name not in overloads]
    return ["the module", *missing] if not ast.get_docstring(program) else missing


@pytest.mark.parametrize("path", sources(), ids=label)
def test_public_things_have_docstrings(path: Path) -> None:
    assert undocumented(tree(path)) == []


def test_the_rule_sees() -> None:
    text = "class A: ...\ndef _b(): ...\ndef c():\n    'Documented.'\ndef d(): ..."
    assert undocumented(ast.parse(text)) == ["the module", "A", "d"]
