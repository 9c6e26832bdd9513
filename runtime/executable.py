"""`Executable`: a compiled program that runs on NumPy arrays.

A call takes its inputs where they stand; one that is not contiguous or not aligned is copied first, and copied back if
the program writes it.  The GIL is released while native code runs; any number of threads may call at once.
"""

from __future__ import annotations

import ctypes
import functools
import struct
import threading
from collections.abc import Sequence
from math import prod
from time import perf_counter
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from adjit.ir.errors import DTypeError, ShapeError
from adjit.ir.frozen import frozen
from adjit.ir.graph import Graph
from adjit.ir.shape import Size, evaluate
from adjit.ir.types import TensorType, dtype_of_storage
from adjit.runtime.faults import FIRST_CHECK, Fault, raise_fault
from adjit.runtime.host import call_host
from adjit.runtime.interpreter import bind_sizes
from adjit.runtime.layout import address_of
from adjit.runtime.results import RESULTS

if TYPE_CHECKING:
    from adjit.runtime.improving import Better, Improvement, Later

Array: TypeAlias = NDArray[Any]
Shapes: TypeAlias = "tuple[tuple[int, ...], ...]"

_LINE = 64
# Plans of as many different sets of shapes are kept, and so many types of arrays.
_PLANS = 256


@frozen
class HostOperation:
    """A call back into Python: the function's name, and table entries and types of its operands and results."""

    function: str
    operands: tuple[tuple[int, TensorType], ...]
    results: tuple[tuple[int, TensorType], ...]


@frozen
class Layout:
    """What native code expects: `sizes` in the order of its size table, and the entries of its address table.

    The first entries are the status word, the workspace and the arena; `arena` and each of `workspaces` are bytes.
    `parallel` says that the code calls the thread pool; `checks` are functions of the host that raise an error where
    native code found one to be raised.  `outside` names what it uses of this process: tables
    (runtime/fourier.py) and functions (runtime/lapack.py).
    """

    sizes: tuple[str, ...]
    entries: int
    inputs: tuple[int, ...]
    results: tuple[int, ...]
    arena: Size
    workspaces: tuple[Size, ...]
    parallel: bool = False
    host_calls: tuple[HostOperation, ...] = ()
    checks: tuple[HostOperation, ...] = ()
    outside: tuple[str, ...] = ()


@frozen
class _Plan:
    """A call's numbers, for given shapes: values of the sizes, shapes of the results, bytes of memory."""

    sizes: dict[str, int]
    packed: bytes
    results: tuple[tuple[tuple[int, ...], np.dtype[Any]] | None, ...]
    arena: int
    workspace: int


