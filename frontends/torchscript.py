"""PyTorch's `torch.jit`, as PyTorch itself has it where PYTORCH_JIT=0 is set: what is scripted or traced stays Python.

`adjit.compile` is what compiles.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from typing import Any, Final

from adjit.nn.module import Module

__all__ = [
    "Final", "ScriptModule", "annotate", "export", "freeze", "ignore", "interface", "is_scripting", "is_tracing",
    "isinstance", "optimize_for_inference", "optimized_execution", "script", "script_if_tracing", "script_method",
    "trace", "trace_module", "unused",
]  # fmt: skip


class ScriptModule(Module):
    """`nn.Module` by another name."""


def script(obj: Any, optimize: Any = None, _frames_up: int = 0, _rcb: Any = None, example_inputs: Any = None) -> Any:
    """The function, class or module itself."""
    return obj


def trace(func: Any, example_inputs: Any = None, *args: Any, **kwargs: Any) -> Any:
    """The function or module itself."""
    return func


def trace_module(mod: Module, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Module:
    """The module itself."""
    return mod


def script_method(fn: Callable[..., Any]) -> Callable[..., Any]:
    """The method itself."""
    return fn


def script_if_tracing(fn: Callable[..., Any]) -> Callable[..., Any]:
    """The function itself."""
    return fn


def export(fn: Callable[..., Any]) -> Callable[..., Any]:
    """The method itself."""
    return fn


def unused(fn: Callable[..., Any]) -> Callable[..., Any]:
    """The function itself."""
    return fn


def ignore(drop: Any = False, **kwargs: Any) -> Any:
    """The function itself; also a decorator with arguments."""
    return drop if callable(drop) else unused


def interface(obj: Any) -> Any:
    """The class itself."""
    return obj


def freeze(mod: Module, preserved_attrs: Any = None, optimize_numerics: bool = True) -> Module:
    """The module itself."""
    return mod


def optimize_for_inference(mod: Module, other_methods: Any = None) -> Module:
    """The module itself."""
    return mod


@contextmanager
def optimized_execution(should_optimize: bool) -> Any:
    """Nothing changes within it."""
    yield


def annotate(the_type: Any, the_value: Any) -> Any:
    """The value itself."""
    return the_value


def isinstance(obj: Any, target_type: Any) -> bool:
    """Python's `isinstance`, which also looks at what lists, tuples and dicts hold, and at `Optional` and `Union`."""
    import builtins
    from types import UnionType
    from typing import Union, get_args, get_origin

    origin, parts = get_origin(target_type), get_args(target_type)
    if builtins.isinstance(target_type, tuple) or origin in (Union, UnionType):
        return any(isinstance(obj, each) for each in parts or target_type)
    if target_type is None or not builtins.isinstance(obj, origin or target_type):
        return obj is None and target_type is None
    if origin is list:
        return all(isinstance(each, parts[0]) for each in obj)
    if origin is dict:
        return all(isinstance(key, parts[0]) and isinstance(value, parts[1]) for key, value in obj.items())
    if origin is tuple and Ellipsis not in parts:
        return len(obj) == len(parts) and all(map(isinstance, obj, parts))
    return True


def is_scripting() -> bool:
    """False: nothing is scripted."""
    return False


def is_tracing() -> bool:
    """False: nothing is traced for TorchScript."""
    return False
