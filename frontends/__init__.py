"""adjit: tensors with PyTorch's API, traced, differentiated symbolically and compiled to native code.

`import adjit as torch` serves PyTorch code: tensors, autograd, `nn`, `optim`, data loading.  `adjit.compile` makes a
function, a module or a whole training step a native program that can be looked into at every stage.
"""

from __future__ import annotations

import math
from importlib import import_module
from typing import Any

from adjit.ir import ops as _ops  # noqa: F401 - fills the registry of primitives

from adjit.tensor import Tensor  # isort: skip
from adjit import compiler as _compiler
from adjit import inplace as _inplace
from adjit import methods as _methods
from adjit import out as _out
from adjit import surface as _surface
from adjit import trace as _trace  # noqa: F401 - before the function `trace` takes the module's name
from adjit.autograd import (
    enable_grad,
    inference_mode,
    is_grad_enabled,
    is_inference_mode_enabled,
    no_grad,
    set_grad_enabled,
)
from adjit.dtypes import (
    bfloat16,
    bool_,
    cdouble,
    cfloat,
    complex64,
    complex128,
    double,
    dtype,
    float16,
    float32,
    float64,
    float_,
    get_default_dtype,
    half,
    int8,
    int16,
    int32,
    int64,
    int_,
    long,
    set_default_dtype,
    short,
    uint8,
    uint16,
    uint32,
    uint64,
)
from adjit.size import Size

__version__ = "0.1.0"

_methods.bind()
_IN_PLACE = frozenset(name for name in _inplace.FUNCTIONS if name in vars(Tensor))  # looked at, not loaded


def _export() -> list[str]:
    """The public functions of the modules over tensors."""
    names: list[str] = []
    for module in _methods.MODULES:
        for name in getattr(module, "__all__", ()):
            globals()[name] = _out.public(name, getattr(module, name))
            names.append(name)
    return names


__all__ = [
    "Program",
    "Size",
    "Tensor",
    "autocast",
    "autograd",
    "bfloat16",
    "cdouble",
    "cfloat",
    "check_nan",
    "compile",
    "complex64",
    "complex128",
    "debug",
    "double",
    "dtype",
    "enable_grad",
    "example_inputs",
    "float16",
    "float32",
    "float64",
    "formula",
    "from_sympy",
    "get_default_dtype",
    "half",
    "inference_mode",
    "int8",
    "int16",
    "int32",
    "int64",
    "is_grad_enabled",
    "is_inference_mode_enabled",
    "lambdify",
    "load",
    "load_program",
    "long",
    "no_grad",
    "parse",
    "root",
    "save",
    "set_default_dtype",
    "set_grad_enabled",
    "short",
    "to_sympy",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "vmap",
]  # fmt: skip
_DEFERRED = _surface.functions()
__all__ += [*_export(), *_DEFERRED]
globals().update(bool=bool_, float=float_, int=int_)
e, inf, nan, newaxis, pi = math.e, math.inf, math.nan, None, math.pi

# What a script may never touch is imported at first use.
_LAZY_MODULES = (
    "_C", "_dynamo", "amp", "array_api", "backends", "cuda", "data", "demo", "distributed", "distributions", "fft",
    "func", "implicit", "jit", "library", "linalg", "masked", "nn", "ops", "optim", "overrides", "passes", "profiler",
    "return_types", "signal", "special", "symbolic", "testing", "types", "utils", "version",
)  # fmt: skip
_LAZY = {"Program": "program", "check_nan": "nan_checks", "debug": "debugger", "compile": "jit",
         "load_program": "program", "parse": "program", "example_inputs": "sample_arguments", "autocast": "amp",
         "GradScaler": "amp", "clear_autocast_cache": "amp", "get_autocast_cpu_dtype": "amp",
         "get_autocast_dtype": "amp", "is_autocast_cpu_enabled": "amp", "is_autocast_enabled": "amp",
         "set_autocast_dtype": "amp",
         "is_anomaly_check_nan_enabled": "autograd.anomaly", "is_anomaly_enabled": "autograd.anomaly",
         "DisableTorchFunction": "overrides", "DisableTorchFunctionSubclass": "overrides",
         "load": "saving", "save": "saving", "vmap": "func", "fixed_point": "implicit", "root": "implicit",
         "formula": "mathematics", "from_sympy": "symbolic", "lambdify": "symbolic",
         "to_sympy": "symbolic"}  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _LAZY_MODULES:
        return import_module(f"adjit.{name}")
    if name in _LAZY:
        found = globals()[name] = getattr(import_module(f"adjit.{_LAZY[name]}"), name)
        return found
    if name in _DEFERRED:
        public = _out.public(name, getattr(_surface.load(_DEFERRED[name]), name))
        found = globals()[name] = _surface.placed(name, public, method=False)
        return found
    if name in _IN_PLACE:
        found = globals()[name] = getattr(Tensor, name)
        return found
    raise AttributeError(f"module 'adjit' has no attribute {name!r}")


def _of_compiler(name: str) -> Any:
    """What `adjit.compiler` has beside the package: PyTorch's `torch.compiler`."""
    controls = import_module("adjit.compiling")
    if name in controls.__all__:
        return getattr(controls, name)
    raise AttributeError(f"module 'adjit.compiler' has no attribute {name!r}")


setattr(_compiler, "__getattr__", _of_compiler)  # noqa: B010 - a module's hook


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_LAZY_MODULES, *_IN_PLACE})
