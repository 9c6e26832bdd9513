"""Eager operations served natively: what a Python function does is watched once, then done without it.

The first calls of a kind run the Python function as ever.  Then it is watched on examples: where it came down to
operations on the call's own operands, their program and the nodes that they record become a signature, and calls of the
same kind need no Python.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from adjit import dtypes
from adjit.compiler.entry import known as k
from adjit.errors import misplaced
from adjit.heard_numbers import Heard
from adjit.ir.errors import CompileError
from adjit.ir.shape import evaluate
from adjit.native.any_size import History
from adjit.native.entry import Entry
from adjit.native.kernels import array_of, fits_in, hopes_for_stored, kernel_of, program
from adjit.native.kinds import form_of, kind_of, records_any_number, takes_any_number
from adjit.native.program import Watched, how_written
from adjit.native.signature import (
    UNSERVED,
    Operand,
    Signature,
    is_plain,
    lies_as_new,
    operand_for,
)
from adjit.native.structure import leaves_of, with_leaves
from adjit.native.table import Table
from adjit.native.view_words import view_blocks
from adjit.native.watching import Seen, does_the_same, example, unlikely, watch
from adjit.native.words import words_of
from adjit.runtime.layout import ITEMS, word_at
from adjit.state import STATE, is_user_frame
from adjit.tensor import Tensor
from adjit.trees import flatten

# The most signatures of one operation; so many let a kind wait as long again until it is watched.
_LIMIT, _MANY = 512, 128
# A kind of call is watched when it comes for this time; one that needs a program of its own, for this time, or for this
# time where it draws random numbers: their programs take longest to compile.  What another one calls waits until that
# may have become a program; or there is NEVER one.  A program that the disk cache has serves when a kind is watched.
_SOON, LATER, AFTER_CALLER, MUCH_LATER, NEVER = 2, 6, 9, 100, 0
# Whether a call may have a program of its own: none, one that the disk cache has, or one made anew.
_NO_PROGRAM, _STORED, _ANEW = range(3)
_DETACHED = k.DETACHED % 2**64
# The most elements of what is made of numbers alone.
_MADE = 1 << 17
# Numbers of these types are part of a kind of call.  So many different ones let floats be operands of its program.
_ALL: tuple[type, ...] = (float, int)
_WHOLE: tuple[type, ...] = (int,)
_NONE: tuple[type, ...] = ()
_VARYING = 3


class Operation:
    """One function over tensors with its signatures.

    `free` says that a number among the operands is only ever an operand of the primitive, whatever its value;
    `in_place` that the first operand is overwritten and returned; `later` when a program is compiled, and `draws` that
    nothing else serves it.
    """

    def __init__(
        self,
        entry: Entry,
        function: Callable[..., Any],
        *,
        free: bool = False,
        in_place: bool = False,
        later: int = LATER,
        draws: bool = False,
    ) -> None:
        self.function = function
        self.free = free
        self.in_place = in_place
        self.later = later
        self._soon = NEVER if draws else _SOON
        self._may_overwrite = in_place or "inplace" in getattr(getattr(function, "__code__", None), "co_varnames", ())
        self._left: set[Any] = set()  # kinds that Python serves until it looks at them anew
        self._converted: set[tuple[Any, type]] = set()  # kinds of calls, and types of numbers that become others there
        self._floats: dict[Any, set[Any]] = {}  # the numbers of kinds of calls, as long as these are few
        self._history = History(free=free)
        self._miss = self.miss  # one object, which the table may point to
        self.table = entry.new_table(function, self._miss, fixed=not free)
        self._signatures = Table(self.table, _LIMIT)

    def miss(self, names: tuple[str, ...] | None, *operands: Any) -> Any:
        """The result of a call that no signature fits, watched if calls of its kind came before; a trace notes it."""
        tracer: Any = STATE.tracer
        if tracer is not None and tracer.by_steps:
            return tracer.call(self.function, names, operands)
        if STATE.watching:  # it is no call of its own
            return self.plain(names, *operands)
        words, leaves = leaves_of(operands, names)
        form = id(names) if words is None else tuple(words)
        kinds = _kinds(form, leaves)
        before = None
        if self._may_overwrite:
            before = {each: kind_of(leaves, form, fixed=each) for each in (_NONE, _WHOLE, _ALL)}
        asks = self._may_overwrite and bool(leaves) and isinstance(leaves[0], Tensor) and leaves[0].requires_grad
        recording = STATE.recording and any(isinstance(x, Tensor) and x.requires_grad for x in leaves)
        within, STATE.within = STATE.within, True
        try:
            result = self.plain(names, *operands)
        finally:
            STATE.within = within
        fixed = self._fixed(kinds, leaves)
        if fixed is not _ALL and recording and not takes_any_number(result):
            fixed = _ALL
        key = before[fixed] if before is not None else kind_of(leaves, form, fixed=fixed)
        if key is None or len(leaves) > k.MOST_MARKED or (fixed is _WHOLE and not all(map(_is_usual, leaves))):
            return result
        large = _made_large(result, leaves)
        if not self.in_place and self.later != NEVER and not large:
            self._open(operands, names, words, leaves, fixed=fixed is not _NONE)
        count = self._signatures.times(key)
        patience = 1 + len(self._signatures) // _MANY  # where shapes change from call to call, most never come again
        times = {patience * max(self.later, AFTER_CALLER), 0 if within else patience * self.later}
        compiled = (self.later != NEVER and count in times) or key in self._left
        lock = self._signatures.lock
        if (compiled or count == self._soon * patience) and lock.acquire(blocking=False):
            try:
                looks = self.later != NEVER and not within and hopes_for_stored()
                may = _ANEW if compiled else _STORED if looks else _NO_PROGRAM
                self._learn(key, operands, names, words, leaves, may, asks, fixed=fixed, large=large)
            finally:
                lock.release()
        return result

    def _fixed(self, kinds: Any, leaves: Sequence[Any]) -> tuple[type, ...]:
        """The types of numbers that must be those of a call, for another call to be of its kind."""
        converted = {type(x) for x in leaves if (kinds, type(x)) in self._converted}
        if self.free:
            return _ALL if converted else _NONE
        floats = tuple(x.hex() for x in leaves if type(x) is float)
        if not floats or converted:
            return _ALL
        if len(self._floats) >= 4 * _LIMIT:
            self._floats.clear()
        seen = self._floats.setdefault(kinds, set())
        if len(seen) < _VARYING:
            seen.add(floats)
        return _ALL if len(seen) < _VARYING else _WHOLE

    def _open(
        self,
        arguments: tuple[Any, ...],
        names: tuple[str, ...] | None,
        structure: list[int] | None,
        operands: tuple[Any, ...],
        *,
        fixed: bool,
    ) -> None:
        """Make a signature for all sizes, where those of calls like this one changed often enough."""
        needs = sum((isinstance(x, Tensor) and x.requires_grad) << i for i, x in enumerate(operands))
        needs *= STATE.recording
        form = id(names) if structure is None else tuple(structure)
        sizes = self._history.note(form_of(operands, form, free=self.free, fixed=fixed), operands)
        if sizes is None or not self._signatures.lock.acquire(blocking=False):
            return
        try:
            if self._signatures.has_room():
                from adjit.native.open_signature import open_signature

                called = partial(self._called, arguments, names)
                signature = open_signature(called, operands, sizes, needs, fixed=fixed)
                if signature is None and not fixed and any(type(x) in (int, float) for x in operands):
                    signature = open_signature(called, operands, sizes, needs, fixed=True)
                if signature is not None:
                    signature.structure, signature.names = structure, names if structure is None else None
                    signature.kept.append(names)
                    self._signatures.put(signature, operands, needs)
        finally:
            self._signatures.lock.release()

    def _called(self, arguments: tuple[Any, ...], names: tuple[str, ...] | None, leaves: Sequence[Any]) -> Any:
        """The Python function's result for other leaves in the places of the arguments' own."""
        rest = iter(leaves)
        return self.plain(names, *[with_leaves(argument, rest) for argument in arguments])

    def plain(self, names: tuple[str, ...] | None, *operands: Any) -> Any:
        """The Python function's result; the last operands were given by name."""
        split = len(operands) - (0 if names is None else len(names))
        try:
            return self.function(*operands[:split], **dict(zip(names or (), operands[split:], strict=True)))
        except AttributeError:
            caller = sys._getframe(2)  # others of ours say it in the words of what the user called
            better = misplaced(self.function, operands[:split]) if is_user_frame(caller) else None
            if better is None:
                raise
            raise better from None

    def _learn(
        self,
        kind: Any,
        arguments: tuple[Any, ...],
        names: tuple[str, ...] | None,
        structure: list[int] | None,
        operands: tuple[Any, ...],
        may: int,
        asks: bool,
        *,
        fixed: tuple[type, ...],
        large: bool,
    ) -> None:
        """Make the signature of calls like this one of a kind, whose operands are the leaves of `arguments`.

        `may` says whether it may have a program of its own; `asks`, whether what the call may have overwritten required
        grad; numbers of the types in `fixed` are these; what makes a `large` tensor is left to Python, unwatched.
        """
        if not self._signatures.has_room():
            return
        if not len(self._signatures):
            self._left.clear()
        examples = self._examples(operands, asks, fixed=fixed)
        form = id(names) if structure is None else tuple(structure)
        lying = tuple(
            array_of(x).strides if isinstance(x, Tensor) and not lies_as_new(array_of(x)) else None for x in operands
        )
        given = sum((isinstance(x, Tensor) and x.requires_grad) << i for i, x in enumerate(examples))
        needs = given if STATE.recording else 0
        if needs and fixed is _NONE:
            self._signatures.take_any_number()
        signature = None
        if not large:
            signature = self._signature(arguments, names, form, examples, needs, fixed=fixed, may=may)
        if signature is not None and any(lying) and (signature.views or signature.is_product):
            examples = self._examples(operands, asks, fixed=fixed, as_it_lies=True)
            signature = self._signature(arguments, names, form, examples, needs, fixed=fixed, may=may)
            _demand_strides(signature, lying)
        elif signature is not None and signature.views:  # in order is also what has other strides where the size is 1
            _demand_strides(signature, tuple(_strides_of_one(x) for x in operands))
        if signature is None:
            varies = fixed is not _ALL and any(type(x) in _ALL for x in operands)
            if may != _ANEW or varies or needs != given:  # to a signature, what needs no gradient is alike
                return
            if kind in self._left:
                return
            self._left.add(kind)
            signature = Signature([operand_for(x, fixed=True) for x in operands], needs, None, by_python=True)
            _demand_strides(signature, lying)
        else:
            self._left.discard(kind)
        signature.structure, signature.names = structure, names if structure is None else None
        signature.kept.append(names)
        if fixed is _WHOLE:
            self._signatures.take_any_number()
        self._signatures.put(signature, operands, needs)

    def _examples(
        self, operands: tuple[Any, ...], asks: bool, *, fixed: tuple[type, ...], as_it_lies: bool = False
    ) -> tuple[Any, ...]:
        """Tensors like the operands; one that may be overwritten is no leaf where it requires grad."""
        examples: tuple[Any, ...] = tuple(
            unlikely(x, place, free=self.free) if type(x) is float and float not in fixed else
            example(x, as_it_lies=as_it_lies)
            for place, x in enumerate(operands)
        )  # fmt: skip
        if self._may_overwrite and operands and isinstance(operands[0], Tensor):
            examples[0]._requires_grad, examples[0]._leaf = asks, not asks
        return examples

    def _signature(
        self,
        arguments: tuple[Any, ...],
        names: tuple[str, ...] | None,
        form: Any,
        examples: tuple[Any, ...],
        needs: int,
        *,
        fixed: tuple[type, ...],
        may: int,
    ) -> Signature | None:
        """The signature of calls like this one, with these leaves as examples; None where Python serves them."""
        seen = self._watched(arguments, names, examples)
        if seen is None:
            return None
        in_place = self.in_place
        if not in_place and overwrites_first(seen, examples):
            in_place, seen = True, Seen(seen.steps, seen.written[0].value, (), seen.literals, seen.copies)
        returned, structure = flatten(seen.result)
        results = new_tensors(returned, examples, or_all=not seen.written)
        watched = Watched(
            examples, seen.steps, results, returned, structure, seen.written, seen.literals, seen.copies,
            any_whole=fixed is _NONE,
        )  # fmt: skip
        converted = watched.converted()
        if not converted and fixed is _WHOLE and not self._holds_for_others(seen, arguments, names, examples):
            converted = {float}
        if converted:
            self._converted |= {(_kinds(form, examples), kind) for kind in converted}
            return None
        if fixed is _WHOLE and not all(map(records_any_number, seen.steps)):
            self._converted.add((_kinds(form, examples), float))  # a step's pullback is for one number
            return None
        views = [] if in_place or seen.written else view_blocks(watched)
        if not views and (not is_servable(watched) or reads_by_stride(seen)):
            return None
        recorded = None
        if in_place and not fits_in(results[0], examples[0]):
            return None
        if in_place and needs and not results[0].requires_grad:
            return None  # the target's history ends
        if any(tensor.requires_grad for tensor in results) and seen.steps:
            recorded = watched.recorded()
            if recorded is None:
                return None
        plan = [k.AN_OPERAND, 0, 0] if in_place else watched.plan()
        if plan is None:
            return None
        if views:
            if fixed is not _ALL:
                return None
            wanted = [operand_for(x, fixed=True) for x in examples]
            for operand, x in zip(wanted, examples, strict=True):
                operand.in_order = isinstance(x, Tensor) and any(block[k.VIEW_RANK] != _DETACHED for block in views)
            return Signature(wanted, needs, None, plan, recorded=recorded, views=views, kept=[watched.kept])
        try:
            made = kernel_of(watched, fixed=fixed)
            if made is None and fixed is _NONE and any(type(x) is int for x in examples):
                self._converted.add((_kinds(form, examples), int))  # programs have integers as constants
                return None
            if made is None and may != _NO_PROGRAM:
                made = program(watched, anew=may == _ANEW)
        except CompileError:
            return None
        if made is None:
            return None
        executable, inputs, shapes, work = made
        wanted = [operand_for(x, fixed=type(x) in fixed) for x in examples]
        is_product = (len(seen.steps) == 1 and seen.steps[0].op.name == "dot") or bool(watched.orders)
        for operand in wanted if is_product else ():  # others may be read as they stand, by another program
            operand.in_order = True
        types = [*(tensor._tensor_type for tensor in results), *(type for _, type in watched.extra)]
        signature = Signature(
            wanted, needs, executable, plan, inputs, shapes, types, work, recorded, call_guards(watched),
            tensors=0 if in_place else len(results), writes=how_written(watched) if in_place else 0,
            kept=[watched.kept], is_product=is_product,
        )  # fmt: skip
        signature.written = _written(watched, wanted)
        return signature

    def _watched(self, arguments: tuple[Any, ...], names: tuple[str, ...] | None, leaves: Sequence[Any]) -> Seen | None:
        """What the Python function does with other leaves in the places of the arguments' own."""
        rest = iter(leaves)
        given = [with_leaves(argument, rest) for argument in arguments]
        split = len(given) - (0 if names is None else len(names))
        named = dict(zip(names or (), given[split:], strict=True))
        return watch(self.function, given[:split], named, leaves, in_place=self.in_place)

    def _holds_for_others(
        self, seen: Seen, arguments: tuple[Any, ...], names: tuple[str, ...] | None, examples: tuple[Any, ...]
    ) -> bool:
        """Whether a call does the same with other numbers, also where it asked for these in ways that are not heard."""
        others: list[Any] = []
        for x in examples:
            number = x.another() if isinstance(x, Heard) else 0.0
            if number is None:
                return False
            others.append(Heard(number) if isinstance(x, Heard) else example(x))
            if isinstance(x, Tensor):
                others[-1]._requires_grad, others[-1]._leaf = x._requires_grad, x._leaf
        again = self._watched(arguments, names, others)
        return again is not None and does_the_same(seen, examples, again, others)


