"""`adjit.compile`: functions, modules and whole training steps as native programs.

A call looks for an entry whose signature and guards fit; without one the function is traced again.  A dimension whose
size changes from one call to the next is kept open in the second trace, so that one program serves all its sizes.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial, update_wrapper
from typing import TYPE_CHECKING, Any

from adjit import surface
from adjit.call import Call, fits
from adjit.capture import capturing
from adjit.capture.prints import printing_when_run
from adjit.captured import Entangled, Joined
from adjit.entry import Entry, argument_names, trace_entry
from adjit.environment import Environment
from adjit.errors import explained
from adjit.ir.graph import Graph
from adjit.ir.logs import listening
from adjit.lifting import Lifting
from adjit.memory import Memory
from adjit.open_sizes import Attempt, OpenSizes, tensor_names
from adjit.retrace import reason_of
from adjit.running import run_entry
from adjit.runtime.callable import NativeCallable
from adjit.runtime.collection import collector_paused
from adjit.runtime.fork_locks import ForkLock
from adjit.state import STATE
from adjit.symbolic_size import Respecialize
from adjit.tensor import Tensor
from adjit.trace_arguments import Overlapping

if TYPE_CHECKING:
    from adjit.capture.source import Captured
    from adjit.inspection.facts import Explanation, Profile
    from adjit.inspection.source_map import SourceMap
    from adjit.inspection.stages import Stages
    from adjit.mathematics.formula import Formula
    from adjit.page.making import Page

# Of so many programs the user is told; so many of one signature are kept.
_MANY, _KEPT = 32, 64


class CompiledFunction(NativeCallable):  # type: ignore[misc]
    """A function that runs as native code; made by `adjit.compile`.

    `graph`, `stages`, `llvm` and `asm` show the program for given arguments; `explain` says why each was made.
    """

    __slots__ = ("__dict__", "__weakref__", "_table")

    _table: Any  # read by native code

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        strict: bool,
        dynamic: bool | None,
        threads: int | None,
        capture: bool,
        nan_checks: Any = None,
        debug_info: bool = False,
        shapes: Mapping[str, Sequence[Any]] | None = None,
        memory_budget: int | None = None,
        approximate: bool = False,
    ) -> None:
        self.function = function
        self.strict = strict
        self.dynamic = dynamic
        self.threads = threads
        self.capture = capture
        self.nan_checks = nan_checks
        self.debug_info = debug_info
        self.approximate = approximate
        self.shapes = shapes
        self._captured: Captured | None = None
        self._entries: dict[Any, list[Entry]] = {}
        self._count = 0
        self.memory_budget = memory_budget
        self._sizes = OpenSizes(dynamic, shapes)
        self._lifting = Lifting()
        self._lock = ForkLock()
        self._native: Any = None
        self.of_instances: CompiledFunction | None = None  # the one that takes tensors of users' classes
        update_wrapper(self, function, updated=())

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") and name != "__dict__":
            raise AttributeError(name)
        return getattr(self.__dict__["function"], name)

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        if instance is None:
            return self
        from types import MethodType

        return MethodType(self, instance)

    def __copy__(self) -> CompiledFunction:
        return self._of(self.function)

    def __deepcopy__(self, memo: dict[int, Any]) -> CompiledFunction:
        from copy import deepcopy

        return self._of(deepcopy(self.function, memo))

    def _of(self, function: Callable[..., Any]) -> CompiledFunction:
        """Another function compiled in the same way; programs are made anew."""
        return CompiledFunction(
            function, strict=self.strict, dynamic=self.dynamic, threads=self.threads, capture=self.capture,
            nan_checks=self.nan_checks, debug_info=self.debug_info, shapes=self.shapes,
            memory_budget=self.memory_budget, approximate=self.approximate,
        )  # fmt: skip

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if STATE.tracer is not None:
            return self.function(*args, **kwargs)
        if surface.override is not surface.keep:
            from adjit import instances

            if instances.found_in((args, kwargs)):
                return instances.call(self, args, kwargs)
        call, entry = self.served(args, kwargs)
        entry.calls += 1
        result = run_entry(self, entry, call)
        if entry.calls > 1 and not (entry.turned or entry.marked or entry.fixed):
            self._learn(entry, call, args, kwargs, result)
        return result

    def _learn(self, entry: Entry, call: Call, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
        """Let native code serve the next call of this kind."""
        if self._native is None:
            from adjit.native.near import is_at_hand

            if not is_at_hand():
                return
            from adjit.native.compiled import NativeCalls

            with self._lock:
                if self._native is None:
                    self._native = NativeCalls(self)
        self._native.learn(entry, call, args, kwargs, result)

    # -- looking in -------------------------------------------------------------------------------------------------
    def graph(self, *args: Any, **kwargs: Any) -> Graph:
        """The traced program for these arguments; the function is traced if need be, and not run."""
        return self.served(args, kwargs)[1].graph

    def backward_graph(self, *args: Any, wrt: Sequence[str] | None = None, **kwargs: Any) -> Graph:
        """The traced program's backward graph, with respect to the inputs named in `wrt` (default: all floating)."""
        from adjit.compiler.differentiate import differentiate

        graph = self.graph(*args, **kwargs)
        chosen = None if wrt is None else [i for i, v in enumerate(graph.inputs) if v.name in wrt]
        return differentiate(graph, chosen).backward

    def grad_formula(self, *args: Any, **kwargs: Any) -> Formula:
        """The gradient for these arguments as mathematics: definitions in index notation, text and LaTeX."""
        from adjit.mathematics import grad_formula

        return grad_formula(self, *args, **kwargs)

    def stages(self, *args: Any, **kwargs: Any) -> Stages:
        """The program's text after each stage of the compiler, the last ones being LLVM and assembly.

        A dictionary; printed, it shows what each stage removed, added and changed.
        """
        from adjit.inspection.stages import stages_of

        return stages_of(self.graph(*args, **kwargs), strict=self.strict, threads=self.threads)

    def llvm(self, *args: Any, optimized: bool = False, **kwargs: Any) -> str:
        """The LLVM text of the program for these arguments."""
        from adjit.compiler.pipeline import llvm_of

        return llvm_of(self.graph(*args, **kwargs), strict=self.strict, threads=self.threads, optimized=optimized)

    def asm(self, *args: Any, **kwargs: Any) -> str:
        """The assembly of the program for these arguments."""
        from adjit.compiler.pipeline import assembly_of

        return assembly_of(self.graph(*args, **kwargs), strict=self.strict, threads=self.threads)

    def html(self, *args: Any, **kwargs: Any) -> Page:
        """One HTML file: Python, every stage, LLVM and assembly, linked line by line; `.save(path)` writes it.

        It shows times, too, which are measured on copies of the arguments.
        """
        from adjit.page.making import page_of

        call, entry = self.served(args, kwargs)
        return page_of(self, entry, call)

    def source_map(self, *args: Any, **kwargs: Any) -> SourceMap:
        """From the user's lines to nodes, kernels, LLVM and machine code for these arguments, and back."""
        from adjit.inspection.source_map import source_map
        from adjit.running import programs_of

        call, entry = self.served(args, kwargs)
        return source_map(entry.graph.name, programs_of(entry, call), strict=self.strict, threads=self.threads)

    def explain(self, *args: Any, **kwargs: Any) -> Explanation:
        """What is in the cache and why; and kernels, memory, bounds and saved values of the program for a call.

        Without arguments it is the program that was made last.
        """
        from adjit.inspection import explaining
        from adjit.inspection.facts import Explanation

        found = self._program_for(args, kwargs)
        if found is None:
            return Explanation(getattr(self, "__name__", type(self.function).__name__), ())
        return explaining.explain(self, *found)

    def profile(self, *args: Any, calls: int = 10, **kwargs: Any) -> Profile:
        """The measured time of each kernel and of each line of the user's, for these arguments.

        Nothing is written to the arguments: the programs run on copies.  `explain` then shows the times too.
        """
        from adjit.inspection import explaining

        call, entry = self.served(args, kwargs)
        return explaining.profile(self, entry, call, calls)

    def _program_for(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Entry, Call] | None:
        """The entry for some arguments, or without any the one made last."""
        if args or kwargs:
            call, entry = self.served(args, kwargs)
            return entry, call
        entries = [entry for entries in self._entries.values() for entry in entries]
        latest = max(entries, key=lambda entry: entry.number, default=None)
        return None if latest is None or latest.call is None else (latest, latest.call)

    def executable(self, *args: Any, **kwargs: Any) -> Any:
        """The compiled program for these arguments, where nothing is recorded."""
        from adjit.running import executable_of

        return executable_of(self, self.served(args, kwargs)[1])

    def _calls(self, entry: Entry) -> int:
        return entry.calls + (0 if self._native is None else int(self._native.calls(entry)))

    def _repr_html_(self) -> str:
        from adjit.notebook import function_html

        return function_html(self)

    def captured_source(self) -> str:
        """The functions whose control flow on traced tensors was captured, as they were rewritten."""
        return "" if self._captured is None else "\n\n".join(self._captured.texts)

    @property
    def compile_count(self) -> int:
        """How many programs were traced."""
        return self._count

    # -- entries ----------------------------------------------------------------------------------------------------
    def served(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Call, Entry]:
        """A call, and the program that serves it; traced if need be."""
        call = self._lifting.call(args, kwargs)
        entry = self._fitting(call)
        if entry is not None:
            return call, entry
        with self._lock:
            while True:
                entry = self._fitting(call)
                if entry is None and (self._lifting.lift_numbers(call) or self._lifting.lift_changed(call)):
                    call = self._lifting.call(args, kwargs)
                    continue
                if entry is not None:
                    return call, entry
                try:
                    with collector_paused():
                        entry = self._trace(call)
                except Exception:
                    if not self._lifting.fix_numbers(call):
                        raise
                    entry = None
                if entry is None or self._lifting.lift_written(call, entry):
                    call = self._lifting.call(args, kwargs)
                    continue
                self._keep(call.key, entry)
                return call, entry

    def _keep(self, key: Any, entry: Entry) -> None:
        """Put a new program into the cache; of one signature's the oldest give way."""
        entry.number = self._count
        self._count += 1
        entry.memory_budget = self.memory_budget
        _log_entry(entry)
        entries = self._entries.setdefault(key, [])
        entries.insert(0, entry)
        del entries[_KEPT:]
        if self._count == _MANY:
            name = getattr(self, "__name__", type(self.function).__name__)
            warnings.warn(
                f"{name} has needed {_MANY} programs by now, each traced and compiled anew; the latest because: "
                f"{entry.reason}\n  hint: {name}.explain() tells the reason of each; pass what changes as a tensor, "
                "or keep it out of the compiled function",
                RuntimeWarning,
                stacklevel=4,
            )

    def _fitting(self, call: Call) -> Entry | None:
        return next((entry for entry in self._entries.get(call.key, ()) if fits(entry, call)), None)

    def _trace(self, call: Call) -> Entry:
        names = argument_names(self.function, call)
        reason = reason_of(call, names, self._entries)
        lifted = [str(place) for place, item in call.lifted if isinstance(item, Tensor)]
        attempt = self._sizes.attempt(call, [*tensor_names(names, call.leaves), *lifted])
        if (log := listening("guards")) is not None:
            log.debug("%s is traced: %s", getattr(self, "__name__", type(self.function).__name__), reason)
        statics = [leaf for leaf in call.leaves if not isinstance(leaf, Tensor)]
        environment = Environment(self.function, statics, [place for place, _ in call.lifted])
        environment.name_tensors()
        apart: set[Memory] = set()
        together: set[Memory] = set()
        joined: set[Memory] = set()
        while True:
            try:
                entry = self._traced(call, environment, attempt, reason, apart, together, joined)
            except Entangled as found:
                apart.add(found.memory)
                continue
            except Overlapping as found:
                together.add(found.memory)
                continue
            except Joined as found:
                joined.add(found.memory)
                continue
            except Respecialize as request:
                attempt.narrow(request)
                continue
            except Exception:
                if not attempt.general:
                    raise
                attempt.specialize()  # the function fails for other sizes than this call's
                continue
            if attempt.general and not fits(entry, call):
                attempt.specialize()
                continue
            attempt.done()
            return entry

    def _traced(
        self, call: Call, environment: Environment, attempt: Attempt, reason: str, *memories: set[Memory]
    ) -> Entry:
        tracing = partial(
            trace_entry, self.function, call, environment, attempt.dims, attempt.hints, reason, self.strict, *memories
        )
        with printing_when_run():
            if not self.capture:
                entry = tracing()
            else:
                entry, self._captured = capturing(tracing, self._captured)
        entry.graph.approximate = self.approximate
        return entry


