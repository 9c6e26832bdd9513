"""Packaging: what the wheel will hold is what the folders hold, and each file is one module."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from fnmatch import fnmatch
from importlib.util import find_spec
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


def commands() -> list[str]:
    """The classes of setuptools' commands that pyproject.toml names."""
    table = setuptools_table("cmdclass")
    assert isinstance(table, dict)
    return list(table.values())


def test_every_module_imports_under_exactly_one_name(tmp_path: Path) -> None:
    # What setuptools loads needs it, and Python comes without it since 3.12.
    names = sorted(set(module_names()) - {name.rpartition(".")[0] for name in commands()})
    command = [sys.executable, "-W", "error", "-c", IMPORT_ALL, json.dumps(names)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    groups = json.loads(done.stdout)
    assert sorted(name for group in groups for name in group) == names
    assert [group for group in groups if len(group) != 1] == []


# Runs the command of editable installations, but for the wheel, on a package of one module.
COMPILE_PACKAGE = """
import sys
from setuptools import Distribution
from setuptools.command.editable_wheel import editable_wheel
from adjit.bytecode import EditableWheel
editable_wheel.run = lambda self: None
EditableWheel(Distribution({"name": "one", "packages": ["one"], "package_dir": {"one": sys.argv[1]}})).run()
"""


@pytest.mark.skipif(find_spec("setuptools") is None, reason="needs setuptools")
def test_editable_installations_have_bytecode_where_imports_may_not_write_it(tmp_path: Path) -> None:
    assert commands() == ["adjit.bytecode.EditableWheel"]
    (tmp_path / "__init__.py").write_text("value = 3\n")
    (tmp_path / "broken.py").write_text("value = \n")
    command = [sys.executable, "-c", COMPILE_PACKAGE, str(tmp_path)]
    subprocess.run(command, check=True, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"})
    assert [path.name for path in tmp_path.rglob("*.pyc")] == [f"__init__.{sys.implementation.cache_tag}.pyc"]
