"""The floors: nothing imports upward, heavy libraries stay in their rooms, every name is the installed one."""

from __future__ import annotations

import ast
import re
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest

from tests.house.project import FLOORS, ROOT, imports, label, settings, sources, tree

# The files that may import a library, for libraries that are large or that change from release to release.
ROOMS = {
    "llvmlite": ("compiler/llvm/*.py",),
    "setuptools": ("frontends/bytecode.py",),
    "sympy": ("ir/derive.py", "frontends/symbolic*.py", "frontends/symbolic/*.py"),
}
# Their import costs more than adjit's own, so a program that does not need them must not wait for them.
LAZY = ("sympy",)


def floor_of(module: str) -> int:
    """The floor of a dotted name under `adjit`: its package's, or the top one."""
    parts = module.split(".")
    return FLOORS.index(parts[1]) if len(parts) > 1 and parts[1] in FLOORS[:3] else 3


def requirement_names(requirements: list[str]) -> set[str]:
    """The import names of a list of requirements."""
    return {re.split(r"[^\w.-]", requirement)[0].replace("-", "_") for requirement in requirements}


def complaints(where: str, program: ast.Module) -> list[str]:
    """What the imports of a program, standing at the path `where`, do against the rules."""
    project = settings()["project"]
    assert isinstance(project, dict)
    required = requirement_names(project["dependencies"])
    optional = {name for extra in project["optional-dependencies"].values() for name in requirement_names(extra)}
    building = requirement_names(settings()["build-system"]["requires"])
    found = []
    for item in imports(program):
        top = item.name.split(".")[0]
        if top == "adjit":
            if floor_of(item.name) > FLOORS.index(where.split("/")[0]):
                found.append(f"line {item.line}: imports upward: {item.name}")
        elif top in FLOORS or (ROOT / top).is_dir():
            found.append(f"line {item.line}: not the installed name: {item.name}")
        elif top not in sys.stdlib_module_names | required | optional | building:
            found.append(f"line {item.line}: not a dependency in pyproject.toml: {item.name}")
        elif top in optional - required and not item.lazy:
            found.append(f"line {item.line}: an optional dependency, so import it inside a function: {item.name}")
        if top in ROOMS and not any(fnmatch(where, room) for room in ROOMS[top]):
            found.append(f"line {item.line}: {top} belongs in {', '.join(ROOMS[top])}")
        if top in LAZY and not item.lazy:
            found.append(f"line {item.line}: import {top} inside a function")
    return found


@pytest.mark.parametrize("path", sources(), ids=label)
def test_imports_keep_the_floors(path: Path) -> None:
    assert complaints(label(path), tree(path)) == []


@pytest.mark.parametrize(
    ("where", "text", "complaint"),
    [
        ("ir/graph.py", "import adjit", "imports upward: adjit"),
        ("ir/graph.py", "from adjit import Tensor", "imports upward: adjit.Tensor"),
        ("ir/graph.py", "from adjit.runtime.buffer import Buffer", "imports upward"),
        ("ir/graph.py", "from adjit import runtime", "imports upward"),
        ("runtime/buffer.py", "def f():\n    from adjit.compiler import fuse", "line 2: imports upward"),
        ("runtime/buffer.py", "if TYPE_CHECKING:\n    import adjit.tensor", "imports upward"),
        ("compiler/fuse.py", "import importlib\nimportlib.import_module('adjit.nn')", "imports upward"),
        ("frontends/tensor.py", "import ir", "not the installed name"),
        ("frontends/tensor.py", "from frontends.nn import Linear", "not the installed name"),
        ("frontends/tensor.py", "from tests.samples import samples", "not the installed name"),
        ("frontends/tensor.py", "import llvmlite.binding", "llvmlite belongs in"),
        ("compiler/fuse.py", "def f():\n    from llvmlite import ir", "llvmlite belongs in"),
        ("ir/graph.py", "def f():\n    import sympy", "sympy belongs in"),
        ("ir/derive.py", "import sympy", "import sympy inside a function"),
        ("ir/types.py", "import ml_dtypes", "optional dependency"),
        ("ir/types.py", "import pandas", "not a dependency"),
    ],
)
def test_the_rule_sees(where: str, text: str, complaint: str) -> None:
    found = complaints(where, ast.parse(text))
    assert len(found) == 1
    assert complaint in found[0]


@pytest.mark.parametrize(
    ("where", "text"),
    [
        ("ir/graph.py", "from adjit.ir.types import TensorType\nimport numpy as np\nimport ast"),
        ("ir/derive.py", "def f():\n    import sympy"),
        ("ir/types.py", "def f():\n    import ml_dtypes"),
        ("runtime/buffer.py", "from adjit.ir import graph"),
        ("compiler/llvm/jit.py", "import llvmlite.binding as llvm"),
        ("compiler/fuse.py", "from adjit import ir, runtime"),
        ("frontends/symbolic.py", "import adjit\ndef f():\n    from sympy import diff"),
    ],
)
def test_the_rule_lets_pass(where: str, text: str) -> None:
    assert complaints(where, ast.parse(text)) == []
