"""Kernels that differ in their operands alone, as those of a network's layers do, are emitted once.

The code of such a kernel reads addresses from a table of its own, which the driver fills on the stack for each call.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from adjit.compiler.llvm.emit import FIRST
from adjit.compiler.llvm.emit_state import Writer
from adjit.compiler.llvm.sequences import counted, offset
from adjit.compiler.llvm.text import Function, LLType, Module
from adjit.compiler.loops.ir import KERNEL
from adjit.ir.graph import Graph, Node, Value
from adjit.ir.hashing import structural_hash
from adjit.ir.types import I64


def forms_of(graph: Graph, slots: Mapping[Value, int]) -> dict[Node, str]:
    """The form of each kernel that is not the only one of its form."""
    kernels = [node for node in graph.walk() if node.op is KERNEL]
    outlines = [_outline(kernel) for kernel in kernels]
    often = Counter(outlines)
    found = {
        kernel: _form(kernel, own_entries(entries_of(kernel, slots)))
        for kernel, outline in zip(kernels, outlines, strict=True)
        if often[outline] > 1
    }
    count = Counter(found.values())
    return {kernel: form for kernel, form in found.items() if count[form] > 1}


def _outline(kernel: Node) -> object:
    """What kernels of one form have in common, and others seldom do."""
    (region,) = kernel.regions
    return tuple([value.type for value in region.inputs]), sum(1 for _ in region.walk())


def _form(kernel: Node, entries: Sequence[int]) -> str:
    (region,) = kernel.regions
    return f"{structural_hash(Graph('', region.inputs, region.nodes, region.outputs))} {entries}"


def entries_of(kernel: Node, slots: Mapping[Value, int]) -> list[int]:
    """The entries of the program's table that stand for the inputs of a kernel's region."""
    return [slots[value] for value in (*kernel.inputs, *kernel.outputs)]


def own_entries(entries: Sequence[int]) -> list[int]:
    """Their places in a table of the kernel's own; equal ones have one place."""
    places = {entry: FIRST + place for place, entry in enumerate(dict.fromkeys(entries))}
    return [places[entry] for entry in entries]


def own_table(w: Writer, name: str, entries: Sequence[int]) -> str:
    """The address of the own table of kernel `name`, filled from the program's: what all need, then `entries`."""
    wanted = [*range(FIRST), *dict.fromkeys(entries)]
    text = f"[{len(wanted)} x i64] [{', '.join(f'i64 {entry}' for entry in wanted)}]"
    places = f"@{name}.entries"
    w.module.declare(f"{places} = internal constant {text}, align 8")
    table = w.room(LLType(I64), len(wanted), align=8)
    w.f.line(f"call void @{_emit_copy(w.module)}(ptr {table}, ptr %buffers, ptr {places}, i64 {len(wanted)})")
    return table


def _emit_copy(module: Module) -> str:
    """`void @...(table, buffers, places, count)`: table[i] = buffers[places[i]]."""
    name = "adjit.own_table"
    if not module.has(name):
        f = Function(module, name, "ptr noalias %table, ptr noalias %buffers, ptr noalias %places, i64 %count")
        with counted(f, "0", "%count", 1) as i:
            place = f.let(f"load i64, ptr {offset(f, 'i64', '%places', i)}, align 8")
            entry = f.let(f"load ptr, ptr {offset(f, 'ptr', '%buffers', place)}, align 8")
            f.line(f"store ptr {entry}, ptr {offset(f, 'ptr', '%table', i)}, align 8")
        f.line("ret void")
        f.finish()
    return name
