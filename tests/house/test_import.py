"""`import adjit`: quick, quiet, and nothing but adjit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.house.project import FLOORS, ROOT

# Each costs more to import than adjit itself; they come at first use.
HEAVY = ("sympy", "mpmath", "rich", "llvmlite", "torch", "jax", "scipy", "hypothesis", "pytest")

LIST_MODULES = """
import sys
before = set(sys.modules)
import adjit, json, os
loaded = [(name, getattr(module, "__file__", None)) for name, module in sys.modules.items() if name not in before]
print(json.dumps([(name, file and os.path.realpath(file)) for name, file in loaded]))
"""


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str | None]:
    """The modules that `import adjit` loads in a fresh interpreter, each with its file."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", LIST_MODULES],
        cwd=tmp_path_factory.mktemp("elsewhere"),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return dict(json.loads(done.stdout))


def test_adjit_is_imported(loaded: dict[str, str | None]) -> None:
    file = loaded["adjit"]
    assert file is not None
    assert os.path.basename(file) == "__init__.py"


@pytest.mark.parametrize("name", HEAVY)
def test_heavy_libraries_wait_for_first_use(loaded: dict[str, str | None], name: str) -> None:
    assert [module for module in loaded if module.split(".")[0] == name] == []


def test_a_compiled_function_does_not_load_torchs_scripts() -> None:
    """PyTorch's `torch.jit` has the name of a module of ours, of which Python asks more than its names."""
    program = "import sys; from adjit.jit import compile; sys.exit('adjit.torchscript' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


FIRST_CALL = """
import json, sys
import adjit as torch
before = set(sys.modules)
torch.compile(lambda x: (x.sin() * 1.01 + x).tanh().sum())(torch.ones(10))
print(json.dumps(sorted(set(sys.modules) - before)))
"""
# What a small program without casts, extremes, products and loops does not need: each module costs a first call 0.2 ms.
NOT_NEEDED = (
    "adjit.compiler.llvm.scalar_cast", "adjit.compiler.llvm.scalar_extreme", "adjit.compiler.llvm.gemm_plan",
    "adjit.compiler.llvm.emit_contract", "adjit.compiler.llvm.control", "adjit.compiler.rolling.roll",
    "adjit.compiler.by_samples", "adjit.compiler.turned", "adjit.compiler.winograd", "adjit.view_results",
    "llvmlite.ir", "llvmlite.binding", "sympy",
)  # fmt: skip


def test_a_first_call_loads_what_its_program_needs(tmp_path: Path) -> None:
    environment = {**os.environ, "ADJIT_CACHE_DIR": str(tmp_path), "ADJIT_BACKGROUND": "0"}
    environment.pop("ADJIT_CACHE", None)
    command = [sys.executable, "-c", FIRST_CALL]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True, timeout=60)
    modules = json.loads(done.stdout)
    assert not {*NOT_NEEDED} & {*modules}
    assert len([name for name in modules if name.startswith("adjit.")]) <= 112


def test_the_projects_files_are_loaded_as_adjit(loaded: dict[str, str | None]) -> None:
    folders = tuple(str(ROOT / floor) + os.sep for floor in FLOORS)
    ours = [name for name, file in loaded.items() if file is not None and file.startswith(folders)]
    assert [name for name in ours if name.split(".")[0] != "adjit"] == []


def test_importing_leaves_no_file(tmp_path: Path) -> None:
    environment = {**os.environ, "HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    command = [sys.executable, "-c", "import adjit"]
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True, timeout=60)
    assert list(tmp_path.iterdir()) == []
