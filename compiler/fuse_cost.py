"""What fusion has to know of each op: what it costs, how often its operands are read, what belongs to a contraction."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence

from adjit.compiler.loops.kinds import SPECIAL
from adjit.compiler.loops.packed import contraction_chain, is_packed
from adjit.compiler.unpadded import reads_padding
from adjit.ir.frozen import frozen
from adjit.ir.graph import Node, Region, Value
from adjit.ir.shape import Size, evaluate, product, size_names

# What a named size is taken to be where only an estimate is needed.
TYPICAL = 64
# Instructions an element beyond the one of plain arithmetic; polynomials of some 20 terms for functions.
FUNCTIONS = frozenset({
    "exp", "exp2", "log", "log1p", "expm1", "sin", "cos", "tan", "asin", "acos", "atan", "atan2", "sinh", "cosh",
    "tanh", "erf", "pow",
})  # fmt: skip
COSTS = {**dict.fromkeys(FUNCTIONS, 20.0), "div": 4.0, "sqrt": 4.0, "mod": 6.0, "gather": 4.0, "random_bits": 150.0}
# Elements of an array from which on it matters in which order they are read.
MANY_ELEMENTS = 4096
# Bytes of an array that memory holds, not a cache; sources of a value beyond which their number does not matter.
LARGE = 8 << 20
MANY = 4
# Reads of an element of a permuted array from which on a copy in that order is repaid.
REREAD = 8
# Elements that share an operand's element from which on that is found but once.
SHARED = 8
# A concat of at most so many arrays, of at least so many elements together, may be looked through; so long is a row at
# least whose vectors seldom meet two arrays.
MOST_IN_ROW, LEAST_IN_ROW, SHORT_ROW = 3, 1024, 64
# Above this, sums along long chains would only lose time.
DEAREST = 1000.0


@frozen
class Frame:
    """A place in the kernel of `root` where an op is computed: how often, and whether once for each element.

    `depth` counts the views between root and the op.
    """

    root: Node
    evaluations: float
    once: bool
    depth: int


def estimate(size: Size) -> float:
    """About how large a size is."""
    return float(size) if isinstance(size, int) else float(evaluate(size, dict.fromkeys(size_names(size), TYPICAL)))


def is_free(node: Node) -> bool:
    """Whether computing the op needs no more than its index."""
    return node.op.name in ("const", "iota", "table")


def is_reduction(node: Node) -> bool:
    """Whether the op computes each element by a loop."""
    return node.op.name == "fold" or (node.op.family in ("reduction", "contraction") and node.op.name not in SPECIAL)


def is_pointwise(nodes: Iterable[Node]) -> bool:
    """Whether nodes compute each element without loops: arithmetic, and views of what it reads."""
    return not any(is_reduction(node) or node.op.name in SPECIAL for node in nodes)


def is_looked_through(node: Node, users: Mapping[Value, Sequence[Node]]) -> bool:
    """Whether an op with a kernel of its own can be computed where it is used instead: few long arrays in a row.

    Products, windows and what repeats elements read it more than once.
    """
    if node.op.name != "concat" or len(node.inputs) > MOST_IN_ROW or estimate(node.output.type.size) < LEAST_IN_ROW:
        return False
    axis, dims = node.attributes["axis"], node.output.dims
    assert isinstance(axis, int)
    after = estimate(product(dims[axis + 1 :]))
    is_long = after >= SHORT_ROW or (after == 1 and estimate(dims[axis]) >= SHORT_ROW)
    return is_long and not _is_reread(node, users)


def _is_reread(node: Node, users: Mapping[Value, Sequence[Node]]) -> bool:
    """Whether products, windows or repetitions are taken of `node`'s result, perhaps in part or in another order."""
    return any(
        user.op.name in ("window", "expand") or user.op.family == "contraction"
        or (user.op.name in ("reshape", "permute", "slice") and _is_reread(user, users))
        for user in users.get(node.output, ())
    )  # fmt: skip


