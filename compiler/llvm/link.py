"""Relocatable objects -> code in this process, without LLVM: for ELF objects of x86-64 and AArch64, on Linux.

The objects are those that `jit` makes, position-independent and of the small code model, so few kinds of relocation
occur.  Code and constants stand in pages that can be read and run, variables in pages after them that can be written;
names of other libraries are reached by way of a table of addresses, and calls by jumps beside it.  What is not of this
kind (another system, debug information, an unknown relocation) is left to LLVM's own linker.  That one may put the
code and the constants of an object for AArch64 further apart than its instructions reach, and ends the process then.
"""

from __future__ import annotations

import ctypes
import functools
import os
import platform
import struct
import sys
import weakref
from collections.abc import Collection, Iterable, Mapping, Sequence

from adjit.compiler.llvm.relocations import ARCHITECTURES, ENTRY, Architecture, Unlinkable
from adjit.ir.frozen import frozen

# The ELF-64 structures and numbers are those of the System V ABI.
_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SECTION = struct.Struct("<IIQQQQIIQQ")
_SYMBOL = struct.Struct("<IBBHQQ")
_RELOCATION = struct.Struct("<QQq")
_MAGIC, _RELOCATABLE = b"\x7fELF\x02\x01\x01", 1
_PROGBITS, _SYMTAB, _RELA, _NOBITS = 1, 2, 4, 8
_WRITE, _ALLOC, _TLS = 1, 2, 0x400
_LOCAL, _UNDEFINED, _ABSOLUTE = 0, 0, 0xFFF1
# Linux's numbers for the rights and kinds of pages, the same on both architectures (asm-generic/mman-common.h).
_READ, _MODIFY, _RUN = 1, 2, 4
_PRIVATE, _ANONYMOUS = 0x02, 0x20


@frozen
class _Part:
    """A section that is loaded: its bytes (None for zeros), how many, its alignment, and whether it is written."""

    content: bytes | None
    size: int
    align: int
    writable: bool


@frozen
class _Symbol:
    """A name, and where it stands: in which section, and how far from its start; section 0 for another library's."""

    name: str
    section: int
    value: int
    is_local: bool


@frozen
class _Object:
    """What of an object is loaded: sections by their number, symbols, and relocations by section."""

    parts: dict[int, _Part]
    symbols: list[_Symbol]
    relocations: list[tuple[int, int, int, int, int]]  # section, offset, kind, symbol, addend


class Memory:
    """Pages of memory, given back when this object goes, but not at the interpreter's end: code may run until then.

    They are private, so that a forked child has variables of its own.
    """

    __slots__ = ("__weakref__", "address", "content")

    def __init__(self, size: int) -> None:
        found = _process().mmap(None, size, _READ | _MODIFY, _PRIVATE | _ANONYMOUS, -1, 0)
        if found is None or found == 2**64 - 1:
            raise Unlinkable("no memory")
        self.address: int = found
        self.content = memoryview((ctypes.c_ubyte * size).from_address(found)).cast("B")
        weakref.finalize(self, _process().munmap, found, size).atexit = False


def link(
    objects: Sequence[bytes], exports: Iterable[str], imports: Mapping[str, int]
) -> tuple[Memory, dict[str, int]] | None:
    """The memory that objects were loaded into, and the addresses of `exports`; None where LLVM must link them.

    `imports` gives addresses to names; others are looked up in the process.
    """
    architecture = ARCHITECTURES.get(platform.machine()) if sys.platform.startswith("linux") else None
    if architecture is None:
        return None
    try:
        return _link(architecture, [_read(code, architecture.machine) for code in objects], exports, imports)
    except (Unlinkable, struct.error, OSError, ValueError, IndexError, KeyError):
        return None


# -- reading ----------------------------------------------------------------------------------------------------------
def _read(code: bytes, here: int) -> _Object:
    magic, kind, machine, *_, table, _, _, _, _, entry, count, names = _HEADER.unpack_from(code)
    if not magic.startswith(_MAGIC) or (kind, machine, entry) != (_RELOCATABLE, here, _SECTION.size):
        raise Unlinkable("no object of this machine")
    sections = _sections(code, table, count)
    parts: dict[int, _Part] = {}
    symbols: list[_Symbol] = []
    for number, (name, type, flags, _, offset, size, link, _, align, _) in enumerate(sections):
        title = _text(code, sections[names][4] + name)
        if title.startswith(".debug") or flags & _TLS:
            raise Unlinkable(title)
        if flags & _ALLOC and type in (_PROGBITS, _NOBITS) and title != ".eh_frame":
            content = code[offset : offset + size] if type == _PROGBITS else None
            parts[number] = _Part(content, size, max(1, align), bool(flags & _WRITE))
        elif type == _SYMTAB:
            symbols = [_symbol(code, place, sections[link][4]) for place in range(offset, offset + size, _SYMBOL.size)]
    relocations = []
    for _, type, _, _, offset, size, _, target, _, _ in sections:
        if type == _RELA and target in parts:
            for place in range(offset, offset + size, _RELOCATION.size):
                where, info, addend = _RELOCATION.unpack_from(code, place)
                relocations.append((target, where, info & 0xFFFFFFFF, info >> 32, addend))
    return _Object(parts, symbols, relocations)


def section(code: bytes, name: str) -> bytes:
    """The bytes of an object's section of this name.  Errors: KeyError where there is none."""
    *_, table, _, _, _, _, _, count, names = _HEADER.unpack_from(code)
    sections = _sections(code, table, count)
    for title, _, _, _, offset, size, *_ in sections:
        if _text(code, sections[names][4] + title) == name:
            return code[offset : offset + size]
    raise KeyError(name)


