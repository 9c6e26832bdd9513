"""Facts about one program: its kernels, its memory, its bounds, and its times when it is run with a clock."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import accumulate

import numpy as np

from adjit.compiler.build import build, emit_program
from adjit.compiler.cost import cost_of, line_weights, pairs_of, runs_of
from adjit.compiler.fuse_group import Grouping
from adjit.compiler.llvm.clock import Clock
from adjit.compiler.llvm.emit_choice import Dependence, choose, extents_of, loop_dtype
from adjit.compiler.llvm.emit_contract import has_masked_windows, has_square
from adjit.compiler.llvm.emit_state import Options
from adjit.compiler.llvm.target import host_target
from adjit.compiler.loops.ir import BLOCKS, CONTRACT, FOR, MATRICES, REDUCE, SORT_ROWS, STORE, TRANSFORM, UPDATE
from adjit.compiler.memory import byte_count
from adjit.compiler.roofline import Peaks
from adjit.inspection.facts import KernelFacts, ProgramFacts
from adjit.inspection.snapshots import Kernels, snapshots
from adjit.ir.graph import Graph, Location, Node, Value
from adjit.ir.shape import Size, evaluate
from adjit.ir.types import F32, F64

_VECTOR = re.compile(r"<\d+ x (?:float|double|i\d+)>")
_FUNCTION = re.compile(r"^define .*?@(k\d+)(?:\.[^(]*)?\(.*?^}", re.MULTILINE | re.DOTALL)


class Program:
    """A traced program with the stages that it goes through, and the sizes of one call."""

    def __init__(self, name: str, graph: Graph, sizes: Mapping[str, int], strict: bool, threads: int | None) -> None:
        self.name, self.graph, self.sizes = name, graph, dict(sizes)
        self.strict, self.threads = strict, threads
        self.kernels = Kernels(snapshots(graph, strict=strict))
        self.lowered = self.kernels.shots[-1].graph
        self.runs = runs_of(self.lowered, self.sizes)

    def facts(self, peaks: Peaks, seconds: Sequence[float] | None = None) -> ProgramFacts:
        """All that can be said of the program; `seconds` are its kernels' measured times."""
        emitted = emit_program(self.lowered, strict=self.strict, threads=self.threads)
        vectors = {match[1] for match in _FUNCTION.finditer(emitted.text) if _VECTOR.search(match[0])}
        kernels = [self._kernel(name, node, name in vectors, peaks) for name, node in self.kernels.nodes.items()]
        if seconds is not None:
            kernels = [replace(kernel, seconds=time) for kernel, time in zip(kernels, seconds, strict=True)]
        live, values = self._live(emitted.plan.slots)
        inputs = sum(self._bytes(value) for value in self.graph.inputs)
        results = sum(self._bytes(value) for value in self.graph.outputs)
        return ProgramFacts(self.name, tuple(kernels), inputs, results, self._count(emitted.plan.arena), live, values)

    def timed(self, arrays: Sequence[np.ndarray], calls: int) -> tuple[float, list[float]]:
        """The least seconds of a call, and of each kernel, over some calls on copies of the arrays."""
        from time import perf_counter

        clock = Clock()
        executable = build(self.lowered, strict=self.strict, threads=self.threads, clock=clock)
        whole, each = float("inf"), [float("inf")] * len(self.kernels.nodes)
        for _ in range(calls):
            given = [array.copy() for array in arrays]
            clock.reset()
            start = perf_counter()
            executable.run(given)
            whole = min(whole, perf_counter() - start)
            each = [min(pair) for pair in zip(each, clock.seconds(), strict=True)]
        return whole, each

    def by_line(self, seconds: Sequence[float]) -> dict[Location, float]:
        """The kernels' seconds shared out to places, by the instructions that each causes."""
        found: dict[Location, float] = {}
        for node, time in zip(self.kernels.nodes.values(), seconds, strict=True):
            weights = line_weights(node, self.sizes)
            total = sum(weights.values())
            if not total:
                weights, total = {node.location: 1.0}, 1.0
            for location, weight in weights.items():
                found[location] = found.get(location, 0.0) + time * weight / total
        return found

    # -- kernels ------------------------------------------------------------------------------------------------------
    def _kernel(self, name: str, node: Node, vector: bool, peaks: Peaks) -> KernelFacts:
        group = self.kernels.groups[name]
        nodes = [inner for inner in group.regions[0].nodes if inner.op.name != "const"]
        cost = cost_of(node, self.sizes)
        widest = F64 if any(value.dtype is F64 for inner in nodes for value in inner.outputs) else F32
        runs = self.runs[node]
        least, bound = peaks.least_seconds(runs * cost.flops, runs * cost.bytes, widest)
        grouping = group.attached if isinstance(group.attached, Grouping) else Grouping({}, ())
        places = dict.fromkeys(place_text(inner.location) for inner in (*nodes, node) if inner.location.line)
        return KernelFacts(
            name=name,
            ops=tuple(inner.op.name for inner in nodes),
            places=tuple(places),
            loops=tuple(_loops(node)),
            stored=tuple(f"{member.op.name}: {reason}" for member, reason in grouping.stored.items()),
            refused=tuple(map(str, grouping.refused)),
            scalar=tuple(_scalar(node, vector)),
            runs=runs,
            flops=runs * cost.flops,
            bytes=runs * cost.bytes,
            least=least,
            bound=bound,
        )

    # -- memory -------------------------------------------------------------------------------------------------------
    def _live(self, slots: Mapping[Value, int]) -> tuple[int, int]:
        """The most bytes that values of the arena need at once, those of one slot only once; and the bytes of all."""
        graph = self.lowered
        outside = {*graph.inputs, *graph.outputs}
        own = {value: self._count(byte_count(value.type)) for node in graph.nodes for value in node.outputs
               if value not in outside}  # fmt: skip
        spans: dict[int, list[int]] = {}
        for number, node in enumerate(graph.nodes):
            for value in (*node.inputs, *node.outputs):
                if value in own:
                    spans.setdefault(slots[value], [number, number, own[value]])[1] = number
        changes = [0] * (len(graph.nodes) + 1)
        for begin, end, size in spans.values():
            changes[begin] += size
            changes[end + 1] -= size
        return max(accumulate(changes)), sum(own.values())

    def _bytes(self, value: Value) -> int:
        return self._count(value.type.size) * value.dtype.itemsize

    def _count(self, size: Size) -> int:
        return size if isinstance(size, int) else evaluate(size, self.sizes)