def _is_usual(operand: Any) -> bool:
    """Whether an operand may stand for others in its place: what NaN and infinities do may be theirs only."""
    return type(operand) is not float or math.isfinite(operand)


def _kinds(form: Any, leaves: Sequence[Any]) -> Any:
    """What decides, beside its values, what a call does with its numbers: its form, and the kinds of its leaves."""
    return form, tuple(
        x._dtype if isinstance(x, Tensor) else float if isinstance(x, float) else type(x) for x in leaves
    )


def overwrites_first(seen: Seen, operands: tuple[Any, ...]) -> bool:
    """Whether all that a call does is to overwrite its first operand, once, which it returns."""
    if len(seen.written) != 1 or not operands or seen.result is not operands[0]:
        return False
    (written,) = seen.written
    return written.target is operands[0] and written.times == 1


def _demand_strides(signature: Signature | None, lying: tuple[tuple[int, ...] | None, ...]) -> None:
    """Let a signature take only operands that lie in memory as those that it was made from."""
    for operand, strides in zip(() if signature is None else signature.operands, lying, strict=signature is not None):
        operand.strides = strides


def _strides_of_one(operand: Any) -> tuple[int, ...] | None:
    """The strides of a tensor that has an axis of size 1."""
    return array_of(operand).strides if isinstance(operand, Tensor) and 1 in array_of(operand).shape else None