def _log_entry(entry: Entry) -> None:
    """Tell the loggers of a new program in the cache."""
    graph = entry.graph
    if (log := listening("cache")) is not None:
        types = ", ".join(f"{value.name}: {value.type}" for value in graph.inputs)
        log.debug("program %d: @%s(%s)", entry.number, graph.name, types)
    if (log := listening("guards")) is not None and graph.guards:
        log.debug("@%s serves where %s", graph.name, ", ".join(map(str, graph.guards)))


def _require_compilable(model: Any) -> None:
    """TypeError for what is no function of its arguments to a result."""
    from inspect import isasyncgenfunction, iscoroutinefunction, isgeneratorfunction

    if not callable(model):
        raise explained(
            TypeError,
            f"compile takes a function or a module, not {type(model).__name__}",
            "compile",
            {},
            "name the function, without calling it: compiled = torch.compile(f), then compiled(x)",
        )
    kinds = {isgeneratorfunction: "generator", iscoroutinefunction: "coroutine", isasyncgenfunction: "generator"}
    for asks, kind in kinds.items():
        if asks(model):
            first = f"compile takes a function that returns its result; {model.__name__} is a {kind}"
            hint = "return a tuple instead of yielding; write `await` in a function around the compiled one"
            raise explained(TypeError, first, "compile", {}, hint)


