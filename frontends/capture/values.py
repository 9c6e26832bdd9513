"""Values that cross a branch or a loop: what they are before, what they become, and in which types they can be both."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from adjit import trees
from adjit.capture.numbers import Number, NumberKind, as_plain, kind_of, number
from adjit.dispatch import apply, literal
from adjit.errors import explained
from adjit.ir.errors import TraceError
from adjit.ir.primitive import primitive_named
from adjit.ir.types import TensorType
from adjit.promotion import result_dtype
from adjit.tensor import Tensor


class Undefined:
    """A variable that has no value yet."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def _raise(self, *_: object) -> NoReturn:
        raise explained(
            UnboundLocalError,
            f"cannot access local variable '{self.name}' where it is not associated with a value (or not on every way "
            "through an `if` or a loop on a traced tensor)",
            operands={},
            hint=f"give {self.name} a value before the `if` or the loop",
        )

    __getattr__ = __call__ = __bool__ = __iter__ = __len__ = __getitem__ = __setitem__ = _raise
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = __neg__ = _raise
    __lt__ = __le__ = __gt__ = __ge__ = __pow__ = __rpow__ = __matmul__ = __rmatmul__ = __float__ = __int__ = _raise

    def __repr__(self) -> str:
        return f"<{self.name} without a value>"


# What is known of a leaf after a traced part: a tensor's type, a number's kind, or the thing itself.
Known = TensorType | NumberKind


def known(leaf: Any) -> Any:
    """A leaf as it is described: tensors by their types, numbers that are not known by their kinds."""
    if isinstance(leaf, Number):
        return kind_of(leaf)
    return leaf._tensor_type if isinstance(leaf, Tensor) else leaf


def is_number(leaf: Any) -> bool:
    """Whether a described leaf is a number, known or not."""
    return kind_of(leaf) is not None


def wanted_type(leaf: Any) -> Known | None:
    """As what a described leaf can be computed; None for what is neither tensor nor number."""
    return leaf if isinstance(leaf, TensorType) else kind_of(leaf)


def common_type(left: Any, right: Any) -> Known | None:
    """What holds both of two described leaves, None where nothing does; a number takes the shape of the other."""
    pair = wanted_type(left), wanted_type(right)
    match pair:
        case (NumberKind(), NumberKind()):
            return pair[0].joined(pair[1])
        case (TensorType(), TensorType()):
            if pair[0].dims != pair[1].dims:
                return None
            return TensorType(result_dtype([_stand_in(type) for type in pair]), pair[0].dims)
        case (TensorType() as type, NumberKind() as kind) | (NumberKind() as kind, TensorType() as type):
            return TensorType(result_dtype((_stand_in(type), kind.python(1))), type.dims)
    return None


def _stand_in(type: Any) -> Tensor:
    assert isinstance(type, TensorType)
    return Tensor._wrap(None, type.dtype, type=type)


def as_type(leaf: Any, type: Known) -> Tensor:
    """A leaf as an ordinary tensor: numbers are repeated, what has no value is zeros."""
    dims = type.dims if isinstance(type, TensorType) else ()
    tensor = leaf
    if isinstance(leaf, Undefined):
        tensor = literal(0, type.dtype)
    elif kind_of(leaf) is not None:
        tensor = as_plain(leaf, type.dtype)
    if tensor._dtype is not type.dtype:
        tensor = apply(primitive_named("cast"), (tensor,), {"dtype": type.dtype})
    if tensor._tensor_type.dims != dims:
        tensor = apply(primitive_named("expand"), (tensor,), {"shape": dims})
    assert isinstance(tensor, Tensor)
    return tensor


def from_type(tensor: Tensor, type: Known) -> Tensor:
    """The leaf that `as_type` made a tensor of."""
    return number(tensor) if isinstance(type, NumberKind) else tensor


