"""LLVM by the functions of llvmlite's library: started for the host, and its versions.

The one module that reaches for llvmlite.  Of it, the library is used and not the classes around it: with what these
import they cost a first call more than LLVM does for a small program, and they let in one thread at a time.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import weakref
from collections.abc import Iterable, Mapping, Sequence
from ctypes import POINTER, byref, c_bool, c_char_p, c_int, c_size_t, c_uint8, c_uint64, c_void_p, string_at
from typing import Any

import llvmlite

from adjit.compiler.llvm.ahead import libraries
from adjit.compiler.llvm.users import in_use
from adjit.ir.errors import CompileError

LLVMLITE_VERSION: str = llvmlite.__version__
# The releases whose library has the functions below, with these parameters.
_RELEASES = "0.50."
# Trackers and engines of linked objects that are still to be freed.
_unused: list[tuple[int, int]] = []


class _Element(ctypes.Structure):
    """An object to be linked: its kind, its bytes and how many."""

    _fields_ = (("kind", c_uint8), ("value", c_char_p), ("size", c_size_t))


class _Symbol(ctypes.Structure):
    _fields_ = (("name", c_char_p), ("address", c_uint64))


_OBJECT, _LIBRARY = 2, 3  # kinds of elements: an object, and a library by name, the process if that is empty
_ELF = 3
_TEXT = POINTER(c_void_p)  # where a function puts the address of a text

# Of each function the result and the parameters.  What is freed by a function of its own is an address here.
_FUNCTIONS: Mapping[str, tuple[Any, ...]] = {
    "GetVersionInfo": (c_int,), "DisposeString": (None, c_void_p), "SetCommandLine": (None, c_char_p, c_char_p),
    "InitializeNativeTarget": (None,), "InitializeNativeAsmPrinter": (None,), "InitializeNativeAsmParser": (None,),
    "InitializeAllTargetInfos": (None,), "InitializeAllTargets": (None,), "InitializeAllTargetMCs": (None,),
    "InitializeAllAsmPrinters": (None,),
    "GetProcessTriple": (None, _TEXT), "GetHostCPUName": (None, _TEXT), "GetHostCPUFeatures": (c_int, _TEXT),
    "GetTripleObjectFormat": (c_int, c_char_p), "SearchAddressOfSymbol": (c_void_p, c_char_p),
    "GetTargetFromTriple": (c_void_p, c_char_p, _TEXT),
    "CreateTargetMachine": (c_void_p, c_void_p, *[c_char_p] * 3, c_int, c_char_p, c_char_p, c_int, c_int, c_char_p),
    "DisposeTargetMachine": (None, c_void_p), "CreateTargetMachineData": (c_void_p, c_void_p),
    "CopyStringRepOfTargetData": (None, c_void_p, _TEXT),
    "DisposeTargetData": (None, c_void_p), "TargetMachineEmitToMemory": (c_void_p, c_void_p, c_void_p, c_int, _TEXT),
    "GetBufferStart": (c_void_p, c_void_p), "GetBufferSize": (c_size_t, c_void_p),
    "DisposeMemoryBuffer": (None, c_void_p),
    "ContextCreate": (c_void_p,), "ContextDispose": (None, c_void_p),
    "ParseAssembly": (c_void_p, c_void_p, c_char_p, _TEXT), "DisposeModule": (None, c_void_p),
    "SetTarget": (None, c_void_p, c_char_p), "SetDataLayout": (None, c_void_p, c_char_p),
    "VerifyModule": (c_bool, c_void_p, _TEXT), "PrintModuleToString": (None, c_void_p, _TEXT),
    "CreatePipelineTuningOptions": (c_void_p,), "DisposePipelineTuningOptions": (None, c_void_p),
    "PTOSetLoopVectorization": (None, c_void_p, c_bool), "PTOSetSLPVectorization": (None, c_void_p, c_bool),
    "CreatePassBuilder": (c_void_p, c_void_p, c_void_p), "DisposePassBuilder": (None, c_void_p),
    "CreateNewModulePassManager": (c_void_p,), "DisposeNewModulePassManger": (None, c_void_p),
    "buildPerModuleDefaultPipeline": (c_void_p, c_void_p, c_int),
    "RunNewModulePassManager": (None, c_void_p, c_void_p, c_void_p),
    **{f"module_Add{name}Pass": (None, c_void_p)
       for name in ("AlwaysInliner", "SROA", "InstCombine", "JumpThreading", "SimplifyCFG", "LoopRotate",
                    "LoopUnroll")},
    "CreateLLJITCompiler": (c_void_p, c_void_p, c_bool, c_bool, _TEXT), "LLJITDispose": (None, c_void_p),
    "LLJIT_Link": (c_void_p, c_void_p, c_char_p, POINTER(_Element), c_size_t, POINTER(_Symbol), c_size_t,
                   POINTER(_Symbol), c_size_t, _TEXT),
    "LLJIT_Dylib_Tracker_Dispose": (c_bool, c_void_p, _TEXT),
}  # fmt: skip


@functools.cache
def _library() -> ctypes.CDLL:
    if not LLVMLITE_VERSION.startswith(_RELEASES):
        raise CompileError(f"adjit needs a release {_RELEASES}* of llvmlite, and finds {LLVMLITE_VERSION}")
    found = next(iter(libraries()), None)
    if found is None:  # a package that is no folder; llvmlite knows where it keeps its library
        from llvmlite.binding import ffi

        found = ffi.lib._name
    return ctypes.CDLL(os.fspath(found))


@functools.cache
def _function(name: str) -> Any:
    function = getattr(_library(), f"LLVMPY_{name}")
    function.restype, *function.argtypes = _FUNCTIONS[name]
    return function


def _call(name: str, *given: Any) -> Any:
    return _function(name)(*given)


def _told(name: str, *given: Any) -> tuple[Any, str]:
    """The result of a function whose last parameter is where it puts a text, and this text."""
    place = c_void_p()
    result = _function(name)(*given, byref(place))
    if not place:
        return result, ""
    text = string_at(place.value or 0).decode(errors="replace")
    _call("DisposeString", place)
    return result, text


# -- the process ------------------------------------------------------------------------------------------------------
def process_triple() -> str:
    """The triple of code that this process can run."""
    return _told("GetProcessTriple")[1]


def processor() -> tuple[str, str]:
    """LLVM's name of this processor, and its features in order: `+avx2,-sse4a,...`."""
    features = _told("GetHostCPUFeatures")[1].split(",")
    return _told("GetHostCPUName")[1], ",".join(sorted(filter(None, features), key=lambda feature: feature[1:]))


