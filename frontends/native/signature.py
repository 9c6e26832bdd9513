"""Signatures: blocks of words that describe one kind of call to the native entry."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import field
from functools import partial
from math import prod
from typing import Any

import numpy as np

from adjit.compiler.entry import known as k
from adjit.compiler.llvm.words import PLAIN_COUNTS
from adjit.heard_numbers import Heard
from adjit.ir.frozen import frozen, record
from adjit.ir.graph import Graph
from adjit.ir.shape import Size, evaluate
from adjit.ir.types import BF16, F16, F32, F64, I64, U16, DType, TensorType
from adjit.native.opening import Opening
from adjit.native.words import LINE, address, aligned, mixed_words, words_of
from adjit.runtime.executable import Executable, NativeCall
from adjit.runtime.results import RESULTS, is_large
from adjit.tensor import Tensor

# Work (elements, multiplications) from which a program runs without the GIL: some 20 microseconds.
RELEASED_WORK = 1 << 17
_NUMBERS = {F32: k.NUMBER_F32, F64: k.NUMBER_F64, I64: k.NUMBER_I64}
# Arrays of uint16 carry a mark that NumPy's type number does not say.
UNSERVED = (U16,)
# Programs of several operations on halves round them less often than one operation after another does.
UNSERVED_TOGETHER = (U16, BF16, F16)


@record
class Operand:
    """What a signature wants at one place of a call: its words are those that the native entry compares."""

    kind: int
    what: Size = 0
    storage: int = 0
    dims: tuple[Size, ...] = ()
    kept: Any = None
    requires_grad: int = 0
    leaf: int = 0
    nbytes: Size = 0
    gradient: int = 0
    in_order: bool = False
    strides: tuple[int, ...] | None = None


def operand_for(value: Any, *, fixed: bool) -> Operand:
    """What takes exactly the calls that have a `value` like this; of numbers any, unless `fixed`."""
    if isinstance(value, Tensor):
        array = value._array
        assert array is not None
        kept = (value._dtype, array.dtype)
        return Operand(k.IS_TENSOR, id(value._dtype), id(array.dtype), array.shape, kept, nbytes=array.nbytes)
    if isinstance(value, np.ndarray):
        return Operand(k.IS_ARRAY, 0, id(value.dtype), value.shape, value.dtype, nbytes=value.nbytes)
    if isinstance(value, Heard) and value.is_bounded and not fixed:
        return Operand(k.IS_FLOAT_WITHIN, _order(value.low), _order(value.high))
    if isinstance(value, float):
        bits = int(np.float64(value).view(np.uint64))
        return Operand(k.IS_FIXED_FLOAT, bits) if fixed else Operand(k.IS_FLOAT)
    if type(value) is int and -(2**62) < value < 2**62:
        return Operand(k.IS_FIXED_INTEGER, value % 2**64) if fixed else Operand(k.IS_INTEGER)
    return Operand(k.IS_OBJECT, id(value), kept=value)


def _order(bound: float) -> int:
    """The word of a float as the native entry compares them."""
    bits = int(np.float64(bound).view(np.int64))
    return (bits if bits >= 0 else bits ^ (2**63 - 1)) % 2**64


@frozen
class Copy:
    """An array to be copied: the operand that it is, or FIXED_PLACE and its address."""

    operand: int
    address: int
    shape: tuple[int, ...]
    storage: np.dtype[Any]

    @property
    def nbytes(self) -> int:
        """The array's size."""
        return prod(self.shape) * self.storage.itemsize


# Where no program runs.
_NO_CALL = NativeCall(0, 0, b"", 0, 0, ())


