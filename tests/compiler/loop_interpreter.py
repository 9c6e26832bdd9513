"""A slow interpreter of lowered graphs: each kernel element by element, every access checked.

Parallel loops run backwards and their blocks of work out of order, so that a wrong `parallel` shows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import chain, product
from typing import Any

import numpy as np

from adjit.compiler.loops.ir import BLOCK, PARTIAL
from adjit.compiler.loops.kinds import LAPACK_PREFIX
from adjit.compiler.on_host import LAPACK
from adjit.ir.graph import Graph, Node, Region, Value
from adjit.ir.ops.reduction import sort
from adjit.ir.primitive import primitive_named
from adjit.ir.shape import Size, evaluate, map_sizes, strides_of
from adjit.ir.types import DType
from adjit.runtime.host import call_host
from tests.compiler.sizes import sizes_of

Env = dict[Value, Any]
POISON = 0x5A


class Fault(Exception):
    """What native code reports as the fault INDEX."""


def run(graph: Graph, arrays: Sequence[Any]) -> list[Any]:
    """The outputs of a lowered graph."""
    sizes = sizes_of(graph.inputs, arrays)
    return _run_region(graph, [np.array(a, order="C") for a in arrays], sizes)


def _run_region(region: Region, arrays: Sequence[Any], sizes: Mapping[str, int]) -> list[Any]:
    env: Env = dict(zip(region.inputs, arrays, strict=True))
    for node in region.nodes:
        operands = [env[value] for value in node.inputs]
        if node.op.name == "kernel":
            results = _run_kernel(node, operands, sizes)
        else:
            results = _run_control(node, operands, sizes)
        env.update(zip(node.outputs, results, strict=True))
    return [env[value] for value in region.outputs]


def _run_control(node: Node, operands: Sequence[Any], sizes: Mapping[str, int]) -> Sequence[Any]:
    if node.op.family == "memory":
        return [np.array(node.op.reference(*operands), order="C")]
    assert node.op.family == "control", f"{node.op.name} outside a kernel"

    def program(region: Region) -> Callable[..., tuple[Any, ...]]:
        return lambda *arrays: tuple(_run_region(region, [np.array(a, order="C") for a in arrays], sizes))

    if node.op.name == "host_call":
        return call_host(str(node.attributes["function"]), *operands)
    attributes = {name: map_sizes(value, lambda s: evaluate(s, sizes)) for name, value in node.attributes.items()}
    return node.op.reference(*operands, regions=[program(region) for region in node.regions], **attributes)


def _run_kernel(node: Node, operands: Sequence[Any], sizes: Mapping[str, int]) -> list[Any]:
    (region,) = node.regions
    results = []
    for value in node.outputs:
        result = np.empty([evaluate(d, sizes) for d in value.dims], value.dtype.storage)
        # Each result must be stored completely: unwritten memory holds nothing sensible.
        result.reshape(-1).view(np.uint8)[...] = 1 if value.dtype.kind == "bool" else POISON
        results.append(result)
    env: Env = dict(zip(region.inputs, [*(np.array(a) for a in operands), *results], strict=True))
    _Kernel(env, dict(sizes)).statements(region)
    return results


class _Kernel:
    def __init__(self, env: Env, names: dict[str, int]) -> None:
        self.env = env
        self.names = names
        self.terms: dict[Node, list[Any]] = {}  # of sums of blocks

    def statements(self, region: Region) -> list[Any]:
        for node in region.nodes:
            getattr(self, f"_{node.op.name}", self._scalar)(node)
        return [self.env[value] for value in region.outputs]

    def _domain(self, node: Node, backwards: bool = False) -> Any:
        extents = [evaluate(e, self.names) for e in node.attributes["extent"]]
        ranges = [range(e) for e in extents]
        if backwards:
            ranges[0] = ranges[0][::-1]
        names = [str(v) for v in node.attributes["var"]]
        assert not set(names) & self.names.keys(), "a loop variable is bound twice"
        for index in product(*ranges):
            self.names.update(zip(names, index, strict=True))
            yield index
        for name in names:
            self.names.pop(name, None)

    def _for(self, node: Node) -> None:
        assert node.attributes["var"], "a loop without variables"
        for _ in self._domain(node, backwards=node.attributes["parallel"]):
            self.statements(node.regions[0])
        for inner in node.regions[0].nodes:
            if inner.op is PARTIAL:
                terms = self.terms.pop(inner, [])[:: -1 if node.attributes["parallel"] else 1]
                for block, start in enumerate(range(0, len(terms), BLOCK)):
                    self.env[inner.inputs[0]][block] = fold(
                        "sum", "lanes", inner.inputs[1].dtype, terms[start : start + BLOCK]
                    )

    def _partial(self, node: Node) -> None:
        self.terms.setdefault(node, []).append(self.env[node.inputs[1]])

    def _blocks(self, node: Node) -> None:
        # One after another, as `independent` permits no more than to begin elsewhere.
        for _ in self._domain(node):
            self.statements(node.regions[0])

    def _scalar(self, node: Node) -> None:
        if node.op.name == "const":
            value = np.asarray(node.attributes["value"], node.output.dtype.storage)
        else:
            value = node.op.reference(*(self.env[v] for v in node.inputs), **node.attributes)
        assert value.shape == (), f"{node.op.name} is no scalar"
        self.env[node.output] = value

    def _random_word(self, node: Node) -> None:
        seed, stream, position = (int(self.env[value]) for value in node.inputs)
        words = primitive_named("random_bits")(np.array([seed, stream]), shape=(position + 1,))
        self.env[node.output] = words[position]

    # -- memory -------------------------------------------------------------------------------------------------------
    def _place(self, node: Node, positions: Sequence[Value]) -> tuple[int, ...] | None:
        """The flat position, None where masked; bounds are checked axis by axis where the axes are given."""
        buffer = self.env[node.inputs[0]]
        positions = list(positions)
        if node.attributes["masked"] and not self.env[positions.pop()]:
            return None
        at = self._evaluated(node.attributes["at"], positions)
        if len(at) == 1 and buffer.ndim != 1:
            assert 0 <= at[0] < buffer.size, f"{node.op.name} at {at} of {buffer.shape}"
            return (at[0],)
        assert len(at) == buffer.ndim
        is_inside = all(0 <= i < n for i, n in zip(at, buffer.shape, strict=True))
        assert is_inside, f"{node.op.name} at {at} of {buffer.shape}"
        return (sum(i * s for i, s in zip(at, strides_of(buffer.shape), strict=True)),)

    def _evaluated(self, sizes: Sequence[Size], positions: Sequence[Value]) -> list[int]:
        names = {**self.names, **{f"_{number}": int(self.env[v]) for number, v in enumerate(positions)}}
        return [evaluate(size, names) for size in sizes]

    def _scratch(self, node: Node) -> None:
        value = node.output
        self.env[value] = np.empty([evaluate(d, self.names) for d in value.dims], value.dtype.storage)
        self.env[value].reshape(-1).view(np.uint8)[...] = 1 if value.dtype.kind == "bool" else POISON

    def _listed(self, node: Node) -> None:
        self.env[node.output] = np.array(node.attributes["values"], node.output.dtype.storage)

    def _load(self, node: Node) -> None:
        place = self._place(node, node.inputs[1:])
        buffer = self.env[node.inputs[0]]
        value = np.zeros((), buffer.dtype) if place is None else buffer.reshape(-1)[place[0]].reshape(())
        self.env[node.output] = value

    def _store(self, node: Node) -> None:
        place = self._place(node, node.inputs[2:])
        buffer, scalar = (self.env[v] for v in node.inputs[:2])
        assert buffer.dtype == scalar.dtype
        if place is not None:
            buffer.reshape(-1)[place[0]] = scalar

    def _update(self, node: Node) -> None:
        place = self._place(node, node.inputs[2:])
        buffer, scalar = (self.env[v] for v in node.inputs[:2])
        if place is None:
            return
        flat = buffer.reshape(-1)
        names = {"add": "add", "mul": "mul", "max": "maximum", "min": "minimum"}
        kind = node.attributes["kind"]
        flat[place[0]] = scalar if kind == "set" else primitive_named(names[kind])(flat[place[0]], scalar)

    # -- indices ------------------------------------------------------------------------------------------------------
    def _index(self, node: Node) -> None:
        (value,) = self._evaluated([node.attributes["value"]], node.inputs)
        self.env[node.output] = np.asarray(value).astype(node.output.dtype.storage)

    def _inside(self, node: Node) -> None:
        pairs = [self._evaluated(pair, node.inputs) for pair in node.attributes["of"]]
        self.env[node.output] = np.asarray(all(0 <= e < n for e, n in pairs))

    def _position(self, node: Node) -> None:
        value, extent = int(self.env[node.inputs[0]]), evaluate(node.attributes["extent"], self.names)
        if node.attributes["masked"] and not self.env[node.inputs[1]]:
            value = 0
        elif not 0 <= value < extent:
            raise Fault(f"{value} is outside 0..{extent}")
        self.env[node.output] = np.asarray(value, np.int64)

    # -- folds --------------------------------------------------------------------------------------------------------
    def _reduce(self, node: Node) -> None:
        assert node.attributes["var"], "a fold without variables"
        terms = [self.statements(node.regions[0]) for _ in self._domain(node)]
        kind, dtype = node.attributes["kind"], node.outputs[0].dtype
        if kind in ("argmax", "argmin"):
            values = np.array([value for value, _ in terms])
            best = np.argmax(values) if kind == "argmax" else np.argmin(values)
            results = [np.asarray(part) for part in terms[best]]
        else:
            results = [fold(kind, node.attributes["order"], dtype, [term for (term,) in terms])]
        self.env.update(zip(node.outputs, results, strict=True))

    def _contract(self, node: Node) -> None:
        storage = node.regions[0].outputs[0].dtype.storage
        groups = [node.attributes[name] for name in ("batch", "m", "n", "k")]
        names = [[str(v) for v, _ in group] for group in groups]
        domains = [list(product(*(range(evaluate(e, self.names)) for _, e in group))) for group in groups]
        (at,) = node.attributes["at"]
        a, b, *after = node.regions
        for outer in product(*domains[:3]):
            bound = dict(zip(chain(*names[:3]), chain(*outer), strict=True))
            total: Any = 0
            for k in domains[3]:
                shared = {n: bound[n] for n in names[0]} | dict(zip(names[3], k, strict=True))
                sides = []
                for region, own in ((a, names[1]), (b, names[2])):
                    # A side that used the other's variables would not find them.
                    inner = _Kernel(dict(self.env), {**self.names, **shared, **{n: bound[n] for n in own}})
                    sides.append(inner.statements(region)[0])
                product_ = sides[0].astype(wide(storage)) * sides[1].astype(wide(storage))
                total = total + product_
            for epilogue in after:
                element = {epilogue.inputs[0]: np.asarray(total).astype(storage)}
                _Kernel({**self.env, **element}, {**self.names, **bound}).statements(epilogue)
            for out in node.inputs:
                self.env[out].reshape(-1)[evaluate(at, {**self.names, **bound})] = total

    def _sort_rows(self, node: Node) -> None:
        source, *results = (self.env[v] for v in node.inputs)
        rows, length, first, count = (
            evaluate(node.attributes[name], self.names) for name in ("rows", "length", "first", "count")
        )
        found = sort(
            source.reshape(rows, length), axis=1, descending=node.attributes["descending"], first=first, count=count
        )
        wanted = {"values": found[:1], "indices": found[1:], "both": found}[node.attributes["results"]]
        for result, part in zip(results, wanted, strict=True):
            result.reshape(rows, count)[...] = part

    def _matrices(self, node: Node) -> None:
        count = len(node.inputs) - int(node.attributes["results"])
        operands = [self.env[v] for v in node.inputs[:count]]
        algorithm = str(node.attributes["algorithm"])
        op, names = primitive_named(algorithm.removeprefix(LAPACK_PREFIX)), ()
        if algorithm.startswith(LAPACK_PREFIX):
            op, names = LAPACK, ("routine", "types", *op.attributes)
        found = op.reference(*operands, **{name: node.attributes[name] for name in names or op.attributes})
        for target, result in zip(node.inputs[count:], found if isinstance(found, tuple) else (found,), strict=True):
            self.env[target][...] = result

    def _transform(self, node: Node) -> None:
        source, target = (self.env[v] for v in node.inputs)
        rows, inner = (evaluate(node.attributes[name], self.names) for name in ("rows", "inner"))
        points, way = node.attributes["points"], node.attributes["way"]
        x = source.reshape(rows, points // 2 + 1 if way == "irfft" else points, inner)
        if way == "rfft":
            found = np.fft.rfft(x, axis=1)
        elif way == "irfft":
            found = np.fft.irfft(x, points, axis=1, norm="forward")
        else:
            found = np.fft.ifft(x, axis=1, norm="forward") if node.attributes["inverse"] else np.fft.fft(x, axis=1)
        target[...] = found.reshape(target.shape)


def wide(dtype: Any) -> Any:
    return np.float64 if dtype.kind == "f" else dtype


def fold(kind: str, order: str, dtype: DType, terms: Sequence[Any]) -> Any:
    """The fold of terms as `adjit.compiler.loops.ir` defines it, but with floats added in float64."""
    numpy_kind = {"sum": np.sum, "prod": np.prod, "max": np.max, "min": np.min, "any": np.any, "all": np.all}[kind]
    assert order in ("lanes", "sequential", "products", "any")
    assert order != "any" or not dtype.is_float or kind in ("max", "min")
    array = np.array(terms, dtype.storage)
    if kind in ("sum", "prod"):
        with np.errstate(all="ignore"):
            return np.asarray(numpy_kind(array, dtype=wide(array.dtype))).astype(array.dtype)  # type: ignore[call-overload]
    return np.asarray(numpy_kind(array))
