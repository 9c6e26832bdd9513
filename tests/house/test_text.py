"""What no file may say or do: point outside the repository, leave work unfinished, hide errors, run what it reads."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.house.project import ROOT, label, project_files, python_files, sources, tree

# Brackets keep these patterns from matching their own text.
UNFINISHED = re.compile(r"\b(TO[D]O|FIX[M]E|X[X]X)\b")
MACHINE_PATH = re.compile(r"(?<![\w.}/*~-])/(wor[k]|roo[t]|hom[e]|farm|tm[p]|User[s])\b(?!\])")
# Words that mean something only to whoever sat there.
OUTSIDE = re.compile(r"\b(the brie[f]|as the lea[d]|RECIPE[S]|RELIABILIT[Y]|far[m]-\w+)\b")
DOCUMENT = re.compile(r"\b[A-Z][A-Z_]+\.md\b")
# Reading a model, a cache or IR text must never run what it reads.
RUNNING_MODULES = {"pickle", "cPickle", "_pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib"}
RUNNING_CALLS = {"eval", "exec"}


def text_of(path: Path) -> str | None:
    """The file's text; None for a binary file."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return None


TEXT_FILES = [path for path in project_files() if text_of(path) is not None]


def wording(text: str) -> list[str]:
    """What a text says that it should not."""
    found = [match.group() for pattern in (UNFINISHED, MACHINE_PATH, OUTSIDE) for match in pattern.finditer(text)]
    return found + [name for name in DOCUMENT.findall(text) if not (ROOT / name).exists()]


def hazards(program: ast.Module) -> list[str]:
    """What a program does that it should not: swallow every error, or run data."""
    found = []
    for node in ast.walk(program):
        match node:
            case ast.ExceptHandler(type=None):
                found.append(f"line {node.lineno}: bare except")
            case ast.ExceptHandler(type=ast.Name(id="Exception" | "BaseException"), body=[ast.Pass()]):
                found.append(f"line {node.lineno}: swallows every error")
            case ast.Raise(exc=ast.Name(id="NotImplementedError") | ast.Call(ast.Name("NotImplementedError"), args=[])):
                found.append(f"line {node.lineno}: not implemented, and does not say what")
            case ast.Call(func=ast.Attribute(attr="suppress") | ast.Name(id="suppress"), args=args) if any(
                isinstance(arg, ast.Name) and arg.id in ("Exception", "BaseException") for arg in args
            ):
                found.append(f"line {node.lineno}: swallows every error")
            case ast.Call(func=ast.Name(id=name)) if name in RUNNING_CALLS:
                found.append(f"line {node.lineno}: {name}")
            case ast.Call(keywords=keywords) if any(
                word.arg == "allow_pickle" and not (isinstance(word.value, ast.Constant) and word.value.value is False)
                for word in keywords
            ):
                found.append(f"line {node.lineno}: allow_pickle")
            case ast.Import(names=names) if {alias.name.split(".")[0] for alias in names} & RUNNING_MODULES:
                found.append(f"line {node.lineno}: unpickling")
            case ast.ImportFrom(module=str(module)) if module.split(".")[0] in RUNNING_MODULES:
                found.append(f"line {node.lineno}: unpickling")
    return found


@pytest.mark.parametrize("path", TEXT_FILES, ids=label)
def test_wording(path: Path) -> None:
    assert wording(text_of(path) or "") == []


@pytest.mark.parametrize("path", TEXT_FILES, ids=label)
def test_layout_of_text(path: Path) -> None:
    text = text_of(path) or ""
    assert "\r" not in text
    assert "\t" not in text or path.suffix not in (".py", ".toml", ".md")
    assert text == "" or (text.endswith("\n") and not text.endswith("\n\n"))
    assert [number for number, line in enumerate(text.splitlines(), 1) if line != line.rstrip()] == []


@pytest.mark.parametrize("path", sources(), ids=label)
def test_hazards(path: Path) -> None:
    assert hazards(tree(path)) == []


@pytest.mark.parametrize("path", [path for path in python_files() if path not in sources()], ids=label)
def test_no_test_hides_errors(path: Path) -> None:
    found = hazards(tree(path))
    assert [hazard for hazard in found if "except" in hazard or "swallows" in hazard] == []


@pytest.mark.parametrize(
    "text",
    [
        "# TO" + "DO: later",
        "open('/tm" + "p/x')",
        "see /roo" + "t/notes",
        "as in " + "NOWHERE" + ".md",
        "as the brie" + "f says",
    ],
)
def test_the_wording_rule_sees(text: str) -> None:
    assert len(wording(text)) == 1


@pytest.mark.parametrize(
    "text",
    ["see README.md", "row / root / work", "and/or at/home", "tmp_path / 'home'", "/proc/self/maps"],
)
def test_the_wording_rule_lets_pass(text: str) -> None:
    assert wording(text) == []


@pytest.mark.parametrize(
    "text",
    [
        "try:\n    f()\nexcept:\n    raise",
        "try:\n    f()\nexcept Exception:\n    pass",
        "with contextlib.suppress(Exception):\n    f()",
        "raise NotImplementedError",
        "raise NotImplementedError()",
        "eval('1')",
        "exec(text)",
        "import pickle",
        "from pickle import loads",
        "np.load(file, allow_pickle=True)",
    ],
)
def test_the_hazard_rule_sees(text: str) -> None:
    assert len(hazards(ast.parse(text))) == 1


@pytest.mark.parametrize(
    "text",
    ["try:\n    f()\nexcept OSError:\n    pass", "model.eval()", "np.load(file, allow_pickle=False)", "import numpy"],
)
def test_the_hazard_rule_lets_pass(text: str) -> None:
    assert hazards(ast.parse(text)) == []
