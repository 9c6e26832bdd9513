"""Arguments taken apart as the native entry does it, and results put together by it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from adjit import trees
from adjit.compiler.entry import known as k
from adjit.compiler.entry.trees import LEAF
from adjit.native.entry import native_entry

_NODES: dict[type, int] = {tuple: k.A_TUPLE, list: k.A_LIST, dict: k.A_DICT, slice: k.A_SLICE}


def is_node(value: Any) -> bool:
    """Whether the native entry takes an argument apart."""
    return type(value) in _NODES or isinstance(value, tuple)


def _head(value: Any, length: int) -> list[int]:
    """The words with which a node begins."""
    kind = _NODES.get(type(value))
    return [k.A_SUBTUPLE, length, id(type(value))] if kind is None else [kind, length]


class TakenApart:
    """The leaves of some arguments in the native entry's order, and the words of their structure.

    `order` has for each leaf its place among those of `trees.flatten`; `fits` is False where a node is of another kind.
    """

    def __init__(self, args: tuple[Any, ...], kwargs: dict[str, Any], structure: Any) -> None:
        self.leaves: list[Any] = []
        self.order: list[int] = []
        self.words = [len(args), len(kwargs), *map(id, kwargs)]
        self.kept: list[Any] = [*kwargs]
        self.fits = True
        numbered: Any = trees.unflatten(structure, range(structure.num_leaves))
        for value, number in zip((*args, *kwargs.values()), (*numbered[0], *map(numbered[1].get, kwargs)), strict=True):
            self._enter(value, number)
        self.fits &= len(self.words) <= k.LONGEST_STRUCTURE and len(self.leaves) <= k.MOST_OPERANDS

    def _enter(self, value: Any, number: Any) -> None:
        if is_instance(value):
            self._enter_instance(value, number)
            return
        if not is_node(value):
            self.fits &= type(number) is int
            self.words.append(LEAF)
            self.leaves.append(value)
            self.order.append(number)
            return
        if type(number) is int:  # a leaf to the compiled function, to which the native entry would give its parts
            self.fits = False
            return
        self.words += _head(value, len(value))
        self.kept.append(type(value))
        for key in value if isinstance(value, dict) else range(len(value)):
            if isinstance(value, dict):
                self.words.append(id(key))
                self.kept.append(key)
            self._enter(value[key], number[key])


    def _enter_instance(self, value: Any, number: Any) -> None:
        if type(number) is int:
            self.fits = False
            return
        entry = native_entry()
        self.fits &= entry is not None and entry.take_apart(type(value))
        self.words += [k.AN_INSTANCE, len(vars(value)), id(type(value))]
        for name, part in vars(value).items():
            self.words.append(id(name))
            self.kept.append(name)
            self._enter(part, getattr(number, name))


def is_instance(value: Any) -> bool:
    """Whether an argument is taken apart by its attributes: an instance of a dataclass that keeps all in its dict."""
    if not trees.is_dataclass_tree(value) or not hasattr(value, "__dict__"):
        return False
    return bool({*trees.names_of(value)} == vars(value).keys())


def parts_of(value: Any) -> Sequence[Any]:
    """What a tuple, a list or a slice holds."""
    return (value.start, value.stop, value.step) if type(value) is slice else value


def leaves_of(arguments: Sequence[Any], names: tuple[str, ...] | None) -> tuple[list[int] | None, tuple[Any, ...]]:
    """The words of the structure of an operation's arguments, None where there is no node among them; and the leaves.

    The last arguments were given by name.
    """
    if not any(map(is_node, arguments)):
        return None, tuple(arguments)
    words = [len(arguments) - len(names or ()), len(names or ()), *map(id, names or ())]
    leaves: list[Any] = []
    waiting = [*reversed(arguments)]
    while waiting:
        value = waiting.pop()
        if type(value) is dict or not is_node(value):
            words.append(LEAF)
            leaves.append(value)
        else:
            parts = parts_of(value)
            words += _head(value, len(parts))
            waiting += reversed(parts)
    return words, tuple(leaves)


def with_leaves(value: Any, leaves: Iterator[Any]) -> Any:
    """An argument with other leaves."""
    if type(value) is dict or not is_node(value):
        return next(leaves)
    parts = [with_leaves(part, leaves) for part in parts_of(value)]
    if type(value) is slice:
        return slice(*parts)
    return tuple.__new__(type(value), parts) if isinstance(value, tuple) else parts


def plan_of(structure: Any, parts: Sequence[Sequence[int]], kept: list[Any]) -> list[int] | None:
    """The plan of a result with `parts` as the plans of its leaves; None for nodes that only Python puts together.

    What the plan points to joins `kept`.
    """
    words: list[int] = []
    numbered = trees.unflatten(structure, [_Leaf(part) for part in parts])
    return words if _add(numbered, words, kept) else None


class _Leaf:
    """Stands for a leaf in a structure."""

    __slots__ = ("plan",)

    def __init__(self, plan: Sequence[int]) -> None:
        self.plan = plan


def _add(node: Any, words: list[int], kept: list[Any]) -> bool:
    if isinstance(node, _Leaf):
        words += node.plan
        return True
    if type(node) is dict:
        words += [k.A_DICT, len(node)]
        for key, part in node.items():
            kept.append(key)
            words.append(id(key))
            if not _add(part, words, kept):
                return False
        return True
    if type(node) in _NODES:
        words += _head(node, len(node))
        return all(_add(part, words, kept) for part in node)
    maker = _maker(node)
    if maker is None:
        return False
    function, found = maker
    if len(found) > k.MOST_PARTS:
        return False
    kept.append(function)
    words += [k.MADE_BY, len(found), id(function)]
    return all(_add(part, words, kept) for part in found)


def _maker(node: Any) -> tuple[Callable[..., Any], list[Any]] | None:
    """A function that makes a node of its parts, and the parts: of named tuples and dataclasses."""
    if isinstance(node, tuple) and hasattr(type(node), "_fields"):
        kind: Any = type(node)
        return (lambda *found: tuple.__new__(kind, found)), list(node)
    if trees.is_dataclass_tree(node):
        names = trees.names_of(node)
        cls = type(node)
        return (lambda *found: trees.rebuilt(cls, names, found)), [getattr(node, name) for name in names]
    return None
