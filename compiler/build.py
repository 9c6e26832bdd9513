"""A lowered graph becomes an executable: memory is planned, LLVM text emitted, compiled and loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from adjit.compiler.llvm.driver import Driver
from adjit.compiler.llvm.emit import FIRST, Program
from adjit.compiler.llvm.emit_state import Options
from adjit.compiler.llvm.jit import object_of
from adjit.compiler.llvm.objects import Library
from adjit.compiler.llvm.target import Target, host_target
from adjit.compiler.llvm.text import Module
from adjit.compiler.load import load_program
from adjit.compiler.loops.lower import least_sizes
from adjit.compiler.memory import MemoryPlan, plan_memory
from adjit.compiler.quick import Made, quick_or_best
from adjit.ir.frozen import frozen
from adjit.ir.graph import Graph
from adjit.runtime.executable import Executable, HostOperation, Layout
from adjit.runtime.threads import get_num_threads

if TYPE_CHECKING:
    from adjit.compiler.llvm.clock import Clock
    from adjit.compiler.llvm.debug_info import DebugInfo
    from adjit.compiler.llvm.emit_finite import Checks

# Kernels are emitted as vectors, so LLVM's short pipeline gives code as good as its long ones.
LEVEL = 1


@frozen
class Emitted:
    """LLVM text of a program, and what its caller must know to run it; with `debug`, where its lines come from.

    `outside` are the tables of numbers and functions of LAPACK that the text names.
    """

    module: Module
    plan: MemoryPlan
    driver: Driver
    sizes: tuple[str, ...]
    outside: tuple[str, ...]
    debug: DebugInfo | None = None

    @property
    def text(self) -> str:
        """The text for the best code."""
        return str(self.module)


def emit_program(
    lowered: Graph,
    *,
    strict: bool = True,
    threads: int | None = None,
    target: Target | None = None,
    lanes: int | None = None,
    checks: Checks | None = None,
    debug: bool = False,
    clock: Clock | None = None,
) -> Emitted:
    """The program of a lowered graph.

    `threads` is the most that a call uses (None: as many as `get_num_threads` says); `lanes` forces the vectors' width;
    `checks` makes the program stop where a kernel stored what they look for.  With `debug`, every instruction names the
    user's line; with `clock`, the program takes the time of each kernel.
    """
    target = target or host_target()
    lines: DebugInfo | None = None
    if debug:
        from adjit.compiler.llvm.binding import keep_lines
        from adjit.compiler.llvm.debug_info import DebugInfo

        keep_lines()
        lines = DebugInfo()
    module = Module(
        halves=target.converts_halves,
        avx2=target.has_avx2,
        avx512=target.has_avx512,
        fma=target.has_fma,
        approximate=lowered.approximate,
        debug=lines,
    )
    plan = plan_memory(lowered, FIRST, may_stop=checks is not None)
    sizes = tuple(sorted(lowered.size_names))
    count = get_num_threads() if threads is None else threads
    options = Options(target, strict, lanes)
    driver = Driver(Program(module, sizes, least_sizes(lowered.guards), options, count), plan, count, checks, clock)
    driver.emit(lowered)
    return Emitted(module, plan, driver, sizes, tuple(module.outside), module.debug)


def llvm_text(
    lowered: Graph,
    *,
    strict: bool = True,
    threads: int | None = None,
    target: Target | None = None,
    lanes: int | None = None,
    debug: bool = False,
) -> str:
    """The LLVM text of a lowered graph."""
    return emit_program(lowered, strict=strict, threads=threads, target=target, lanes=lanes, debug=debug).text


def build(
    lowered: Graph,
    *,
    strict: bool = True,
    threads: int | None = None,
    target: Target | None = None,
    lanes: int | None = None,
    level: int = LEVEL,
    checks: Checks | None = None,
    debug: bool = False,
    clock: Clock | None = None,
    quick: bool = False,
    patient: bool = False,
    made: Made | None = None,
) -> Executable:
    """The executable of a lowered graph.  With `strict`, no multiplication is fused with an addition after it.

    A `clock` is attached to the code, and reads its times.  With `quick`, the first call runs code that LLVM makes
    quickly, where that pays (compiler/quick.py), and if it is `patient` many calls do.  `made` is told of each code
    that there is.
    Errors: CompileError for what the native backend cannot compile.
    """
    emitted = emit_program(
        lowered, strict=strict, threads=threads, target=target, lanes=lanes, checks=checks, debug=debug, clock=clock
    )
    plan, driver = emitted.plan, emitted.driver
    layout = Layout(
        sizes=emitted.sizes,
        entries=plan.count,
        inputs=plan.inputs,
        results=plan.results,
        arena=plan.arena,
        workspaces=tuple(sorted(driver.workspaces - {0}, key=str)),
        parallel=driver.parallel,
        host_calls=tuple(HostOperation(call.function, call.operands, call.results) for call in driver.host_calls),
        checks=tuple(HostOperation(call.function, call.operands, call.results) for call in driver.host_checks),
        outside=emitted.outside,
    )
    if made is not None:
        return quick_or_best(lowered, emitted.module, layout, target, level, made, quick, patient)
    key, code = object_of(emitted.text, target, level)
    if clock is None:
        return load_program(lowered, code, key, layout)
    from adjit.compiler.llvm.clock import TIMES

    executable = load_program(lowered, code, key, layout, (TIMES,), clock.imports)
    assert isinstance(executable.library, Library)
    clock.attach(executable.library)
    return executable