def has_address(name: str) -> bool:
    """Whether this process has a function of this name."""
    return _call("SearchAddressOfSymbol", name.encode()) is not None


def is_elf(triple: str) -> bool:
    """Whether objects for a triple are in ELF."""
    return bool(_call("GetTripleObjectFormat", triple.encode()) == _ELF)


@functools.cache
def keep_lines() -> None:
    """Let instructions that LLVM makes for no place of the program stand at the line before them.

    By default its line tables say line 0 there, for some 6 % of a kernel.  This is a setting of the whole process.
    """
    _call("SetCommandLine", b"adjit", b"-use-unknown-locations=Disable")


@functools.cache
def read_assembly() -> None:
    """Let modules hold text in the host's assembly."""
    _call("InitializeNativeAsmParser")


@functools.cache
def _start_all() -> None:
    for name in ("AllTargetInfos", "AllTargets", "AllTargetMCs", "AllAsmPrinters"):
        _call(f"Initialize{name}")


def _version() -> str:
    number, parts = int(_call("GetVersionInfo")), []
    while number:
        parts.append(str(number & 0xFF))
        number >>= 8
    return ".".join(reversed(parts))


# -- machines and modules ---------------------------------------------------------------------------------------------
class Machine:
    """What emits machine code for a target; position-independent, in the small code model.

    Errors: CompileError if this LLVM has no back end for the triple.
    """

    def __init__(self, triple: str, cpu: str, features: str, abi: str, level: int) -> None:
        if triple.partition("-")[0] != process_triple().partition("-")[0]:
            _start_all()
        target, said = _told("GetTargetFromTriple", triple.encode())
        if not target:
            raise CompileError(f"LLVM has no back end for {triple!r}: {said}")
        words = (word.encode() for word in (triple, cpu, features))
        self.triple = triple
        # The small model makes calls direct; the one for JIT code would let each go through a register.
        self.address = _call("CreateTargetMachine", target, *words, level, b"pic", b"default", 0, 0, abi.encode())
        if not self.address:
            raise CompileError(f"LLVM cannot make code for {triple!r}, {cpu!r}")

    def close(self) -> None:
        _call("DisposeTargetMachine", self.address)

    @property
    def data_layout(self) -> str:
        data = _call("CreateTargetMachineData", self.address)
        text = _told("CopyStringRepOfTargetData", data)[1]
        _call("DisposeTargetData", data)
        return text

    def emit(self, module: Module, *, as_text: bool = False) -> bytes:
        """The object of a module, or its assembly.  Errors: CompileError if LLVM cannot emit it."""
        memory, said = _told("TargetMachineEmitToMemory", self.address, module.address, int(not as_text))
        if not memory:
            raise CompileError(f"LLVM cannot emit an object: {said}")
        try:
            return string_at(_call("GetBufferStart", memory), _call("GetBufferSize", memory))
        finally:
            _call("DisposeMemoryBuffer", memory)


