"""What the house rules read: the project's files, their module names, and what each file imports."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent

# Lowest floor first; a package may import those before it and itself.
FLOORS = ("ir", "runtime", "compiler", "frontends")
CODE_FOLDERS = (*FLOORS, "tests", "examples", "docs", ".ci")


@cache
def settings() -> dict[str, object]:
    """pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


@cache
def project_files() -> tuple[Path, ...]:
    """Every file a commit may hold: those of the known folders and the top level, without what tools leave behind."""
    inside = (path for folder in CODE_FOLDERS for path in (ROOT / folder).rglob("*"))
    candidates = (*ROOT.iterdir(), *inside)
    return tuple(sorted(path for path in candidates if path.is_file() and not is_left_behind(path)))


def is_left_behind(path: Path) -> bool:
    """Whether the file was made by a tool, as .gitignore names them."""
    return any(Path(part).match(pattern) for part in path.relative_to(ROOT).parts for pattern in ignored_patterns())


@cache
def ignored_patterns() -> tuple[str, ...]:
    """The patterns of .gitignore, each of which names a file or folder at any depth."""
    lines = (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    return tuple(line.rstrip("/") for line in lines if line and not line.startswith("#"))


@cache
def python_files() -> tuple[Path, ...]:
    """Every Python file of the project."""
    return tuple(path for path in project_files() if path.suffix == ".py")


@cache
def sources() -> tuple[Path, ...]:
    """The Python files of the four packages."""
    return tuple(path for path in python_files() if path.relative_to(ROOT).parts[0] in FLOORS)


def label(path: Path) -> str:
    """The path from the root, as tests are called."""
    return path.relative_to(ROOT).as_posix()


@cache
def tree(path: Path) -> ast.Module:
    """The syntax tree of a Python file; a syntax error names the file."""
    return ast.parse(path.read_text(encoding="utf-8"), filename=label(path))


def module_name(path: Path) -> str:
    """The one name under which a file, or the folder of a package, is imported: ir/types.py is adjit.ir.types."""
    parts = list(path.relative_to(ROOT).with_suffix("").parts)
    if parts[0] == "frontends":
        del parts[0]
    if parts and parts[-1] == "__init__":
        del parts[-1]
    return ".".join(["adjit", *parts])


def module_names() -> list[str]:
    """Every importable module of the project; `__main__` would run instead."""
    return [module_name(path) for path in sources() if path.stem != "__main__"]


@dataclass(frozen=True, slots=True)
class Import:
    """One imported name: `name` is dotted, `lazy` where it happens inside a function."""

    name: str
    line: int
    lazy: bool


def imports(program: ast.Module) -> Iterator[Import]:
    """Every import of a program, also under `if TYPE_CHECKING` and through importlib with a constant name."""

    def visit(node: ast.AST, lazy: bool) -> Iterator[Import]:
        match node:
            case ast.Import(names=names):
                yield from (Import(alias.name, node.lineno, lazy) for alias in names)
            case ast.ImportFrom(module=module, names=names, level=level):
                base = "." * level + (module or "")
                yield from (Import(f"{base}.{alias.name}".lstrip("."), node.lineno, lazy) for alias in names)
            case ast.Call(
                func=ast.Name(id="import_module" | "__import__") | ast.Attribute(attr="import_module"),
                args=[ast.Constant(value=str(name)), *_],
            ):
                yield Import(name, node.lineno, lazy)
        lazy = lazy or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for child in ast.iter_child_nodes(node):
            yield from visit(child, lazy)

    return visit(program, lazy=False)
