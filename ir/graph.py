"""The program classes: `Value`, `Node`, `Region`, `Graph`, `Location`.  Every stage is made of these."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from adjit.ir.frozen import frozen
from adjit.ir.shape import Dim, Size, evaluate, size_names
from adjit.ir.types import DType, TensorType

if TYPE_CHECKING:
    from adjit.ir.primitive import Primitive

Attribute: TypeAlias = "int | float | bool | str | Dim | DType | TensorType | Graph | tuple[Attribute, ...] | None"


@frozen
class Step:
    """That the pass `by` made a node, and why."""

    by: str
    why: str

    def __str__(self) -> str:
        return f"{self.by}: {self.why}" if self.why else self.by


@dataclass(frozen=True, slots=True)
class Location:
    """Where in the user's program a node comes from, and the passes that made it.

    `origin` is empty for what the user wrote and has one `∂` for each differentiation.  `note` says why a derived node
    exists; `steps` are all passes that made the node, the last one last.  `path` is the whole path of `file`;
    `expression` is the user's source line without its `indent`, and `columns` where in it the operation stands, first
    and last + 1.
    """

    file: str
    line: int
    origin: str = ""
    note: str = ""
    path: str = ""
    expression: str = ""
    columns: tuple[int, int] = (0, 0)
    indent: int = 0
    steps: tuple[Step, ...] = ()

    def derived(self, origin: str, note: str = "", why: str = "") -> Location:
        """The location of a node of the derivative of one standing here; `why` is said where there is no `note`."""
        steps = (*self.steps, Step("differentiate", note or why))
        return self.renewed(origin + self.origin, note, steps)

    def again(self) -> Location:
        """The location of the copy of a node that a backward program runs a second time."""
        note = "run again"
        return self.renewed(self.origin, note, (*self.steps, Step("differentiate", note)))

    def made(self, by: str, why: str) -> Location:
        """The location of a node that the pass `by` made from one standing here; UNKNOWN stays so.

        What a pass makes of its own work keeps the first reason.
        """
        if self is UNKNOWN or (self.steps and self.steps[-1].by == by):
            return self
        step = Step(by, why)
        return self.renewed(self.origin, "; ".join(filter(None, [self.note, str(step)])), (*self.steps, step))

    def renewed(self, origin: str, note: str, steps: tuple[Step, ...]) -> Location:
        """The same place for a derived node; `dataclasses.replace` takes five times longer, and each node has one."""
        return Location(
            self.file, self.line, origin, note, self.path, self.expression, self.columns, self.indent, steps
        )

    @property
    def span(self) -> str:
        """The operation: the part of the source line between the columns, or all of it."""
        first, stop = self.columns
        return self.expression[first:stop] if stop else self.expression

    @property
    def column(self) -> int:
        """The column of the file's line at which the operation begins, counted from 1; 0 if it is not known."""
        return self.indent + self.columns[0] + 1 if self.columns[1] else 0

    @property
    def end_column(self) -> int:
        """The column after the operation; 0 if it is not known."""
        return self.indent + self.columns[1] + 1 if self.columns[1] else 0

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}"
        return "   ".join(filter(None, [f"{self.origin} {place}" if self.origin else place, self.note]))


UNKNOWN = Location("", 0)


class Value:
    """What a node computes, or an input of a region.  Identity is equality.

    `node` is the producer (None for a region's input), `index` its place among the producer's outputs.  `attached`
    belongs to the floors above (the eager tape keeps its leaf tensors there).
    """

    __slots__ = ("__weakref__", "attached", "index", "name", "node", "type")

    def __init__(self, type: TensorType, name: str | None = None, node: Node | None = None, index: int = 0) -> None:
        self.type = type
        self.name = name
        self.node = node
        self.index = index
        self.attached: object = None

    @property
    def dtype(self) -> DType:
        return self.type.dtype

    @property
    def dims(self) -> tuple[Size, ...]:
        return self.type.dims

    @property
    def constant(self) -> int | float | bool | Dim | None:
        """The literal this value is, or None."""
        if self.node is None or self.node.op.name != "const":
            return None
        return self.node.attributes["value"]  # type: ignore[return-value]

    def __repr__(self) -> str:
        return f"<Value %{self.name or '?'}: {self.type}>"


class Node:
    """One operation: a primitive, its operands, attributes and regions, and the values it defines."""

    __slots__ = ("__weakref__", "attached", "attributes", "inputs", "location", "op", "outputs", "regions")

    def __init__(
        self,
        op: Primitive,
        inputs: Sequence[Value],
        attributes: dict[str, Attribute],
        types: Sequence[TensorType],
        location: Location = UNKNOWN,
        regions: Sequence[Region] = (),
    ) -> None:
        self.op = op
        self.inputs = tuple(inputs)
        self.attributes = attributes
        self.regions = tuple(regions)
        self.location = location
        self.outputs = tuple([Value(type, None, self, index) for index, type in enumerate(types)])
        self.attached: object = None

    @property
    def output(self) -> Value:
        """The only output."""
        (value,) = self.outputs
        return value

    def __repr__(self) -> str:
        return f"<Node {self.op.name} -> {', '.join(str(v.type) for v in self.outputs)}>"


