"""Passes of your own in the compiler: `register`, `unregister`, `using`, and what it takes to write one.

>>> import adjit
>>> def twice_negated(graph):
...     '''-(-x) is x.'''
...     def rule(builder, node, operands):
...         inner = operands[0].node if operands else None
...         if node.op.name == "neg" and inner is not None and inner.op.name == "neg":
...             return inner.inputs
...     return adjit.passes.rewrite(graph, rule)
>>> with adjit.passes.using(twice_negated, after="trace"):
...     found = adjit.compile(lambda x: -(-x)).stages(adjit.ones(3))
>>> print(found["twice_negated"])
func @function(%x: f32[3]) -> (f32[3]) {
  %0 = neg %x : f32[3]  # ...
  return %x
}
"""

from __future__ import annotations

from adjit.compiler.passes import PLACES, Pass, register, unregister, using
from adjit.ir.builder import Builder
from adjit.ir.dead_code import eliminate_dead
from adjit.ir.graph import Graph, Node, Value
from adjit.ir.primitive import primitive_named
from adjit.ir.rewrite import rewrite

__all__ = [
    "PLACES", "Builder", "Graph", "Node", "Pass", "Value", "eliminate_dead", "primitive_named", "register", "rewrite",
    "unregister", "using",
]  # fmt: skip
