"""Results that take the place of operands, and carries that change places, give what the plain program gives."""

from __future__ import annotations

import numpy as np
import pytest

import adjit
from adjit.compiler.memory import byte_count, plan_memory
from adjit.compiler.pipeline import compile_graph, lowered
from adjit.ir.parser import parse
from adjit.runtime import interpreter
from tests.compiler.programs import operands_of_text

# Each element of a table from those before it: the update goes into the carried table itself.
TABLE = """
func @f(%x: f64[600], %i: i64[5]) -> (f64[600]) {
  %0 = scan %x, %i {invariants=0, carries=1, length=5, reverse=false} : f64[600]
    region(%1: f64[600], %2: i64[]) {
      %3 = sub %2, 1                           : i64[]
      %4 = gather %1, %3 {axes=[0]}            : f64[]
      %5 = gather %1, %2 {axes=[0]}            : f64[]
      %6 = add %4, %5                          : f64[]
      %7 = scatter_set %1, %6, %2 {axes=[0]}   : f64[600]
      return %7
    }
  return %0
}
"""
# Two elements change places: the second write takes what stood there before the first one.
SWAP = """
func @f(%x: f64[600], %i: i64[5], %j: i64[5]) -> (f64[600]) {
  %0 = scan %x, %i, %j {invariants=0, carries=1, length=5, reverse=false} : f64[600]
    region(%1: f64[600], %2: i64[], %3: i64[]) {
      %4 = gather %1, %2 {axes=[0]}            : f64[]
      %5 = gather %1, %3 {axes=[0]}            : f64[]
      %6 = scatter_set %1, %5, %2 {axes=[0]}   : f64[600]
      %7 = scatter_set %6, %4, %3 {axes=[0]}   : f64[600]
      return %7
    }
  return %0
}
"""
# An element is read, for others to use, after the line that adds to it.
LATE = """
func @f(%x: f64[600], %i: i64[5], %u: f64[5]) -> (f64[600], f64[5]) {
  %0, %9 = scan %x, %i, %u {invariants=0, carries=1, length=5, reverse=false} : f64[600], f64[5]
    region(%1: f64[600], %2: i64[], %3: f64[]) {
      %4 = scatter_add %1, %3, %2 {axes=[0]}   : f64[600]
      %5 = gather %1, %2 {axes=[0]}            : f64[]
      %6 = mul %5, %3                          : f64[]
      return %4, %6
    }
  return %0, %9
}
"""
# Two tables: what is written to the second one needs an element of the first.
TWO = """
func @f(%x: f64[600], %y: f64[600], %i: i64[5]) -> (f64[600], f64[600]) {
  %0, %9 = scan %x, %y, %i {invariants=0, carries=2, length=5, reverse=false} : f64[600], f64[600]
    region(%1: f64[600], %2: f64[600], %3: i64[]) {
      %4 = gather %1, %3 {axes=[0]}            : f64[]
      %5 = gather %2, %3 {axes=[0]}            : f64[]
      %6 = add %4, 1.0                         : f64[]
      %7 = scatter_set %1, %6, %3 {axes=[0]}   : f64[600]
      %8 = mul %5, %6                          : f64[]
      %10 = scatter_set %2, %8, %3 {axes=[0]}  : f64[600]
      return %7, %10
    }
  return %0, %9
}
"""
# A wave: the state before the last is overwritten by the next one, and the two change places.
WAVE = """
func @f(%x: f64[600], %y: f64[600], %i: i64[TURNS]) -> (f64[600], f64[600]) {
  %0, %1 = scan %x, %y, %i {invariants=0, carries=2, length=TURNS, reverse=false} : f64[600], f64[600]
    region(%2: f64[600], %3: f64[600], %4: i64[]) {
      %5 = slice %3 {start=[1], size=[598], step=[1]} : f64[598]
      %6 = pad %5 {low=[0], high=[2], interior=[0], value=0} : f64[600]
      %7 = mul %3, 2.0                         : f64[600]
      %8 = sub %7, %2                          : f64[600]
      %9 = mul %6, 0.25                        : f64[600]
      %10 = add %8, %9                         : f64[600]
      return %3, %10
    }
  return %0, %1
}
"""
# A loop in a loop: both carry something large that is computed anew from all of what was before.
NESTED = """
func @f(%x: f64[600], %i: i64[TURNS]) -> (f64[600]) {
  %0 = scan %x, %i {invariants=0, carries=1, length=TURNS, reverse=false} : f64[600]
    region(%1: f64[600], %2: i64[]) {
      %3 = iota {shape=[3], axis=0, dtype=i64} : i64[3]
      %4 = scan %1, %3 {invariants=0, carries=1, length=3, reverse=false} : f64[600]
        region(%5: f64[600], %6: i64[]) {
          %7 = slice %5 {start=[599], size=[600], step=[-1]} : f64[600]
          %8 = sin %7                          : f64[600]
          %9 = add %8, %5                      : f64[600]
          return %9
        }
      %10 = slice %4 {start=[599], size=[600], step=[-1]} : f64[600]
      %11 = mul %10, 0.5                       : f64[600]
      %12 = add %11, %1                        : f64[600]
      return %12
    }
  %13 = mul %0, 1.0                            : f64[600]
  return %13
}
"""
# Three loops deep: the places of all are exchanged with each other, and zeros are where the loops begin.
DEEP = """
func @f(%x: f64[600], %n: i64[], %k: i64[TURNS]) -> (i64[], f64[600], f64[600]) {
  %0 = sub %n, %n                              : i64[]
  %1 = sub %x, %x                              : f64[600]
  %2, %3, %4 = while %n, %0, %1, %x {invariants=1} : i64[], f64[600], f64[600]
    region(%5: i64[], %6: i64[], %7: f64[600], %8: f64[600]) {
      %9 = lt %6, %5                           : bool[]
      return %9
    }
    region(%10: i64[], %11: i64[], %12: f64[600], %13: f64[600]) {
      %14 = add %11, 1                         : i64[]
      %15 = iota {shape=[3], axis=0, dtype=i64} : i64[3]
      %16, %17 = scan %12, %13, %15 {invariants=0, carries=2, length=3, reverse=false} : f64[600], f64[600]
        region(%18: f64[600], %19: f64[600], %20: i64[]) {
          %21 = iota {shape=[2], axis=0, dtype=i64} : i64[2]
          %22 = scan %18, %21 {invariants=0, carries=1, length=2, reverse=true} : f64[600]
            region(%23: f64[600], %24: i64[]) {
              %25 = slice %23 {start=[599], size=[600], step=[-1]} : f64[600]
              %26 = cos %25                    : f64[600]
              %27 = sub %26, %23               : f64[600]
              return %27
            }
          %28 = slice %22 {start=[599], size=[600], step=[-1]} : f64[600]
          %29 = add %28, %19                   : f64[600]
          return %29, %22
        }
      return %14, %17, %16
    }
  return %2, %3, %4
}
"""
# Sums that need what stood before: the update may not go into the operand that others read after it.
LATER = """
func @f(%x: f64[600], %i: i64[2], %u: f64[2]) -> (f64[600], f64[]) {
  %0 = sin %x                                  : f64[600]
  %1 = scatter_add %0, %u, %i {axes=[0]}       : f64[600]
  %2 = mul %0, %1                              : f64[600]
  %3 = reduce_sum %2 {axes=[0]}                : f64[]
  %4 = exp %1                                  : f64[600]
  return %4, %3
}
"""


