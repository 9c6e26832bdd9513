"""PyTorch's `torch.utils._pytree`: nested tuples, lists and dicts of leaves.  None is a leaf."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from adjit import trees
from adjit.ir.frozen import frozen

__all__ = [
    "GetAttrKey", "MappingKey", "SequenceKey", "key_get", "keystr", "tree_all", "tree_all_only", "tree_any",
    "tree_any_only", "tree_flatten", "tree_flatten_with_path", "tree_iter", "tree_leaves", "tree_leaves_with_path",
    "tree_map", "tree_map_", "tree_map_only", "tree_map_with_path", "tree_structure", "tree_unflatten",
]  # fmt: skip


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


def tree_all_only(
    kind: Any, pred: Callable[[Any], bool], tree: Any, is_leaf: Callable[[Any], bool] | None = None
) -> bool:
    """Whether every leaf of a type has a property."""
    return all(pred(leaf) for leaf in tree_leaves(tree, is_leaf) if isinstance(leaf, kind))


def tree_any_only(
    kind: Any, pred: Callable[[Any], bool], tree: Any, is_leaf: Callable[[Any], bool] | None = None
) -> bool:
    """Whether some leaf of a type has a property."""
    return any(pred(leaf) for leaf in tree_leaves(tree, is_leaf) if isinstance(leaf, kind))


def tree_iter(tree: Any, is_leaf: Callable[[Any], bool] | None = None) -> Iterator[Any]:
    """The leaves of a tree, one after the other."""
    return iter(tree_leaves(tree, is_leaf))


def tree_structure(tree: Any, is_leaf: Callable[[Any], bool] | None = None) -> Any:
    """The structure of a tree."""
    return tree_flatten(tree, is_leaf)[1]


# -- ways to leaves ---------------------------------------------------------------------------------------------------
@frozen
class SequenceKey:
    """A place in a list or tuple."""

    idx: int

    def __str__(self) -> str:
        return f"[{self.idx!r}]"

    def get(self, sequence: Any) -> Any:
        """What stands there."""
        return sequence[self.idx]


@frozen
class MappingKey:
    """A key of a dict."""

    key: Any

    def __str__(self) -> str:
        return f"[{self.key!r}]"

    def get(self, mapping: Any) -> Any:
        """What stands there."""
        return mapping[self.key]


@frozen
class GetAttrKey:
    """A name of a field."""

    name: str

    def __str__(self) -> str:
        return f".{self.name}"

    def get(self, obj: Any) -> Any:
        """What stands there."""
        return getattr(obj, self.name)


KeyPath = tuple[Any, ...]


def keystr(kp: KeyPath) -> str:
    """A way in Python's notation, as `['a'][0]`."""
    return "".join(map(str, kp))


def key_get(obj: Any, kp: KeyPath) -> Any:
    """What a way leads to."""
    for key in kp:
        obj = key.get(obj)
    return obj


def tree_flatten_with_path(
    tree: Any, is_leaf: Callable[[Any], bool] | None = None
) -> tuple[list[tuple[KeyPath, Any]], Any]:
    """The leaves of a tree, each after the way to it, and the structure."""
    leaves, structure = tree_flatten(tree, is_leaf)
    marked = tree_unflatten(range(len(leaves)), structure)
    found = [(_keys(tree, path), leaf) for path, leaf in zip(trees.paths_of(marked), leaves, strict=True)]
    return found, structure


def _keys(tree: Any, path: Sequence[Any]) -> KeyPath:
    keys: list[Any] = []
    for step in path:
        fields = getattr(type(tree), "_fields", None)
        if isinstance(tree, tuple) and fields is not None:
            keys.append(GetAttrKey(fields[step] if isinstance(step, int) else step))
        elif isinstance(tree, Mapping):
            keys.append(MappingKey(step))
        else:
            keys.append(SequenceKey(step) if isinstance(step, int) else GetAttrKey(step))
        tree = keys[-1].get(tree)
    return tuple(keys)


def tree_leaves_with_path(tree: Any, is_leaf: Callable[[Any], bool] | None = None) -> list[tuple[KeyPath, Any]]:
    """The leaves of a tree, each after the way to it."""
    return tree_flatten_with_path(tree, is_leaf)[0]


def tree_map_with_path(
    func: Callable[..., Any], tree: Any, *rests: Any, is_leaf: Callable[[Any], bool] | None = None
) -> Any:
    """The tree of what a function makes of ways and the leaves there."""
    ways = iter([way for way, _ in tree_leaves_with_path(tree, is_leaf)])
    return tree_map(lambda *leaves: func(next(ways), *leaves), tree, *rests, is_leaf=is_leaf)
