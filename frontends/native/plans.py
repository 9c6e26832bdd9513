"""Plans of backward passes: a pass that came back several times becomes programs, most often one.

The native entry compares each tape with the plans and runs the one that it follows.  They are compiled beside the
program (`compile_later`), whose passes go node by node until then: the bits are the same.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from threading import Lock
from typing import Any
from weakref import ref

import numpy as np

from adjit.autograd.engine import saves_number
from adjit.autograd.tape import Recorded
from adjit.compiler.entry import known as k
from adjit.ir.errors import CompileError
from adjit.ir.graph import Node, Value
from adjit.ir.types import TensorType
from adjit.native.entry import Entry
from adjit.native.signature import Signature, result_words, work_of
from adjit.native.tapes import Cotangent, Part, Tape, array_for, record_of, saved_types, whole_tape
from adjit.native.words import address

# A tape becomes a plan when it came this often, and once more for every few of its nodes: a larger one takes longer to
# compile.
_NODES_PER_TIME = 8
# So many plans there are at a time: a pass compares its tape with each that begins alike.
_MOST_PLANS, _MOST_TARGETS = 256, 60


class Plans:
    """The plans of this process, and how often tapes came that have none."""

    def __init__(self, entry: Entry) -> None:
        self._entry = entry
        self._seen: dict[Any, int] = {}
        self._lock = Lock()
        self._plans: list[tuple[_Plan, np.ndarray]] = []
        self._leaving: list[tuple[_Plan, np.ndarray]] = []
        self._passes = np.zeros(k.PASSES_WORDS + 1, np.uint64)  # that came natively without a plan
        entry.known[k.PASSES] = address(self._passes)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._renew)

    def _renew(self) -> None:
        """Free the plans that were being gone by in threads which a forked child does not have, and forget the counts.

        A plan that such a thread was to make is due once more.
        """
        self._lock = Lock()
        self._forget_counts()
        for _, block in self._plans:
            block[k.P_BUSY] = 0

    def watch(self, order: list[Node], root: Value, targets: Sequence[Value] | None, seeded: bool) -> None:
        """Note a pass that was run node by node; its graph may have been freed."""
        due, self._passes[k.PLAN_DUE] = self._passes[k.PLAN_DUE], 0
        if not 0 < len(order) <= k.MOST_PLANNED:
            return
        where = None
        if targets is not None:  # the tape is compared as a whole: what leads to no target now might lead to one later
            order = whole_tape(root)
            if len(order) > k.MOST_PLANNED or len(targets) > _MOST_TARGETS:
                return
        tape = Tape(order, root, targets, seeded=seeded)
        if targets is not None:
            where = tuple(tape.leaves.get(target) for target in targets)
            if None in where:
                return
        kinds = (part for node in order if isinstance(node.attached, Recorded) for part in _kind(node))
        key = (root.type, seeded, where, len(tape.leaves), *kinds)
        if len(self._seen) > 1024:
            self._seen.clear()
        self._seen[key] = count = self._seen.get(key, 0) + 1
        if (due or count == k.MANY_PASSES + len(order) // _NODES_PER_TIME) and tape.is_plain():
            from adjit.compiler.later import compile_later

            compile_later(partial(self._add, tape))

    def _add(self, tape: Tape) -> None:
        plan = _Plan()
        try:
            block = plan.block(tape)
        except CompileError:  # what the native backend cannot do is done node by node
            return
        if block is not None:
            with self._lock:
                before = self._make_room() if len(self._plans) >= _MOST_PLANS else []
                self._link([*self._plans, (plan, block)])
                # Passes that began to go by one of them while room was made.
                self._leaving = [each for each in (*self._leaving, *before) if each[1][k.P_BUSY]]

    def _link(self, plans: list[tuple[_Plan, np.ndarray]]) -> None:
        """Let the native entry know of these plans, the last one first."""
        following = 0
        for _, block in plans:
            block[k.P_NEXT] = following
            following = address(block)
        self._entry.known[k.PLANS] = following
        self._plans = plans

    def _make_room(self) -> list[tuple[_Plan, np.ndarray]]:
        """Forget the half of the plans that passes went by least often of late, but none that a pass is going by.

        The plans of before are returned: they live until the native entry knows of no other than the ones that stay.
        """
        before = self._plans
        fewest = sorted(int(block[k.P_CALLS]) for _, block in before)[len(before) // 2]
        self._plans = []
        for plan, block in before:
            if block[k.P_BUSY] or (block[k.P_CALLS] > fewest and not block[k.P_GONE]):
                self._plans.append((plan, block))
                block[k.P_CALLS] //= 2
        self._forget_counts()
        return before

    def _forget_counts(self) -> None:
        self._seen.clear()
        self._passes[:] = 0


def _kind(node: Node) -> tuple[Any, ...]:
    """What tells the nodes of passes apart."""
    entry = record_of(node)
    if entry.custom is None:
        return (id(entry.pullback),)
    return (id(entry.pullback), id(entry.custom), *(value.type for value in node.inputs))


class _Plan:
    """A plan under construction; `kept` is all that its words point to."""

    def __init__(self) -> None:
        self.kept: list[Any] = []
        self.references: list[Any] = []

    def block(self, tape: Tape) -> np.ndarray | None:
        """The block that the native entry reads; None for a tape that only Python goes back through."""
        made = tape.parts()
        if made is None:
            return None
        parts, gradients = made
        seed = np.ones(1, tape.root.dtype.storage)
        self.kept.append(seed)
        saved = [type for node in tape.order for type in saved_types(node)]
        programs = self._programs(parts, gradients, len(saved) if tape.seeded else seed)
        if programs is None:
            return None
        block = np.zeros(k.PLAN_WORDS, np.uint64)
        block[k.P_PROGRAMS] = self._list([len(parts), *programs])
        block[k.P_ROOT] = self._list(self._array_words([tape.root.type]))
        arrays = len(saved) + tape.seeded
        block[k.P_NODES], block[k.P_LEAVES], block[k.P_SAVED] = len(tape.order), len(tape.leaves), arrays
        block[k.P_MADE], block[k.P_SEEDED] = len(gradients), tape.seeded
        block[k.P_TARGET_COUNT] = k.EVERY_LEAF % 2**64 if tape.targets is None else len(tape.targets)
        wanted = tape.wanted()
        places = [word for value in tape.targets or () for word in (tape.leaves[value], wanted.index(value))]
        block[k.P_TARGETS] = self._list(places)
        block[k.P_STEPS] = self._list([word for node in tape.order for word in self._step(tape, node)])
        new = [w for c in gradients for w in result_words(c.type, c.type.dtype.storage, self.kept)]
        block[k.P_RESULT_LIST] = self._list(new)
        for place, size in (
            (k.P_NODE_ROOM, len(tape.order)), (k.P_LEAF_ROOM, len(tape.leaves)), (k.P_ARRAY_ROOM, arrays),
            (k.P_RESULT_ROOM, len(gradients)),
        ):  # fmt: skip
            block[place] = self._list([0] * size)
        for node in tape.order:
            self._hold(node, block)
        return block

    def _hold(self, node: Node, block: np.ndarray) -> None:
        """Keep a node's pullback; a compiled function's goes with the function, and the plan is not followed then."""
        entry = record_of(node)
        self.kept.append(entry.pullback)
        if entry.custom is not None:

            def close(_: Any) -> None:
                block[k.P_GONE] = 1

            self.references.append(ref(entry.custom, close))

    def _programs(self, parts: list[Part], gradients: list[Cotangent], seed: np.ndarray | int) -> list[int] | None:
        """The words of the programs; None for one that cannot be called natively.

        The seed is an array, or stands among the saved ones.
        """
        numbers = {cotangent: number for number, cotangent in enumerate(gradients)}
        between = {c: array_for(c.type) for part in parts for c in part.results if c not in numbers}
        self.kept.append(between)
        words: list[int] = []
        for part in parts:
            executable = part.compiled()
            shapes: Any = tuple(type.dims for type in part.types)
            native = executable.native_call(shapes)
            types = [cotangent.type for cotangent in part.results]
            signature = Signature([], 0, executable, [], [], shapes, types, work_of(part.graph, {}))
            own = signature.words()
            if native is None or own is None:
                return None
            table = np.zeros(native.entries, np.uint64)
            fills: list[int] = []
            for place, item in enumerate((*part.inputs, *part.results), 3):
                if isinstance(item, int):
                    fills += [place, k.A_SAVED, item]
                elif item.part is None and isinstance(seed, int):
                    fills += [place, k.A_SAVED, seed]
                elif item in numbers:
                    fills += [place, k.A_GRADIENT, numbers[item]]
                else:
                    held = seed if item.part is None else between[item]
                    assert isinstance(held, np.ndarray)
                    table[place] = address(held)
            words += [address(own), address(table), self._list([len(fills) // k.FILL_WORDS, *fills])]
            self.kept += [signature, own, table]
        return words

    def _step(self, tape: Tape, node: Node) -> list[int]:
        entry = record_of(node)
        operands: list[int] = []
        for index, value in enumerate(node.inputs):
            if index not in entry.reached:
                operands += [k.NOT_REACHED, 0, 0]
            elif value.node is None:
                operands += [k.TO_LEAF, tape.leaves[value], 0]
            else:
                operands += [k.TO_NODE, tape.numbers[value.node], value.index]
        types = saved_types(node)
        return [
            id(entry.pullback), len(node.outputs), len(node.inputs), self._list(operands), len(types),
            self._list(self._array_words(types)), int(node in tape.useful and (bool(types) or saves_number(node))),
            id(entry.custom),
        ]  # fmt: skip

    def _array_words(self, types: list[TensorType]) -> list[int]:
        """What arrays of these types look like, as operands of a signature do."""
        words: list[int] = []
        for type in types:
            self.kept.append(type.dtype.storage)
            own = [k.IS_ARRAY, 0, id(type.dtype.storage), len(type.dims), self._list(type.dims)]
            words += own + [0] * (k.OPERAND_WORDS - len(own))
        return words

    def _list(self, words: Any) -> int:
        block = np.array([int(word) for word in words] or [0], np.uint64)
        self.kept.append(block)
        return address(block)
