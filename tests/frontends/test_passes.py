"""Edit and run: users' passes in the compiler, users' ops with derived gradients, programs from edited text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import adjit as torch
from adjit.compiler.pipeline import stages
from adjit.ir.errors import ShapeError, VerifyError
from adjit.ir.graph import Graph
from adjit.ir.ops.define import scalar
from adjit.ir.primitive import PRIMITIVES


# -- a pass of 20 lines -----------------------------------------------------------------------------------------------
def powers(graph: Any) -> Any:
    """x**2 is x*x."""

    def rule(builder: Any, node: Any, operands: Any) -> Any:
        if node.op.name == "pow" and operands[1].constant == 2:
            x = builder.expr(operands[0])
            return [(x * x).value]
        return None

    return torch.passes.rewrite(graph, rule)


def squares(x: Any) -> Any:
    return torch.pow(x, torch.full_like(x, 2.0)).sum() + (x**3).sum()


@pytest.fixture
def text() -> Iterator[str]:
    yield "func @f(%x: f32[3]) -> (f32[3]) {\n  %0 = pow %x, 2.0 : f32[3]  # m.py:1\n  return %0\n}"


def test_a_pass_changes_compiled_programs(text: str) -> None:
    with torch.passes.using(powers, after="trace"):
        program = torch.parse(text)
        assert torch.equal(program([1.0, 2.0, -3.0]), torch.tensor([1.0, 4.0, 9.0]))
        found = program.stages()
    assert list(found)[:3] == ["trace", "powers", "legalize"]
    assert "= pow" not in found["powers"] and "mul %x, %x" in found["powers"]
    (change,) = found.changes["powers"]
    assert change.kind == "replaced" and change.why == "x**2 is x*x."
    (node,) = (node for node in found.graphs["powers"].walk() if node.op.name == "mul")
    assert str(node.location) == "m.py:1   powers: x**2 is x*x."
    assert "powers" not in torch.parse(text).stages()


def test_a_pass_runs_on_forward_and_backward_programs() -> None:
    seen: list[str] = []

    def look(graph: Graph) -> Graph:
        seen.append(graph.name)
        return graph

    x = torch.ones(4, requires_grad=True)
    with torch.passes.using(look):
        torch.compile(squares)(x).backward()
    assert {"squares", "squares.vjp"} <= set(seen)
    assert torch.equal(x.grad, torch.full((4,), 5.0))


def test_a_pass_that_breaks_the_program_is_named(text: str) -> None:
    def forgetful(graph: Graph) -> Graph:
        return Graph(graph.name, graph.inputs, graph.nodes[:-1], graph.outputs)

    def shorter(graph: Graph) -> Graph:
        return Graph(graph.name, graph.inputs, graph.nodes, ())

    with torch.passes.using(forgetful), pytest.raises(VerifyError, match="after pass forgetful: "):
        torch.parse(text).stages()
    with torch.passes.using(shorter), pytest.raises(VerifyError, match="after pass shorter: the results of @f are"):
        torch.parse(text).stages()
    with torch.passes.using(lambda graph: None, name="none"), pytest.raises(TypeError, match="returned a NoneType"):  # type: ignore[arg-type, return-value]
        torch.parse(text).stages()


def test_passes_are_registered_by_name() -> None:
    torch.passes.register(powers, after="simplify")
    try:
        with pytest.raises(ValueError, match="'powers' already"):
            torch.passes.register(powers)
        with pytest.raises(ValueError, match="a pass stands after trace, legalize, simplify, not 'fuse'"):
            torch.passes.register(powers, after="fuse", name="other")
        graph = torch.parse("func @f(%x: f32[3]) -> (f32[3]) {\n  return %x\n}").graph
        assert [name for name, _ in stages(graph)] == ["trace", "legalize", "simplify", "powers", "fuse", "lower"]
    finally:
        torch.passes.unregister("powers")
    with pytest.raises(KeyError):
        torch.passes.unregister("powers")


def test_the_decorator_form() -> None:
    @torch.passes.register(after="trace", name="nothing")
    def same(graph: Graph) -> Graph:
        return graph

    try:
        assert "nothing" in torch.compile(lambda x: x + 1).stages(torch.ones(2))
    finally:
        torch.passes.unregister("nothing")


# -- an op of 15 lines ------------------------------------------------------------------------------------------------
@pytest.fixture
def cubic_gate() -> Iterator[Any]:
    @scalar
    def cubic_gate(x: Any) -> Any:
        """x^3 * sigmoid(x)."""
        return x * x * x * PRIMITIVES["sigmoid"](x)

    yield lambda tensor: torch.dispatch.apply(cubic_gate, [tensor], name="CubicGate")
    PRIMITIVES.pop("cubic_gate")


@pytest.mark.parametrize("prepare", [lambda f: f, torch.compile], ids=["eager", "compiled"])
def test_an_op_has_its_gradient_derived(cubic_gate: Any, prepare: Any) -> None:
    x = torch.linspace(-3, 3, 13, dtype=torch.float64, requires_grad=True)
    result = prepare(lambda x: cubic_gate(x))(x)
    s = 1 / (1 + torch.exp(-x.detach()))
    assert torch.allclose(result, x.detach() ** 3 * s)
    (gradient,) = torch.autograd.grad(result.sum(), x)
    x = x.detach()
    assert torch.allclose(gradient, 3 * x**2 * s + x**3 * s * (1 - s))


def test_an_op_from_an_expression_is_differentiated_twice() -> None:
    sympy = pytest.importorskip("sympy")
    name = "test_passes_bump"
    bump = torch.symbolic.elementwise_op(name, sympy.exp(-(sympy.Symbol("x") ** 2)))
    try:
        x = torch.tensor([0.5], dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(bump, (x,)) and torch.autograd.gradgradcheck(bump, (x,))
    finally:
        PRIMITIVES.pop(name)


# -- text -------------------------------------------------------------------------------------------------------------
def test_edited_text_runs_and_differentiates() -> None:
    traced = str(torch.compile(lambda x: (x.exp() * x).sum()).graph(torch.ones(3)))
    program = torch.parse(traced.replace("exp", "sin"))
    x = torch.tensor([0.1, 0.2, 0.3])
    assert torch.allclose(program(x), (x.sin() * x).sum())
    assert torch.equal(program.interpret(x), program(x)) or torch.allclose(program.interpret(x), program(x))
    forward, backward = program.derivative([0])
    _, *saved = forward(x)
    gradient = backward(torch.tensor(1.0), *saved)
    assert torch.allclose(gradient, x.cos() * x + x.sin())


WEIGHTED = """func @weighted(%x: f32[n, 3], %w: f32[3]) -> (f32[n]) {
  %0 = expand %w {shape=[n, 3]}   : f32[n, 3]
  %1 = mul %x, %0                 : f32[n, 3]
  %2 = sin %1                     : f32[n, 3]
  %3 = reduce_sum %2 {axes=[1]}   : f32[n]
  return %3
}"""


@pytest.mark.parametrize("prepare", [lambda f: f, torch.compile], ids=["eager", "compiled"])
@pytest.mark.parametrize("rows", [4, 7])
def test_a_parsed_program_is_a_function_of_autograd(prepare: Any, rows: int) -> None:
    weighted = torch.parse(WEIGHTED)
    x, w = torch.randn(rows, 3, requires_grad=True), torch.randn(3, requires_grad=True)
    prepare(lambda x, w: (weighted(x, w) * 2).sum())(x, w).backward()
    cosine = 2 * (x * w).cos().detach()
    assert torch.allclose(x.grad, cosine * w.detach()) and torch.allclose(w.grad, (cosine * x.detach()).sum(0))


def test_a_parsed_program_stands_in_a_trace() -> None:
    weighted = torch.parse(WEIGHTED)
    function = torch.compile(lambda x: weighted(x, torch.ones(3)), dynamic=True)
    assert "{callee=@weighted}" in str(function.graph(torch.ones(5, 3)))
    assert torch.allclose(function(torch.ones(5, 3)), 3 * torch.ones(5).sin())
    gradients = torch.vmap(torch.func.grad(lambda x: weighted(x.reshape(1, 3), torch.ones(3)).sum()))(torch.ones(2, 3))
    assert torch.allclose(gradients, torch.ones(2, 3).cos())


def test_a_parsed_program_checks_what_it_is_given() -> None:
    weighted = torch.parse(WEIGHTED)
    with pytest.raises(ShapeError, match="w is f32\\[3\\], and is given f32\\[4\\]"):
        weighted(torch.ones(2, 3), torch.ones(4, requires_grad=True))
    with pytest.raises(ShapeError, match="takes 2 arguments"):
        weighted(torch.ones(2, 3, requires_grad=True))