def _sections(code: bytes, table: int, count: int) -> list[tuple[int, ...]]:
    return [_SECTION.unpack_from(code, table + place * _SECTION.size) for place in range(count)]


def _symbol(code: bytes, place: int, texts: int) -> _Symbol:
    name, info, _, section, value, _ = _SYMBOL.unpack_from(code, place)
    if section >= 0xFF00 and section != _ABSOLUTE:
        raise Unlinkable("a symbol of no section")
    return _Symbol(_text(code, texts + name), section, value, info >> 4 == _LOCAL)


def _text(code: bytes, place: int) -> str:
    return code[place : code.index(b"\0", place)].decode()


# -- linking ----------------------------------------------------------------------------------------------------------
class _Layout:
    """Where the sections of some objects stand, counted from the first byte, and how many bytes they take.

    Before the pages that are written, from `table` on, there is room for as many entries as the objects may need.
    """

    def __init__(self, objects: Sequence[_Object], indirect: Collection[int]) -> None:
        self.offsets: dict[tuple[int, int], int] = {}
        page = os.sysconf("SC_PAGESIZE")
        end = self._placed(objects, 0, writable=False)
        self.table = _aligned(end, 2 * ENTRY)
        entries = sum(kind in indirect for item in objects for _, _, kind, _, _ in item.relocations)
        self.written = _aligned(self.table + 2 * ENTRY * entries, page)
        self.size = _aligned(max(1, self._placed(objects, self.written, writable=True)), page)

    def _placed(self, objects: Sequence[_Object], end: int, *, writable: bool) -> int:
        for number, item in enumerate(objects):
            for section, part in item.parts.items():
                if part.writable is writable:
                    self.offsets[number, section] = _aligned(end, part.align)
                    end = self.offsets[number, section] + part.size
        return end


def _aligned(place: int, step: int) -> int:
    return -(-place // step) * step


def _link(
    architecture: Architecture, objects: Sequence[_Object], exports: Iterable[str], imports: Mapping[str, int]
) -> tuple[Memory, dict[str, int]]:
    layout = _Layout(objects, architecture.indirect)
    memory = Memory(layout.size)
    pages, base = memory.content, memory.address
    known = {
        symbol.name: base + layout.offsets[number, symbol.section] + symbol.value
        for number, item in enumerate(objects)
        for symbol in item.symbols
        if not symbol.is_local and symbol.section in item.parts
    }
    table = _Table(pages, base, layout.table, architecture.jump)
    for number, item in enumerate(objects):
        for section, part in item.parts.items():
            if part.content is not None:
                place = layout.offsets[number, section]
                pages[place : place + part.size] = part.content
        addresses = [_address_of(symbol, number, base, layout, known, imports) for symbol in item.symbols]
        for section, offset, kind, index, addend in item.relocations:
            if not addresses[index]:
                raise Unlinkable("a symbol of a section that is not loaded")
            place = layout.offsets[number, section] + offset
            architecture.relocate(pages, place, base + place, kind, addresses[index], addend, table.entry)
    # Where instructions have a cache of their own, the kernel clears it of pages that become executable.
    if _process().mprotect(base, layout.written, _READ | _RUN):
        raise Unlinkable("pages that can be run are not to be had")
    return memory, {name: known[name] for name in exports}


def _address_of(
    symbol: _Symbol, number: int, base: int, layout: _Layout, known: Mapping[str, int], imports: Mapping[str, int]
) -> int:
    """Where a symbol of object `number` stands in this process; 0 for one of a section that is not loaded."""
    if symbol.section == _ABSOLUTE:
        return symbol.value
    if symbol.section != _UNDEFINED:
        place = layout.offsets.get((number, symbol.section))
        return 0 if place is None else base + place + symbol.value
    if not symbol.name:
        return 0
    found = known.get(symbol.name) or imports.get(symbol.name) or _of_process(symbol.name)
    if not found:
        raise Unlinkable(symbol.name)
    return found


class _Table:
    """Addresses that code finds beside it, each after a jump there."""

    def __init__(self, pages: memoryview, base: int, offset: int, jump: bytes) -> None:
        self.pages, self.base, self.jump = pages, base, jump
        self._end = offset
        self._entries: dict[int, int] = {}

    def entry(self, address: int) -> int:
        """The jump to an address; the address itself stands `ENTRY` bytes after it."""
        if address not in self._entries:
            self._entries[address] = self.base + self._end
            self.pages[self._end : self._end + 2 * ENTRY] = self.jump + struct.pack("<Q", address)
            self._end += 2 * ENTRY
        return self._entries[address]


@functools.cache
def _process() -> ctypes.CDLL:
    process = ctypes.CDLL(None, use_errno=True)
    size, number = ctypes.c_size_t, ctypes.c_int
    process.mmap.restype = ctypes.c_void_p
    process.mmap.argtypes = [ctypes.c_void_p, size, number, number, number, ctypes.c_long]
    process.munmap.argtypes = [ctypes.c_void_p, size]
    process.mprotect.argtypes = [ctypes.c_void_p, size, number]
    return process


def _of_process(name: str) -> int:
    """The address of a function of this process; 0 where there is none."""
    found = getattr(_process(), name, None)
    return 0 if found is None else ctypes.cast(found, ctypes.c_void_p).value or 0
