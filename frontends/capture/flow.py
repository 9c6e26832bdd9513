"""`if` and loops that look at their condition when they run.

On ordinary values each does what Python's statement does.  On a traced tensor it traces the parts it is given and emits
one op; variables that the parts assign are its operands and results, and so is what they put into attributes and items.
"""

from __future__ import annotations

import builtins
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from itertools import chain
from typing import Any

from adjit import trees
from adjit.capture.aliases import Exports, Origin, exports_of, is_written, taken_here
from adjit.capture.loop_names import LoopNames
from adjit.capture.parts import Part, Seen, Shared, Values, described, is_traced, probed
from adjit.capture.raising import fail_where, is_of_calls
from adjit.capture.truth import and_, not_
from adjit.capture.values import (
    Carried,
    Known,
    Undefined,
    as_type,
    common_type,
    from_type,
    is_number,
    known,
    refuse,
    settle,
    shown,
    wanted_type,
)
from adjit.dispatch import literal
from adjit.ir.types import I64
from adjit.links import Make
from adjit.places import ABSENT
from adjit.tensor import Tensor

Get = Callable[[], tuple[Any, ...]]
Put = Callable[[Sequence[Any]], None]


# -- if ---------------------------------------------------------------------------------------------------------------
def if_(
    test: Any, then: Part, other: Part, get: Get, put: Put, names: tuple[str, ...], held: Sequence[Part], returns: bool
) -> Any:
    """`if test: then else: other`; with `returns` both end in `return`, and the result is what they return.

    `names` are the variables that the parts assign, `held` gives the objects whose attributes or items they set.
    """
    if not is_traced(test):
        return (then if test else other)()
    before = get()
    shared = Shared(held)

    def part(run: Part) -> Values:
        def values() -> list[Any]:
            put(before)
            result = run()
            return [result] if returns else list(get())

        return values

    labels = ("the result",) if returns else names
    found = _chosen(test, part(then), part(other), labels, shared)
    put(before)
    if returns:
        return found[0]
    put(found)
    return None


def choose(test: Any, then: Part, other: Part) -> Any:
    """`then if test else other`."""
    if not is_traced(test):
        return then() if test else other()
    return _chosen(test, lambda: [then()], lambda: [other()], ("the result",), Shared(()))[0]


def _chosen(
    test: Tensor, then: Values, other: Values, names: Sequence[str], shared: Shared
) -> list[Any]:
    """The values of one of two functions; those that are not tensors are the same in both, or become tensors.

    What either puts elsewhere is put there as it is after the one that runs.
    """
    from adjit.control import cond

    parts = (then, other)
    probes, errors = [], []
    for part in parts:
        try:
            probes.append(probed(lambda part=part: shared.look(part)))
        except Exception as error:
            if not is_of_calls(error):
                raise
            errors.append((part, error))
    if errors:
        return _surviving(test, parts, errors)
    labels = [*names, *shared.names]
    untouched = [described(value) for value in shared.before()]
    for probe in probes:  # the first may have been looked at before all places were known
        probe += untouched[len(probe) - len(names) :]
    plans = [_planned(label, *pair) for label, pair in zip(labels, zip(*probes, strict=True), strict=True)]

    def tensors(part: Values, branch: int) -> Callable[[], list[Tensor]]:
        def run() -> list[Tensor]:
            found: list[Tensor] = []
            for plan, value in zip(plans, shared.run(part), strict=True):
                found += plan.tensors(value, branch)
            return found

        return run

    results = iter(cond(test, tensors(then, 0), tensors(other, 1), ()))
    flags = partial(_truth, test, True), partial(_truth, test, False)
    found = [plan.value(results, flags) for plan in plans]
    shared.put(found[len(names) :])
    return found[: len(names)]


def _surviving(test: Tensor, parts: tuple[Values, Values], errors: Sequence[tuple[Values, Exception]]) -> list[Any]:
    """The values of the function that does not fail; the program raises the other one's error where that is called."""
    part, error = errors[0]
    if len(errors) == len(parts):
        raise error
    fail_where(test, part is parts[0], error)
    return parts[part is parts[0]]()