@pytest.mark.parametrize("turns", [0, 1, 2, 5])
@pytest.mark.parametrize(
    "text",
    [TABLE, SWAP, LATE, TWO, WAVE, NESTED, DEEP, LATER],
    ids=["table", "swap", "late", "two", "wave", "nested", "deep", "later"],
)
def test_places_taken_over_change_no_result(text: str, turns: int) -> None:
    text = text.replace("TURNS", str(turns))
    graph, given = parse(text), operands_of_text(text, 6)
    executable = compile_graph(graph)
    expected = interpreter.run(graph, *(array.copy() for array in given))
    for _ in range(3):  # memory is not as it was
        found = executable.run([array.copy() for array in given])
        for left, right in zip(found, expected, strict=True):
            np.testing.assert_allclose(left, right, rtol=1e-12, atol=1e-12)


def test_a_chain_of_kernels_needs_one_place() -> None:
    text = "func @f(%x: f32[600]) -> (f32[600]) {\n"
    for number in range(6):
        before = f"%{2 * number - 1}" if number else "%x"
        text += f"  %{2 * number} = cumulate_sum {before} {{axis=0, reverse=false}} : f32[600]\n"
        text += f"  %{2 * number + 1} = sin %{2 * number} : f32[600]\n"
    graph = lowered(parse(text + "  return %11\n}\n"))
    plan = plan_memory(graph, 3)
    assert plan.arena <= 2 * byte_count(graph.inputs[0].type)


@pytest.mark.parametrize("text", [TABLE, SWAP, LATE, TWO], ids=["table", "swap", "late", "two"])
def test_carried_tables_are_updated_where_they_are(text: str) -> None:
    graph = lowered(parse(text))
    plan = plan_memory(graph, 3)
    (loop,) = (node for node in graph.nodes if node.op.name == "scan")
    assert not plan.copies[loop.regions[0]] and not plan.exchanges
    tables = int(loop.attributes["carries"])  # type: ignore[call-overload]
    assert plan.arena < (tables + 1) * byte_count(graph.inputs[0].type)  # and single elements


@pytest.mark.parametrize("seed", range(8))
def test_reads_and_writes_of_a_table_keep_their_order(seed: int) -> None:
    """Turns of five reads and writes in any order, each read of the table as it stands there, used at the end."""
    random = np.random.default_rng(seed)
    kinds = random.choice(["read", "old", "set", "add"], 5)

    def turn(table, row):  # type: ignore[no-untyped-def]
        first, total = table, row[0] * 0.0
        for kind, index, value in zip(kinds, row[1].unbind(), row[0].unbind(), strict=True):
            if kind in ("read", "old"):
                total = total + (table if kind == "read" else first)[index]
            else:
                table = table.index_put((index,), value + total.sum(), accumulate=kind == "add")
        return table, (total, first[row[1][0]])

    table = adjit.from_numpy(random.standard_normal(7))
    rows = adjit.from_numpy(random.standard_normal((20, 5))), adjit.from_numpy(random.integers(0, 7, (20, 5)))
    found, wanted = adjit.compile(lambda *given: adjit.scan(turn, *given))(table, rows), adjit.scan(turn, table, rows)
    for left, right in zip((found[0], *found[1]), (wanted[0], *wanted[1]), strict=True):
        np.testing.assert_allclose(np.asarray(left), np.asarray(right), rtol=1e-12, atol=1e-12)


def test_no_turn_copies_large_carries() -> None:
    for text in (WAVE, NESTED):
        graph = lowered(parse(text.replace("TURNS", "4")))
        plan = plan_memory(graph, 3)
        loops = [node for node in graph.walk() if node.op.name == "scan"]
        assert plan.exchanges and not any(plan.copies[loop.regions[0]] for loop in loops)
