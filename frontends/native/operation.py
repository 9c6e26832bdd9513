"""Eager operations served natively: what a Python function does is watched once, then done without it.

The first calls of a kind run the Python function as ever.  If it came down to one primitive on the call's own operands,
that primitive's kernel, and the node that was recorded, become a signature; calls of the same kind then need no Python.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from adjit import dispatch
from adjit.compiler.entry import known as k
from adjit.compiler.single import program_of
from adjit.ir.primitive import Primitive
from adjit.ir.types import BF16, F16
from adjit.native.entry import Entry, address
from adjit.native.signature import Signature, is_plain, number_input, operand_for, record_words
from adjit.state import STATE
from adjit.tensor import Tensor

# The most signatures of one operation; calls of further kinds stay with Python.
_LIMIT = 512


class _Unwatchable(BaseException):
    """The function did what only Python can."""


class _Watcher:
    """Stands where a trace would, and lets operations run as they are, noting them."""

    __slots__ = ("applied",)

    def __init__(self) -> None:
        self.applied: list[tuple[Primitive, tuple[Any, ...], dict[str, Any], Any]] = []

    def apply(self, op: Primitive, operands: Any, attributes: dict[str, Any], name: str, regions: Any) -> Any:
        STATE.tracer = None
        try:
            result = dispatch.apply(op, operands, attributes, name=name, regions=regions)
        finally:
            STATE.tracer = self  # type: ignore[assignment]
        if regions:
            raise _Unwatchable
        self.applied.append((op, tuple(operands), attributes, result))
        return result

    def __getattr__(self, name: str) -> Any:
        raise _Unwatchable


class Operation:
    """One function over tensors with its signatures.

    `free` says that a number among the operands is only ever an operand of the primitive, whatever its value.
    """

    def __init__(self, entry: Entry, function: Callable[..., Any], *, free: bool = False) -> None:
        self.function = function
        self.free = free
        self._signatures: list[Any] = []
        self._seen: dict[Any, int] = {}
        self._miss = self.miss  # one object, which the table may point to
        self.table = entry.new_table(function, self._miss, fixed=not free)

    def miss(self, *operands: Any) -> Any:
        """The result of a call that no signature fits, watched if calls of its kind came before."""
        key = _kind(operands, free=self.free)
        if key is None or len(self._signatures) >= _LIMIT:
            return self.function(*operands)
        if key not in self._seen:
            if len(self._seen) >= 4 * _LIMIT:
                self._seen.clear()
            self._seen[key] = 0
            return self.function(*operands)
        self._seen[key] += 1
        if self._seen[key] == 1:
            self._watch(operands)
        return self.function(*operands)

    def _watch(self, operands: tuple[Any, ...]) -> None:
        """See what the function does with operands like these, and learn it."""
        examples = tuple(_example(x) for x in operands)
        if sum(not isinstance(x, Tensor) for x in examples) > 1:
            return  # which of the numbers went where cannot be seen
        watcher = _Watcher()
        STATE.tracer = watcher  # type: ignore[assignment]
        try:
            result = self.function(*examples)
        except (_Unwatchable, ArithmeticError, AssertionError, LookupError, RuntimeError, TypeError, ValueError):
            return  # the call itself says what is wrong
        finally:
            STATE.tracer = None
        if len(watcher.applied) == 1 and watcher.applied[0][3] is result:
            self._learn(examples, *watcher.applied[0])

    def _learn(
        self, operands: tuple[Any, ...], op: Primitive, parts: tuple[Any, ...], attributes: dict[str, Any], result: Any
    ) -> None:
        """Make the signature of calls like this one."""
        needs = sum((isinstance(x, Tensor) and x.requires_grad) << i for i, x in enumerate(operands))
        needs = needs if STATE.recording else 0
        kept: list[Any] = []
        recorded = None
        if result.requires_grad:
            recorded = record_words(result._value.node, operands, kept)
            if recorded is None:
                return
        found = _inputs(op, operands, parts, result, kept)
        if found is None:
            return
        inputs, arrays = found
        executable, shapes = program_of(op, arrays, attributes)
        fixed = not self.free or bool(needs)
        wanted = [operand_for(x, fixed=fixed) for x in operands]
        work = max(prod(result._array.shape), *(array.size for array in arrays)) * (32 if op.name == "dot" else 1)
        type = result._tensor_type
        signature = Signature(
            wanted, needs, executable, inputs, (k.A_RESULT, 0), shapes, [type], work, recorded, kept=kept
        )
        words = signature.words()
        if words is not None:
            put_into(self.table, words, operands, needs, fixed=fixed)
            self._signatures.append((signature, words))


def _example(operand: Any) -> Any:
    """A leaf tensor of an operand's type, each its own; a number as it is."""
    if not isinstance(operand, Tensor):
        return operand
    assert operand._array is not None
    example = Tensor._wrap(np.ones(operand._array.shape, operand._array.dtype), operand._dtype)
    example._requires_grad = operand.requires_grad
    return example


