"""A map for `perf`: which addresses of loaded code belong to which of the user's lines.

perf reads perf-PID.map in the system's folder of temporary files: a line `start size name` for each range, the
numbers in hexadecimal.  Names here are the user's lines.
"""

from __future__ import annotations

import linecache
import os
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from adjit.compiler.llvm.listing import Instruction, Listing, listing
from adjit.compiler.llvm.objects import Library
from adjit.compiler.load import MAIN


def map_path() -> Path:
    """Where perf looks for this process's map."""
    return Path("/", "tmp", f"perf-{os.getpid()}.map")  # wherever TMPDIR points


def write_map(text: str, level: int, library: Library) -> None:
    """Append the lines of the loaded code of LLVM `text`, which has debug information, to perf's map."""
    found = listing(text, level)
    with map_path().open("a", encoding="utf-8") as file:
        for start, size, name in ranges(found, library.address(MAIN)):
            file.write(f"{start:x} {size:x} {name}\n")


def ranges(found: Listing, main: int) -> Iterator[tuple[int, int, str]]:
    """Start, size and name of each run of instructions of one function and line, where `adjit_main` is at `main`."""
    code = found.instructions
    places = [instruction.address for instruction in code]
    first = next((i.address for i in code if i.function == MAIN), None)
    if first is None or None in places:
        return  # the platform's objects are not read: it has no perf either
    index = 0
    for name, run in groupby(code, _name):
        start = places[index]
        index += sum(1 for _ in run)
        stop = places[index] if index < len(places) else (places[-1] or 0) + 1
        assert start is not None and stop is not None
        yield main - first + start, stop - start, name


def _name(instruction: Instruction) -> str:
    """The user's line and its text, and the function of the program."""
    if not instruction.line:
        return f"adjit [{instruction.function}]"
    file = instruction.path.rpartition("/")[2]
    text = linecache.getline(instruction.path, instruction.line).strip()
    return f"{file}:{instruction.line} {text} [{instruction.function}]".replace("\n", " ")
