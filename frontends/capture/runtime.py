"""What rewritten functions call: control flow that looks at its condition when it runs.

On ordinary values each does what Python's statement does.  On a traced tensor it traces the parts it is given and emits
one op; variables that the parts assign are its operands and results.
"""

from __future__ import annotations

import builtins
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

from adjit import trees
from adjit.capture.values import (
    Known,
    Undefined,
    as_type,
    common_type,
    from_type,
    is_number,
    known,
    refuse,
    settle,
    wanted_type,
)
from adjit.inner_trace import trace_inner
from adjit.state import STATE
from adjit.tensor import Tensor

__all__ = [
    "Undefined",
    "and_",
    "choose",
    "for_",
    "given",
    "if_",
    "max_",
    "min_",
    "not_",
    "or_",
    "print_",
    "range_",
    "while_",
]

Part = Callable[[], Any]
Get = Callable[[], tuple[Any, ...]]
Put = Callable[[Sequence[Any]], None]


def is_traced(value: Any) -> bool:
    """Whether a value is a tensor without numbers."""
    return isinstance(value, Tensor) and value._array is None and STATE.tracer is not None


# -- if ---------------------------------------------------------------------------------------------------------------
def if_(test: Any, then: Part, other: Part, get: Get, put: Put, names: tuple[str, ...], returns: bool) -> Any:
    """`if test: then else: other`; with `returns` both end in `return`, and the result is what they return."""
    if not is_traced(test):
        return (then if test else other)()
    before = get()

    def part(run: Part) -> Callable[[], list[Any]]:
        def values() -> list[Any]:
            put(before)
            result = run()
            found = [] if returns else list(get())
            return [*found, result] if returns else found

        return values

    labels = ("the result",) if returns else names
    found = _chosen(test, part(then), part(other), labels)
    put(before)
    if returns:
        return found[-1]
    put(found)
    return None


def choose(test: Any, then: Part, other: Part) -> Any:
    """`then if test else other`."""
    if not is_traced(test):
        return then() if test else other()
    return _chosen(test, lambda: [then()], lambda: [other()], ("the result",))[0]


def _chosen(test: Tensor, then: Part, other: Part, names: Sequence[str]) -> list[Any]:
    """The values of one of two functions; those that are not tensors are the same in both, or become tensors."""
    from adjit.control import cond

    probes = [_probed(part, names) for part in (then, other)]
    plans: list[_Plan] = []
    for place, name in enumerate(names):
        plans.append(_planned(name, *(probe[place] for probe in probes)))

    def tensors(part: Part) -> Callable[[], list[Tensor]]:
        def run() -> list[Tensor]:
            found: list[Tensor] = []
            for plan, value in zip(plans, part(), strict=True):
                found += plan.tensors(value)
            return found

        return run

    results = iter(cond(test, tensors(then), tensors(other), ()))
    return [plan.value(results) for plan in plans]


@dataclass(slots=True)
class _Seen:
    """A value at the end of a traced part: its leaves, tensors by their types, and its structure."""

    leaves: list[Any]
    structure: Any


def _probed(part: Part, names: Sequence[str]) -> list[_Seen]:
    """What a part's values are, found by tracing it for nothing."""
    seen: list[_Seen] = []

    def run() -> tuple[()]:
        for value in part():
            leaves, structure = trees.flatten(value, none_is_leaf=True)
            seen.append(_Seen([known(x) for x in leaves], structure))
        return ()

    trace_inner("probe", run, [])
    return seen


@dataclass(slots=True)
class _Plan:
    """How a value leaves a branch: leaves with a type are tensors of it, the others are fixed."""

    types: list[Known | None]
    fixed: list[Any]
    structure: Any

    def tensors(self, value: Any) -> list[Tensor]:
        """The value's leaves that are tensors, in their types."""
        if isinstance(value, Undefined):
            leaves: list[Any] = [value] * len(self.types)
        else:
            leaves, _ = trees.flatten(value, none_is_leaf=True)
        return [as_type(leaf, type) for leaf, type in zip(leaves, self.types, strict=True) if type is not None]

    def value(self, results: Iterator[Tensor]) -> Any:
        """The value, given the tensors."""
        leaves = [
            fixed if type is None else from_type(next(results), type)
            for type, fixed in zip(self.types, self.fixed, strict=True)
        ]
        return trees.unflatten(self.structure, leaves)