def _truth(test: Tensor, wanted: bool) -> Tensor:
    """Whether a branch ran."""
    flag: Tensor = test.detach().reshape(()).bool()
    return flag if wanted else flag.logical_not()


@dataclass(slots=True)
class _Plan:
    """How a value leaves a branch: leaves with a type are tensors of it, the others are fixed."""

    types: list[Known | None]
    fixed: list[Any]
    structure: Any
    exports: Sequence[Exports | None] = ()

    def tensors(self, value: Any, branch: int) -> list[Tensor]:
        """The value's leaves that are tensors, in their types, and what a branch tells of them."""
        if not any(self.types):  # whatever one branch alone makes of it
            return []
        if isinstance(value, Undefined):
            leaves: list[Any] = [value] * len(self.types)
        else:
            leaves, _ = trees.flatten(value, none_is_leaf=True)
        found = [as_type(leaf, type) for leaf, type in zip(leaves, self.types, strict=True) if type is not None]
        told = (exports.tensors(branch, leaf) for exports, leaf in zip(self.exports, leaves, strict=False) if exports)
        return [*found, *chain.from_iterable(told)]

    def value(self, results: Iterator[Tensor], flags: Sequence[Make]) -> Any:
        """The value, given the tensors; `flags` say which branch ran."""
        leaves = [
            fixed if type is None else from_type(next(results), type)
            for type, fixed in zip(self.types, self.fixed, strict=True)
        ]
        for exports, leaf in zip(self.exports, leaves, strict=False):
            if exports is not None:
                exports.tie(leaf, results, flags)
        return trees.unflatten(self.structure, leaves)


def _planned(name: str, then: Seen, other: Seen) -> _Plan:
    """How a value is joined that the branches leave differently."""
    if (then.leaves == [ABSENT]) != (other.leaves == [ABSENT]):
        refuse(
            f"{name} is set in one branch only of an `if` on a traced tensor, and holds nothing before it",
            "give it a value before the `if`",
        )
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
    fixed = list(then.leaves)
    for place, (left, right) in enumerate(zip(then.leaves, other.leaves, strict=True)):
        if isinstance(then.objects[place], Tensor) and then.objects[place] is other.objects[place]:
            fixed[place] = then.objects[place]  # whatever was written to it, it is the same tensor
            types.append(None)
            continue
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
                f"{name} is {shown(left)} in one branch and {shown(right)} in the other of an `if` on a traced "
                "tensor",
                "give it the same shape in both",
            )
        types.append(found)
    pairs = zip(types, then.leaves, other.leaves, then.origins, other.origins, strict=False)
    exports = [exports_of(name, type, (left, right), (a, b)) for type, left, right, a, b in pairs]
    return _Plan(types, fixed, then.structure, exports)


# -- loops ------------------------------------------------------------------------------------------------------------
def while_(test: Part, body: Part, get: Get, put: Put, names: tuple[str, ...], held: Sequence[Part]) -> None:
    """`while test: body`."""
    while True:
        going = test()
        if is_traced(going):
            _loop(test, body, get, put, names, Shared(held))
            return
        if not going:
            return
        body()


def for_(
    items: Any,
    body: Callable[[Any], None],
    get: Get,
    put: Put,
    names: tuple[str, ...],
    held: Sequence[Part],
    broken: str,
    targets: Sequence[int],
) -> None:
    """`for item in items: body(item)`; `broken` names the flag of a `break`, `targets` are the variables of the item.

    Turns after a `break` that is not known set these variables too: they are set back at the end.
    """
    place = names.index(broken) if broken else -1
    if isinstance(items, _Range):
        _for_range(items, body, get, put, names, held, place)
        return
    turns: list[Sequence[Any]] = []
    for item in items:
        body(item)
        if broken:
            turns.append(get())
            if not is_traced(turns[-1][place]) and turns[-1][place]:
                return
    if turns and is_traced(turns[-1][place]):
        values = list(turns[-1])
        for target in targets:
            values[target] = _left(names[target], [(turn[place], turn[target]) for turn in turns])
        put(values)


