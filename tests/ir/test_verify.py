"""The verifier: each rule of the IR, broken by hand, is named with the graph and the line."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import adjit.compiler.loops.ir as loops
from adjit.ir.builder import Builder
from adjit.ir.errors import VerifyError
from adjit.ir.graph import Graph, Guard, Location, Node, Region, Value
from adjit.ir.ops import control, scalar, source
from adjit.ir.parser import parse
from adjit.ir.primitive import Primitive
from adjit.ir.shape import Dim
from adjit.ir.types import BOOL, F32, F64, U8, TensorType
from adjit.ir.verify import verify

N, M, ROW, COLUMN = (Dim.named(name) for name in "nmij")
VECTOR = TensorType(F32, (N,))

SOUND = """\
func @f(%x: f32[n], %y: f32[n], %p: bool[]) -> (f32[n]) where n >= 2 writes(%y <- 0) {
  %0 = add %x, %y   : f32[n]  # train.py:7
  %1 = cond %p, %0  : f32[n]
    region(%a: f32[n]) {
      %2 = mul %a, 2.0 : f32[n]
      return %2
    }
    region(%b: f32[n]) {
      return %b
    }
  %3 = mul %1, n : f32[n]
  return %3
}"""


def sound() -> Graph:
    graph = parse(SOUND)
    verify(graph)
    return graph


def replaced(node: Node, **changes: object) -> Node:
    """`node` with some of its parts changed; its results are the same objects, so their users still see them."""
    parts: dict[str, object] = {
        "op": node.op,
        "inputs": node.inputs,
        "attributes": node.attributes,
        "types": [value.type for value in node.outputs],
        "location": node.location,
        "regions": node.regions,
    }
    other = Node(**{**parts, **changes})  # type: ignore[arg-type]
    if len(other.outputs) == len(node.outputs) and "types" not in changes:
        other.outputs = node.outputs
        for value in other.outputs:
            value.node = other
    return other


def change(index: int, **changes: Callable[[Graph, Node], object] | object) -> Callable[[Graph], None]:
    def apply(graph: Graph) -> None:
        node = graph.nodes[index]
        given = {name: value(graph, node) if callable(value) else value for name, value in changes.items()}
        graph.nodes[index] = replaced(node, **given)

    return apply


def swap(graph: Graph) -> None:
    graph.nodes[0], graph.nodes[1] = graph.nodes[1], graph.nodes[0]


def twice(graph: Graph) -> None:
    graph.nodes.insert(1, graph.nodes[0])


def set_field(name: str, value: object) -> Callable[[Graph], None]:
    return lambda graph: setattr(graph, name, value)


def capture(graph: Graph) -> None:
    (multiply,) = [n for n in graph.nodes[1].regions[0].nodes if n.op is scalar.mul]
    region = graph.nodes[1].regions[0]
    region.nodes[region.nodes.index(multiply)] = replaced(multiply, inputs=(graph.inputs[0], multiply.inputs[1]))


def wrong_branch(graph: Graph) -> None:
    graph.nodes[1].regions[1].outputs = ()


def unbound_type(graph: Graph) -> None:
    graph.nodes.append(Node(loops.LOAD, graph.inputs[:1], {"at": (0,)}, [TensorType(F32, (M,))]))


def list_attribute(graph: Graph) -> None:
    graph.nodes.append(Node(loops.LOAD, graph.inputs[:1], {"at": [0]}, [VECTOR]))  # type: ignore[dict-item]


def same_names(graph: Graph) -> None:
    graph.inputs[1].name = "x"


def constant_out_of_range(graph: Graph) -> None:
    graph.nodes.append(Node(source.const, (), {"value": 300, "dtype": U8}, [TensorType(U8, ())]))


def recursive(graph: Graph) -> None:
    graph.nodes.append(Node(control.call, graph.inputs, {"callee": graph}, [VECTOR]))


def stranger(graph: Graph) -> None:
    def add(x: object, y: object) -> object:
        """Not the registry's."""
        return x

    graph.nodes[0] = replaced(graph.nodes[0], op=Primitive("add", "scalar", add))


