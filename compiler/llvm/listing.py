"""Assembly as rows: each instruction with its function, its address, and the user's line it computes.

The assembly of a module with debug information says by `.loc` where each instruction stands.  Assembled once more with
a label before each instruction, the object tells their addresses.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from adjit.compiler.llvm import jit
from adjit.compiler.llvm.binding import is_elf, read_assembly
from adjit.compiler.llvm.link import section
from adjit.compiler.llvm.target import host_target

_FILE = re.compile(r'\.file\s+(\d+)\s+"((?:[^"\\]|\\.)*)"(?:\s+"((?:[^"\\]|\\.)*)")?')
_LOC = re.compile(r"\.loc\s+(\d+)\s+(\d+)\s+(\d+)")
_LABEL = re.compile(r'("[^"]+"|[^\s"]+):$')
_PLACES = ".adjit.places"


@dataclass(frozen=True, slots=True)
class Instruction:
    """One machine instruction, on line `number` (from 1) of its listing.

    `address` counts bytes from the first one's; None where the platform's objects are not read.  `line` is 0 where no
    user's line is known.
    """

    number: int
    text: str
    function: str
    address: int | None
    path: str = ""
    line: int = 0
    column: int = 0


@dataclass(frozen=True, slots=True)
class Listing:
    """The assembly of a module's functions without directives, and its instructions."""

    lines: tuple[str, ...]
    instructions: tuple[Instruction, ...]

    @property
    def coverage(self) -> float:
        """The fraction of the instructions that stand at a line of the user."""
        known = sum(1 for instruction in self.instructions if instruction.line)
        return known / max(1, len(self.instructions))


def listing(text: str, level: int) -> Listing:
    """The machine code of LLVM `text` that has debug information, compiled for the host at `level`."""
    assembly = [line.strip() for line in jit.assembly(text, None, level).splitlines()]
    paths: dict[str, str] = {}
    lines: list[str] = []
    found: list[Instruction] = []
    addresses = iter(_addresses(assembly))
    function, place = "", ("", 0, 0)
    for line, is_code in _with_sections(assembly):
        if match := _FILE.match(line):
            paths[match[1]] = _joined(_unquoted(match[2]), _unquoted(match[3] or ""))
        elif match := _LOC.match(line):
            number = int(match[2])
            place = (paths[match[1]], number, int(match[3])) if number else ("", 0, 0)
        elif not is_code or (line.startswith(".") and not _LABEL.match(line)):
            continue
        elif match := _LABEL.match(line):
            name = match[1].strip('"')
            if not name.startswith(".L"):
                function, place = name, ("", 0, 0)
            if not name.startswith(".Lfunc_"):
                lines.append(line)
        else:
            lines.append("    " + " ".join(line.split("\t")))
            found.append(Instruction(len(lines), lines[-1].strip(), function, next(addresses, None), *place))
    return Listing(tuple(lines), tuple(found))


def _with_sections(assembly: Sequence[str]) -> Iterator[tuple[str, bool]]:
    """Each line, and whether it stands among a module's code, and is no comment."""
    is_code = False
    for line in assembly:
        if line.startswith((".text", ".section")):
            is_code = line.startswith((".text", ".section\t.text", ".section\t__TEXT,__text"))
        yield line, is_code and line != "" and not line.startswith(("#", "//"))


def _addresses(assembly: Sequence[str]) -> Sequence[int]:
    """The address of each instruction, counted from the first; empty where objects are not in ELF."""
    if not is_elf(host_target().triple):
        return ()
    marked: list[str] = []
    count = 0
    for line, is_code in _with_sections(assembly):
        if line.startswith(".section\t.debug"):
            break
        if line.startswith((".loc", ".file", ".cfi")):
            continue
        if is_code and not line.startswith(".") and not _LABEL.match(line):
            marked.append(f".Ladjit{count}:")
            count += 1
        marked.append(line)
    marked.append(f'.section {_PLACES},"",@progbits')
    marked += [f".long .Ladjit{index} - .Ladjit0" for index in range(count)]
    read_assembly()
    code = jit.compile_object("\n".join(f'module asm "{_escaped(line)}"' for line in marked), None, 0)
    return struct.unpack(f"<{count}I", section(code, _PLACES))


def _escaped(line: str) -> str:
    return line.replace("\\", "\\5C").replace('"', "\\22").replace("\t", " ")


def _unquoted(text: str) -> str:
    """A string of the assembler, whose bytes may be written as three octal digits."""
    data = re.sub(rb"\\(\d{3}|.)", lambda m: bytes([int(m[1], 8)]) if m[1].isdigit() else m[1], text.encode())
    return data.decode(errors="replace")


def _joined(folder: str, name: str) -> str:
    return f"{folder}{'' if folder.endswith('/') else '/'}{name}" if name else folder