@record
class Signature:
    """A signature under construction; `kept` is all that its words point to."""

    operands: list[Operand]
    needs: int
    executable: Executable | None  # None for views, and for what Python serves
    plan: Sequence[int] = ()  # of what a call returns
    inputs: Sequence[tuple[int, int]] = ()
    shapes: tuple[tuple[int, ...], ...] = ()
    results: Sequence[TensorType] = ()
    work: int = 0
    recorded: np.ndarray | None = None
    guards: np.ndarray | None = None
    apart: np.ndarray | None = None
    names: tuple[str, ...] | None = None
    structure: Sequence[int] | None = None
    tensors: int | None = None  # how many of the results become tensors; None for all
    bare: Collection[int] = ()  # those of which only numbers are read
    writes: int = 0
    written: np.ndarray | None = None
    gradients: np.ndarray | None = None
    copies: Sequence[Copy] = ()  # of what the backward pass takes as it was before the call
    views: Sequence[np.ndarray] = ()
    by_python: bool = False
    is_product: bool = False  # of one product, which reads operands where they stand
    owner: Any = None  # whose `calls` are counted
    nbytes: int = 0  # of the memory that it holds
    opening: Opening | None = None  # of one for all sizes
    kept: list[Any] = field(default_factory=list)

    def words(self) -> np.ndarray | None:
        """The block; None for a program that cannot be called so."""
        call = self._call()
        if call is None:
            return None
        self.nbytes = call.arena + call.workspace
        long = call.entries > k.SHORT_TABLE
        own = self.opening is None and bool(call.arena or call.workspace or long)
        arena, workspace = (self._aligned(size) for size in (call.arena, call.workspace))
        sizes = np.array(np.frombuffer(call.sizes + bytes(8), np.uint64))
        head = np.zeros(k.OPERAND_LIST, np.uint64)
        head[k.OPERANDS], head[k.NEEDS] = len(self.operands), self.needs
        head[k.MAIN], head[k.SIZES] = call.main, address(sizes)
        head[k.WORKSPACE], head[k.ARENA] = workspace, arena
        head[k.FLAGS] = k.RELEASE * (self.work >= RELEASED_WORK) + k.OWN_MEMORY * own + k.BY_PYTHON * self.by_python
        head[k.LONG_TABLE] = self._list([0] * call.entries) if long else 0
        head[k.INPUTS], head[k.INPUT_LIST] = len(self.inputs), self._list(w for pair in self.inputs for w in pair)
        new = 0 if self.writes == k.STRAIGHT else len(self.results)
        storages = [*(storage for _, storage in call.results), *(copy.storage for copy in self.copies)]
        head[k.RESULTS], head[k.RESULT_LIST] = new, self._list(self._result_words(storages))
        spans = [word for copy in self.copies for word in (copy.operand, copy.address, copy.nbytes)]
        head[k.VIEWS] = self._list([len(self.views), *map(address, self.views)]) if self.views else 0
        head[k.COPIES] = self._list([len(self.copies), *spans]) if self.copies else 0
        head[k.WRITES] = self.writes
        head[k.WRITTEN] = 0 if self.written is None else address(self.written)
        head[k.GRADIENTS] = 0 if self.gradients is None else address(self.gradients)
        head[k.OUTPUTS] = self._list(self.plan)
        head[k.RECORDING] = 0 if self.recorded is None else address(self.recorded)
        head[k.GUARDS] = 0 if self.guards is None else address(self.guards)
        head[k.APART] = 0 if self.apart is None else address(self.apart)
        head[k.NAMES] = 0 if self.names is None else id(self.names)
        if self.structure is not None:
            head[k.NAMES] = mixed_words(self.structure)
            head[k.STRUCTURE] = self._list([len(self.structure), *self.structure])
        head[k.TENSORS] = len(self.results) if self.tensors is None else self.tensors
        tail: list[Any] = []
        for operand in self.operands:
            dims = self._list(operand.dims)
            tail += [operand.kind, operand.what, operand.storage, len(operand.dims), dims]
            order = k.IN_ORDER * operand.in_order if operand.strides is None else self._list(operand.strides)
            tail += [operand.requires_grad, operand.leaf, operand.nbytes, operand.gradient, order]
        self.kept += [self.executable, sizes, self.operands, self.results, self.recorded, self.guards, self.apart]
        self.kept += [self.names, self.written, self.gradients, self.copies, self.views]
        if self.opening is None:
            words = np.concatenate([head, np.array(tail, np.uint64)])
        else:
            words = self.opening.block([*head.tolist(), *tail])
            words[k.OPENING] = address(self.opening.finish(words, sizes, call))
        if self.executable is not None:
            self.executable.keep_address(words, k.MAIN, k.CALLS)
        return words

    def _call(self) -> NativeCall | None:
        if self.executable is None:
            return _NO_CALL
        if self.opening is None:
            return self.executable.native_call(self.shapes)
        return self.executable.call_for(self.opening.program_sizes())

    def _list(self, words: Any) -> int:
        if self.opening is not None:
            return address(self.opening.block([*words] or [0]))
        block = words_of([int(w) for w in words] or [0])
        self.kept.append(block)
        return address(block)

    def _aligned(self, size: int) -> int:
        memory = np.empty(size + LINE, np.uint8)
        self.kept.append(memory)
        return aligned(memory)

    def _result_words(self, storages: Sequence[np.dtype[Any]]) -> list[Any]:
        words: list[Any] = []
        for number, (type, storage) in enumerate(zip(self.results, storages, strict=True)):
            if self.opening is not None:
                words += self.opening.result_words(type, storage)
            else:
                words += result_words(type, storage, self.kept)  # an operation's kernel sees its result flat
            if number in self.bare:
                words[-1] = 0
                if not type.dims and PLAIN_COUNTS:
                    self.kept.append(np.zeros((), storage))
                    words[-3:-1] = k.STANDING, id(self.kept[-1])
        return words


