"""Running single ops and small graphs on arrays, for eager mode.

An op whose NumPy result is fixed to the last bit runs in NumPy.  The others (transcendental functions, floating sums,
contractions) run the kernel that a compiled program would run, so eager and strictly compiled code agree exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from adjit.ir.analysis import LOOPS
from adjit.ir.builder import literal_dtype
from adjit.ir.graph import Attribute, Graph, Region
from adjit.ir.halfs import round_bf16, storage_dtype
from adjit.ir.primitive import Primitive
from adjit.ir.types import BF16, F16, DType, TensorType
from adjit.runtime import interpreter
from adjit.tensor import Tensor

if TYPE_CHECKING:
    from adjit.runtime.executable import Executable


# Elements from which a sort or a scatter is worth a kernel.
_MANY = 1 << 12


def run_op(
    op: Primitive,
    arrays: Sequence[np.ndarray],
    types: Sequence[TensorType],
    attributes: dict[str, Attribute],
    regions: Sequence[Region] = (),
) -> list[tuple[np.ndarray, TensorType]]:
    """The results of one op with their types."""
    extra: dict[str, Any] = {"regions": tuple(regions)} if regions else {}
    result_types = op.infer(types, {**attributes, **extra})
    if op.name == "call":
        callee = attributes["callee"]
        assert isinstance(callee, Graph)
        return list(zip(run_graph(callee, arrays), result_types, strict=True))
    programs: list[Any] = [partial(_run_region, region) for region in regions]
    if op.name == "host_call":
        from adjit.runtime.host import call_host

        programs = [partial(call_host, str(attributes["function"]))]
    results = interpreter.run_node(op, arrays, result_types, attributes, programs, execute)
    return [(owned(result, arrays), type) for result, type in zip(results, result_types, strict=True)]


def _run_region(region: Region, *arrays: np.ndarray) -> tuple[np.ndarray, ...]:
    return run_graph(Graph("region", region.inputs, region.nodes, region.outputs), arrays)


def owned(result: np.ndarray, arrays: Sequence[np.ndarray]) -> np.ndarray:
    """The result in memory of its own, in row-major order: references may return windows on an operand."""
    if result.flags.owndata and result.flags.c_contiguous and all(result is not array for array in arrays):
        return result
    return np.array(result, order="C")


def execute(
    op: Primitive, arrays: Sequence[np.ndarray], types: Sequence[TensorType], attributes: Mapping[str, Any]
) -> Sequence[np.ndarray] | None:
    """The results of an op by its native kernel or the host, where NumPy's bits could differ or are late; else None."""
    if op.family == "linalg":
        return _run_on_matrices(op, arrays, attributes)
    if _is_late_in_numpy(op, arrays):
        from adjit.compiler.single import run_single

        return run_single(op, arrays, attributes)
    if op.family in ("control", "source") or not any(type.dtype.is_continuous for type in types):
        return None
    if op.exact and not (op.family == "scalar" and any(array.dtype.kind == "c" for array in arrays)):
        return None
    if op.exact and _is_exact_on_complex(op):
        return None
    from adjit.compiler.single import run_single

    return run_single(op, arrays, attributes)


def _is_late_in_numpy(op: Primitive, arrays: Sequence[np.ndarray]) -> bool:
    """Whether NumPy takes so long for an op with the same bits that a call of a kernel pays."""
    if op.name == "sort":
        return arrays[0].size >= _MANY
    if not op.name.startswith("scatter_") or arrays[1].size < _MANY:
        return False
    # A kernel rounds sums of halves once, NumPy at each step.
    return arrays[0].dtype.kind != "c" and storage_dtype(arrays[0]) not in (F16, BF16)


def _run_on_matrices(
    op: Primitive, arrays: Sequence[np.ndarray], attributes: Mapping[str, Any]
) -> Sequence[np.ndarray]:
    """An op on matrices: many small ones by a kernel, others by the host."""
    from adjit.ir.ops.factorization import MANY_MATRICES

    if prod(arrays[0].shape[:-2]) >= MANY_MATRICES:
        from adjit.compiler.legalize import has_kernel

        operands = [TensorType(storage_dtype(array), array.shape) for array in arrays]
        if has_kernel(op, operands):
            from adjit.compiler.single import run_single

            return run_single(op, arrays, attributes)
    from adjit.runtime.host import call_host
    from adjit.runtime.linear_algebra import host_name

    return call_host(host_name(op, attributes), *arrays)


