"""The native entry of this process: the table of what it knows, and the builtin functions that it serves."""

from __future__ import annotations

import ctypes
import functools
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from types import CodeType, FrameType, FunctionType
from typing import Any
from weakref import ReferenceType, ref

import numpy as np

from adjit.autograd import record as records
from adjit.autograd import tape
from adjit.autograd.engine import accumulate
from adjit.compiler.entry import known as k
from adjit.ir.graph import Location, Node, Value
from adjit.ir.types import F32, F64, I64
from adjit.memory import FIRST_VERSION, PERIOD, UNTRACKED, Memory, ask_keep, ask_write
from adjit.native.words import address, mixed
from adjit.nn.parameter import Parameter
from adjit.runtime import callable, layout
from adjit.size import Size
from adjit.state import MODE, STATE, epoch_here, is_user_frame, user_location
from adjit.tensor import Tensor

# METH_FASTCALL | METH_KEYWORDS
_CONVENTION = 0x0082
# A code object's flags: it takes `*args`, `**kwargs`.
_STARRED, _DOUBLY_STARRED = 0x04, 0x08
# The slots of nodes that those of the tape leave empty.
_EMPTY = {"attached", "outputs"}
# The slots that the native entry fills; a class with others cannot be made by it.
_SLOTS: dict[type, dict[str, int]] = {
    Tensor: {
        "_array": k.T_ARRAY, "_base": k.T_BASE, "_chain": k.T_CHAIN, "_dtype": k.T_DTYPE, "_epoch": k.T_EPOCH,
        "_grad": k.T_GRAD, "_history": k.T_HISTORY, "_leaf": k.T_LEAF, "_memory": k.T_MEMORY,
        "_requires_grad": k.T_REQUIRES, "_seen": k.T_SEEN, "_strides": k.T_STRIDES, "_tracer": k.T_TRACER,
        "_type": k.T_TYPE, "_value": k.T_VALUE,
    },
    Memory: {"array": k.M_ARRAY, "dtype": k.M_DTYPE, "serial": k.M_SERIAL, "version": k.M_VERSION},
    Node: {
        "attributes": k.N_ATTRIBUTES, "inputs": k.N_INPUTS, "location": k.N_LOCATION, "op": k.N_OP,
        "regions": k.N_REGIONS,
    },
    tape.TapeNode: {"results": k.N_RESULTS, "types": k.N_TYPES},
    tape.Recorded: {
        "custom": k.R_CUSTOM, "fault": k.R_FAULT, "freed": k.R_FREED, "hooks": k.R_HOOKS, "kept": k.R_KEPT,
        "kept_full": k.R_KEPT_FULL, "leaves": k.R_LEAVES, "name": k.R_NAME, "_pullback": k.R_PULLBACK,
        "reached": k.R_REACHED, "seeded": k.R_SEEDED, "sequence": k.R_SEQUENCE, "sizes": k.R_SIZES,
    },
    Value: {
        "attached": k.V_ATTACHED, "index": k.V_INDEX, "name": k.V_NAME, "node": k.V_NODE, "type": k.V_TYPE,
    },
}  # fmt: skip
_TYPES: dict[int, type] = {
    k.TENSOR: Tensor, k.PARAMETER: Parameter, k.ARRAY: np.ndarray, k.FLOAT: float, k.INTEGER: int, k.MEMORY: Memory,
    k.NODE: tape.Recorded, k.VALUE: Value,
    k.NUMPY_FLOAT: np.float64, k.NUMPY_SINGLE: np.float32, k.NUMPY_INTEGER: np.int64, k.TUPLE: tuple, k.LIST: list,
    k.DICT: dict, k.SLICE: slice, k.REFERENCE: ReferenceType, k.WATCH: tape.Watch,
}  # fmt: skip


# Builtin functions and methods point into their entry for as long as the process lives.
_FOREVER: list[Entry] = []


_DICT_NAME = sys.intern("__dict__")
_WATCH = {"leaf": k.W_LEAF, "hooks": k.W_HOOKS, "post_hooks": k.W_POST, "retained": k.W_RETAINED}


class _Served(np.ndarray):
    """A builtin function's table, which is pickled as the module that has the function.

    CPython pickles a builtin function as an attribute of what it is bound to.
    """

    home: str | None

    def __reduce_ex__(self, protocol: object) -> Any:
        return import_module, (self.home,)


