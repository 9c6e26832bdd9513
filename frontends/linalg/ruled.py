"""Functions with a derivative of their own: a `call` that carries it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from adjit.composite import trace_function
from adjit.dispatch import apply
from adjit.ir.primitive import PRIMITIVES
from adjit.state import STATE
from adjit.tensor import Tensor

_cache: dict[Any, Any] = {}
Function = Callable[..., "tuple[Tensor, ...]"]


def apply_with_rule(name: str, function: Function, rule: Function, wrt: tuple[int, ...], *operands: Tensor) -> Any:
    """function(*operands), whose cotangents are rule(*cotangents of the results, *operands, *results) for `wrt`.

    Both are pure functions of tensors that return tuples; `name` is PyTorch's name of the operation.
    """
    types = tuple(operand._tensor_type for operand in operands)
    shared = STATE.tracer is None or all(type.is_static for type in types)
    key = (function, rule, types, None if shared else id(STATE.tracer))
    found = _cache.get(key)
    if found is None:
        callee = trace_function(function, function.__name__.strip("_"), types)
        results = tuple(value.type for value in callee.outputs)
        given = tuple(type for type in results if type.dtype.is_continuous)
        title = f"{callee.name}.vjp"
        found = _cache[key] = {"callee": callee, "vjp": trace_function(rule, title, (*given, *types, *results))}
    return apply(PRIMITIVES["call"], operands, {**found, "wrt": wrt}, name=name)
