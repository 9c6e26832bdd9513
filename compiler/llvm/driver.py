"""The driver: `void @main(buffers, sizes)` runs a program's kernels in order, and its control flow.

Each region of a program becomes functions of at most `CHUNK` steps, since LLVM's time is quadratic in a function's
size.  They return whether the program must stop: after a fault, before anything is written to an input.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from typing import TYPE_CHECKING, TypeVar

from adjit.compiler.llvm.alike import entries_of, forms_of, own_entries, own_table
from adjit.compiler.llvm.emit import (
    ARENA,
    GRAIN,
    STATUS,
    Part,
    Program,
    emit_kernel,
    load_entry,
    open_function,
    work_of,
)
from adjit.compiler.llvm.emit_choice import Dependence
from adjit.compiler.llvm.emit_index import greatest, uniform
from adjit.compiler.llvm.emit_state import Writer
from adjit.compiler.llvm.sequences import counted, offset
from adjit.compiler.llvm.text import LLType, literal
from adjit.compiler.load import HOST, MAIN, PARALLEL_FOR
from adjit.compiler.loops.ir import KERNEL
from adjit.compiler.memory import Copy, MemoryPlan, Temporary
from adjit.ir.errors import CompileError
from adjit.ir.frozen import frozen, record
from adjit.ir.graph import Graph, Node, Region, Value
from adjit.ir.shape import Size
from adjit.ir.types import BOOL, I32, TensorType
from adjit.runtime.faults import FIRST_CHECK, Fault
from adjit.runtime.host import CHECK_PREFIX

if TYPE_CHECKING:
    from adjit.compiler.llvm.clock import Clock
    from adjit.compiler.llvm.emit_finite import Checks

# Steps in one function of the driver.
CHUNK = 200
_PARAMETERS = "ptr %buffers, ptr %sizes"
Step = Callable[[Writer], None]
_T = TypeVar("_T")


@frozen
class HostCall:
    """A call of a function of the host: its name, and the entries and types of operands and results."""

    function: str
    operands: tuple[tuple[int, TensorType], ...]
    results: tuple[tuple[int, TensorType], ...]


@record
class Driver:
    """Emission of a program.

    Afterwards `workspaces` are the needs of its kernels, `host_calls` its calls in order, `host_checks` those that are
    called only for the error that they raise, and `parallel` says whether it shares work among threads.
    """

    program: Program
    plan: MemoryPlan
    threads: int
    checks: Checks | None = None
    clock: Clock | None = None
    workspaces: set[Size] = field(default_factory=set)
    host_calls: list[HostCall] = field(default_factory=list)
    host_checks: list[HostCall] = field(default_factory=list)
    parallel: bool = False
    _kernels: int = 0
    _forms: Mapping[Node, str] = field(default_factory=dict)
    _emitted: dict[str, list[Part]] = field(default_factory=dict)
    _functions: int = 0

    def emit(self, graph: Graph) -> None:
        """`@adjit_main` and all it calls."""
        if self.program.module.debug is None:  # where lines are asked for, each kernel has its own
            self._forms = forms_of(graph, self.plan.slots)
        fixed = [(item.slot, item.offset) for item in self.plan.temporaries if isinstance(item.offset, int)]
        sized = [item for item in self.plan.temporaries if not isinstance(item.offset, int)]
        steps: list[Step] = [self._place_fixed(fixed)] if fixed else []
        steps += [self._place_temporaries(chunk) for chunk in _chunks(sized)]
        steps += self._steps(graph)
        written = {self.plan.results[output] for _, output in graph.writes}
        copies = self.plan.copies.get(graph, [])
        steps += self._copy_steps([c for c in copies if c.target not in written])
        last = [c for c in copies if c.target in written]
        if last:
            steps += [self.stop_on_fault, *self._copy_steps(last)]
        body = self._function(steps)
        w = self.open(MAIN, "void", linkage="")
        w.f.let(f"call i1 @{body}({_PARAMETERS})")
        w.f.line("ret void")
        w.f.finish()
        if self.clock is not None:
            self.clock.declare(w.module, self._kernels)

    # -- functions ----------------------------------------------------------------------------------------------------
    def open(self, name: str, result: str = "i1", linkage: str = "internal") -> Writer:
        w = open_function(self.program, name, _PARAMETERS, {}, Dependence(Region()), result)
        w.f.linkage = linkage
        return w

    def _function(self, steps: Sequence[Step]) -> str:
        """A function that runs steps until one stops the program."""
        if len(steps) > CHUNK:
            names = [self._function(chunk) for chunk in _chunks(steps)]
            return self._function([_call_step(name) for name in names])
        name = f"driver{self._functions}"
        self._functions += 1
        w = self.open(name)
        for step in steps:
            with w.scope():
                step(w)
        w.f.line("ret i1 false")
        w.f.finish()
        return name

    def _steps(self, region: Region) -> list[Step]:
        steps: list[Step] = []
        for node in region.nodes:
            if node is self.plan.guarded:
                steps.append(self.stop_on_fault)
            steps += self.node_steps(node)
        return steps

    def node_steps(self, node: Node) -> list[Step]:
        if node.op is KERNEL:
            name = f"k{self._kernels}"
            self._kernels += 1
            steps = [self._kernel(name, node), *self._check_steps(node)]
            if self.clock is not None:
                steps = [self.clock.begin(), *steps, self.clock.end(self._kernels - 1)]
            return [_standing(node, step) for step in steps]
        rule: dict[str, Callable[[Node], list[Step]]] = {
            "cond": self._control, "while": self._control, "scan": self._control, "host_call": self._host_call,
            "const": self._const, "as_real": lambda node: [], "as_complex": lambda node: [],
        }  # fmt: skip
        if node.op.name not in rule:
            raise CompileError(f"{node.op.name} stands outside all kernels and cannot be compiled there")
        steps = rule[node.op.name](node)
        if node.op.name == "host_call":
            steps += self._check_steps(node)
        return [_standing(node, step) for step in steps]

    # -- steps --------------------------------------------------------------------------------------------------------
    def _kernel(self, name: str, node: Node) -> Step:
        """The parts of a kernel in order; of kernels of one form, those of the first."""
        entries, form = entries_of(node, self.plan.slots), self._forms.get(node)
        parts = self._emitted.get(form) if form else None
        if parts is None:
            parts = emit_kernel(self.program, name, node, own_entries(entries) if form else entries)
            self.workspaces |= {part.workspace for part in parts}
            if form:
                self._emitted[form] = parts

        def step(w: Writer) -> None:
            table = own_table(w, name, entries) if form else "%buffers"
            for part in parts:
                self._run_part(w, part, table)

        return step

    def _place_fixed(self, places: Sequence[tuple[int, int]]) -> Step:
        """The addresses of temporaries at constant offsets, from a table of (slot, offset): one loop for all."""

        def step(w: Writer) -> None:
            f, table = w.f, "@temporaries"
            rows = ", ".join(f"[2 x i64] [i64 {slot}, i64 {place}]" for slot, place in places)
            w.module.declare(f"{table} = internal constant [{len(places)} x [2 x i64]] [{rows}], align 8")
            arena = load_entry(f, "ptr", "%buffers", ARENA)
            with counted(f, "0", str(2 * len(places)), 2) as row:
                slot, place = (
                    f.let(f"load i64, ptr {offset(f, 'i64', table, at)}, align 8")
                    for at in (row, f.let(f"add nsw i64 {row}, 1"))
                )
                entry = offset(f, "ptr", "%buffers", slot)
                f.line(f"store ptr {offset(f, 'i8', arena, place)}, ptr {entry}, align 8")

        return step

    def _place_temporaries(self, chunk: Sequence[Temporary]) -> Step:
        def step(w: Writer) -> None:
            arena = load_entry(w.f, "ptr", "%buffers", ARENA)
            for temporary in chunk:
                at = offset(w.f, "i8", arena, uniform(w, temporary.offset))
                self.point(w, temporary.slot, at)

        return step

    def point(self, w: Writer, slot: int, address: str) -> None:
        place = w.f.let(f"getelementptr ptr, ptr %buffers, i64 {slot}")
        w.f.line(f"store ptr {address}, ptr {place}, align 8")

    def _run_part(self, w: Writer, part: Part, table: str) -> None:
        f, given = w.f, f"ptr {table}, ptr %sizes"
        if part.tasks:
            extent, grain = f.let(f"call i64 @{part.tasks}({given})"), "1"
        elif isinstance(part.extent, int) and isinstance(part.work, int):
            extent, grain = str(part.extent), str(max(1, GRAIN // max(1, part.work)))
        else:
            extent = uniform(w, part.extent)
            least = f.let(f"udiv i64 {GRAIN}, {greatest(w, uniform(w, part.work), '1')}")
            grain = greatest(w, least, "1")
        if part.is_whole(self.threads):
            f.line(f"call void @{part.name}({given}, i64 0, i64 {extent})")
            return
        self.parallel = True
        w.module.declare(f"declare void @{PARALLEL_FOR}(ptr, ptr, ptr, i64, i64)")
        f.line(f"call void @{PARALLEL_FOR}(ptr @{part.name}, {given}, i64 {extent}, i64 {grain})")

    def _check_steps(self, node: Node) -> list[Step]:
        """Stop with a fault where a result of a kernel, or of the host, holds what the checks look for."""
        checks = self.checks
        if checks is None or not checks.concern(node):
            return []
        from adjit.compiler.llvm.emit_finite import is_checked

        return [self._check_step(value, checks.inf) for value in node.outputs if is_checked(value.dtype)]

    def _check_step(self, value: Value, inf: bool) -> Step:
        from adjit.compiler.llvm.emit_finite import emit_finite_check

        def step(w: Writer) -> None:
            f = w.f
            check = emit_finite_check(w.module, value.dtype, inf=inf)
            data = load_entry(f, "ptr", "%buffers", self.plan.slots[value])
            wrong = f.let(f"call i1 @{check}(ptr {data}, i64 {uniform(w, value.type.size)})")
            stop, go = f.label("wrong"), f.label("finite")
            f.branch(wrong, stop, go)
            f.start(stop)
            status = load_entry(f, "ptr", "%buffers", STATUS)
            f.line(f"atomicrmw or ptr {status}, i64 {Fault.NOT_FINITE} monotonic, align 8")
            f.line("ret i1 true")
            f.start(go)

        return step

    def _copy_steps(self, copies: Sequence[Copy]) -> list[Step]:
        def step_of(copy: Copy) -> Step:
            def step(w: Writer) -> None:
                source, target = (load_entry(w.f, "ptr", "%buffers", slot) for slot in (copy.source, copy.target))
                w.f.copy(target, source, uniform(w, copy.type.size * copy.type.dtype.itemsize))

            return step

        return [step_of(copy) for copy in copies]

    def stop_on_fault(self, w: Writer) -> None:
        f = w.f
        flags = f.let(f"load i64, ptr {load_entry(f, 'ptr', '%buffers', STATUS)}, align 8")
        _stop_if(w, f.let(f"icmp ne i64 {flags}, 0"))

    def _const(self, node: Node) -> list[Step]:
        type, value = node.output.type, node.attributes["value"]

        def step(w: Writer) -> None:
            target = load_entry(w.f, "ptr", "%buffers", self.plan.slots[node.output])
            if type.dtype is BOOL:
                w.f.line(f"store i8 {int(bool(value))}, ptr {target}")
            else:
                assert isinstance(value, (int, float))
                w.f.line(f"store {LLType(type.dtype).llvm} {literal(type.dtype, value)}, ptr {target}")

        return [step]

    # -- control flow -------------------------------------------------------------------------------------------------
    def _control(self, node: Node) -> list[Step]:
        """Copies of what a loop begins with, and a call of the function that is the `cond`, `while` or `scan`."""
        name = f"control{self._functions}"
        self._functions += 1
        from adjit.compiler.llvm.control import emit_control  # which few programs need

        emit_control(self, node, name)
        return [*self._copy_steps(self.plan.copies.get(node, [])), _call_step(name)]

    def exchange(self, pairs: Sequence[tuple[int, int]]) -> Step:
        """Each target of (source, target) takes the address of its source, all at once."""

        def step(w: Writer) -> None:
            addresses = [load_entry(w.f, "ptr", "%buffers", source) for source, _ in pairs]
            for (_, target), address in zip(pairs, addresses, strict=True):
                self.point(w, target, address)

        return step

    def call_step(self, steps: Sequence[Step]) -> Step:
        """A call of a function of these steps."""
        return _call_step(self._function(steps))

    def is_serial(self, kernel: Node) -> bool:
        """Whether one thread runs a kernel, however many there are."""
        work = work_of(kernel)
        return isinstance(work, int) and work < 2 * GRAIN

    def _host_call(self, node: Node) -> list[Step]:
        function = str(node.attributes["function"])
        places = [tuple((self.plan.slots[v], v.type) for v in values) for values in (node.inputs, node.outputs)]
        call = HostCall(function, *places)
        if function.startswith(CHECK_PREFIX):
            return [self._host_check(call)]
        number = len(self.host_calls)
        self.host_calls.append(call)

        def step(w: Writer) -> None:
            w.module.declare(f"declare i64 @{HOST}(i64, ptr, ptr)")
            failed = w.f.let(f"call i64 @{HOST}(i64 {number}, {_PARAMETERS})")
            _stop_if(w, w.f.let(f"icmp ne i64 {failed}, 0"))

        return [step]

    def _host_check(self, call: HostCall) -> Step:
        """Stop with a fault where the operand is not all zeros."""
        ((slot, type),) = call.operands
        number = len(self.host_checks)
        self.host_checks.append(call)

        def step(w: Writer) -> None:
            f, seen = w.f, w.slot(LLType(I32))
            data = load_entry(f, "ptr", "%buffers", slot)
            w.write(seen, "0")
            with counted(f, "0", uniform(w, type.size), 1) as i:
                value = f.let(f"load i32, ptr {offset(f, 'i32', data, i)}, align 4")
                w.write(seen, f.let(f"or i32 {w.read(seen)}, {value}"))
            stop, go = f.label("failed"), f.label("passed")
            f.branch(f.let(f"icmp ne i32 {w.read(seen)}, 0"), stop, go)
            f.start(stop)
            status = load_entry(f, "ptr", "%buffers", STATUS)
            f.line(f"store i64 {Fault.CHECK | number << FIRST_CHECK}, ptr {status}, align 8")
            f.line("ret i1 true")
            f.start(go)

        return step


def _chunks(items: Sequence[_T]) -> list[Sequence[_T]]:
    return [items[start : start + CHUNK] for start in range(0, len(items), CHUNK)]


def _standing(node: Node, step: Step) -> Step:
    """A step whose code stands at a node's place in the user's program."""

    def standing(w: Writer) -> None:
        with w.f.at(node.location):
            step(w)

    return standing


def _call_step(name: str) -> Step:
    """A call of a driver function, and its wish to stop passed on."""
    return lambda w: _stop_if(w, w.f.let(f"call i1 @{name}({_PARAMETERS})"))


def _stop_if(w: Writer, condition: str) -> None:
    f = w.f
    stop, go = f.label("stop"), f.label("go")
    f.branch(condition, stop, go)
    f.start(stop)
    f.line("ret i1 true")
    f.start(go)
