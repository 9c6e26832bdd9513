"""Functions of the host that programs call by name: what `host_call` runs."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

HostFunction = Callable[..., "tuple[NDArray[Any], ...]"]

# Functions so called take an i32 array, and raise an error unless it is all zeros.
CHECK_PREFIX = "linalg.check."

_FUNCTIONS: dict[str, HostFunction] = {}
# The first word of a name -> the module that registers the functions so called, loaded when one is asked for.
_MODULES = {"linalg": "adjit.runtime.linear_algebra"}
# The same for modules whose `host_function` makes a function of its name.
_MADE = {"fourier": "adjit.runtime.fourier"}


def register_host_function(name: str, function: HostFunction) -> HostFunction:
    """Let programs call `function(*arrays) -> tuple of arrays` as `name`, which must be new."""
    if name in _FUNCTIONS:
        raise ValueError(f"a host function named {name!r} exists already")
    _FUNCTIONS[name] = function
    return function


def host_function(name: str) -> HostFunction:
    """The host function called `name`; KeyError if there is none."""
    if name not in _FUNCTIONS and (module := _MADE.get(name.partition(".")[0])) is not None:
        _FUNCTIONS[name] = import_module(module).host_function(name)
    if name not in _FUNCTIONS and (module := _MODULES.get(name.partition(".")[0])) is not None:
        import_module(module)
    if name not in _FUNCTIONS:
        raise KeyError(f"no host function is called {name!r}")
    return _FUNCTIONS[name]


def call_host(name: str, *operands: NDArray[Any]) -> tuple[NDArray[Any], ...]:
    """The results of a host function, which gets its operands as arrays that it may not write to."""
    guarded = []
    for operand in operands:
        view = operand.view()
        view.flags.writeable = False
        guarded.append(view)
    return tuple(np.asarray(result) for result in host_function(name)(*guarded))