def forgotten(graph: Graph) -> None:
    graph.nodes[0].outputs[0].index = 3


RULES: list[tuple[Callable[[Graph], None], str]] = [
    (swap, "operand 1 is used before it is defined"),
    (twice, "%None is defined twice"),
    (stranger, "add is not in the registry"),
    (forgotten, "a result does not know its node"),
    (capture, "operand 0 is not visible in this region"),
    (change(0, inputs=lambda graph, node: node.inputs[:1]), "add takes 2 operands, not 1"),
    (change(0, attributes={"axis": 0}), "add has no attribute 'axis'"),
    (change(0, inputs=lambda graph, node: graph.inputs[1:]), "the operands do not fit: add: operands of f32 and bool"),
    (change(0, types=[TensorType(F64, (N,))]), "the results are (f32[n]) by inference"),
    (change(1, attributes={"flag": 1}), "cond has no attribute 'flag'"),
    (list_attribute, "the attribute at is a list"),
    (change(1, regions=lambda graph, node: node.regions[:1]), "the operands do not fit: cond: 1 regions, not 2"),
    (wrong_branch, "the operands do not fit: cond: results of the false branch are (), not (f32[n])"),
    (unbound_type, "the type f32[m] names the size m, which no input binds"),
    (same_names, "two inputs are called %x"),
    (constant_out_of_range, "300 is outside the range of u8, 0 to 255"),
    (recursive, "@f calls itself: recursion is not in the IR"),
    (set_field("outputs", (Value(VECTOR),)), "output 0 is not defined"),
    (set_field("guards", (Guard(M, ">=", 2),)), "the guard m >= 2 names the size m, which no input binds"),
    (set_field("guards", (Guard(N, "<", 2),)), "the guard n < 2 has an unknown relation"),
    (set_field("writes", ((7, 0),)), "a write names input 7 of 3"),
    (set_field("writes", ((0, 7),)), "a write names output 7 of 1"),
    (set_field("writes", ((2, 0),)), "output 0 of type f32[n] is written to an input of type bool[]"),
    (set_field("writes", ((0, 0), (0, 0))), "an input is written twice"),
]


@pytest.mark.parametrize(("damage", "rule"), RULES, ids=[rule for _, rule in RULES])
def test_broken_rules_are_named(damage: Callable[[Graph], None], rule: str) -> None:
    graph = sound()
    damage(graph)
    with pytest.raises(VerifyError) as caught:
        verify(graph)
    assert rule.replace("%None", "%?") in str(caught.value)
    assert "@f" in str(caught.value)


def test_the_line_is_printed() -> None:
    graph = sound()
    graph.nodes[0] = replaced(graph.nodes[0], inputs=(graph.inputs[0], graph.outputs[0]))
    with pytest.raises(VerifyError) as caught:
        verify(graph)
    text = "@f: operand 1 is used before it is defined\n  %0 = add %x, %3 : f32[n]  # train.py:7"
    assert str(caught.value) == text