def result_words(type: TensorType, storage: np.dtype[Any], kept: list[Any]) -> list[int]:
    """What a new array for a result is made from; what the words point to joins `kept`."""
    shape: Any = type.dims
    made: Any
    if is_large(shape, storage):  # its memory is used again
        made = partial(RESULTS.array, shape, storage)
        words = [id(type.dtype), storage.num, k.POOLED, id(made), id(type)]
    else:
        made = np.array(shape or (0,), np.int64)
        words = [id(type.dtype), storage.num, len(shape), address(made), id(type)]
    kept += [type, made]
    return words


def number_input(dtype: DType, position: int) -> tuple[int, int] | None:
    """The input that a number at `position` gives a program; None for a dtype that Python converts to."""
    kind = _NUMBERS.get(dtype)
    return None if kind is None else (kind, position)


def is_readable(value: Any) -> bool:
    """Whether the native entry may take an operand's data: where it stands, or a copy in order."""
    if not isinstance(value, Tensor):
        return True
    return value._array is not None and value._array.dtype == value._dtype.storage


def is_plain(array: np.ndarray) -> bool:
    """Whether a program may read an array where it stands."""
    return bool(array.flags.c_contiguous and array.flags.aligned)


def lies_as_new(array: np.ndarray) -> bool:
    """Whether an array has the strides of a new one, which axes of size 1 need not have to be in order."""
    if not is_plain(array):
        return False
    step = array.itemsize
    for extent, stride in zip(reversed(array.shape), reversed(array.strides), strict=True):
        if stride != step and array.size:
            return False
        step *= extent
    return True


def work_of(graph: Graph, sizes: dict[str, int]) -> int:
    """A measure of a program's work: elements computed, and multiplications of contractions."""
    total = 0
    for node in graph.walk():
        if node.regions:
            return 1 << 40  # a loop: as long as it pleases
        for value in (*node.outputs, *node.inputs):
            total += prod(evaluate(dim, sizes) for dim in value.dims)
        if node.op.name in ("dot", "conv", "call", "host_call"):
            total += 64 * max(prod(evaluate(dim, sizes) for dim in value.dims) for value in node.inputs)
    return total