def place_text(location: Location) -> str:
    """The line, with a `∂` for each differentiation."""
    return f"{location.origin} {location.file}:{location.line}".strip()


def _loops(kernel: Node) -> Iterator[str]:
    """The outer loops of a kernel, and those of each block where it goes by blocks."""
    blocks = [node for node in kernel.regions[0].nodes if node.op is BLOCKS]
    for node in blocks:
        yield f"blocks over [{', '.join(map(str, extents_of(node)))}]"
    for node in (inner for owner in blocks or [kernel] for inner in owner.regions[0].nodes):
        if node.op is FOR:
            yield f"loops over [{', '.join(map(str, extents_of(node)))}]"
        elif node.op is REDUCE:
            yield f"folds over [{', '.join(map(str, extents_of(node)))}]"
        elif node.op is CONTRACT:
            m, n, k = (" x ".join(str(extent) for _, extent in pairs_of(node, kind)) or "1" for kind in "mnk")
            yield f"product {m} by {n}, sums over {k}{_method(node)}"
        elif node.op is MATRICES:
            yield f"{node.attributes['algorithm']} of matrices"
        elif node.op is TRANSFORM:
            yield f"Fourier transforms of {node.attributes['points']} points"
        elif node.op is SORT_ROWS:
            yield "sort of rows"
        elif node.op in (STORE, UPDATE):
            yield "one element"


def _method(contract: Node) -> str:
    """How a product's sums are formed, if not one by one."""
    if has_square(contract, "k") or has_square(contract, "n"):
        from adjit.compiler.llvm.emit_winograd import winograd_of
        from adjit.compiler.llvm.emit_winograd_gradient import kernel_gradient_of

        options = Options(host_target())
        if (winograd_of if has_square(contract, "k") else kernel_gradient_of)(contract, options, tasks=1) is not None:
            return ", by Winograd's method in tiles of 2 x 2"
    if has_masked_windows(contract):
        from adjit.compiler.llvm.emit_samples import by_samples_of

        if by_samples_of(contract, Options(host_target()), tasks=1) is not None:
            return ", along the samples"
    return ""


def _scalar(kernel: Node, vector: bool) -> Iterator[str]:
    """Why loops of a kernel are not cut into vectors; `vector` says that its code has some."""
    (region,) = kernel.regions
    dependence = Dependence(region)
    nests = [node for node in region.walk() if node.op is FOR]
    for node in nests:
        native = max(1, min(64, host_target().lanes(loop_dtype(node.regions[0]))))
        choice = choose(node, dependence, native)
        if choice.variable is None and not choice.reason.endswith("cut instead"):
            yield f"the loop over [{', '.join(map(str, extents_of(node)))}]: {choice.reason}"
    if not nests and not vector:
        yield "it computes one element"