class Entry:
    """The loaded library with its table; everything that the table points to is kept alive here."""

    def __init__(self) -> None:
        from adjit.compiler.entry.module import load_entry

        self.known = np.zeros(k.KNOWN_WORDS, np.uint64)
        self.places = np.zeros(3 * k.PLACES, np.uint64)
        self._kept: list[Any] = []
        self._codes: dict[int, CodeType] = {}
        self._methods = 0
        for number, item in (
            *_TYPES.items(), (k.NONE, None), (k.TRUE, True), (k.FALSE, False), (k.EMPTY, ()), (k.ZERO, 0),
            (k.UNTRACKED, UNTRACKED), (k.ASK_WRITE, ask_write), (k.ASK_KEEP, ask_keep),
            (k.REFRESH_MODE, _mode), (k.LOCATE, self._locate), (k.MARK_LEAF, records.mark_leaf),
            (k.SEQUENCE, tape._sequence),
            (k.GRADIENT_NAME, sys.intern("gradient")), (k.WEIGHTS_NAME, sys.intern("grad_outputs")),
            (k.RETAIN_NAME, sys.intern("retain_graph")), (k.CREATE_NAME, sys.intern("create_graph")),
            (k.ALLOW_NAME, sys.intern("allow_unused")),
        ):  # fmt: skip
            self.known[number] = self.keep(item)
        for cls, slots in _SLOTS.items():
            for name, number in slots.items():
                self.known[number] = layout.slot_offset(cls, name)
        for name, number in _WATCH.items():
            self.known[number] = layout.slot_offset(tape.Watch, name)
        self._classes = np.zeros(1 + k.MOST_CLASSES, np.uint64)
        self.known[k.CLASSES], self.known[k.DICT_NAME] = address(self._classes), self.keep(_DICT_NAME)
        self.known[k.ACCUMULATE] = self.keep(accumulate)
        self.known[k.MODE] = MODE.buffer_info()[0]
        self.known[k.PERIOD] = PERIOD.buffer_info()[0]
        self.known[k.FIRST_VERSION] = FIRST_VERSION.buffer_info()[0]
        self.known[k.LOCATIONS] = address(self.places)
        self.known[k.NEW_ARRAY] = layout.new_array_address()
        self.known[k.NEW_COPY] = layout.new_copy_address()
        self.known[k.SET_BASE] = layout.set_base_address()
        self.known[k.SHAPE], self.known[k.ITEM_SIZE] = self.keep(Size), layout.item_size_offset()
        for number, dtype in ((k.P_F32, np.float32), (k.P_F64, np.float64), (k.P_I64, np.int64), (k.P_BOOL, np.bool_)):
            self.known[number] = self.keep(np.dtype(dtype))
        self._definitions: list[tuple[np.ndarray, str]] = []
        self._served: list[ReferenceType[Any]] = []  # whose pointers are to be changed
        self._library, self._is_quick = load_entry(address(self.known))
        _FOREVER.append(self)
        if self._is_quick:
            from adjit.compiler.later import compile_later

            compile_later(self._improve, bool)  # once the process has run for long

    def _improve(self) -> None:
        """Let the best code serve all that quick code does."""
        from adjit.compiler.entry.module import load_best_entry

        self._quick = self._library  # other threads may be running it
        self._library, self._is_quick = load_best_entry(address(self.known)), False
        for words, symbol in self._definitions:
            words[1] = self._library.address(symbol)
        for each in self._served:
            if (function := each()) is not None:
                callable.serve(function, self._library.address("adjit_vectorcall"))
        self._served.clear()

    def keep(self, item: Any) -> int:
        """Keep an object alive, and its address."""
        self._kept.append(item)
        return id(item)

    def take_apart(self, cls: type) -> bool:
        """Take instances of a class apart by their attributes from here on; False where there are too many classes."""
        count = int(self._classes[0])
        if id(cls) not in self._classes[1 : count + 1]:
            if count == k.MOST_CLASSES:
                return False
            self._classes[count + 1] = self.keep(cls)
            self._classes[0] = count + 1
        return True

    def new_table(self, slow: Callable[..., Any], miss: Callable[..., Any], *, fixed: bool) -> np.ndarray:
        """A function's table without signatures; the caller keeps it and both functions alive."""
        table = np.zeros(k.TABLE_WORDS, np.uint64)
        table[k.SLOW], table[k.MISS], table[k.FIXED] = id(slow), id(miss), k.ALWAYS if fixed else k.WHERE_RECORDED
        return table

    def new_compiled_table(self) -> np.ndarray:
        """The table of a compiled function."""
        table = np.zeros(k.TABLE_WORDS, np.uint64)
        table[k.FIXED], table[k.BY_MODE] = k.NEVER, 1
        return table

    def serve_backward(self, backward: Callable[..., Any]) -> None:
        """Let `Tensor.backward` go by plans; `backward` serves where there is none."""
        self.known[k.B_SLOW] = self.keep(backward)
        text = documented("backward", backward)
        Tensor.backward = _new_method()(  # type: ignore[method-assign]
            Tensor, self._definition("backward", text, "adjit_backward")
        )

    def serve_grad(self, grad: Callable[..., Any]) -> Any:
        """A builtin function that goes by plans; `grad` serves where there is none."""
        self.known[k.G_SLOW] = self.keep(grad)
        definition = self._definition("grad", documented("grad", grad), "adjit_grad")
        return _new_function()(definition, _at(np.empty(0, np.uint64), "adjit.autograd"), "adjit.autograd")

    def serve_assignment(self, assign: Callable[..., Any]) -> None:
        """Let `Tensor.__setitem__` write to plain parts of tensors natively; `assign` serves the others."""
        self.known[k.A_SET_SLOW] = self.keep(assign)
        self.known[k.ELLIPSIS] = id(...)
        text = documented("__setitem__", assign)
        Tensor.__setitem__ = _new_method()(  # type: ignore[method-assign]
            Tensor, self._definition("__setitem__", text, "adjit_setitem")
        )

    def answering(self, name: str, function: Callable[..., Any], symbol: str) -> Any:
        """A method descriptor of `Tensor` for a question, whose answer is native where it is plain."""
        return _new_method()(Tensor, self._definition(name, documented(name, function), symbol))

    def answering_function(self, name: str, function: Callable[..., Any], symbol: str) -> Any:
        """The same as a builtin function of the namespace."""
        definition = self._definition(name, documented(name, function), symbol)
        return _new_function()(definition, _at(np.empty(0, np.uint64), "adjit"), "adjit")

    def reading(self, function: Callable[..., Any], table: np.ndarray) -> Any:
        """A method descriptor for `x[index]`, served by a table where it is no small mask."""
        self.known[k.GETITEM] = address(table)
        self.keep(table)
        for dtype, number, place in ((F32, k.N_F32, k.D_F32), (F64, k.N_F64, k.D_F64), (I64, k.N_I64, k.D_I64)):
            self.known[number], self.known[place] = dtype.storage.num, self.keep(dtype)
        return self.answering("__getitem__", function, "adjit_getitem")

    def serve_compiled(self, cls: type, slot: str, call: Callable[..., Any]) -> None:
        """Serve calls of compiled functions natively, by the table in a slot of theirs; `call` serves the others."""
        self.known[k.C_TABLE], self.known[k.C_CALL] = layout.slot_offset(cls, slot), self.keep(call)
        self._serve_class(cls, call, "adjit_compiled")
        if callable.is_served():
            callable.enable(cls)

    def serve_calls(self, function: Any) -> None:
        """Let a compiled function be called without looking for `__call__`."""
        if callable.is_served():
            if self._is_quick:
                self._served.append(ref(function))
            callable.serve(function, self._library.address("adjit_vectorcall"))

    def serve_numbers(self, cls: type, slot: str, call: Callable[..., Any]) -> None:
        """The same for functions of numbers."""
        self.known[k.S_TABLE], self.known[k.S_CALL] = layout.slot_offset(cls, slot), self.keep(call)
        self._serve_class(cls, call, "adjit_numbers")

    def _serve_class(self, cls: type, call: Callable[..., Any], symbol: str) -> None:
        definition = self._definition("__call__", call.__doc__ or "", symbol)
        type.__setattr__(cls, "__call__", _new_method()(cls, definition))

    def function(self, name: str, doc: str, table: np.ndarray, home: str | None = None) -> Any:
        """A builtin function served by a table; `home` is the module that has it under its name, if one has."""
        return _new_function()(self._definition(name, doc, "adjit_function"), _at(table, home), home)

    def method(self, cls: type, name: str, doc: str, table: np.ndarray) -> Any:
        """A method descriptor of `cls` served by a table; None when all entries are taken."""
        from adjit.compiler.entry.module import method_name

        if self._methods == k.METHODS:
            return None
        number = self._methods
        self._methods += 1
        self.known[k.TABLES + number] = address(table)
        self.keep(table)
        return _new_method()(cls, self._definition(name, doc, method_name(number)))

    def _definition(self, name: str, doc: str, symbol: str) -> int:
        """A PyMethodDef; CPython looks into it at each call."""
        texts = [ctypes.create_string_buffer(text.encode()) for text in (name, doc)]
        words = np.array([ctypes.addressof(texts[0]), 0, _CONVENTION, ctypes.addressof(texts[1])], np.uint64)
        self._kept.append(texts)
        self._definitions.append((words, symbol))
        words[1] = self._library.address(symbol)
        return address(words)

    def _locate(self) -> Location:
        """The user's line, noted for the instruction that it is at; and whose code stands between.

        `user_location` keeps both the user's code and the location for ever.
        """
        found = user_location()
        frame: FrameType | None = sys._getframe(1)
        while frame is not None and not is_user_frame(frame):
            self._note(frame.f_code, k.ANYWHERE, None)
            frame = frame.f_back
        if frame is not None:
            self._note(frame.f_code, frame.f_lasti, found)
        return found

    def _note(self, code: CodeType, offset: int, location: Location | None) -> None:
        place = 3 * (mixed(id(code) >> 4, offset % 2**64) % k.PLACES)
        self.places[place : place + 3] = id(code), offset % 2**64, id(location)
        if location is None and id(code) not in self._codes:
            self._codes[id(code)] = code