def _planned(name: str, then: _Seen, other: _Seen) -> _Plan:
    """How a value is joined that the branches leave differently."""
    for seen, elsewhere in ((then, other), (other, then)):
        if len(seen.leaves) == 1 and isinstance(seen.leaves[0], Undefined):
            if not name.startswith("_adjit_"):
                return _Plan([None], [seen.leaves[0]], seen.structure)  # whoever reads it is told
            wanted = [wanted_type(leaf) for leaf in elsewhere.leaves]
            return _Plan(wanted, elsewhere.leaves, elsewhere.structure)
    if then.structure != other.structure:
        refuse(
            f"{name} has another structure in each branch of an `if` on a traced tensor",
            "give it the same tuples, lists and dicts in both",
        )
    types: list[Known | None] = []
    for left, right in zip(then.leaves, other.leaves, strict=True):
        if not any(isinstance(leaf, Known) for leaf in (left, right)):
            if left is right or (type(left) is type(right) and left == right):
                types.append(None)
                continue
            if not (is_number(left) and is_number(right)):
                refuse(
                    f"{name} is {left!r} in one branch and {right!r} in the other of an `if` on a traced tensor",
                    "make it a tensor or a number in both",
                )
        found = common_type(left, right)
        if found is None:
            refuse(
                f"{name} is {_shown(left)} in one branch and {_shown(right)} in the other of an `if` on a traced "
                "tensor",
                "give it the same shape in both",
            )
        types.append(found)
    return _Plan(types, then.leaves, then.structure)


def _shown(leaf: Any) -> str:
    return str(leaf) if isinstance(leaf, Known) else repr(leaf)


# -- loops ------------------------------------------------------------------------------------------------------------
def while_(test: Part, body: Part, get: Get, put: Put, names: tuple[str, ...]) -> None:
    """`while test: body`."""
    while True:
        going = test()
        if is_traced(going):
            _loop(test, body, get, put, names)
            return
        if not going:
            return
        body()


def for_(items: Any, body: Callable[[Any], None], get: Get, put: Put, names: tuple[str, ...], broken: str) -> None:
    """`for item in items: body(item)`; `broken` names the flag of a `break`."""
    place = names.index(broken) if broken else -1
    if isinstance(items, _Range):
        _for_range(items, body, get, put, names, place)
        return
    for item in items:
        body(item)
        if broken:
            left = get()[place]
            if not is_traced(left) and left:
                return


@dataclass(frozen=True, slots=True)
class _Range:
    """A range with a bound that is not known."""

    start: Any
    stop: Any
    step: int


def range_(*arguments: Any) -> Any:
    """`range`, whose bounds may be traced tensors."""
    if not any(is_traced(argument) for argument in arguments):
        return builtins.range(*arguments)
    start, stop, step = (0, arguments[0], 1) if len(arguments) == 1 else (*arguments, 1)[:3]
    if is_traced(step):
        refuse("the step of a range is a traced tensor", "use a Python number, or a while loop")
    return _Range(start, stop, int(step))


def _for_range(
    items: _Range, body: Callable[[Any], None], get: Get, put: Put, names: tuple[str, ...], broken: int
) -> None:
    index: list[Any] = [items.start]

    def test() -> Any:
        more = index[0] < items.stop if items.step > 0 else index[0] > items.stop
        return and_(lambda: not_(get()[broken]), lambda: more) if broken >= 0 else more

    def step() -> None:
        body(index[0])
        index[0] = index[0] + items.step

    def read() -> tuple[Any, ...]:
        return (*get(), index[0])

    def set_(values: Sequence[Any]) -> None:
        put(values[:-1])
        index[0] = values[-1]

    while_(test, step, read, set_, (*names, "the index"))


