"""The rules of the IR, checked: definitions before uses, types as inferred, sizes bound, regions that fit their op."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import NoReturn

from adjit.ir.analysis import bound_sizes, callees, sizes_in
from adjit.ir.errors import AdjitError, VerifyError
from adjit.ir.graph import Graph, Node, Region, Value
from adjit.ir.literals import is_size_name, literal_fault, literal_key
from adjit.ir.primitive import PRIMITIVES, Primitive
from adjit.ir.shape import Dim
from adjit.ir.types import DType, TensorType

RELATIONS = ("==", "!=", ">=", ">")


def verify(graph: Graph) -> None:
    """Raise VerifyError, with the graph, the line and the rule, unless `graph` and its callees are sound."""
    for each in [*callees(graph), graph]:
        _Verifier(each).graph_rules()


def signature_fault(op: Primitive, operands: int, attributes: Collection[str]) -> str | None:
    """Why `op` cannot take this many operands or attributes of these names, or None."""
    count = len(op.operands)
    if operands < count or (operands > count and not op.variadic):
        return f"{op.name} takes {'at least ' if op.variadic else ''}{count} operands, not {operands}"
    if op.open_attributes:
        return None
    known = [name for name in op.attributes if name != "regions"]
    for name in attributes:
        if name not in known:
            return f"{op.name} has no attribute {name!r}" + (f" (it has {', '.join(known)})" if known else "")
    missing = [name for name in known if name not in attributes and name not in op.optional]
    return f"{op.name} lacks the attribute {missing[0]!r}" if missing else None


class _Verifier:
    """Checks one graph; `visible` has the values that may be used where the check stands."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.bound: frozenset[str] = bound_sizes(graph.inputs)
        self.defined: set[Value] = set()
        self.regions: set[Region] = set()
        self.sizes_of: dict[TensorType, frozenset[str]] = {}
        self.sound: set[object] = set()  # the forms of nodes that were checked

    def fail(self, rule: str, node: Node | None = None) -> NoReturn:
        message = f"@{self.graph.name}: {rule}"
        if node is not None:
            try:
                from adjit.ir.printer import format_node, value_names

                line = format_node(node, value_names(self.graph))
            except TypeError:  # an attribute that has no text
                line = repr(node)
            message += f"\n  {line}  # {node.location}" if node.location.file else f"\n  {line}"
        raise VerifyError(message)

    # -- the graph --------------------------------------------------------------------------------------------------
    def graph_rules(self) -> None:
        graph = self.graph
        names = [value.name for value in graph.inputs if value.name is not None]
        if len(set(names)) != len(names):
            twice = next(name for name in names if names.count(name) > 1)
            self.fail(f"two inputs are called %{twice}")
        for value in graph.inputs:
            if value.node is not None:
                self.fail(f"the input %{value.name or '?'} is the result of a node")
        bound = self.bound
        for name in sorted(graph.size_names | bound):
            if not is_size_name(name):
                self.fail(f"a size cannot be called {name!r}")
            if name not in bound:
                self.fail(f"the size {name} cannot be read off the inputs' shapes")
        for guard in graph.guards:
            if guard.relation not in RELATIONS:
                self.fail(f"the guard {guard} has an unknown relation")
            if guard.names - bound:
                self.fail(f"the guard {guard} names the size {min(guard.names - bound)}, which no input binds")
        self.region(graph, set(), bound, None)
        self.writes()

    def writes(self) -> None:
        graph = self.graph
        targets = [target for target, _ in graph.writes]
        if len(set(targets)) != len(targets):
            self.fail("an input is written twice")
        for target, output in graph.writes:
            if not 0 <= target < len(graph.inputs):
                self.fail(f"a write names input {target} of {len(graph.inputs)}")
            if not 0 <= output < len(graph.outputs):
                self.fail(f"a write names output {output} of {len(graph.outputs)}")
            old, new = graph.inputs[target].type, graph.outputs[output].type
            if old != new:
                self.fail(f"output {output} of type {new} is written to an input of type {old}")

    # -- regions ----------------------------------------------------------------------------------------------------
    def region(self, region: Region, visible: set[Value], sizes: frozenset[str], owner: Node | None) -> None:
        """Check a region whose nodes may use `visible` beside its inputs; `visible` is left as it was."""
        here: list[Value] = []
        self.define(region.inputs, visible, sizes, here, owner)
        for node in region.nodes:
            self.node(node, visible, sizes)
            for index, value in enumerate(node.outputs):
                if value.node is not node or value.index != index:
                    self.fail("a result does not know its node", node)
            self.define(node.outputs, visible, sizes, here, node)
        for index, value in enumerate(region.outputs):
            if value not in visible:
                self.fail(f"output {index} is not defined{' in a region' if owner else ''}", owner)
        visible.difference_update(here)

    def define(
        self, values: Sequence[Value], visible: set[Value], sizes: frozenset[str], here: list[Value], node: Node | None
    ) -> None:
        for value in values:
            if value in self.defined:
                self.fail(f"%{value.name or '?'} is defined twice", node)
            self.defined.add(value)
            visible.add(value)
            here.append(value)
            names = self.sizes_of.get(value.type)
            if names is None:
                names = self.sizes_of[value.type] = value.type.names
            if names and names - sizes:
                self.fail(f"the type {value.type} names the size {min(names - sizes)}, which no input binds", node)

    def node(self, node: Node, visible: set[Value], sizes: frozenset[str]) -> None:
        if PRIMITIVES.get(node.op.name) is not node.op:
            self.fail(f"{node.op.name} is not in the registry", node)
        for index, value in enumerate(node.inputs):
            if value not in visible:
                where = "is not visible in this region" if value in self.defined else "is used before it is defined"
                self.fail(f"operand {index} {where}", node)
        form = None if node.regions else _form(node, sizes)
        if form is None or form not in self.sound:
            self.form_rules(node, visible, sizes)
            self.sound.add(form)

    def form_rules(self, node: Node, visible: set[Value], sizes: frozenset[str]) -> None:
        """Check what a node has in common with others of its form, and its regions."""
        fault = signature_fault(node.op, len(node.inputs), node.attributes)
        if fault:
            self.fail(fault, node)
        inner = sizes
        if node.attributes:
            inner = self.attribute_rules(node, sizes)
        if node.op.name == "const":
            fault = literal_fault(node.attributes["value"], node.output.type.dtype)
            if fault:
                self.fail(fault, node)
        for region in node.regions:
            if region in self.regions:
                self.fail("a region of it belongs to another node too", node)
            self.regions.add(region)
            self.region(region, set() if node.op.isolated else visible, inner, node)
        rule = _REGION_RULES.get(node.op.name)
        fault = rule(node) if rule else None
        if fault:
            self.fail(fault, node)
        self.type_rules(node)

    def attribute_rules(self, node: Node, sizes: frozenset[str]) -> frozenset[str]:
        """Check the attributes' kinds and size names; the sizes that regions of `node` see."""
        variables = frozenset(_variables(node))
        positions = frozenset(f"_{index}" for index in range(len(node.inputs))) if node.op.family == "loop" else sizes
        for name, value in node.attributes.items():
            if not _is_attribute(value):
                self.fail(f"the attribute {name} is a {type(value).__name__}", node)
            # Domains are boxes: an extent depends on no loop variable.
            seen = self.bound if name == "extent" else sizes | variables | positions
            missing = sizes_in(value) - seen
            if missing:
                self.fail(f"the attribute {name} names the size {min(missing)}, which nothing binds", node)
        if variables & sizes:
            self.fail(f"the loop variable {min(variables & sizes)} is bound already", node)
        return sizes | variables

    def type_rules(self, node: Node) -> None:
        """The results have the types that the op's rule infers."""
        if node.op.infer_rule is None:
            return
        given = {**node.attributes, "regions": node.regions} if node.regions else node.attributes
        try:
            inferred = node.op.infer([value.type for value in node.inputs], given)  # type: ignore[arg-type]
        except (AdjitError, TypeError, ValueError, LookupError, AttributeError, ArithmeticError) as error:
            self.fail(f"the operands do not fit: {error}", node)
        if inferred != tuple(value.type for value in node.outputs):
            self.fail(f"the results are {_list(inferred)} by inference", node)


