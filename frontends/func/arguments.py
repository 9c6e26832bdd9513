"""Which arguments a transformation is about, as `argnums` says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Any

from adjit import trees
from adjit.tensor import Tensor

Argnums = int | tuple[int, ...]


def chosen(args: Sequence[Any], argnums: Argnums) -> Any:
    """The argument, or the tuple of arguments, that `argnums` names.

    Errors: RuntimeError for numbers that name none.
    """
    if isinstance(argnums, bool) or not isinstance(argnums, (int, tuple)):
        raise RuntimeError(f"argnums must be int or Tuple[int, ...], got: {type(argnums)}")
    if isinstance(argnums, int):
        return args[_place(argnums, len(args))]
    if not argnums:
        raise RuntimeError("argnums must be non-empty")
    places = [_place(number, len(args)) for number in argnums]
    if len(set(places)) != len(places):
        raise RuntimeError(f"argnums elements must be unique, got {argnums}")
    return tuple(args[place] for place in places)


def replaced(args: Sequence[Any], argnums: Argnums, new: Any) -> tuple[Any, ...]:
    """The arguments with `new` where `chosen` took them."""
    result = list(args)
    if isinstance(argnums, int):
        result[_place(argnums, len(args))] = new
    else:
        for number, item in zip(argnums, new, strict=True):
            result[_place(number, len(args))] = item
    return tuple(result)


def _place(number: Any, count: int) -> int:
    if isinstance(number, bool) or not isinstance(number, int):
        raise RuntimeError(f"argnum must be int, got: {type(number)}")
    if not -count <= number < count:
        raise RuntimeError(f"Got argnum={number}, but only {count} positional inputs")
    return number % count


def flatten(tree: Any, what: str) -> tuple[list[Tensor], Any]:
    """The tensors of a tree, and its structure.  RuntimeError if a leaf is something else."""
    leaves, structure = trees.flatten(tree)
    for leaf in leaves:
        if not isinstance(leaf, Tensor):
            raise RuntimeError(f"{what} to be a Tensor or Tensors, got {type(leaf)} as an output")
    return leaves, structure


def flatten_output(output: Any, api: str) -> tuple[list[Tensor], Any]:
    """The tensors of a function's output, and its structure.  RuntimeError if there are none, or something else."""
    leaves, structure = trees.flatten(output)
    if not leaves:
        shown = [None] if output is None else []
        raise RuntimeError(f"{api}: Expected f to be a function that has non-empty output (got output = {shown})")
    for leaf in leaves:
        if not isinstance(leaf, Tensor):
            raise RuntimeError(f"{api}: expected f(*primals) to return only tensors, got unsupported type {type(leaf)}")
    return leaves, structure


def split_aux(result: Any, has_aux: bool, api: str) -> tuple[Any, Any]:
    """(output, aux) of a function that returns both.  RuntimeError if it does not."""
    if not has_aux:
        return result, None
    if not (isinstance(result, tuple) and len(result) == 2):
        raise RuntimeError(f"{api}: output of function f should be a tuple: (output, aux) if has_aux is True")
    return result


def shown(function: Callable[..., Any]) -> str:
    """A function's name as messages show it."""
    if isinstance(function, partial):
        return f"functools.partial({shown(function.func)}, ...)"
    return str(getattr(function, "__name__", None) or repr(function))


def title(function: Callable[..., Any]) -> str:
    """A function's name, fit to be a graph's."""
    return _fit(getattr(function, "__name__", type(function).__name__))


@lru_cache(maxsize=1024)
def _fit(name: str) -> str:
    return "".join(c if c.isalnum() or c == "_" else "_" for c in name).strip("_") or "f"