class Module:
    """LLVM text that was read, in a context of its own, with which all that reading made is freed.

    Errors: RuntimeError with LLVM's words for a text that it cannot read.
    """

    def __init__(self, text: str) -> None:
        self._context = _call("ContextCreate")
        self.address, said = _told("ParseAssembly", self._context, text.encode())
        if said or not self.address:
            self.close()
            raise RuntimeError(said)

    def close(self) -> None:
        if self.address:
            _call("DisposeModule", self.address)
        _call("ContextDispose", self._context)

    def __str__(self) -> str:
        return _told("PrintModuleToString", self.address)[1]

    def aim(self, machine: Machine) -> None:
        """Say for what machine the module is."""
        _call("SetTarget", self.address, machine.triple.encode())
        _call("SetDataLayout", self.address, machine.data_layout.encode())

    def verify(self) -> None:
        """Errors: RuntimeError with LLVM's words for a module that breaks a rule."""
        broken, said = _told("VerifyModule", self.address)
        if broken:
            raise RuntimeError(said)

    def run(self, machine: Machine, level: int, passes: Iterable[str], *, vectorize: bool = False) -> None:
        """Run these passes, or without any LLVM's default pipeline of `level`, once.

        Builder and manager serve one run: a second run of the same manager aborts the process (LLVM issue 58939).
        """
        options = _call("CreatePipelineTuningOptions")
        _call("PTOSetLoopVectorization", options, vectorize)
        _call("PTOSetSLPVectorization", options, vectorize)
        builder = _call("CreatePassBuilder", machine.address, options)
        names = list(passes)
        if names:
            manager = _call("CreateNewModulePassManager")
            for name in names:
                _call(f"module_Add{name}Pass", manager)
        else:
            manager = _call("buildPerModuleDefaultPipeline", builder, level)
        _call("RunNewModulePassManager", manager, self.address, builder)
        for kind, each in (("NewModulePassManger", manager), ("PassBuilder", builder)):
            _call(f"Dispose{kind}", each)
        _call("DisposePipelineTuningOptions", options)


# -- linking ----------------------------------------------------------------------------------------------------------
class Linked:
    """Objects linked by LLVM in an engine of their own; their memory is given back when this object goes.

    `addresses` are those of `exports`; `imports` gives addresses to names, the process has others.
    Errors: RuntimeError with LLVM's words if an object cannot be read, or a name has no address.
    """

    def __init__(
        self, machine: Machine, objects: Sequence[bytes], imports: Mapping[str, int], exports: Sequence[str]
    ) -> None:
        _free_unused()
        engine, said = _told("CreateLLJITCompiler", machine.address, True, False)
        if not engine:
            raise RuntimeError(said)
        pairs = [(_LIBRARY, b""), *((_OBJECT, code) for code in objects)]
        elements = (_Element * len(pairs))(*(_Element(kind, code, len(code)) for kind, code in pairs))
        known = (_Symbol * len(imports))(*(_Symbol(name.encode(), address) for name, address in imports.items()))
        wanted = (_Symbol * len(exports))(*(_Symbol(name.encode(), 0) for name in exports))
        lists = elements, len(elements), known, len(known), wanted, len(wanted)
        tracker, said = _told("LLJIT_Link", engine, b"library", *lists)
        if not tracker:
            _call("LLJITDispose", engine)
            raise RuntimeError(said)
        self.addresses = {name: int(symbol.address) for name, symbol in zip(exports, wanted, strict=True)}
        # At the interpreter's end code may still run.
        weakref.finalize(self, _unload, tracker, engine).atexit = False


def _unload(tracker: int, engine: int) -> None:
    _unused.append((tracker, engine))
    _free_unused()


def _free_unused() -> None:
    """Free objects that are no longer used; if a thread forks, they wait for the next to be linked.

    That thread may itself wait until this one ends.
    """
    if in_use.enter(wait=False):
        try:
            with contextlib.suppress(IndexError):  # another thread may take the last one
                while _unused:
                    tracker, engine = _unused.pop()
                    _told("LLJIT_Dylib_Tracker_Dispose", tracker)
                    _call("LLJITDispose", engine)
        finally:
            in_use.leave()


_call("InitializeNativeTarget")
_call("InitializeNativeAsmPrinter")
LLVM_VERSION = _version()