def _form(node: Node, sizes: frozenset[str]) -> object:
    """What nodes without regions have in common that are sound or unsound together; None where an attribute is odd."""
    inputs, outputs = (tuple([value.type for value in values]) for values in (node.inputs, node.outputs))
    form = (node.op, inputs, outputs, sizes, *[(name, literal_key(value)) for name, value in node.attributes.items()])
    try:
        hash(form)
    except TypeError:
        return None
    return form


def _variables(node: Node) -> Iterable[str]:
    """The loop variables that a node binds: in `var`, or in the pairs (variable, extent) of a contraction's axes."""
    found: list[object] = []
    for name, value in node.attributes.items():
        if isinstance(value, tuple) and name == "var":
            found += value
        elif isinstance(value, tuple) and node.op.name == "contract" and name != "at":
            found += [pair[0] for pair in value if isinstance(pair, tuple) and pair]
    for item in found:
        if isinstance(item, Dim):
            yield from item.names


def _is_attribute(value: object) -> bool:
    if isinstance(value, tuple):
        return all(_is_attribute(item) for item in value)
    return value is None or isinstance(value, (int, float, bool, str, Dim, DType, TensorType, Graph))


def _list(types: Iterable[TensorType]) -> str:
    return f"({', '.join(map(str, types))})"


# -- what an op asks of its regions -----------------------------------------------------------------------------------
def _types(values: Iterable[Value]) -> list[TensorType]:
    return [value.type for value in values]


def _fit(what: str, region: Region, inputs: list[TensorType], outputs: list[TensorType]) -> str | None:
    """Why a region does not take `inputs` and return `outputs`, or None."""
    if _types(region.inputs) != inputs:
        return f"{what} takes {_list(_types(region.inputs))} and is given {_list(inputs)}"
    if _types(region.outputs) != outputs:
        return f"{what} returns {_list(_types(region.outputs))} where {_list(outputs)} is needed"
    return None


def _count(node: Node, count: int) -> str | None:
    return None if len(node.regions) == count else f"{node.op.name} has {len(node.regions)} regions, not {count}"


def _fuse(node: Node) -> str | None:
    return _count(node, 1) or _fit("the group", node.regions[0], _types(node.inputs), _types(node.outputs))


def _kernel(node: Node) -> str | None:
    return _count(node, 1) or _fit("the kernel", node.regions[0], _types([*node.inputs, *node.outputs]), [])


# The rules of control ops are in their inference; these ops have none.
_REGION_RULES: dict[str, Callable[[Node], str | None]] = {"fuse": _fuse, "kernel": _kernel}
