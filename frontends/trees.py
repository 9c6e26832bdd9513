"""Trees of tuples, lists and dicts, whose leaves are tensors and values: optree's functions on values of any type."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import optree


def flatten(tree: Any, *, none_is_leaf: bool = False) -> tuple[list[Any], Any]:
    """The leaves, and the structure that `unflatten` puts them back into."""
    leaves, structure = optree.tree_flatten(tree, none_is_leaf=none_is_leaf)
    return leaves, structure


def unflatten(structure: Any, leaves: Sequence[Any]) -> Any:
    """The tree of a structure with these leaves."""
    return optree.tree_unflatten(structure, leaves)


def structure_of(tree: Any, *, none_is_leaf: bool = False) -> Any:
    """A tree's structure."""
    return optree.tree_structure(tree, none_is_leaf=none_is_leaf)


def leaves_of(tree: Any) -> list[Any]:
    """A tree's leaves."""
    return optree.tree_leaves(tree)


def mapped(function: Callable[[Any], Any], tree: Any, *, none_is_leaf: bool = False) -> Any:
    """The tree with `function` of each leaf."""
    return optree.tree_map(function, tree, none_is_leaf=none_is_leaf)


def spread(prefix: Any, tree: Any, *, none_is_leaf: bool = False) -> list[Any]:
    """For each leaf of `tree` the leaf of `prefix` above it.  ValueError where `prefix` is no prefix of the tree."""
    return optree.broadcast_prefix(prefix, tree, none_is_leaf=none_is_leaf)