def new_tensors(returned: list[Tensor], operands: tuple[Any, ...], *, or_all: bool) -> list[Tensor]:
    """The different tensors of a call's result without its operands; `or_all` of it where these are all there is."""
    given = {*map(id, operands)}
    found = [*{id(x): x for x in returned if id(x) not in given}.values()]
    return found if found or not or_all else returned


def reads_by_stride(seen: Seen) -> bool:
    """Whether a call takes views whose places count from the beginning of an operand's memory."""
    return any(step.op.name == "as_strided" for step in seen.steps)


def is_servable(watched: Watched) -> bool:
    """Whether the native entry can make the call's results: new tensors, each another one."""
    results = watched.results
    if not watched.steps or len({id(result._array) for result in results}) < len(results):
        return False
    return all(_is_new(r, watched) for r in results) and len({id(r._memory) for r in results}) == len(results)


def _made_large(result: Any, operands: Sequence[Any]) -> bool:
    """Whether a call makes a large tensor of numbers alone: NumPy does, which knows how to leave memory untouched."""
    if not isinstance(result, Tensor) or any(isinstance(x, Tensor) for x in operands):
        return False
    return result._array is not None and result._array.size > _MADE


def _is_new(result: Tensor, watched: Watched) -> bool:
    """Whether a tensor stands in memory that the call made, in order."""
    if result._dtype in UNSERVED or watched.position(result) is not None:
        return False
    if result._base is None:
        return True
    shared = any(isinstance(x, Tensor) and x._memory is result._memory for x in watched.operands)
    return not shared and is_plain(array_of(result))


def _written(watched: Watched, wanted: list[Operand]) -> np.ndarray | None:
    """What is written beside the result, as words."""
    words = [len(watched.written)]
    for each in watched.written:
        place, array = watched.position(each.target), array_of(each.target)
        if place is None:
            watched.kept += [each.target, array]
            words += [k.FIXED_PLACE, id(each.target._memory), id(array), array.nbytes, each.times]
        else:
            words += [place, 0, 0, evaluate(wanted[place].nbytes, {}), each.times]
    return words_of([*words, 0]) if watched.written else None


def call_guards(watched: Watched) -> np.ndarray:
    """The dtype of new tensors is as it was; where numbers are drawn, no other thread draws now."""
    from adjit.native.guards import Guards

    guards = Guards()
    guards.word(word_at(id(dtypes._DEFAULT) + ITEMS), dtypes.default_float())
    if watched.keys:
        from adjit.generator import DRAWING

        guards.words += [DRAWING.held.buffer_info()[0], 0]
    watched.kept.append(guards.kept)
    return guards.block()