def needs_padding(node: Node, packed: Sequence[float], users: Mapping[Value, Sequence[Node]]) -> bool:
    """Whether the result of a `pad` is worth storing if it is looked at often: by `packed` products, or windows."""
    return bool(packed or has_windows(node, users)) and not reads_padding(node, users)


def has_windows(node: Node, users: Mapping[Value, Sequence[Node]]) -> bool:
    """Whether windows are taken of the result of `node`, perhaps in another shape."""
    for user in users.get(node.output, ()):
        if user.op.name == "window" or (user.op.name == "reshape" and has_windows(user, users)):
            return True
    return False


def stands_apart(node: Node, times: float, users: Mapping[Value, Sequence[Node]]) -> bool:
    """Whether what reads the result of `node` so many times would find, or put, neighbours far apart each time.

    It moves another axis to the end, or its sums are stored so.
    """
    if node.op.family in ("reduction", "contraction"):
        return _sums_apart(node, users)
    return _moves_last(node) and times >= REREAD and _is_read_along(node, users)


def _sums_apart(node: Node, users: Mapping[Value, Sequence[Node]]) -> bool:
    """Whether sums of many terms, which advance together along the last axis, are asked for in another order."""
    readers = users.get(node.output, ())
    return len(readers) == 1 and _moves_last(readers[0]) and sums_rows(node) is False and _terms(node) >= REREAD


def sums_rows(node: Node) -> bool | None:
    """Whether a sum goes along the last axis of its larger operand; None if the node is no sum of a whole axis."""
    attributes = node.attributes
    if not ("axes" in attributes or "contract" in attributes) or node.op.family not in ("reduction", "contraction"):
        return None
    larger = max(range(len(node.inputs)), key=lambda side: node.inputs[side].type.ndim)
    summed = attributes["axes"] if "axes" in attributes else attributes["contract"][larger]  # type: ignore[index]
    return node.inputs[larger].type.ndim - 1 in summed  # type: ignore[operator]


def sums_alike(nodes: Iterable[Node]) -> bool:
    """Whether the sums among nodes whose results have the same dims all go along rows of large arrays, or all across.

    In one loop over the results one kind would read memory against the order in which it lies.
    """
    sums = (node for node in nodes if max((estimate(x.type.size) for x in node.inputs), default=0.0) >= MANY_ELEMENTS)
    return len({sums_rows(node) for node in sums} - {None}) < 2


def _moves_last(node: Node) -> bool:
    """Whether `node` is a permutation that moves another axis to the end."""
    perm: Sequence[int] = node.attributes.get("perm", ())  # type: ignore[assignment]
    return bool(perm) and perm[-1] != len(perm) - 1


def _is_read_along(node: Node, users: Mapping[Value, Sequence[Node]]) -> bool:
    """Whether the result of `node`, perhaps spread and in another shape, goes along windows, larger arrays or terms."""
    for user in users.get(node.output, ()):
        if user.op.name == "reshape" and _is_read_along(user, users):
            return True
        if user.op.name == "expand" and (_growth(user) >= REREAD or _is_read_along(user, users)):
            return True
        if user.op.name == "dot" and not is_packed(user):
            return True
        if user.op.name == "mul" and any(_is_window(value) for value in user.inputs):
            return True
    return False


def _is_window(value: Value) -> bool:
    """Whether a value is windows, perhaps in another order."""
    while value.node is not None and value.node.op.name in ("reshape", "permute"):
        value = value.node.inputs[0]
    return value.node is not None and value.node.op.name == "window"


def chain_costs(region: Region, stored: Container[Node]) -> dict[Node, float]:
    """Of each op: the cost of an element together with the arithmetic and the loads that lead to it.

    `stored` are ops whose results are loaded.
    """
    costs: dict[Node, float] = {}
    for node in region.nodes:
        if is_free(node):
            costs[node] = 0.0
            continue
        if node.op.name == "expand" and _growth(node) >= SHARED:
            costs[node] = 1.0  # its operand is computed outside the loop over what shares it
            continue
        total = COSTS.get(node.op.name, 1.0 if node.op.family == "scalar" else 0.0)
        for value in dict.fromkeys(node.inputs):
            if not value.dims:
                continue
            producer = value.node
            is_loaded = producer is None or is_reduction(producer) or producer in stored
            total += 1.0 if is_loaded else costs.get(producer, 1.0)  # type: ignore[arg-type]
        costs[node] = min(total, DEAREST)
    return costs


