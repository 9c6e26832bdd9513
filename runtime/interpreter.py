"""The meaning of a graph on NumPy arrays, node by node: what every faster way of running it must equal."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from adjit.ir.analysis import last_uses, match_sizes, substitute_attribute, substitute_type
from adjit.ir.errors import DTypeError, ShapeError, VerifyError
from adjit.ir.graph import Attribute, Graph, Node, Region, Value
from adjit.ir.halfs import marked, round_bf16, widened
from adjit.ir.primitive import Primitive
from adjit.ir.shape import Dim, evaluate, format_shape
from adjit.ir.types import BF16, F16, F32, TensorType, dtype_of_storage
from adjit.runtime.host import call_host

Array: TypeAlias = NDArray[Any]
Program: TypeAlias = "Callable[..., tuple[Array, ...]]"
# Runs one op its own way, given the operands, the results' types and the attributes; None leaves it to the reference.
Execute: TypeAlias = (
    "Callable[[Primitive, Sequence[Array], Sequence[TensorType], Mapping[str, Any]], Sequence[Array] | None]"
)

# Ops that copy elements, and those whose references say themselves what they do with each dtype.
_ANY_DTYPE = frozenset(
    ("reshape", "permute", "expand", "slice", "concat", "window", "gather", "scatter_set", "cast", "bitcast", "detach")
)


def run(graph: Graph, *arrays: Array, execute: Execute | None = None) -> tuple[Array, ...]:
    """The outputs of `graph` for its inputs; what `graph.writes` names is returned, and no input is changed.

    A bfloat16 array is held as uint16.  `execute` may run some ops its own way.
    Errors: DTypeError and ShapeError for arrays that do not fit the inputs or the guards.
    """
    operands = [np.asarray(array) for array in arrays]
    _check_dtypes(graph, operands)
    sizes = bind_sizes(graph, [operand.shape for operand in operands])
    results = _Interpreter(sizes, execute).region(graph, operands)
    given = {id(operand) for operand in operands}
    # A result must not be a window on an operand, nor on another result.
    return tuple(
        result if result.flags.owndata and result.flags.c_contiguous and id(result) not in given else result.copy("C")
        for result in results
    )


def bind_sizes(graph: Graph, shapes: Sequence[Sequence[int]]) -> dict[str, int]:
    """The value of each named size of `graph` for inputs of these shapes.

    Errors: ShapeError where ranks or dims disagree, or a guard does not hold.
    """
    plain = None if graph.guards else _plainly_bound(graph, shapes)
    if plain is not None:
        return plain
    if len(shapes) != len(graph.inputs):
        raise ShapeError(f"@{graph.name} takes {len(graph.inputs)} inputs, not {len(shapes)}")
    names = [value.name or str(index) for index, value in enumerate(graph.inputs)]
    for name, value, shape in zip(names, graph.inputs, shapes, strict=True):
        if len(shape) != len(value.dims):
            raise ShapeError(f"@{graph.name}: {name} is {value.type}, and is given the shape {format_shape(shape)}")
    found = match_sizes([value.dims for value in graph.inputs], shapes)
    sizes = {name: size for name, size in found.items() if isinstance(size, int)}
    for name, value, shape in zip(names, graph.inputs, shapes, strict=True):
        for axis, (dim, extent) in enumerate(zip(value.dims, shape, strict=True)):
            unbound = dim.names - sizes.keys() if isinstance(dim, Dim) else ()
            if unbound:
                missing = min(unbound)
                raise ShapeError(f"@{graph.name}: no {missing} makes {dim} equal {extent}, axis {axis} of {name}")
            expected = evaluate(dim, sizes)
            if expected != extent:
                known = f" = {expected}{_sources(graph, names, dim)}" if isinstance(dim, Dim) else ""
                raise ShapeError(f"@{graph.name}: axis {axis} of {name} is {extent}, not {dim}{known}")
    for guard in graph.guards:
        if not guard.holds(sizes):
            values = ", ".join(f"{name} = {sizes[name]}" for name in sorted(guard.names))
            raise ShapeError(f"@{graph.name} needs {guard}, and {values}")
    return sizes


def _plainly_bound(graph: Graph, shapes: Sequence[Sequence[int]]) -> dict[str, int] | None:
    """The same where all dims are numbers and single names, and agree; None otherwise."""
    sizes: dict[str, int] = {}
    if len(shapes) != len(graph.inputs):
        return None
    for value, shape in zip(graph.inputs, shapes, strict=True):
        dims = value.type.dims
        if len(dims) != len(shape):
            return None
        for dim, extent in zip(dims, shape, strict=True):
            expected = sizes.setdefault(dim.single, extent) if isinstance(dim, Dim) and dim.single else dim
            if expected != extent:
                return None
    return sizes


def _sources(graph: Graph, names: Sequence[str], dim: Dim) -> str:
    """Where the sizes in `dim` stand alone: ` (n is axis 0 of x)`."""
    found: dict[str, str] = {}
    for name, value in zip(names, graph.inputs, strict=True):
        for axis, other in enumerate(value.dims):
            if str(other) in dim.names:
                found.setdefault(str(other), f"{other} is axis {axis} of {name}")
    return f" ({', '.join(found.values())})" if found else ""


def _check_dtypes(graph: Graph, operands: Sequence[Array]) -> None:
    for index, (value, operand) in enumerate(zip(graph.inputs, operands, strict=False)):
        if operand.dtype != value.dtype.storage:
            found = dtype_of_storage(operand.dtype) or operand.dtype
            raise DTypeError(f"@{graph.name}: {value.name or index} is {value.type}, and is given {found}")


class _Interpreter:
    """Runs regions under fixed sizes."""

    def __init__(self, sizes: Mapping[str, int], execute: Execute | None) -> None:
        self.sizes = sizes
        self.execute = execute
        self.plans: dict[Region, list[tuple[Value, ...]]] = {}
        self.types: dict[TensorType, TensorType] = {}

    def region(self, region: Region, operands: Sequence[Array]) -> tuple[Array, ...]:
        """The outputs of a region that sees its inputs only; values are dropped after their last use."""
        plan = self.plans.get(region)
        if plan is None:
            plan = self.plans[region] = last_uses(region)
        values = dict(zip(region.inputs, operands, strict=True))
        for node, ending in zip(region.nodes, plan, strict=True):
            try:
                results = self.node(node, [values[value] for value in node.inputs])
            except Exception as error:
                if node.location.line:  # where it was raised, for messages
                    error.__dict__.setdefault("node", node)
                raise
            values.update(zip(node.outputs, results, strict=True))
            for value in ending:
                del values[value]
        return tuple(values[value] for value in region.outputs)

    def node(self, node: Node, operands: Sequence[Array]) -> tuple[Array, ...]:
        if node.op.name == "fuse":
            return self.region(node.regions[0], operands)
        if not node.op.isolated:
            raise VerifyError(f"{node.op.name} belongs to the loop level: it is compiled, not interpreted")
        attributes = {name: self.attribute(value) for name, value in node.attributes.items()}
        types = [self.type(value.type) for value in node.outputs]
        return run_node(node.op, operands, types, attributes, self.programs(node), self.execute)

    def attribute(self, value: Attribute) -> Attribute:
        return substitute_attribute(value, self.sizes) if isinstance(value, (Dim, tuple, TensorType)) else value

    def type(self, type: TensorType) -> TensorType:
        found = self.types.get(type)
        if found is None:
            found = self.types[type] = substitute_type(type, self.sizes)
        return found

    def programs(self, node: Node) -> tuple[Program, ...]:
        """What the op's reference takes as `regions`: its regions, its callee, or the host's function."""
        if node.op.name == "call":
            callee = node.attributes["callee"]
            assert isinstance(callee, Graph)
            return (lambda *operands: run(callee, *operands, execute=self.execute),)
        if node.op.name == "host_call":
            return (partial(call_host, str(node.attributes["function"])),)
        return tuple(partial(self._nested, region) for region in node.regions)

    def _nested(self, region: Region, *operands: Array) -> tuple[Array, ...]:
        return self.region(region, [np.asarray(operand) for operand in operands])


def run_node(
    op: Primitive,
    arrays: Sequence[Array],
    types: Sequence[TensorType],
    attributes: Mapping[str, Any],
    regions: Sequence[Program] = (),
    execute: Execute | None = None,
) -> tuple[Array, ...]:
    """The results of one op: `types` are theirs; types and attributes have numbers for sizes.

    Arithmetic on float16 and bfloat16 is done in float32 and rounded once.
    """
    found = execute(op, arrays, types, attributes) if execute is not None else None
    if found is None:
        with np.errstate(all="ignore"):
            found = _reference(op, arrays, types, attributes, regions)
    return tuple(_checked(op, result, type) for result, type in zip(found, types, strict=True))


def _reference(
    op: Primitive,
    arrays: Sequence[Array],
    types: Sequence[TensorType],
    attributes: Mapping[str, Any],
    regions: Sequence[Program],
) -> Sequence[Any]:
    if op.name == "scan" and attributes["length"] == 0:
        carries = attributes["carries"]
        first = attributes["invariants"]
        stacked = [np.zeros(_shape(type), type.dtype.storage) for type in types[carries:]]
        return [*arrays[first : first + carries], *stacked]
    keywords = {**attributes, "regions": tuple(regions)} if regions else dict(attributes)
    if op.name not in _ANY_DTYPE and op.family != "control":
        arrays = [widened(array) for array in arrays]
    if keywords.get("dtype") is BF16 and op.family == "source":
        keywords["dtype"] = F32
    results = op.reference(*arrays, **keywords)
    return results if isinstance(results, tuple) else (results,)


def _checked(op: Primitive, result: Any, type: TensorType) -> Array:
    """The result in the storage of its type: a half that was computed in float32 is rounded."""
    array = np.asarray(result)
    if array.dtype == np.float32 and type.dtype in (BF16, F16):
        with np.errstate(all="ignore"):
            array = round_bf16(array) if type.dtype is BF16 else array.astype(np.float16)
    assert array.dtype == type.dtype.storage, f"{op.name} gave {array.dtype}, not {type}"
    assert array.shape == _shape(type), f"{op.name} gave the shape {list(array.shape)}, not {type}"
    return marked(array, type.dtype)


def _shape(type: TensorType) -> tuple[int, ...]:
    assert type.is_static, f"{type} has sizes without a number"
    return tuple(evaluate(dim, {}) for dim in type.dims)