def _left(name: str, turns: Sequence[tuple[Any, Any]]) -> Any:
    """The value of the first turn with a set flag, or of the last one; Undefined where no tensor holds all of them."""
    from adjit.elementwise import where

    structure = trees.flatten(turns[0][1], none_is_leaf=True)[1]
    flat = [trees.flatten(value, none_is_leaf=True) for _, value in turns]
    if any(other != structure for _, other in flat):
        return Undefined(name)
    found: list[Any] = []
    for leaves in zip(*(leaves for leaves, _ in flat), strict=True):
        last = leaves[-1]
        if any(leaf is not last for leaf in leaves):
            type = reduce(common_type, map(known, leaves))
            if type is None:
                return Undefined(name)
            last = as_type(last, type)
            for (flag, _), leaf in reversed([*zip(turns, leaves, strict=True)][:-1]):
                if is_traced(flag):
                    last = where(flag, as_type(leaf, type), last)
            last = from_type(last, type)
        found.append(last)
    return trees.unflatten(structure, found)


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
    items: _Range,
    body: Callable[[Any], None],
    get: Get,
    put: Put,
    names: tuple[str, ...],
    held: Sequence[Part],
    broken: int,
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

    while_(test, step, read, set_, (*names, "the index"), held)


def _loop(test: Part, body: Part, get: Get, put: Put, names: tuple[str, ...], shared: Shared) -> None:
    """Emit a `while`: what the body changes is carried, in types that no step changes."""
    from adjit.control import while_loop

    count = len(names)

    def step(values: Sequence[Any]) -> Values:
        def run() -> list[Any]:
            put(values[:count])
            shared.put(values[count:])
            body()
            return list(get())

        return run

    written: list[bool] = []  # which of the carried tensors a turn writes to
    taken: set[int] = set()

    def seen(carried: Carried) -> list[Seen]:
        # On tensors of its own: what the first turn puts where it stood already is another in the next one.
        start = carried.start()
        types, flags = [leaf._tensor_type for leaf in start], [leaf.requires_grad for leaf in start]
        given: list[list[Any]] = []

        def turn(*leaves: Tensor) -> list[Any]:
            values = carried.values(leaves)
            given[:] = [trees.flatten(value, none_is_leaf=True)[0] for value in values]
            found = shared.look(step(values))
            written[:] = map(is_written, leaves)
            taken.update(taken_here())
            return found

        found = probed(turn, types, flags)
        for value, before in zip(found, given, strict=False):
            value.stays = [after is leaf for after, leaf in zip(value.objects, before, strict=False)]
        ends[:] = carried.ends(found)
        carried.extend(shared.names[len(carried.names) - count :], shared.before()[len(carried.names) - count :])
        return found

    start = get()
    ends: list[tuple[str, Any, Sequence[Origin]]] = []
    carried = settle(names, start, seen)
    initial = carried.start()
    own = LoopNames([name for name, *_ in ends], initial, [end[1:] for end in ends], written, taken)
    counted = [literal(0, I64)] if own.counts else []

    def condition(*leaves: Tensor) -> Any:
        values = carried.values(leaves)
        own.watch(leaves, later=True)

        def run() -> list[Any]:
            put(values[:count])
            shared.put(values[count:])
            return [test()]

        return shared.run(run)[0]

    def next_leaves(*leaves: Tensor) -> tuple[Tensor, ...]:
        values = carried.values(leaves)
        own.watch(leaves)
        return (*carried.leaves(shared.run(step(values))), *(turns + 1 for turns in leaves[len(initial) :]))

    results = while_loop(condition, next_leaves, (*initial, *counted))
    found = carried.values(results, final=True)
    own.finish(results)
    put(found[:count])
    shared.put(found[count:])


def given(value: Any) -> Any:
    """A variable's value.  UnboundLocalError where it has none."""
    if isinstance(value, Undefined):
        bool(value)
    return value
