"""Sizes and places: files a reader can hold in mind, and a top level with nothing unexpected."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.house.project import FLOORS, ROOT, is_left_behind, label, python_files

MAX_LINES = 500
DOCUMENTS = {"README.md", "LICENSE", "CHANGELOG.md", "SECURITY.md"}
TOP_LEVEL = {*FLOORS, *DOCUMENTS, "tests", "examples", "docs", "pyproject.toml", ".ci", ".git", ".gitignore"}


@pytest.mark.parametrize("path", python_files(), ids=label)
def test_files_are_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_LINES


def test_the_top_level_holds_only_what_it_should() -> None:
    unexpected = {path.name for path in ROOT.iterdir() if not is_left_behind(path)} - TOP_LEVEL
    assert unexpected == set()


@pytest.mark.parametrize("name", sorted(DOCUMENTS))
def test_documents_exist(name: str) -> None:
    assert (ROOT / name).read_text(encoding="utf-8").strip()


def test_no_file_is_a_drawer() -> None:
    """A file has one idea, and a name that says which."""
    drawers = {"utils.py", "util.py", "helpers.py", "helper.py", "misc.py", "common.py"}
    assert [label(path) for path in python_files() if path.name in drawers] == []