def _is_exact_on_complex(op: Primitive) -> bool:
    from adjit.ir.ops.complex_parts import EXACT

    return op.name in EXACT


def run_graph(graph: Graph, arrays: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
    """Run a graph node by node, or as one program if it loops; no result shares memory with an input."""
    program = _looping_program(graph)
    if program is not None:
        return tuple(program.run(arrays))
    return interpreter.run(graph, *arrays, execute=execute)


# A graph with loops is compiled as a whole at this run: its steps then cost no Python.  The first runs are interpreted,
# since a length that never comes again is not worth a compilation.
_PATIENCE = 3
_looping: dict[Graph, int | Executable] = {}
_KEPT = 1024


def _looping_program(graph: Graph) -> Executable | None:
    """The strictly compiled graph, whose bits are the interpreter's; None where it is not worth it, or not yet."""
    state = _looping.get(graph)
    if isinstance(state, int):
        if state == 0:
            return None
        if state < _PATIENCE:
            _looping[graph] = state + 1
            return None
        from adjit.compiler.compile import compile_graph

        state = _looping[graph] = compile_graph(graph, strict=True)
    elif state is None:
        if len(_looping) >= _KEPT:
            _looping.clear()
        _looping[graph] = int(any(node.op.name in LOOPS for node in graph.walk()))
    return state


# Serves recorded runs of a graph that came often; None where it does not.
served: Callable[[Graph], Callable[..., tuple[Tensor, ...]] | None] | None = None


def run_graph_recorded(graph: Graph, tensors: Sequence[Tensor]) -> Sequence[Tensor]:
    """Run a graph of ops on tensors, recording."""
    run = None if served is None else served(graph)
    return run_each_recorded(graph, tensors) if run is None else run(*tensors)


def run_each_recorded(graph: Graph, tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """The same, op by op."""
    from adjit.dispatch import apply, literal

    found: dict[Any, Any] = dict(zip(graph.inputs, tensors, strict=True))
    for node in graph.nodes:
        if node.op.name == "const":
            found[node.output] = node.attributes["value"]
            continue
        operands = [found[value] for value in node.inputs]
        # A number whose dtype the tensors beside it do not say must bring it along.
        said = literal_dtype(node.op, [x._dtype if isinstance(x, Tensor) else None for x in operands])
        operands = [
            x if isinstance(x, Tensor) or value.dtype is said else literal(x, value.dtype)
            for x, value in zip(operands, node.inputs, strict=True)
        ]
        results = apply(node.op, operands, node.attributes, regions=node.regions, name=title(node.op.name))
        results = (results,) if isinstance(results, Tensor) else results
        found.update(zip(node.outputs, results, strict=True))
    return tuple(found[value] for value in graph.outputs)


def title(name: str) -> str:
    """`reduce_sum` as `ReduceSum`."""
    return "".join(part.capitalize() for part in name.split("_"))


def add_arrays(left: np.ndarray, right: np.ndarray, dtype: DType) -> np.ndarray:
    """left + right of one dtype."""
    if dtype is BF16 or dtype is F16:
        from adjit.ir.ops.scalar import add

        return interpreter.run_node(add, (left, right), (TensorType(dtype, left.shape),), {})[0]
    return np.asarray(np.add(left, right))


# The greatest float16: no dtype of floats takes less for infinite.
_HALF_REACHES = 65504.0


def number_array(value: int | float | complex | bool, dtype: DType) -> np.ndarray:
    """A number as an array of rank 0; integers are taken modulo the dtype's range."""
    if isinstance(value, float):
        value = float.__float__(value)  # what watches a number does not count this as reading it
    if dtype is BF16:
        return round_bf16(np.asarray(value, np.float32))
    try:
        if type(value) is not float or abs(value) <= _HALF_REACHES:
            return np.asarray(value, dtype.storage)
        with np.errstate(over="ignore"):
            return np.asarray(value, dtype.storage)
    except OverflowError:
        if not -(1 << 63) <= value < 1 << 64:  # type: ignore[operator]
            negative = value < 0  # type: ignore[operator]
            text = "can't convert negative int to unsigned" if negative else "int too big to convert"
            raise OverflowError(text) from None
        return np.asarray(dtype.wrapped(int(value)), dtype.storage)  # type: ignore[arg-type]
