"""Every stage of every program as files: ADJIT_DUMP_DIR names the folder."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterable
from pathlib import Path

from adjit.ir.graph import Graph

_numbers = itertools.count()


def dump_program(folder: str, graph: Graph, shots: Iterable[tuple[str, Graph]], llvm: str, level: int) -> Path:
    """Write the program's stages, LLVM text and assembly into a folder of their own; its path.

    The folder is called after the process, the order in which it compiled, and the program: `1234-0007-loss.vjp`.
    """
    from adjit.compiler.llvm import jit

    name = re.sub(r"[^\w.-]", "_", graph.name) or "program"
    place = Path(folder) / f"{os.getpid()}-{next(_numbers):04}-{name}"
    place.mkdir(parents=True, exist_ok=True)
    for number, (stage, each) in enumerate(shots):
        (place / f"{number}.{stage}.adjit").write_text(f"{each}\n", encoding="utf-8")
    (place / "llvm.ll").write_text(llvm, encoding="utf-8")
    (place / "asm.s").write_text(jit.assembly(llvm, None, level), encoding="utf-8")
    return place
