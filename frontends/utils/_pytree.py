"""PyTorch's `torch.utils._pytree`: nested tuples, lists and dicts of leaves.  None is a leaf."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from adjit import trees

__all__ = ["tree_all", "tree_any", "tree_flatten", "tree_leaves", "tree_map", "tree_map_", "tree_map_only",
           "tree_unflatten"]  # fmt: skip


def tree_flatten(tree: Any, is_leaf: Callable[[Any], bool] | None = None) -> tuple[list[Any], Any]:
    """The leaves of a tree, and its structure."""
    return trees.flatten(tree, none_is_leaf=True, is_leaf=is_leaf)


def tree_unflatten(leaves: Any, treespec: Any) -> Any:
    """The tree of this structure with these leaves."""
    return trees.unflatten(treespec, list(leaves))


def tree_leaves(tree: Any, is_leaf: Callable[[Any], bool] | None = None) -> list[Any]:
    """The leaves of a tree."""
    return tree_flatten(tree, is_leaf)[0]


def tree_map(func: Callable[..., Any], tree: Any, *rests: Any, is_leaf: Callable[[Any], bool] | None = None) -> Any:
    """The tree of what a function makes of the leaves that stand at one place of the trees."""
    leaves, structure = tree_flatten(tree, is_leaf)
    others = []
    for rest in rests:
        found, its = tree_flatten(rest, is_leaf)
        if its != structure:
            raise ValueError(f"Node structure mismatch: {structure} and {its}")
        others.append(found)
    return tree_unflatten([func(*given) for given in zip(leaves, *others, strict=True)], structure)


def tree_map_(func: Callable[..., Any], tree: Any, *rests: Any, is_leaf: Callable[[Any], bool] | None = None) -> Any:
    """The tree itself, after the function was called on its leaves."""
    tree_map(func, tree, *rests, is_leaf=is_leaf)
    return tree


def tree_map_only(
    kind: Any, func: Callable[[Any], Any], tree: Any, is_leaf: Callable[[Any], bool] | None = None
) -> Any:
    """The tree with the function's results in the places of the leaves of a type."""
    return tree_map(lambda leaf: func(leaf) if isinstance(leaf, kind) else leaf, tree, is_leaf=is_leaf)


def tree_all(pred: Callable[[Any], bool], tree: Any, is_leaf: Callable[[Any], bool] | None = None) -> bool:
    """Whether every leaf has a property."""
    return all(map(pred, tree_leaves(tree, is_leaf)))


def tree_any(pred: Callable[[Any], bool], tree: Any, is_leaf: Callable[[Any], bool] | None = None) -> bool:
    """Whether some leaf has a property."""
    return any(map(pred, tree_leaves(tree, is_leaf)))