def documented(name: str, function: Callable[..., Any]) -> str:
    """A builtin's text: the signature in the form that CPython reads, then the function's own."""
    text = function.__doc__ if isinstance(function, FunctionType) else None
    while isinstance(getattr(function, "__wrapped__", None), FunctionType):
        function = function.__wrapped__  # type: ignore[attr-defined]
    return f"{name}({', '.join(_parameters(function))})\n--\n\n{text or ''}"


def _parameters(function: Callable[..., Any]) -> Iterator[str]:
    """The parameters of a function as its `def` has them, without annotations.

    `inspect` takes 0.3 ms to tell them, which is much for a hundred functions.
    """
    assert isinstance(function, FunctionType)
    code = function.__code__
    if code.co_flags & (_STARRED | _DOUBLY_STARRED):
        from inspect import signature

        yield from (str(p.replace(annotation=p.empty)) for p in signature(function).parameters.values())
        return
    positional = code.co_varnames[: code.co_argcount]
    defaults = dict(zip(reversed(positional), reversed(function.__defaults__ or ()), strict=False))
    defaults |= function.__kwdefaults__ or {}
    for place, name in enumerate(code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]):
        if place == code.co_argcount:
            yield "*"
        yield f"{name}={defaults[name]!r}" if name in defaults else name
        if place + 1 == code.co_posonlyargcount:
            yield "/"


