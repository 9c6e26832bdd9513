"""How x86-64 and AArch64 write addresses into code: the relocations that LLVM makes for position-independent objects.

Source: the System V ABI's AMD64 supplement, and ELF for the Arm 64-bit Architecture, for the numbers and fields.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from adjit.ir.frozen import frozen

# A table entry is a jump of so many bytes, then the address that it goes to.
ENTRY = 8


class Unlinkable(Exception):
    """An object has something that only LLVM's linker knows."""


# Where the word stands in the pages, its address, its kind, the symbol's address, the addend, and the table's `entry`.
Relocate = Callable[[memoryview, int, int, int, int, int, Callable[[int], int]], None]


@frozen
class Architecture:
    """`machine` is ELF's number of it, `indirect` are the kinds of relocation that may need an entry in the table,
    `jump` goes to the address after it."""

    machine: int
    indirect: frozenset[int]
    jump: bytes
    relocate: Relocate


def _in_words(pages: memoryview, place: int, here: int, kind: int, symbol: int, addend: int) -> None:
    """Write the symbol's address, or its distance, as a whole word of 32 or 64 bits; `kind` is one of x86-64's."""
    if kind == _ABS64:
        pages[place : place + 8] = struct.pack("<Q", (symbol + addend) % 2**64)
    else:
        wide = kind == _PC64
        pages[place : place + (8 if wide else 4)] = struct.pack("<q" if wide else "<i", symbol + addend - here)


# -- x86-64 -----------------------------------------------------------------------------------------------------------
_ABS64, _PC32, _PLT32, _GOTPCREL, _GOTPCRELX, _REX_GOTPCRELX, _PC64 = 1, 2, 4, 9, 41, 42, 24


def _relocate_x86_64(
    pages: memoryview, place: int, here: int, kind: int, symbol: int, addend: int, entry: Callable[[int], int]
) -> None:
    if kind in (_GOTPCREL, _GOTPCRELX, _REX_GOTPCRELX):
        symbol, kind = entry(symbol) + ENTRY, _PC32
    elif kind == _PLT32:
        symbol, kind = symbol if -(2**31) <= symbol + addend - here < 2**31 else entry(symbol), _PC32
    if kind not in (_ABS64, _PC32, _PC64):
        raise Unlinkable(f"relocation {kind}")
    _in_words(pages, place, here, kind, symbol, addend)


# -- AArch64 ----------------------------------------------------------------------------------------------------------
_WORDS = {257: _ABS64, 260: _PC64, 261: _PC32}
_ADR_PAGE, _GOT_PAGE, _GOT_LOW, _JUMP26, _CALL26 = 275, 311, 312, 282, 283
# Of the low 12 bits of an address: how many an instruction that reads or writes so many bytes at once leaves out.
_LOW_BITS = {277: 0, 278: 0, 284: 1, 285: 2, 286: 3, 299: 4}


def _relocate_aarch64(
    pages: memoryview, place: int, here: int, kind: int, symbol: int, addend: int, entry: Callable[[int], int]
) -> None:
    if kind in _WORDS:
        _in_words(pages, place, here, _WORDS[kind], symbol, addend)
        return
    if kind in (_GOT_PAGE, _GOT_LOW):
        symbol, kind = entry(symbol) + ENTRY, _ADR_PAGE if kind == _GOT_PAGE else 286
    target = symbol + addend
    if kind in (_JUMP26, _CALL26):
        if not _fits(target - here, 28):
            target = entry(target)
        field = _signed(target - here, 28) >> 2
    elif kind == _ADR_PAGE:
        pages_away = _signed((target & -4096) - (here & -4096), 33) >> 12
        field = (pages_away & 3) << 29 | pages_away >> 2 << 5
    elif kind in _LOW_BITS:
        field = (target & 4095) >> _LOW_BITS[kind] << 10
    else:
        raise Unlinkable(f"relocation {kind}")
    (word,) = struct.unpack_from("<I", pages, place)
    pages[place : place + 4] = struct.pack("<I", word | field)


def _fits(distance: int, bits: int) -> bool:
    return -(1 << bits - 1) <= distance < 1 << bits - 1


def _signed(distance: int, bits: int) -> int:
    """The distance in two's complement of so many bits."""
    if not _fits(distance, bits):
        raise Unlinkable(f"{distance} bytes are too far")
    return distance % (1 << bits)


ARCHITECTURES = {
    # jmp *[rip + 2], and two bytes to the address itself.
    "x86_64": Architecture(
        62,
        frozenset({_PLT32, _GOTPCREL, _GOTPCRELX, _REX_GOTPCRELX}),
        b"\xff\x25\x02\x00\x00\x00\x90\x90",
        _relocate_x86_64,
    ),
    # ldr x16, [pc + 8]; br x16.
    "aarch64": Architecture(
        183,
        frozenset({_GOT_PAGE, _GOT_LOW, _JUMP26, _CALL26}),
        b"\x50\x00\x00\x58\x00\x02\x1f\xd6",
        _relocate_aarch64,
    ),
}