def _growth(node: Node) -> float:
    """How many elements of the result an element of the operand becomes."""
    return estimate(node.output.type.size) / max(1.0, estimate(node.inputs[0].type.size))


def large_sources(region: Region, stored: Container[Node]) -> dict[Node, frozenset[Value]]:
    """Of each op: the large arrays that computing it reads, at most `MANY` of them.  `stored` as in `chain_costs`."""
    found: dict[Node, frozenset[Value]] = {}
    for node in region.nodes:
        sources: set[Value] = set()
        for value in node.inputs:
            producer = value.node
            if producer is None or is_reduction(producer) or producer in stored or producer not in found:
                if is_large(value):
                    sources.add(value)
            elif len(sources) < MANY:
                sources |= found[producer]
        found[node] = frozenset(list(sources)[:MANY])
    return found


def is_large(value: Value) -> bool:
    """Whether an array surely does not stay in a core's own cache."""
    return isinstance(value.type.size, int) and value.type.size * value.dtype.itemsize >= LARGE


def small_first(region: Region) -> list[Node]:
    """The nodes, those first that no large array leads to.

    What they compute, as the number of samples that count, would else stand between kernels over large arrays.
    """
    small: set[Node] = set()
    for node in region.nodes:
        if node.op.family in ("control", "memory") or any(is_large(value) for value in (*node.inputs, *node.outputs)):
            continue
        if all(value.node is None or value.node in small for value in node.inputs):
            small.add(node)
    return [*(node for node in region.nodes if node in small), *(node for node in region.nodes if node not in small)]


def contraction_ends(
    region: Region, users: Mapping[Value, Sequence[Node]], outputs: set[Value]
) -> dict[Node, Node]:
    """For each packed dot, and each layout op that its kernel does while storing: the last op of these.

    Several dots may end in one interleave.
    """
    ends: dict[Node, Node] = {}
    for node in region.nodes:
        if node.op.name != "dot" or not is_packed(node):
            continue
        chain = contraction_chain(node, users, outputs)
        ends.update(dict.fromkeys(chain, chain[-1]))
    return ends


def operand_frames(node: Node, frame: Frame) -> Iterator[tuple[Value, Frame]]:
    """Where the operands of `node` are computed when `node` is computed in `frame`."""
    reads_once = node.op.name in SPECIAL or (node.op.name == "dot" and is_packed(node))
    for value in dict.fromkeys(node.inputs):
        name, evaluations, depth = node.op.name, frame.evaluations, frame.depth
        if node.op.family == "scalar" and value.type.ndim == node.output.type.ndim:
            yield value, frame
            continue
        once = frame.once and name in ("reshape", "permute", "interleave")
        if not value.dims:
            # Hoisted out of all loops.
            evaluations = 1.0
        elif name == "concat" and frame.root is not node:  # an element of each operand is computed, and one chosen
            depth += 1
        elif reads_once or (name in ("expand", "random_bits") and estimate(value.type.size) <= 2):
            evaluations = estimate(value.type.size)
        elif is_reduction(node):
            evaluations *= _terms(node)
            depth += 1
        else:
            depth += 1
        yield value, Frame(frame.root, evaluations, once, depth)


def _terms(node: Node) -> float:
    """How many elements of an operand an element of a reduction takes."""
    x = node.inputs[0].type
    match node.op.name:
        case "fold":
            return estimate(product(node.attributes["size"]))  # type: ignore[arg-type]
        case "dot":
            return estimate(product(x.dims[axis] for axis in node.attributes["contract"][0]))  # type: ignore[index, union-attr]
        case "argmax" | "argmin":
            return estimate(x.dims[node.attributes["axis"]])  # type: ignore[index]
        case "conv":
            return estimate(product(node.inputs[1].dims[1:]))
    return estimate(product(x.dims[axis] for axis in node.attributes["axes"]))  # type: ignore[union-attr, index]