class Region:
    """A straight list of nodes with inputs and outputs; nodes stand after what they use."""

    __slots__ = ("inputs", "nodes", "outputs")

    def __init__(self, inputs: Sequence[Value] = (), nodes: Iterable[Node] = (), outputs: Sequence[Value] = ()) -> None:
        self.inputs = tuple(inputs)
        self.nodes = list(nodes)
        self.outputs = tuple(outputs)

    def walk(self) -> Iterator[Node]:
        """Every node, those of nested regions after their owner."""
        for node in self.nodes:
            yield node
            for region in node.regions:
                yield from region.walk()

    @property
    def size_names(self) -> frozenset[str]:
        """The named sizes of the inputs' types."""
        return frozenset().union(*(value.type.names for value in self.inputs))


@frozen
class Guard:
    """A condition on sizes that holds in a graph: `left relation right`, checked when the program is called."""

    left: Size
    relation: str
    right: Size

    def holds(self, sizes: dict[str, int]) -> bool:
        """Whether the condition is met by concrete sizes."""
        left, right = evaluate(self.left, sizes), evaluate(self.right, sizes)
        match self.relation:
            case "==":
                return left == right
            case "!=":
                return left != right
            case ">=":
                return left >= right
            case ">":
                return left > right
        raise ValueError(f"unknown relation {self.relation!r}")

    @property
    def names(self) -> frozenset[str]:
        return size_names(self.left) | size_names(self.right)

    def __str__(self) -> str:
        return f"{self.left} {self.relation} {self.right}"


class Graph(Region):
    """A named program: a region, the guards under which it is valid, and the inputs that it overwrites.

    `writes` pairs an input's index with the index of the output that is stored into it when the call ends.  Where it is
    `approximate`, its math functions may have the larger errors of `compiler/llvm/vecmath_approximate.py`.
    """

    __slots__ = ("__weakref__", "approximate", "guards", "name", "writes")

    def __init__(
        self,
        name: str,
        inputs: Sequence[Value] = (),
        nodes: Iterable[Node] = (),
        outputs: Sequence[Value] = (),
        guards: Sequence[Guard] = (),
        writes: Sequence[tuple[int, int]] = (),
        approximate: bool = False,
    ) -> None:
        super().__init__(inputs, nodes, outputs)
        self.name = name
        self.guards = tuple(guards)
        self.writes = tuple(writes)
        self.approximate = approximate

    def with_parts(self, inputs: Sequence[Value], nodes: Iterable[Node], outputs: Sequence[Value]) -> Graph:
        """The program of the same name, guards, writes and mode with other contents."""
        return Graph(self.name, inputs, nodes, outputs, self.guards, self.writes, self.approximate)

    def __str__(self) -> str:
        from adjit.ir.printer import format_graph

        return format_graph(self)

    def to_dot(self) -> str:
        """The graph in the language of Graphviz."""
        from adjit.ir.diagram import to_dot

        return to_dot(self)

    def to_mermaid(self) -> str:
        """The graph in the language of Mermaid, for Markdown."""
        from adjit.ir.diagram import to_mermaid

        return to_mermaid(self)

    def to_svg(self) -> str:
        """A drawing of the graph: forward operations, beside them the backward ones, arrows for values."""
        from adjit.ir.drawing import graph_svg

        return graph_svg(self)

    def _repr_svg_(self) -> str:
        return self.to_svg()

    def _repr_html_(self) -> str:
        from adjit.ir.notebook import graph_html

        return graph_html(self)

    def __repr__(self) -> str:
        return f"<Graph @{self.name}: {len(self.inputs)} inputs, {len(self.nodes)} nodes>"


def from_outputs(name: str, inputs: Sequence[Value], outputs: Sequence[Value]) -> Graph:
    """The graph of all nodes between `inputs` and `outputs`, in an order where operands come first.

    No recursion, so that a chain of any length is captured.
    """
    stop = set(inputs)
    order: list[Node] = []
    state: dict[Node, bool] = {}
    stack = [value.node for value in reversed(outputs) if value.node is not None and value not in stop]
    while stack:
        node = stack[-1]
        if node in state:
            stack.pop()
            if not state[node]:
                state[node] = True
                order.append(node)
            continue
        state[node] = False
        for value in reversed(node.inputs):
            if value.node is not None and value not in stop and value.node not in state:
                stack.append(value.node)
    return Graph(name, inputs, order, outputs)
