"""Packaging: what the wheel will hold is what the folders hold, and each file is one module."""

from __future__ import annotations

import json
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest

from tests.house.project import FLOORS, ROOT, label, module_name, module_names, project_files, settings, sources


def setuptools_table(name: str) -> object:
    tool = settings()["tool"]
    assert isinstance(tool, dict)
    return tool["setuptools"][name]


def test_every_folder_of_sources_is_a_package() -> None:
    assert [label(path.parent) for path in sources() if not (path.parent / "__init__.py").exists()] == []


def test_the_listed_packages_are_the_folders() -> None:
    folders = {module_name(path) for path in sources() if path.name == "__init__.py"}
    assert setuptools_table("packages") == sorted(folders), "bring [tool.setuptools] packages up to date"


def data_files() -> list[Path]:
    """What lies in the packages and is not Python."""
    inside = [path for path in project_files() if path.relative_to(ROOT).parts[0] in FLOORS]
    return [path for path in inside if path.suffix != ".py"]


@pytest.mark.parametrize("path", data_files(), ids=label)
def test_data_files_are_packaged(path: Path) -> None:
    patterns = setuptools_table("package-data")
    assert isinstance(patterns, dict)
    listed = patterns.get(module_name(path.parent), [])
    assert any(fnmatch(path.name, pattern) for pattern in listed), "add it to [tool.setuptools.package-data]"


# Prints, for each file of a loaded adjit module, the names it is loaded under.
IMPORT_ALL = """
import importlib, json, os, sys
for name in json.loads(sys.argv[1]):
    importlib.import_module(name)
names = {}
for name, module in list(sys.modules.items()):
    file = getattr(module, "__file__", None)
    if file is not None:
        names.setdefault(os.path.realpath(file), []).append(name)
print(json.dumps([group for group in names.values() if any(n.split(".")[0] == "adjit" for n in group)]))
"""


def test_every_module_imports_under_exactly_one_name(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error", "-c", IMPORT_ALL, json.dumps(module_names())]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    groups = json.loads(done.stdout)
    assert sorted(name for group in groups for name in group) == sorted(module_names())
    assert [group for group in groups if len(group) != 1] == []