class _Frame:
    """The memory of one running call: the table of addresses, the sizes, the status word, arena and workspace."""

    __slots__ = ("_arena", "_workspace", "arena", "place", "plan", "status", "table", "words", "workspace")

    def __init__(self, entries: int, sizes: int) -> None:
        self.words = (ctypes.c_uint64 * (entries + sizes + 1))()
        start = ctypes.addressof(self.words)
        self.table = (start, start + 8 * entries)
        self.place = start + 8 * (entries + sizes)
        self.status = ctypes.c_int64.from_buffer(self.words, 8 * (entries + sizes))
        self.plan: _Plan | None = None
        self._arena = self._workspace = np.empty(0, np.uint8)
        self.arena = self.workspace = 0

    def prepare(self, plan: _Plan) -> None:
        """Set the sizes, and make arena and workspace at least as large as the plan wants."""
        if plan.arena + _LINE > self._arena.size:
            self._arena = np.empty(plan.arena + _LINE, np.uint8)
            self.arena = -(-address_of(self._arena) // _LINE) * _LINE
        if plan.workspace + _LINE > self._workspace.size:
            self._workspace = np.empty(plan.workspace + _LINE, np.uint8)
            self.workspace = -(-address_of(self._workspace) // _LINE) * _LINE
        ctypes.memmove(self.table[1], plan.packed, len(plan.packed))
        self.plan = plan


@frozen
class NativeCall:
    """What it takes to call a program's main function oneself, for given shapes.

    `main` is its address, `entries` the length of its table, `sizes` its size table, `arena` and `workspace` the bytes
    of memory it wants; `results` are shapes and dtypes of the new arrays that follow the inputs in its table.
    """

    main: int
    entries: int
    sizes: bytes
    arena: int
    workspace: int
    results: tuple[tuple[tuple[int, ...], np.dtype[Any]], ...]


_NATIVE = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)


class Executable:
    """A compiled program.  `library` is whatever keeps its code loaded; `entry` the address of its main function.

    Code that was made quickly has `better`, which the call that comes `after` so many begins to make, by way of `later`
    (None: at once).  Calls run the quick code until it is there.
    """

    __slots__ = (
        "__weakref__", "_address", "_better", "_entry", "_frames", "_fresh", "_plans", "_quick", "_readers", "_store",
        "_written", "graph", "layout", "library",
    )  # fmt: skip

    def __init__(
        self,
        graph: Graph,
        library: object,
        entry: int,
        layout: Layout,
        better: Better | None = None,
        later: Later | None = None,
        after: int = 1,
    ) -> None:
        self.graph = graph
        self.library = library
        self.layout = layout
        self._address = entry
        self._entry = _NATIVE(entry)
        self._better = None if better is None else _improvement(better, later, after)
        self._quick: object = None
        self._readers = tuple(value.type.dtype.storage for value in graph.inputs)
        targets = {output: source for source, output in graph.writes}
        self._written = tuple(dict.fromkeys(source for source, _ in graph.writes))
        # A result that is written to an input is that input; the others stand in new arrays.
        self._fresh = tuple(targets.get(index) for index in range(len(graph.outputs)))
        self._store = struct.Struct(f"={3 + len(layout.inputs) + self._fresh.count(None)}Q").pack_into
        fresh = [slot for slot, source in zip(layout.results, self._fresh, strict=True) if source is None]
        expected = range(3, 3 + len(layout.inputs) + len(fresh))
        if [*layout.inputs, *fresh] != list(expected):
            raise ValueError("table entries of inputs and results must follow each other")
        self._frames: list[_Frame] = []
        self._plans: dict[Shapes, _Plan] = {}

    def __repr__(self) -> str:
        return f"<Executable @{self.graph.name}>"

    def run(
        self,
        inputs: Sequence[Array],
        outputs: Sequence[Array | None] | None = None,
        sizes: dict[str, int] | None = None,
    ) -> list[Array]:
        """The program's results; a result that the program writes to an input is that input's array.

        `outputs` may give arrays to put results into; `sizes` are those of a program whose inputs do not tell all.
        Errors: DTypeError, ShapeError for arrays that do not fit; ValueError for a written input that is read-only or
        overlaps another written one; what the program's faults say (see runtime/faults.py): inputs are unchanged then.
        """
        if len(inputs) != len(self._readers):
            raise ShapeError(f"@{self.graph.name} takes {len(self._readers)} inputs, not {len(inputs)}")
        operands: list[Array] = []
        shapes: list[tuple[int, ...]] = []
        for array, storage in zip(inputs, self._readers, strict=True):
            if not isinstance(array, np.ndarray):
                raise TypeError(f"@{self.graph.name} takes NumPy arrays, not {type(array).__name__}")
            if array.dtype is not storage and array.dtype != storage:
                raise self._wrong_dtype(len(operands), array)
            flags = array.flags
            if not (flags.c_contiguous and flags.aligned):
                array = np.array(array, storage, order="C", copy=True)
            operands.append(array)
            shapes.append(array.shape)
        key = tuple(shapes)
        plan = (self._plans.get(key) or self._plan(key)) if sizes is None else self._planned(sizes)
        addresses = [address_of(array) for array in operands]
        if outputs is None and not self._written:
            results = [RESULTS.array(*new) for new in plan.results if new is not None]
            self._call(plan, addresses + [address_of(result) for result in results])
            return results
        if self._written:
            self._protect(inputs, operands, addresses)
        results, placed = self._results(plan, operands, outputs)
        self._call(plan, addresses + placed)
        for number in self._written:
            if operands[number] is not inputs[number]:
                inputs[number][...] = operands[number]
        if outputs is not None:
            return _delivered(results, outputs)
        return [inputs[s] if s is not None else r for s, r in zip(self._fresh, results, strict=True)]

    def native_call(self, shapes: Shapes) -> NativeCall | None:
        """How to call the program on inputs of these shapes.

        None if it calls back into Python.  The caller sees to it that inputs which the program writes can be written,
        and overlap no others.  It has memory of its own, so what `run` kept for further calls is given back.  The
        address is that of the best code, unless that is made only after many calls: see `keep_address`.
        """
        if self.layout.host_calls:
            return None
        return self._native(self._plans.get(shapes) or self._plan(shapes))

    def call_for(self, sizes: dict[str, int]) -> NativeCall | None:
        """The same for these sizes."""
        return None if self.layout.host_calls else self._native(self._planned(sizes))

    def keep_address(self, words: Array, place: int, calls: int) -> None:
        """Keep the main function's address in a word, that of better code once there is some; another word counts the
        calls that go there.
        """
        if (better := self._better) is not None:
            better.keep_address(words, place, calls)
        while words[place] != self._address:  # which another thread may change
            words[place] = self._address
        if better is not None:
            better.begin_once_it_pays(self._take, is_open=bool(self.layout.sizes))

    def _native(self, plan: _Plan) -> NativeCall:
        if (better := self._better) is not None and not better.is_patient:
            self.improve()
        self._frames.clear()
        results = tuple(new for new in plan.results if new is not None)
        return NativeCall(self._address, self.layout.entries, plan.packed, plan.arena, plan.workspace, results)

    @property
    def is_quick(self) -> bool:
        """Whether the code was made quickly, and there is no better code yet."""
        return self._better is not None

    @property
    def is_improving(self) -> bool:
        """Whether better code is being made beside the program."""
        return (better := self._better) is not None and better.is_begun

    def improve(self) -> None:
        """Make the better code now, if there is any to be made."""
        if (better := self._better) is not None:
            better.finish(self._take)

    def _take(self, library: object, entry: int) -> None:
        self._quick = self.library  # another thread may be running it
        self.library, self._address, self._entry = library, entry, _NATIVE(entry)
        better, self._better = self._better, None
        if better is not None:
            better.hand_over(entry)

    def _call(self, plan: _Plan, addresses: Sequence[int]) -> None:
        if (better := self._better) is not None:
            better.note_call(self._take)
            start = perf_counter()
        try:  # another thread may take the last one between a look and a pop
            frame = self._frames.pop()
        except IndexError:
            frame = _Frame(self.layout.entries, len(self.layout.sizes))
        try:
            if frame.plan is not plan:
                frame.prepare(plan)
            self._store(frame.words, 0, frame.place, frame.workspace, frame.arena, *addresses)
            frame.status.value = 0
            if self.layout.host_calls:
                self._enter(frame, plan)
            else:
                self._entry(*frame.table)
            flags = frame.status.value
            if flags & Fault.CHECK:
                self._raise_check(frame, plan, flags >> FIRST_CHECK)
        finally:
            self._frames.append(frame)
            if better is not None:
                better.note_seconds(perf_counter() - start)
        if flags:
            raise_fault(flags)

    # -- arguments ----------------------------------------------------------------------------------------------------
    def _plan(self, shapes: Shapes) -> _Plan:
        """A new plan for these shapes."""
        if len(self._plans) >= _PLANS:
            self._plans.clear()
        plan = self._plans[shapes] = self._planned(bind_sizes(self.graph, shapes))
        return plan

    def _planned(self, sizes: dict[str, int]) -> _Plan:
        """A plan for these sizes."""
        layout = self.layout
        results = tuple(
            None
            if source is not None
            else (tuple(evaluate(dim, sizes) for dim in value.dims), value.type.dtype.storage)
            for source, value in zip(self._fresh, self.graph.outputs, strict=True)
        )
        packed = struct.pack(f"={len(layout.sizes)}q", *(sizes[name] for name in layout.sizes))
        arena = evaluate(layout.arena, sizes)
        workspace = max((evaluate(size, sizes) for size in layout.workspaces), default=0)
        return _Plan(sizes, packed, results, arena, workspace)

    def _wrong_dtype(self, number: int, array: Array) -> DTypeError:
        value = self.graph.inputs[number]
        found = dtype_of_storage(array.dtype) or array.dtype
        return DTypeError(f"@{self.graph.name}: {value.name or number} is {value.type}, and is given {found}")

    def _protect(self, inputs: Sequence[Array], operands: list[Array], addresses: list[int]) -> None:
        """Give inputs that overlap a written one memory of their own, so that none sees the writes."""
        for number in self._written:
            if not inputs[number].flags.writeable:
                name = self.graph.inputs[number].name or number
                raise ValueError(f"@{self.graph.name} writes {name}, which is read-only")
        written = set(self._written)
        spans = sorted((a, a + array.nbytes, n) for n, (a, array) in enumerate(zip(addresses, operands, strict=True)))
        end, last = -1, -1
        for start, stop, number in spans:
            if start < end and stop > start and (number in written or last in written):
                if number in written and last in written:
                    raise ValueError(f"@{self.graph.name} writes two inputs that overlap in memory")
                victim = last if number in written else number
                operands[victim] = operands[victim].copy()
                addresses[victim] = address_of(operands[victim])
                self._protect(inputs, operands, addresses)
                return
            if stop > end:
                end, last = stop, number

    def _results(
        self, plan: _Plan, operands: Sequence[Array], outputs: Sequence[Array | None] | None
    ) -> tuple[list[Array], list[int]]:
        """The arrays that results are computed in, and the addresses of those that are new."""
        results: list[Array] = []
        placed: list[int] = []
        for number, (new, source) in enumerate(zip(plan.results, self._fresh, strict=True)):
            if new is None:
                assert source is not None
                results.append(operands[source])
                continue
            given = outputs[number] if outputs is not None else None
            array = RESULTS.array(*new) if given is None or not self._serves(given, new, operands, results) else given
            results.append(array)
            placed.append(address_of(array))
        return results, placed

    def _serves(
        self,
        given: Array,
        new: tuple[tuple[int, ...], np.dtype[Any]],
        operands: Sequence[Array],
        others: Sequence[Array],
    ) -> bool:
        """Whether a result can be computed in the array given for it; if not it is copied there."""
        if given.shape != new[0] or given.dtype != new[1]:
            raise ShapeError(f"@{self.graph.name}: a result is {new[1]}{list(new[0])}, and is to be put into "
                             f"{given.dtype}{list(given.shape)}")  # fmt: skip
        if not given.flags.carray:
            return False
        return not any(np.may_share_memory(given, other) for other in (*operands, *others))

    def _raise_check(self, frame: _Frame, plan: _Plan, number: int) -> None:
        """Raise the error of a check that failed, which stopped the program: what it looked at is still in place."""
        check = self.layout.checks[number]
        call_host(check.function, *(_view(frame.table[0], slot, type, plan.sizes) for slot, type in check.operands))

    # -- calls back into Python ---------------------------------------------------------------------------------------
    def _enter(self, frame: _Frame, plan: _Plan) -> None:
        stack: list[_Active] = _active.__dict__.setdefault("stack", [])
        call = _Active(self.layout.host_calls, plan.sizes)
        stack.append(call)
        try:
            self._entry(*frame.table)
        finally:
            stack.pop()
        if call.error is not None:
            raise call.error


def _improvement(better: Better, later: Later | None, after: int) -> Improvement:
    from adjit.runtime.improving import Improvement  # which programs from the disk cache do not need

    return Improvement(better, later, after)


def _delivered(results: Sequence[Array], outputs: Sequence[Array | None]) -> list[Array]:
    final = []
    for result, given in zip(results, outputs, strict=True):
        if given is not None and given is not result:
            given[...] = result
        final.append(result if given is None else given)
    return final


# -- the host's side of a call -----------------------------------------------------------------------------------------
class _Active:
    """A call that may call back: what it may call, and the error that such a call raised."""

    __slots__ = ("calls", "error", "sizes")

    def __init__(self, calls: tuple[HostOperation, ...], sizes: dict[str, int]) -> None:
        self.calls = calls
        self.sizes = sizes
        self.error: BaseException | None = None


_active = threading.local()


def _answer(number: int, table: int, sizes: int) -> int:
    """Run a host function on the values in a call's table; 1 tells native code to stop."""
    call: _Active = _active.stack[-1]
    try:
        operation = call.calls[number]
        operands = [_view(table, slot, type, call.sizes) for slot, type in operation.operands]
        found = call_host(operation.function, *operands)
        for (slot, type), result in zip(operation.results, found, strict=True):
            target = _view(table, slot, type, call.sizes)
            if result.shape != target.shape or result.dtype != target.dtype:
                found_type = f"{result.dtype}{list(result.shape)}"
                raise ShapeError(f"host function {operation.function} gave {found_type} for {type}")
            target[...] = result
    except BaseException as error:  # raised again when native code has returned
        call.error = error
        return 1
    return 0


def _view(table: int, slot: int, type: TensorType, sizes: dict[str, int]) -> Array:
    """The array that a table entry points to."""
    address = ctypes.c_size_t.from_address(table + 8 * slot).value
    shape = tuple(dim if isinstance(dim, int) else evaluate(dim, sizes) for dim in type.dims)
    count, storage = prod(shape), type.dtype.storage
    if count == 0:
        return np.empty(shape, storage)
    return np.ndarray(shape, storage, _bytes_type(count * storage.itemsize).from_address(address))


@functools.lru_cache(_PLANS)
def _bytes_type(count: int) -> Any:
    """The type of as many bytes, which takes longer to make than to use."""
    return ctypes.c_uint8 * count


_trampolines: dict[str, Any] = {}


def host_call_address() -> int:
    """The address of `i64 adjit_host_call(i64 number, ptr buffers, ptr sizes)`."""
    if not _trampolines:
        made = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64, ctypes.c_size_t, ctypes.c_size_t)(_answer)
        # Of two threads' the first one stays for good: programs hold its address.
        _trampolines.setdefault("adjit_host_call", made)
    return ctypes.cast(_trampolines["adjit_host_call"], ctypes.c_void_p).value or 0