# -- loops ------------------------------------------------------------------------------------------------------------
@dataclass(slots=True)
class Carried:
    """The variables of a loop: leaves with a type are carried in it, the others stay as they are."""

    names: list[str]
    initial: list[Any]
    structures: list[Any]
    types: list[list[Known | None]]
    fixed: list[list[Any]]
    temporary: list[bool]  # has no value before the loop, and a new one in each step

    def extend(self, names: Sequence[str], initial: Sequence[Any]) -> None:
        """Add variables with what they are before the loop: those that are tensors are carried."""
        for name, value in zip(names, initial, strict=True):
            leaves, structure = trees.flatten(value, none_is_leaf=True)
            self.names.append(name)
            self.initial.append(value)
            self.structures.append(structure)
            self.types.append([wanted_type(known(leaf)) if isinstance(leaf, Tensor) else None for leaf in leaves])
            self.fixed.append(leaves)
            self.temporary.append(False)

    def start(self) -> list[Tensor]:
        """The carried leaves before the first step."""
        return self.leaves(self.initial)

    def leaves(self, values: Sequence[Any]) -> list[Tensor]:
        """The carried leaves of the variables' values."""
        found: list[Tensor] = []
        for value, types, temporary in zip(values, self.types, self.temporary, strict=True):
            if temporary:
                continue
            if isinstance(value, Undefined):
                leaves: list[Any] = [value] * len(types)
            else:
                leaves, _ = trees.flatten(value, none_is_leaf=True)
            found += [as_type(leaf, type) for leaf, type in zip(leaves, types, strict=True) if type is not None]
        return found

    def values(self, leaves: Sequence[Tensor], *, final: bool = False) -> list[Any]:
        """The variables' values for carried leaves; what only lives within a step has none after the loop."""
        rest = iter(leaves)
        found: list[Any] = []
        for name, value, structure, types, fixed, temporary in zip(
            self.names, self.initial, self.structures, self.types, self.fixed, self.temporary, strict=True
        ):
            if temporary:
                found.append(Undefined(name) if final else value)
                continue
            own = [
                kept if type is None else from_type(next(rest), type) for type, kept in zip(types, fixed, strict=True)
            ]
            found.append(trees.unflatten(structure, own))
        return found

    def ends(self, found: Sequence[Any]) -> list[tuple[str, Any, Any]]:
        """Of each carried leaf its variable's name, what a step left, and what that may be."""
        return [
            (name, leaf, origins)
            for name, types, temporary, each in zip(self.names, self.types, self.temporary, found, strict=False)
            for type, leaf, origins in zip(types, each.objects, each.origins, strict=False)
            if type is not None and not temporary
        ]


def settle(names: Sequence[str], start: Sequence[Any], seen: Callable[[Carried], Sequence[Any]]) -> Carried:
    """Find the types that every step keeps, by tracing a step until they no longer change.

    Tensors are carried where a step puts others in their places, and not where it only writes to them; a number is
    where a step changes it.  `seen` describes what a step makes of what is carried,
    and adds the variables that it has found.
    Errors: TraceError for a variable that changes its structure or shape, or what kind of thing it is.
    """
    carried = Carried([], [], [], [], [], [])
    carried.extend(names, start)
    for _ in range(12):
        count = len(carried.names)
        found = seen(carried)
        widened = [_widened(carried, place, each) for place, each in enumerate(found)]
        if not any(widened) and len(carried.names) == count and not _released(carried, found):
            return carried
    refuse("a loop on a traced tensor has a variable that changes its type at every step", "")


def _released(carried: Carried, found: Sequence[Any]) -> bool:
    """Carry no tensor that a step leaves in its place; whether there was one."""
    changed = False
    for types, fixed, seen in zip(carried.types, carried.fixed, found, strict=True):
        for index, stays in enumerate(seen.stays):
            if stays and types[index] is not None and isinstance(fixed[index], Tensor):
                types[index], changed = None, True
    return changed


def _widened(carried: Carried, place: int, found: Any) -> bool:
    """Make a variable's types hold what a step made of it; whether that changed them."""
    name, value = carried.names[place], carried.initial[place]
    if carried.temporary[place]:
        return False
    if isinstance(value, Undefined) and carried.types[place] == [None]:
        return _given_value(carried, place, found)
    if found.structure != carried.structures[place]:
        refuse(
            f"{name} changes its structure in a loop on a traced tensor",
            "a list that grows has no size in a program: write into a tensor made before the loop",
        )
    changed = False
    for index, leaf in enumerate(found.leaves):
        was, before = carried.types[place][index], carried.fixed[place][index]
        same = found.objects[index] is before or (type(leaf) is type(before) and leaf == before)
        if was is None and same:
            continue
        start = before if was is None else was
        wider = common_type(start, leaf)
        if wider is None and isinstance(start, TensorType) and not start.dims and is_number(before):
            wider = common_type(before, leaf)  # it began as a number, and took the shape of what was added to it
        if wider is None:
            refuse(
                f"{name} is {shown(start)} before a step and {shown(leaf)} after it, in a loop on a traced tensor",
                "start with a tensor of the final shape and dtype",
            )
        changed = changed or wider != was
        carried.types[place][index] = wider
    return changed


def shown(leaf: Any) -> str:
    """A described leaf in a message."""
    return str(leaf) if isinstance(leaf, (TensorType, NumberKind)) else repr(leaf)


def _given_value(carried: Carried, place: int, found: Any) -> bool:
    """A variable without a value before the loop: what a step makes of it lives in that step, or is a flag's value."""
    if len(found.leaves) == 1 and isinstance(found.leaves[0], Undefined):
        return False
    if not carried.names[place].startswith("_adjit_"):
        carried.temporary[place] = True
    else:
        carried.structures[place] = found.structure
        carried.types[place] = [wanted_type(leaf) for leaf in found.leaves]
        carried.fixed[place] = found.leaves
    return True


def refuse(what: str, hint: str) -> NoReturn:
    """TraceError at the user's line."""
    raise explained(TraceError, what, hint=hint)
