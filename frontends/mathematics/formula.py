"""`formula` and `grad_formula`: a traced program as named definitions in index notation."""

# ruff: noqa: RUF002
from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from adjit.compiler.differentiate import differentiate
from adjit.ir.builder import Builder
from adjit.ir.dead_code import eliminate_dead
from adjit.ir.graph import Graph, Node, Value
from adjit.ir.primitive import primitive_named
from adjit.ir.printer import value_names
from adjit.ir.rewrite import inline_calls, rewrite
from adjit.mathematics import notation
from adjit.mathematics.indexing import SHOWN, Elements, softmax_axis
from adjit.mathematics.notation import Piece

_KEPT = ("softmax", "log_softmax")
_LINEAR = frozenset(("add", "sub", "mul", "div", "neg", "safe_mul", "safe_div", "dot", "reduce_sum", "square", "pow"))


@dataclass(frozen=True, slots=True)
class Formula:
    """Definitions, one a line: as text, as LaTeX, and for a function of numbers as a SymPy expression."""

    definitions: tuple[tuple[Piece, Piece], ...]
    sympy: Any = None

    def __str__(self) -> str:
        return "\n".join(f"{left.text} = {right.text}" for left, right in self.definitions)

    __repr__ = __str__

    def latex(self) -> str:
        """The definitions as an aligned block of LaTeX."""
        rows = (rf"{left.latex} &= {right.latex}" for left, right in self.definitions)
        return "\\begin{aligned}\n" + " \\\\\n".join(rows) + "\n\\end{aligned}"

    def _repr_latex_(self) -> str:
        return f"$${self.latex()}$$"