@pytest.mark.parametrize(
    ("dims", "message"),
    [
        ((2 * N + 1,), None),
        ((N * M,), "the size m cannot be read off the inputs' shapes"),
        ((N + M, N), None),
        ((N // 2,), "the size n cannot be read off the inputs' shapes"),
        ((Dim.named("f32"),), "a size cannot be called 'f32'"),
        ((Dim.named("a b"),), "a size cannot be called 'a b'"),
    ],
)
def test_sizes_must_be_readable(dims: tuple[Dim, ...], message: str | None) -> None:
    graph = Graph("f", [Value(TensorType(F32, dims), "x")])
    if message is None:
        return verify(graph)
    with pytest.raises(VerifyError) as caught:
        verify(graph)
    assert str(caught.value) == f"@f: {message}"


def kernel(body: Callable[[Builder, Value, Value], None]) -> Graph:
    """A graph of one kernel over f32[n] whose loop over i < n is built by `body(builder, operand, result)`."""
    graph = Graph("f")
    builder = Builder(graph, Location("k.py", 1))
    x = builder.input(VECTOR, "x")
    region = Region()
    inner = Builder(region)
    a, b = inner.input(VECTOR, "a"), inner.input(VECTOR, "b")
    loop = Region()
    body(Builder(loop), a, b)
    inner.emit(
        loops.FOR, (), {"var": (ROW,), "extent": (N,), "parallel": True, "sequential": False}, [loop], types=()
    )
    graph.outputs = builder.emit(loops.KERNEL, (x,), {}, [region], types=[VECTOR]).outputs
    return graph


def copy_element(at: Dim) -> Callable[[Builder, Value, Value], None]:
    def body(builder: Builder, a: Value, b: Value) -> None:
        element = builder.emit(loops.LOAD, (a,), {"at": (at,), "masked": False}, types=[TensorType(F32, ())]).output
        builder.emit(loops.STORE, (b, element), {"at": (at,), "masked": False}, types=())

    return body


def test_loop_variables_are_in_scope_of_their_loop_only() -> None:
    verify(kernel(copy_element(ROW)))
    with pytest.raises(VerifyError, match=r"at names the size j, which nothing binds\n.*load %a \{at=\[j\]"):
        verify(kernel(copy_element(COLUMN)))
    with pytest.raises(VerifyError, match="the attribute at names the size _1"):
        verify(kernel(copy_element(Dim.named("_1"))))


def test_a_loop_variable_is_bound_once() -> None:
    def body(builder: Builder, a: Value, b: Value) -> None:
        again = {"var": (ROW,), "extent": (N,), "parallel": True, "sequential": False}
        builder.emit(loops.FOR, (), again, [Region()], types=())  # type: ignore[arg-type]

    with pytest.raises(VerifyError, match="the loop variable i is bound already"):
        verify(kernel(body))


def test_extents_do_not_depend_on_loop_variables() -> None:
    def body(builder: Builder, a: Value, b: Value) -> None:
        triangle = {"var": (COLUMN,), "extent": (ROW,), "parallel": True, "sequential": False}
        builder.emit(loops.FOR, (), triangle, [Region()], types=())  # type: ignore[arg-type]

    with pytest.raises(VerifyError, match="the attribute extent names the size i"):
        verify(kernel(body))


def test_a_kernel_takes_its_operands_and_results() -> None:
    graph = kernel(copy_element(ROW))
    graph.nodes[0].regions[0].inputs = graph.nodes[0].regions[0].inputs[:1]
    with pytest.raises(VerifyError) as caught:
        verify(graph)
    assert "%b" in str(caught.value) or "operand 0" in str(caught.value)


def test_groups_return_what_they_say() -> None:
    graph = Graph("f", [Value(VECTOR, "x")])
    inner = Value(VECTOR, "a")
    group = Node(loops.FUSE, graph.inputs, {}, [VECTOR], regions=[Region([inner], [], [inner])])
    graph.nodes, graph.outputs = [group], group.outputs
    verify(graph)
    group.regions[0].outputs = ()
    with pytest.raises(VerifyError, match=r"the group returns \(\) where \(f32\[n\]\) is needed"):
        verify(graph)


def test_a_region_belongs_to_one_node() -> None:
    graph = Graph("f", [Value(TensorType(BOOL, ()), "c")])
    (condition,) = graph.inputs
    shared = Region([], [], [])
    op = control.cond
    graph.nodes = [Node(op, [condition], {}, [], regions=[shared, shared])]
    with pytest.raises(VerifyError, match="a region of it belongs to another node too"):
        verify(graph)


def test_conditions_are_bool() -> None:
    graph = sound()
    graph.inputs[2].type = TensorType(BOOL, (N,))
    with pytest.raises(VerifyError, match=r"cond: the predicate is bool\[n\], not bool\[\]"):
        verify(graph)
