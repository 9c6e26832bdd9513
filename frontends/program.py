"""Programs as text: a `.adjit` file can be loaded, differentiated, compiled and run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from adjit.ir.analysis import match_sizes
from adjit.ir.errors import ShapeError
from adjit.ir.graph import Graph
from adjit.ir.rewrite import substitute_sizes
from adjit.state import STATE
from adjit.tensor import Tensor

if TYPE_CHECKING:
    from adjit.inspection.source_map import SourceMap
    from adjit.inspection.stages import Stages
    from adjit.page.making import Page


class Program:
    """An IR graph as a function over tensors or arrays.

    Calling it runs native code, compiled at the first call; autograd goes through it, and inside a compiled function it
    is a part of that one's program.  `interpret` runs the reference interpreter; `vjp` is the backward program.
    `str(program)` is its text.
    """

    def __init__(self, graph: Graph, *, strict: bool = False) -> None:
        self.graph = graph
        self.strict = strict
        self._executable: Any = None
        self._parts: dict[Any, Graph] = {}  # the program at particular sizes, as others call it

    def __call__(self, *arguments: Any) -> Any:
        recording = STATE.recording and any(isinstance(a, Tensor) and a.requires_grad for a in arguments)
        if (recording or STATE.tracer is not None) and not self.graph.writes:
            return self._called(arguments)
        arrays = self._arrays(arguments)
        if self._executable is None:
            from adjit.compiler.compile import compile_graph

            self._executable = compile_graph(self.graph, strict=self.strict)
        return self._wrapped(self._executable.run(arrays))

    def _called(self, arguments: Sequence[Any]) -> Any:
        """The results of one `call` of the program: a node of autograd's graph, or of the running trace."""
        from adjit.composite import apply_callee

        self._check_count(arguments)
        tensors = [
            argument if isinstance(argument, Tensor) else Tensor._wrap(_array(argument, v.dtype.storage), v.dtype)
            for argument, v in zip(arguments, self.graph.inputs, strict=True)
        ]
        shapes = tuple(tensor._tensor_type.dims for tensor in tensors)
        graph = self._parts.get(shapes)
        if graph is None:
            sizes = match_sizes([value.dims for value in self.graph.inputs], shapes)
            graph = self._parts[shapes] = substitute_sizes(self.graph, sizes)
        for value, tensor in zip(graph.inputs, tensors, strict=True):
            if value.type != tensor._tensor_type and STATE.tracer is None:  # a trace may fix open sizes, and try again
                raise ShapeError(f"@{graph.name}: {value.name} is {value.type}, and is given {tensor._tensor_type}")
        found = apply_callee(graph, tensors, graph.name)
        return found[0] if len(found) == 1 else tuple(found)

    def interpret(self, *arguments: Any) -> Any:
        """The results by the reference interpreter, op by op in NumPy."""
        from adjit.runtime import interpreter

        arrays = self._arrays(arguments)
        return self._wrapped(interpreter.run(self.graph, *arrays))

    def vjp(self, inputs: Sequence[int] | None = None) -> Program:
        """The backward program: cotangents of the outputs, then the saved values, to cotangents of the inputs."""
        return Program(self.derivative(inputs)[1].graph, strict=self.strict)

    def derivative(self, inputs: Sequence[int] | None = None) -> tuple[Program, Program]:
        """The forward program, which also returns what backward takes, and the backward program."""
        from adjit.compiler.differentiate import differentiate

        found = differentiate(self.graph, inputs)
        return Program(found.forward, strict=self.strict), Program(found.backward, strict=self.strict)

    def stages(self) -> Stages:
        """The text after each stage of the compiler, then LLVM and assembly; printed, what each stage changed."""
        from adjit.inspection.stages import stages_of

        return stages_of(self.graph, strict=self.strict)

    def html(self) -> Page:
        """One HTML file: every stage, LLVM and assembly, linked line by line; `.save(path)` writes it."""
        from adjit.page.making import make_page

        return make_page(self.graph, strict=self.strict)

    def source_map(self) -> SourceMap:
        """From the lines that the text names to nodes, kernels, LLVM and machine code, and back."""
        from adjit.inspection.source_map import source_map

        return source_map(self.graph.name, {"forward": self.graph}, strict=self.strict)

    def save(self, path: str | Path) -> None:
        """Write the text to a file."""
        Path(path).write_text(str(self.graph), encoding="utf-8")

    def __str__(self) -> str:
        return str(self.graph)

    def _repr_html_(self) -> str:
        return self.graph._repr_html_()

    def _repr_svg_(self) -> str:
        return self.graph.to_svg()

    def __repr__(self) -> str:
        return f"<Program @{self.graph.name}>"

    def _arrays(self, arguments: Sequence[Any]) -> list[np.ndarray]:
        self._check_count(arguments)
        return [_array(a, v.dtype.storage) for a, v in zip(arguments, self.graph.inputs, strict=True)]

    def _check_count(self, arguments: Sequence[Any]) -> None:
        if len(arguments) != len(self.graph.inputs):
            names = [f"{v.name}: {v.type}" for v in self.graph.inputs]
            raise ShapeError(
                f"@{self.graph.name} takes {len(names)} arguments ({', '.join(names)}), not {len(arguments)}"
            )

    def _wrapped(self, arrays: Sequence[np.ndarray]) -> Any:
        tensors = [Tensor._wrap(a, v.dtype) for a, v in zip(arrays, self.graph.outputs, strict=True)]
        return tensors[0] if len(tensors) == 1 else tuple(tensors)


def _array(argument: Any, storage: np.dtype[Any]) -> np.ndarray:
    if isinstance(argument, Tensor):
        assert argument._array is not None
        return argument._array
    return np.asarray(argument, storage) if not isinstance(argument, np.ndarray) else argument


def parse(text: str) -> Program:
    """The program that IR text describes.

    >>> double = parse("func @double(%x: f32[n]) -> (f32[n]) {\\n  %0 = mul %x, 2.0 : f32[n]\\n  return %0\\n}")
    >>> double([1.0, 2.5])
    tensor([2., 5.])

    Errors: ParseError with line and column; VerifyError for a program that breaks a rule of the IR.
    """
    from adjit.ir import ops as _ops  # noqa: F401 - the registry
    from adjit.ir.parser import parse as parse_graph
    from adjit.ir.verify import verify

    graph = parse_graph(text)
    verify(graph)
    return Program(graph)


def load_program(path: str | Path) -> Program:
    """The program in a `.adjit` file."""
    return parse(Path(path).read_text(encoding="utf-8"))
