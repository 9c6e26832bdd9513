"""Trees of tensors as one vector: what derivatives as matrices are with respect to, and of."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from adjit import trees
from adjit.dims import shape_of
from adjit.promotion import cast_to, result_dtype
from adjit.tensor import Tensor


class Variable:
    """Arguments of a call that a derivative is with respect to, as one tensor: the only one, or all in a vector.

    `argnums` says which arguments; each is a tree whose floating tensors count.  Errors: TypeError where there is none.
    """

    def __init__(self, args: tuple[Any, ...], argnums: int | Sequence[int], function: str) -> None:
        self._argnums = (argnums,) if isinstance(argnums, int) else tuple(argnums)
        leaves, _ = self._leaves(args)
        self._places = [place for place, leaf in enumerate(leaves) if _is_floating(leaf)]
        if not self._places:
            given = args[self._argnums[0]]
            raise TypeError(f"{function}: argument {argnums} must have a floating tensor, not {given!r}")
        self._shapes = [tuple(leaves[place].shape) for place in self._places]

    def _leaves(self, args: Sequence[Any]) -> tuple[list[Any], Any]:
        return trees.flatten([args[number] for number in self._argnums], none_is_leaf=True)

    def of(self, args: Sequence[Any]) -> Tensor:
        """The variable's value in a call."""
        leaves, _ = self._leaves(args)
        return in_one([leaves[place] for place in self._places])

    def put(self, args: Sequence[Any], value: Tensor) -> tuple[Any, ...]:
        """The call's arguments with another value of the variable."""
        leaves, structure = self._leaves(args)
        if len(self._places) == 1:
            leaves[self._places[0]] = value
        else:
            start = 0
            for place, shape in zip(self._places, self._shapes, strict=True):
                part = value[start : start + prod(shape)]
                leaves[place] = cast_to(part, leaves[place]._dtype).reshape(shape)
                start += prod(shape)
        found = list(args)
        for number, argument in zip(self._argnums, trees.unflatten(structure, leaves), strict=True):
            found[number] = argument
        return tuple(found)


def joined(result: Any) -> Tensor:
    """A tree of tensors as one tensor: the only one, or all in a vector.  TypeError for anything else in it."""
    leaves, _ = trees.flatten(result)
    for leaf in leaves:
        if not isinstance(leaf, Tensor):
            raise TypeError(f"the function must return tensors, not {leaf!r}")
    return in_one(leaves)


def in_one(tensors: Sequence[Tensor]) -> Tensor:
    """The only tensor, or all in a vector of their common dtype."""
    from adjit.joining import cat

    if len(tensors) == 1:
        return tensors[0]
    dtype = result_dtype([x.reshape(-1) for x in tensors])
    found: Tensor = cat([cast_to(x, dtype).reshape(-1) for x in tensors])
    return found


def _is_floating(leaf: Any) -> bool:
    return isinstance(leaf, Tensor) and leaf._dtype.is_float and shape_of(leaf) is not None
