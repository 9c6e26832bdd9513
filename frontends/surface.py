"""Names of the public API that come from modules loaded at first use.

A script pays at `import adjit` for what every script uses; sorting, printing or random numbers are imported when one of
their names is first touched.  `surface.txt` says which module has which names; `python -m adjit.surface` writes it from
the modules themselves, and a test compares the two.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from adjit.tensor import Tensor

# Their names are found in surface.txt; a new module of functions goes here unless nearly every script needs it.
MODULES = (
    "special_functions", "interop", "settings",
    "number_parts", "statistics", "histograms", "calculus",
    "numeric_limits", "printing", "copying", "ranges", "legacy", "extremes", "along_axis", "products", "sorting",
    "joining", "rearranging", "random", "random_counts", "random_inplace", "strided_views", "view_copies",
    "layer_functions", "resizing", "storage", "control", "scattering", "searching", "memory_layout",
    "complex_parts", "elements", "scaled_sums", "factorizations", "assembling", "custom_rules", "foreign",
    "sparse_derivatives", "spectrogram", "kernel_functions", "removed_functions", "extreme_eigenvalues",
    "assertions", "fake_quantization", "foreach",
)  # fmt: skip
TABLE = Path(__file__).with_name("surface.txt")


def in_place_forms(methods: Mapping[str, Callable[..., Any]]) -> dict[str, Callable[..., Any]]:
    """The in-place forms of methods, but for those that are written out."""
    from adjit.inplace import derive

    return {name: method for name, method in derive(methods).items() if name not in methods}


def functions() -> dict[str, str]:
    """Name -> module of the functions that are loaded at first use."""
    return {name: module for module, kind, names in _rows() if kind == "functions" for name in names}


def _rows() -> list[tuple[str, str, list[str]]]:
    rows = [line.split() for line in TABLE.read_text(encoding="utf-8").splitlines()]
    return [(row[0], row[1], row[2:]) for row in rows]


def serve(name: str, found: Any, *, method: bool) -> Any:
    """What takes the place of a function that was loaded: itself, as long as no native entry is there to serve it."""
    return found


# The native entries of methods, by the functions that they serve.
native_methods: dict[Callable[..., Any], Callable[..., Any]] = {}


def keep(name: str, found: Any, *, method: bool) -> Any:
    """What stands over a function that was loaded: nothing, as long as no class or mode takes functions over."""
    return found


override = keep


def placed(name: str, found: Any, *, method: bool) -> Any:
    """What users get of a function that was loaded."""
    return override(name, serve(name, found, method=method), method=method)


class Deferred:
    """A method or property of `Tensor` whose module is loaded when it is first asked for."""

    def __init__(self, name: str, module: str) -> None:
        self.name = name
        self.module = module

    def __get__(self, tensor: Any, owner: Any = None) -> Any:
        load(self.module)
        # A subclass may have a method of this name, which asks for this one through `super()`.
        found = Tensor.__dict__[self.name]
        return found.__get__(tensor, owner) if hasattr(found, "__get__") else found


class DeferredProperty(Deferred):
    """A property, which may be one that can be set."""

    def __set__(self, tensor: Any, value: Any) -> None:
        load(self.module)
        setattr(tensor, self.name, value)


def defer(bound: Mapping[str, Any]) -> None:
    """Put what surface.txt names on `Tensor`, but for what `bound` has already."""
    for module, kind, names in _rows():
        if kind != "functions":
            make = Deferred if kind == "methods" else DeferredProperty
            for name in names:
                if name not in bound:
                    setattr(Tensor, name, make(name, module))


def load(name: str) -> Any:
    """Import a module, and replace what was deferred to it on `Tensor`."""
    module = import_module(f"adjit.{name}")
    found = {**in_place_forms(module.METHODS), **module.METHODS, **getattr(module, "PROPERTIES", {})}
    for attribute, value in found.items():
        if isinstance(Tensor.__dict__.get(attribute), Deferred):
            setattr(Tensor, attribute, placed(attribute, value, method=True))
    return module