def formula(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Formula:
    """What a function computes for such arguments: `z_nj = Σ_i x_ni W_ij + b_j`, one definition a line."""
    graph = _readable(_traced(function, args, kwargs))
    names, elements = _named(graph)
    return Formula(tuple(_definitions(graph, names, elements)), _expression(function, graph))


def grad_formula(
    function: Callable[..., Any], *args: Any, wrt: Sequence[str] | None = None, **kwargs: Any
) -> Formula:
    """The gradient of a function: its own definitions, the cotangents `δz`, and `∂L/∂W_ij` for the inputs in `wrt`.

    `wrt` are their names (default: all floating).  Of a result that is no single number it is `δW_ij`, given the `δy`
    of the results.
    """
    graph = _readable(_traced(function, args, kwargs))
    derivative = differentiate(graph, None if wrt is None else [i for i, v in enumerate(graph.inputs) if v.name in wrt])
    forward, backward = derivative.forward, derivative.backward
    seeds = len(derivative.seeded)
    printed = value_names(forward)
    plain = Graph(forward.name, forward.inputs, forward.nodes, forward.outputs[: len(graph.outputs)])
    whole, within = _named(plain)
    lines = _definitions(plain, whole, within)
    counterparts = dict(zip(backward.inputs[seeds:], derivative.residuals, strict=True))
    keys = {_key(node, {}): node.output for node in forward.nodes if len(node.outputs) == 1}
    for node in backward.nodes:  # what the backward program computes a second time
        found = keys.get(_key(node, counterparts)) if len(node.outputs) == 1 else None
        if found is not None:
            counterparts[node.output] = found
    title = whole.get(forward.outputs[derivative.seeded[0]], "L")
    scalar = len(derivative.seeded) == 1 and not forward.outputs[derivative.seeded[0]].type.ndim
    known: dict[Value, Piece | str] = dict(whole)
    for index, seed in zip(derivative.seeded, backward.inputs, strict=False):
        known[seed] = notation.ONE if scalar else f"δ{whole.get(forward.outputs[index], 'L')}"
    letters = dict(within.letters)
    letters |= {(new, a): letters[old, a] for new, old in counterparts.items() for a in range(new.type.ndim)}
    cotangents = {f"d{printed[value]}": value for value in whole if value.node is not None}
    gradients = dict(zip(backward.outputs, (forward.inputs[i] for i in derivative.reached), strict=True))
    body = Elements(known, letters, counterparts)
    for node in backward.nodes:
        value = node.outputs[0]
        target = gradients.get(value, cotangents.get(value.name or ""))
        if target is None or value in known:
            continue
        letters |= {(value, axis): within.letters[target, axis] for axis in range(value.type.ndim)}
        indices = body.free(value)
        used = [index for index in indices if index is not None]
        right = body.at(value, indices)
        of = notation.named(whole[target], used)
        if value in gradients and scalar:
            left = Piece(f"∂{title}/∂{of.text}", rf"\frac{{\partial {title}}}{{\partial {of.latex}}}")
        else:
            if value not in gradients:
                known[value] = f"δ{whole[target]}"
            left = notation.named(f"δ{whole[target]}", used)
        lines.append((left, right))
    return Formula(tuple(lines))


def _traced(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Graph:
    from adjit.jit import CompiledFunction, compile

    compiled = function if isinstance(function, CompiledFunction) else compile(function)
    return compiled.graph(*args, **kwargs)


def _readable(graph: Graph) -> Graph:
    """The graph with calls written out, but for a softmax, which is one step with its well-known derivative."""

    def keep(builder: Builder, node: Node, operands: tuple[Value, ...]) -> Sequence[Value] | None:
        callee: Any = node.attributes.get("callee")
        if node.op.name != "call" or callee.name not in _KEPT or "vjp" in node.attributes:
            return None
        attributes = {**node.attributes, "vjp": _softmax_pullback(callee), "wrt": (0,)}
        return [e.value for e in _exprs(builder.apply(node.op, builder.exprs(operands), attributes))]

    return eliminate_dead(inline_calls(rewrite(graph, keep, follow_calls=False), keep_rules=True))


def _exprs(made: Any) -> Sequence[Any]:
    return made if isinstance(made, (tuple, list)) else (made,)


def _softmax_pullback(callee: Graph) -> Graph:
    """p (g − Σ g p) of a softmax p, g − exp(ℓ) Σ g of its logarithm ℓ."""
    axis, type = softmax_axis(callee), callee.outputs[0].type
    graph = Graph(f"{callee.name}.rule")
    builder = Builder(graph)
    g, _, out = builder.exprs([builder.input(type, name) for name in ("g", "x", "out")])
    total = primitive_named("reduce_sum")(g * out if callee.name == "softmax" else g, axes=(axis,))
    kept = tuple(1 if place == axis else size for place, size in enumerate(type.dims))
    wide = primitive_named("expand")(primitive_named("reshape")(total, shape=kept), shape=type.dims)
    result = out * (g - wide) if callee.name == "softmax" else g - primitive_named("exp")(out) * wide
    graph.outputs = (result.value,)
    return graph


def _key(node: Node, counterparts: dict[Value, Value]) -> Any:
    """What makes two nodes compute the same: op, attributes and operands."""
    operands = tuple(id(counterparts.get(v, v)) if v.constant is None else v.constant for v in node.inputs)
    return node.op.name, str(sorted(node.attributes.items(), key=lambda item: item[0])), operands


def _named(graph: Graph) -> tuple[dict[Value, str], Elements]:
    """The values that get a name, and the letters of all axes: n for rows of data, i, j, k as they appear."""
    uses = Counter(value for node in graph.nodes for value in node.inputs)
    named: dict[Value, str] = {value: value.name or "x" for value in graph.inputs}
    chosen: list[tuple[Value, str]] = []
    for node in graph.nodes:
        if len(node.outputs) != 1 or node.op.name in SHOWN or node.op.name == "const":
            continue
        value = node.output
        users = [user for user in graph.nodes if value in user.inputs]
        feeds = any(user.op.name not in _LINEAR | SHOWN or user.op.name == "dot" for user in users)
        if value.type.ndim and (feeds or uses[value] > 1) and value not in graph.outputs:
            stem = "p" if node.op.name == "call" else "z" if node.op.name in _LINEAR else "h"
            chosen.append((value, stem))
    stems = Counter(stem for _, stem in chosen)
    seen: Counter[str] = Counter()
    taken = set(named.values())
    for value, stem in chosen:
        seen[stem] += 1
        name = f"{stem}{seen[stem]}" if stems[stem] > 1 else stem
        while name in taken:
            name += "_"
        taken.add(name)
        named[value] = name
    scalar = all(not value.type.ndim for value in graph.outputs)
    for place, value in enumerate(graph.outputs):
        stem = "L" if scalar else "y" if "y" not in taken else "f"
        named.setdefault(value, stem if len(graph.outputs) == 1 else f"{stem}{place + 1}")
    return named, Elements(dict(named), _letters(graph))


def _letters(graph: Graph) -> dict[tuple[Value, int], str]:
    """A letter for each axis, the same for axes that an op joins."""
    parent: dict[tuple[Value, int], tuple[Value, int]] = {}

    def root(axis: tuple[Value, int]) -> tuple[Value, int]:
        while parent.setdefault(axis, axis) != axis:
            axis = parent[axis]
        return axis

    contracted = []
    for node in graph.nodes:
        for here, there, summed in _joined(node):
            parent[root(there)] = root(here)
            contracted += [here] * summed
    values = [*graph.inputs, *(value for node in graph.nodes for value in node.outputs)]
    bound = {root(axis) for axis in contracted}
    pools = {True: iter("nmbst" + "uvw" * 50), False: iter("ijkl" + "pqrcde" * 50)}
    letters: dict[tuple[Value, int], str] = {}
    for value in values:
        for axis, size in enumerate(value.dims):
            key = root((value, axis))
            if key not in letters and size != 1:
                letters[key] = next(pools[axis == 0 and value.type.ndim > 1 and key not in bound and not letters])
    return {(v, a): letters.get(root((v, a)), "i") for v in values for a in range(v.type.ndim)}


def _joined(node: Node) -> list[tuple[tuple[Value, int], tuple[Value, int], bool]]:
    """The pairs of axes that an op makes one, and whether it sums over them."""
    given: Any = node.attributes
    out, operands = node.outputs[0], node.inputs
    if node.op.name == "dot":
        (left, right), (a, b) = given["contract"], operands
        pairs = [((a, i), (b, j), True) for i, j in zip(left, right, strict=True)]
        batch = [((a, i), (b, j), False) for i, j in zip(*given["batch"], strict=True)]
        free = [(a, i) for i in given["batch"][0]]
        free += [(a, i) for i in range(a.type.ndim) if i not in (*left, *given["batch"][0])]
        free += [(b, i) for i in range(b.type.ndim) if i not in (*right, *given["batch"][1])]
        return [*pairs, *batch, *((axis, (out, place), False) for place, axis in enumerate(free))]
    if node.op.name == "permute":
        return [((operands[0], a), (out, place), False) for place, a in enumerate(given["perm"])]
    if node.op.name.startswith("reduce_"):
        kept = [a for a in range(operands[0].type.ndim) if a not in given["axes"]]
        return [((operands[0], a), (out, place), False) for place, a in enumerate(kept)]
    if node.op.family == "scalar" or node.op.name in ("expand", "detach", "call"):
        joined = []
        for x in operands:
            ahead = out.type.ndim - x.type.ndim
            joined += [
                ((x, a), (out, a + ahead), False) for a in range(x.type.ndim) if x.dims[a] == out.dims[a + ahead]
            ]
        return joined
    return []


def _definitions(graph: Graph, names: dict[Value, str], elements: Elements) -> list[tuple[Piece, Piece]]:
    lines = []
    for value, name in names.items():
        if value.node is None:
            continue
        indices = elements.free(value)
        body = Elements({v: n for v, n in names.items() if v is not value}, elements.letters)
        left = notation.named(name, [index for index in indices if index is not None])
        lines.append((left, body.at(value, indices)))
    return lines


def _expression(function: Callable[..., Any], graph: Graph) -> Any:
    """The SymPy expression of a function of numbers, else None."""
    from adjit.symbolic import to_sympy
    from adjit.symbolic.rewriting import SymbolicError

    if any(value.type.ndim for value in (*graph.inputs, *graph.outputs)):
        return None
    try:
        return to_sympy(getattr(function, "function", function))
    except SymbolicError:
        return None
