"""Tensors of classes with a `__torch_function__` as arguments and results of compiled functions.

The program takes and gives plain tensors; the class of each, and its attributes, stand beside it in the tree of
arguments: so the program is made for that class, and tensors among the attributes are arguments, too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from adjit.overrides import DisableTorchFunctionSubclass, asks
from adjit.tensor import Tensor

if TYPE_CHECKING:
    from adjit.jit import CompiledFunction

_MARK = "tensor of a class"


def found_in(tree: Any) -> bool:
    """Whether a tensor whose class is asked stands in a tree of arguments."""
    if isinstance(tree, dict):
        tree = tuple(tree.values())
    if isinstance(tree, (tuple, list)):
        return any(found_in(item) for item in tree)
    return isinstance(tree, Tensor) and asks(type(tree))


def call(compiled: CompiledFunction, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The result of a call with such arguments."""
    inner = compiled.of_instances
    if inner is None:
        inner = compiled.of_instances = compiled._of(_between(compiled.function))
    return _made(inner(*_parts((args, kwargs))))


def _between(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function over the parts of its arguments and results."""

    def of_parts(*parts: Any) -> Any:
        args, kwargs = _made(parts)
        return _parts(function(*args, **kwargs))

    return of_parts


def _parts(tree: Any) -> Any:
    """A tree with the tensors of such classes taken apart: the class, a plain tensor, the attributes."""
    if isinstance(tree, Tensor) and asks(type(tree)):
        with DisableTorchFunctionSubclass():
            return _MARK, type(tree), tree.as_subclass(Tensor), _parts(dict(tree.__dict__))
    return _mapped(tree, _parts)


def _made(tree: Any) -> Any:
    """What was taken apart, put together."""
    if isinstance(tree, tuple) and len(tree) == 4 and isinstance(tree[0], str) and tree[0] == _MARK:
        with DisableTorchFunctionSubclass():
            made = tree[2].as_subclass(tree[1])
            made.__dict__.update(_made(tree[3]))
            return made
    return _mapped(tree, _made)


def _mapped(tree: Any, change: Callable[[Any], Any]) -> Any:
    if type(tree) is dict:
        return {key: change(item) for key, item in tree.items()}
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return type(tree)(*map(change, tree))
    return type(tree)(map(change, tree)) if type(tree) in (tuple, list) else tree
