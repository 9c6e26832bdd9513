"""Trees of tuples, lists, dicts and dataclasses, whose leaves are tensors and values.

optree's functions on values of any type; a class made by `dataclasses.dataclass` is a node once an instance was seen.
optree takes 10 ms to import, which programs on tuples of leaves are spared (`Tuples`).
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields
from functools import cache, partial
from itertools import repeat
from typing import Any

from adjit.ir.frozen import frozen

_NAMESPACE = "adjit"
_CONTAINERS = (tuple, list, dict, deque)
_added: set[type] = set()
_EMPTY, _OTHER = "{}", "other"


@frozen
class Tuples:
    """The structure of tuples in tuples, as the arguments of a call are: None for a leaf, a tuple, or an empty dict."""

    spec: Any
    num_leaves: int
    none_is_leaf: bool

    def is_leaf(self) -> bool:
        return self.spec is None

    def __repr__(self) -> str:
        stars = _rebuilt_tuples(self.spec, repeat("*"))
        return f"PyTreeSpec({stars}{', NoneIsLeaf' if self.none_is_leaf else ''})".replace("'*'", "*")


@cache
def _optree() -> Any:
    import optree

    return optree


def flatten(
    tree: Any, *, none_is_leaf: bool = False, is_leaf: Callable[[Any], bool] | None = None
) -> tuple[list[Any], Any]:
    """The leaves, and the structure that `unflatten` puts them back into."""
    leaves: list[Any] = []
    spec = _OTHER if is_leaf else _spec(tree, none_is_leaf, leaves)
    if spec is not _OTHER:
        return leaves, Tuples(spec, len(leaves), none_is_leaf)
    while True:
        leaves, structure = _optree().tree_flatten(tree, is_leaf, none_is_leaf=none_is_leaf, namespace=_NAMESPACE)
        found = [type(leaf) for leaf in leaves if is_dataclass_tree(leaf) and not (is_leaf and is_leaf(leaf))]
        if not any([_register(kind) for kind in found]):  # type: ignore[arg-type]
            return leaves, structure


def unflatten(structure: Any, leaves: Sequence[Any]) -> Any:
    """The tree of a structure with these leaves."""
    if isinstance(structure, Tuples):
        return _rebuilt_tuples(structure.spec, iter(leaves))
    return _optree().tree_unflatten(structure, leaves)


def _spec(tree: Any, none_is_leaf: bool, leaves: list[Any]) -> Any:
    """The spec of `Tuples`, and in `leaves` the leaves; _OTHER for a tree that is more than tuples."""
    if type(tree) is tuple:
        found = tuple([_spec(item, none_is_leaf, leaves) for item in tree])
        return _OTHER if _OTHER in found else found
    if type(tree) is dict and not tree:
        return _EMPTY
    if isinstance(tree, _CONTAINERS) or type(tree) in _added or (tree is None and not none_is_leaf):
        return _OTHER
    if is_dataclass_tree(tree):
        return _OTHER
    leaves.append(tree)
    return None


def _rebuilt_tuples(spec: Any, leaves: Iterator[Any]) -> Any:
    if spec is None:
        return next(leaves)
    return {} if spec == _EMPTY else tuple([_rebuilt_tuples(item, leaves) for item in spec])


def structure_of(tree: Any, *, none_is_leaf: bool = False) -> Any:
    """A tree's structure."""
    return flatten(tree, none_is_leaf=none_is_leaf)[1]


def leaves_of(tree: Any, *, none_is_leaf: bool = False) -> list[Any]:
    """A tree's leaves."""
    return flatten(tree, none_is_leaf=none_is_leaf)[0]


def paths_of(tree: Any) -> list[tuple[Any, ...]]:
    """The way to each leaf, None among them: keys, indices and names."""
    spec = _spec(tree, True, [])
    if spec is not _OTHER:
        return _paths(spec)
    paths: list[tuple[Any, ...]] = _optree().tree_paths(tree, none_is_leaf=True, namespace=_NAMESPACE)
    return paths


def _paths(spec: Any) -> list[tuple[Any, ...]]:
    if spec is None:
        return [()]
    return [] if spec == _EMPTY else [(index, *path) for index, item in enumerate(spec) for path in _paths(item)]


def mapped(function: Callable[[Any], Any], tree: Any, *, none_is_leaf: bool = False) -> Any:
    """The tree with `function` of each leaf."""
    leaves, structure = flatten(tree, none_is_leaf=none_is_leaf)
    return unflatten(structure, [function(leaf) for leaf in leaves])


def spread(prefix: Any, tree: Any, *, none_is_leaf: bool = False) -> list[Any]:
    """For each leaf of `tree` the leaf of `prefix` above it.  ValueError where `prefix` is no prefix of the tree."""
    found, structure = flatten(tree, none_is_leaf=none_is_leaf)  # makes nodes of dataclasses
    if isinstance(structure, Tuples) and (prefix is None or type(prefix) is int):
        return [prefix] * len(found)
    leaves: list[Any] = _optree().broadcast_prefix(prefix, tree, none_is_leaf=none_is_leaf, namespace=_NAMESPACE)
    return leaves


def add_node(kind: type, split: Callable[[Any], Any], join: Callable[[Any, Any], Any]) -> None:
    """Make instances of a class nodes: `split` gives (children, the rest), `join(rest, children)` an instance."""
    _added.add(kind)
    _optree().register_pytree_node(kind, split, join, namespace=_NAMESPACE)


# -- modules and dataclasses ------------------------------------------------------------------------------------------
def is_module(kind: type) -> bool:
    """Whether a class is a module's; adjit.nn, which few functions of numbers need, is not imported for the answer."""
    found = sys.modules.get("adjit.nn.module")
    base = getattr(found, "Module", None)
    return base is not None and issubclass(kind, base)


def is_dataclass_tree(item: Any) -> bool:
    """Whether something is an instance of a dataclass of the user's, and no module."""
    return hasattr(type(item), "__dataclass_fields__") and _is_tree_class(type(item))  # type: ignore[arg-type]


@cache
def _is_tree_class(kind: type) -> bool:
    return not is_module(kind) and not f"{kind.__module__}.".startswith("adjit.")


def names_of(item: Any) -> tuple[str, ...]:
    """The names of what an instance of a dataclass holds: its fields, then what else was put into it."""
    names = tuple(field.name for field in fields(item) if hasattr(item, field.name))
    return (*names, *(name for name in getattr(item, "__dict__", ()) if name not in names))


@cache
def _register(kind: type) -> bool:
    def split(item: Any) -> tuple[list[Any], tuple[str, ...], tuple[str, ...]]:
        names = names_of(item)
        return [getattr(item, name) for name in names], names, names

    add_node(kind, split, partial(rebuilt, kind))
    return True


def rebuilt(kind: type, names: tuple[str, ...], values: Sequence[Any]) -> Any:
    """An instance that holds this; nothing of its own runs, as its `__init__` may check or compute."""
    item: Any = object.__new__(kind)
    for name, value in zip(names, values, strict=True):
        object.__setattr__(item, name, value)
    return item