def _at(table: np.ndarray, home: str | None) -> _Served:
    """A view of a table, pickled as a module."""
    served = table.view(_Served)
    served.home = home
    return served


def _new_function() -> Any:
    make = ctypes.pythonapi.PyCFunction_NewEx
    make.restype, make.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.py_object, ctypes.py_object]
    return make


def _new_method() -> Any:
    make = ctypes.pythonapi.PyDescr_NewMethod
    make.restype, make.argtypes = ctypes.py_object, [ctypes.py_object, ctypes.c_void_p]
    return make


def _mode() -> int:
    """The running thread's mode: bit 0 for recording; bit 1 where only Python knows what to do with a call; bit 2 where
    the running trace takes note of it; bit 3 in inference mode.  Autocast is none: the functions that it changes have
    wrappers of their own, and so have all while tensors may be dual.  What is overwritten matters to the hooks that
    `packing` stands for; `keeps_any` is asked when native code asks whether it may keep an inference tensor."""
    tracer = STATE.tracer
    special = tracer is not None or STATE.anomaly[0] or bool(STATE.packing) or STATE.checks is not None
    mode = STATE.recording + 2 * special + 4 * (tracer is not None and tracer.by_steps) + 8 * bool(STATE.inference)
    epoch_here()  # last: until the entry compares, no other thread comes between
    return mode


@functools.cache
def native_entry() -> Entry | None:
    """The entry of this process; None where objects are laid out otherwise than it knows."""
    if not layout.is_known() or not _classes_are_known():
        return None
    return Entry()


def _classes_are_known() -> bool:
    """Whether the classes have the slots that the entry fills, no less and no more."""
    special = {"__dict__", "__weakref__"}
    return all({*cls.__slots__} - special - (_EMPTY if cls is Node else set()) == set(slots)  # type: ignore[attr-defined]
               for cls, slots in _SLOTS.items())  # fmt: skip
