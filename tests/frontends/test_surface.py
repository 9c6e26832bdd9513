"""The names that `adjit` and `Tensor` have, loaded at once or at first use."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from pathlib import Path
from types import BuiltinFunctionType
from typing import Any

import pytest

import adjit as torch
from adjit import methods, out, surface

KINDS = ("functions", "methods", "properties")
FOLDER = Path(__file__).parent.parent.parent / "frontends"


def names_of(module: Any) -> dict[str, list[str]]:
    """What a module adds to the namespace and to `Tensor`."""
    return {
        "functions": sorted(getattr(module, "__all__", ())),
        "methods": sorted({*module.METHODS, *surface.in_place_forms(module.METHODS)}),
        "properties": sorted(getattr(module, "PROPERTIES", ())),
    }


def modules() -> list[Any]:
    return [*methods.MODULES, *(import_module(f"adjit.{name}") for name in surface.MODULES)]


def test_the_table_is_that_of_the_modules(request: pytest.FixtureRequest) -> None:
    lines = []
    for name in surface.MODULES:
        found = names_of(import_module(f"adjit.{name}"))
        lines += [f"{name} {kind} {' '.join(found[kind])}" for kind in KINDS if found[kind]]
    text = "\n".join(lines) + "\n"
    if request.config.getoption("--update-golden"):
        surface.TABLE.write_text(text, encoding="utf-8")
    assert surface.TABLE.read_text(encoding="utf-8") == text, "see --update-golden"


def test_a_name_has_one_home() -> None:
    for kind in ("functions", "attributes"):
        homes: dict[str, str] = {}
        for module in modules():
            found = names_of(module)
            names = found["functions"] if kind == "functions" else [*found["methods"], *found["properties"]]
            for name in names:
                assert homes.setdefault(name, module.__name__) == module.__name__, f"{name}: also in {module.__name__}"


def test_what_waits_is_not_a_modules_name() -> None:
    taken = {path.stem for path in FOLDER.iterdir()}
    assert not taken & set(surface.functions())


def test_every_name_is_found() -> None:
    for module in modules():
        found = names_of(module)
        for name in found["functions"]:
            public, function = getattr(torch, name), getattr(module, name)
            served = isinstance(public, BuiltinFunctionType) and public.__name__ == name
            assert public is function or served or (name in out.NAMES and public.__wrapped__ is function)
        assert all(hasattr(torch.Tensor, name) for name in [*found["methods"], *found["properties"]])
    assert {*dir(torch)} >= {*torch.__all__}


def run(text: str) -> str:
    """What a fresh interpreter prints."""
    return subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True).stdout.strip()


def test_importing_adjit_loads_none_of_them() -> None:
    text = "import sys, adjit; print([name for name in {} if f'adjit.{{name}}' in sys.modules])"
    assert run(text.format(surface.MODULES)) == "[]"


USES = ["torch.ones(3).sort()", "torch.sort(torch.ones(3))", "torch.Tensor.sort(torch.ones(3))"]


@pytest.mark.parametrize("use", USES)
def test_a_name_loads_its_module_once_touched(use: str) -> None:
    shown = "print('adjit.sorting' in sys.modules)"
    text = f"import sys, adjit as torch; {shown}; {use}; {shown}"
    assert run(text).split() == ["False", "True"]


def test_operators_find_methods_that_wait() -> None:
    assert run("import adjit as torch; x = torch.ones(2, 2); print((x @ x).sum().item())") == "8.0"


def test_methods_that_wait_are_methods_where_functions_are_native() -> None:
    text = (
        "import adjit as torch; from adjit.native import install; x = torch.eye(3) * 2; torch.linalg.det(x); "
        "install.install(); torch.linalg.det(x); print(x.det().item(), x.matrix_exp().shape[0])"
    )
    assert run(text) == "8.0 3"