def _loop(test: Part, body: Part, get: Get, put: Put, names: tuple[str, ...]) -> None:
    """Emit a `while`: what the body changes is carried, in types that no step changes."""
    from adjit.control import while_loop

    start = list(get())

    def after(values: Sequence[Any]) -> list[Any]:
        put(values)
        body()
        return list(get())

    carried = settle(names, start, after, _probed)
    initial = carried.start()

    def condition(*leaves: Tensor) -> Any:
        put(carried.values(leaves))
        return test()

    def step(*leaves: Tensor) -> tuple[Tensor, ...]:
        return tuple(carried.leaves(after(carried.values(leaves))))

    found = while_loop(condition, step, tuple(initial))
    put(carried.values(found, final=True))


def given(value: Any) -> Any:
    """A variable's value.  UnboundLocalError where it has none."""
    if isinstance(value, Undefined):
        bool(value)
    return value


# -- truth ------------------------------------------------------------------------------------------------------------
def and_(*parts: Part) -> Any:
    """`a and b and ...`: on traced tensors the logical product of truth values."""
    result: Any = True
    for place, part in enumerate(parts):
        value = part()
        if is_traced(result) or (is_traced(value) and place < len(parts) - 1) or (place and is_traced(value)):
            result = _truth(value) if result is True else _truth(result) & _truth(value)
            continue
        result = value
        if not is_traced(value) and not value:
            return value
    return result


def or_(*parts: Part) -> Any:
    """`a or b or ...`: on traced tensors the logical sum of truth values."""
    result: Any = False
    for place, part in enumerate(parts):
        value = part()
        if is_traced(result) or (is_traced(value) and place < len(parts) - 1) or (place and is_traced(value)):
            result = _truth(value) if result is False else _truth(result) | _truth(value)
            continue
        result = value
        if not is_traced(value) and value:
            return value
    return result


def not_(value: Any) -> Any:
    """`not value`."""
    return _truth(value).logical_not() if is_traced(value) else not value


def _truth(value: Any) -> Any:
    """A truth value as a tensor of rank 0."""
    if not isinstance(value, Tensor):
        from adjit.dispatch import literal
        from adjit.ir.types import BOOL

        return literal(bool(value), BOOL)
    if value._tensor_type.size != 1:
        refuse(
            "Boolean value of Tensor with more than one value is ambiguous",
            "use .all() or .any(), or & and | for element-wise logic",
        )
    return value.reshape(()).bool()


def min_(*arguments: Any, **options: Any) -> Any:
    """Python's `min`."""
    return _extreme(builtins.min, "minimum", arguments, options)


def max_(*arguments: Any, **options: Any) -> Any:
    """Python's `max`."""
    return _extreme(builtins.max, "maximum", arguments, options)


def _extreme(plain: Callable[..., Any], name: str, arguments: tuple[Any, ...], options: dict[str, Any]) -> Any:
    values = arguments if len(arguments) > 1 else tuple(arguments[0])
    if options or not any(is_traced(value) for value in values):
        return plain(*arguments, **options)
    from adjit import elementwise

    result = values[0]
    for value in values[1:]:
        type = common_type(known(result), known(value))
        if type is None:
            refuse(f"{name} of {_shown(known(result))} and {_shown(known(value))}", "compare values of one shape")
        found = getattr(elementwise, name)(as_type(result, type), as_type(value, type))
        result = from_type(found, type)
    return result


# -- printing ---------------------------------------------------------------------------------------------------------
_numbers = count()


def print_(*values: Any, **options: Any) -> None:
    """`print`: traced tensors are shown when the program runs."""
    traced = [value for value in values if is_traced(value)]
    if not traced:
        print(*values, **options)
        return
    from adjit.dispatch import apply
    from adjit.ir.primitive import primitive_named
    from adjit.runtime.host import register_host_function

    places = [is_traced(value) for value in values]
    kept = [None if traced else value for traced, value in zip(places, values, strict=True)]
    dtypes = [tensor._dtype for tensor in traced]

    def show(*arrays: Any) -> tuple[()]:
        shown = iter([Tensor._wrap(array, dtype) for array, dtype in zip(arrays, dtypes, strict=True)])
        print(*(next(shown) if flag else k for flag, k in zip(places, kept, strict=True)), **options)
        return ()

    name = f"adjit.print.{next(_numbers)}"
    register_host_function(name, show)
    apply(primitive_named("host_call"), traced, {"function": name, "types": ()})