def compile(
    model: Callable[..., Any] | None = None,
    *,
    fullgraph: bool = True,
    dynamic: bool | None = None,
    backend: str = "llvm",
    mode: str | None = None,
    options: dict[str, Any] | None = None,
    disable: bool = False,
    strict: bool = False,
    threads: int | None = None,
    capture: bool = True,
    check_nan: bool | str = False,
    debug_info: bool = False,
    shapes: Mapping[str, Sequence[Any]] | None = None,
    memory_budget: int | None = None,
    approximate: bool = False,
) -> Any:
    """Compile a function, a module, or a whole training step to native code; also a decorator.

    `dynamic`: None keeps a size open once it has changed, True from the first call, False never.  `strict`: no
    multiplication is fused with an addition, so that results equal eager mode's to the last bit.  `threads`: the most
    threads a call uses.  `capture`: Python's own `if`, `while`, `for`, `and`, `or` and `print` on traced tensors are
    taken into the program, from the source (`captured_source()` shows it).  `check_nan`: a NaN is an error that names
    its origin, with "inf" an infinity too, as in the context `adjit.check_nan`.  `debug_info`: gdb shows the lines of
    the function in its native code, as with ADJIT_DEBUG_INFO=1; with ADJIT_PERF=1 perf does too.  `shapes` names sizes
    of the arguments, as {"x": ("n", 3), "y": ("2*n",)}: they are open from the first call on, and one program serves
    them all; a call that does not fit is an error in these names.  `memory_budget`: at most so many bytes are kept by a
    call for its backward pass, which computes the rest again.  `approximate`: float32 exp, log, tanh, pow and others,
    and what is made of them (sigmoid, gelu, softmax), may be wrong by a relative 2^-17 (pow 2^-16) and take 0.7 to 0.9
    of the time, pow 0.3 (bounds stand in compiler/llvm/vecmath_approximate.py); the rest stays as it is.
    `fullgraph`, `backend`, `mode` and `options` are accepted as PyTorch has them: there is one backend, and it always
    compiles the full graph.
    """
    if model is None:
        options = {"dynamic": dynamic, "disable": disable, "strict": strict, "threads": threads, "capture": capture}
        return partial(compile, **options, check_nan=check_nan, debug_info=debug_info, shapes=shapes,
                       memory_budget=memory_budget, approximate=approximate)  # fmt: skip
    if disable or getattr(model, "__dict__", {}).get("_compile_disabled", False):
        return model
    _require_compilable(model)
    if strict and approximate:
        raise ValueError("strict and approximate contradict each other: eager mode's bits, or fewer")
    checks = None
    if check_nan:
        from adjit.nan_checks import option

        checks = option(check_nan)
    return CompiledFunction(
        model, strict=strict, dynamic=dynamic, threads=threads, capture=capture, nan_checks=checks,
        debug_info=debug_info, shapes=shapes, memory_budget=memory_budget, approximate=approximate,
    )  # fmt: skip


def __getattr__(name: str) -> Any:
    """PyTorch's `torch.jit`, which has the name of this module."""
    if name.startswith("__"):  # Python asks for `__path__` at each import of a name from here
        raise AttributeError(f"module 'adjit.jit' has no attribute {name!r}")
    from adjit import torchscript

    if name in torchscript.__all__:
        return getattr(torchscript, name)
    raise AttributeError(f"module 'adjit.jit' has no attribute {name!r}")