def _kind(operands: tuple[Any, ...], *, free: bool) -> Any:
    """What operands have in common with those of calls of the same kind; None where the native entry takes none."""
    recording = STATE.recording and any(isinstance(x, Tensor) and x.requires_grad for x in operands)
    parts: list[Any] = [STATE.recording]
    for x in operands:
        if type(x) in (float, int):
            parts.append(type(x) if free and not recording else (type(x), x))
        elif isinstance(x, Tensor) and x._array is not None and x._dtype not in (BF16, F16) and is_plain(x):
            parts.append((x._dtype, x._array.shape, x.requires_grad))
        else:
            return None
    return tuple(parts)


def _inputs(
    op: Primitive, operands: tuple[Any, ...], parts: tuple[Any, ...], result: Any, kept: list[Any]
) -> tuple[list[tuple[int, int]], list[np.ndarray]] | None:
    """Where the kernel's inputs come from, and arrays like them; None where one is no operand of the call."""
    dtypes = [part._dtype for part in parts if isinstance(part, Tensor)]
    if not isinstance(result, Tensor) or result._base is not None or result._dtype in (BF16, F16):
        return None
    inputs: list[tuple[int, int]] = []
    arrays: list[np.ndarray] = []
    for part in parts:
        position = next((i for i, x in enumerate(operands) if x is part), None)
        if isinstance(part, Tensor):
            if position is None or part._array is None:
                return None
            inputs.append((k.FROM_OPERAND, position))
            arrays.append(part._array)
            continue
        number = np.asarray(part, dtypes[0].storage)
        source = None if position is None else number_input(dtypes[0], position)
        if position is not None and source is None:
            return None
        if source is None:  # a number that the function itself put there
            kept.append(number)
            source = (k.FROM_ADDRESS, address(number))
        inputs.append(source)
        arrays.append(number)
    return inputs, arrays


def put_into(table: np.ndarray, words: np.ndarray, operands: tuple[Any, ...], needs: int, *, fixed: bool) -> None:
    """Put a signature where the native entry looks for calls with these operands."""
    place = k.BUCKETS + _bucket(operands, needs, fixed=fixed)
    words[k.NEXT] = table[place]
    table[place] = address(words)


def _bucket(operands: tuple[Any, ...], needs: int, *, fixed: bool) -> int:
    """As the native entry computes it."""
    from adjit.native.entry import _mixed

    code = (needs + len(operands) * 64) % 2**64
    for x in operands:
        array = x._array if isinstance(x, Tensor) else x
        if isinstance(array, np.ndarray):
            code = _mixed(code, id(array.dtype) >> 4)
            for extent in array.shape:
                code = _mixed(code, extent)
        elif fixed and type(x) is float:
            code = _mixed(code, int(np.float64(x).view(np.uint64)))
    return code % k.BUCKET_COUNT
