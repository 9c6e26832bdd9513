"""Control flow whose small values stand on the stack of one function: right results, and no calls in its loops."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import adjit
from adjit.compiler.build import LEVEL
from adjit.compiler.llvm import jit
from adjit.compiler.pipeline import compile_graph, llvm_of
from adjit.ir.errors import AdjitError
from adjit.ir.parser import parse
from adjit.runtime import interpreter
from tests.compiler.programs import operands_of_text

# Vectors and matrices that do not fill registers, a table in memory, bools, and a choice in every turn.
MIXED = """
func @f(%x: f64[3], %m: f64[3, 3], %t: f64[700], %i: i64[7]) -> (f64[3], f64[3, 3], f64[700], bool[5], f64[7, 3]) {
  %b = expand false {shape=[5]} : bool[5]
  %0, %1, %2, %3, %4 = scan %x, %m, %t, %b, %i {invariants=0, carries=4, length=7, reverse=true} : TYPES
    region(%5: f64[3], %6: f64[3, 3], %7: f64[700], %8: bool[5], %9: i64[]) {
      %10 = dot %6, %5 {batch=[[], []], contract=[[1], [0]]} : f64[3]
      %11 = tanh %10                              : f64[3]
      %12 = permute %6 {perm=[1, 0]}              : f64[3, 3]
      %13 = mul %12, 0.5                          : f64[3, 3]
      %14 = add %13, %6                           : f64[3, 3]
      %15 = reduce_max %11 {axes=[0]}             : f64[]
      %16 = scatter_set %7, %15, %9 {axes=[0]}    : f64[700]
      %17 = iota {shape=[5], axis=0, dtype=i64}   : i64[5]
      %18 = expand %9 {shape=[5]}                 : i64[5]
      %19 = eq %17, %18                           : bool[5]
      %20 = xor %8, %19                           : bool[5]
      %21 = lt %15, 0.3                           : bool[]
      %22 = cond %21, %11                         : f64[3]
        region(%23: f64[3]) {
          %24 = add %23, 1.0                      : f64[3]
          return %24
        }
        region(%25: f64[3]) {
          %26 = slice %25 {start=[2], size=[3], step=[-1]} : f64[3]
          return %26
        }
      return %22, %14, %16, %20, %11
    }
  return %0, %1, %2, %3, %4
}
""".replace("TYPES", "f64[3], f64[3, 3], f64[700], bool[5], f64[7, 3]")
# A loop in a loop, over whole numbers: lanes that do not exist are not divided.
NESTED = """
func @f(%x: i64[3], %y: i64[3], %n: i64[], %i: i64[4]) -> (i64[3], i64[]) {
  %0, %1 = scan %y, %x, %n, %i {invariants=1, carries=2, length=4, reverse=false} : i64[3], i64[]
    region(%2: i64[3], %3: i64[3], %4: i64[], %5: i64[]) {
      %6 = div %3, %2                             : i64[3]
      %7 = mod %3, %2                             : i64[3]
      %8 = add %6, %7                             : i64[3]
      %9 = while %4 {invariants=0}                : i64[]
        region(%10: i64[]) {
          %11 = lt %10, 100                       : bool[]
          return %11
        }
        region(%12: i64[]) {
          %13 = mul %12, 3                        : i64[]
          return %13
        }
      %14 = sub %9, 90                            : i64[]
      %15 = add %8, %5                            : i64[3]
      return %15, %14
    }
  return %0, %1
}
"""


@pytest.mark.parametrize("text", [MIXED, NESTED], ids=["mixed", "nested"])
def test_control_flow_gives_what_the_interpreter_gives(text: str) -> None:
    graph, given = parse(text), operands_of_text(text, 7)
    expected = interpreter.run(graph, *(array.copy() for array in given))
    for strict in (True, False):
        found = compile_graph(graph, strict=strict).run([array.copy() for array in given])
        for left, right in zip(found, expected, strict=True):
            np.testing.assert_allclose(left, right, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("zero", [0, 1, 2])
def test_a_fault_in_a_turn_stops_the_program(zero: int) -> None:
    given = operands_of_text(NESTED, 7)
    given[1][zero] = 0
    with pytest.raises((AdjitError, ZeroDivisionError)):
        compile_graph(parse(NESTED)).run(given)


def test_turns_over_small_values_touch_no_memory() -> None:
    text = """
    func @f(%x: f64[], %v: f32[3], %i: i64[900]) -> (f64[], f32[3]) {
      %0, %1 = scan %x, %v, %i {invariants=0, carries=2, length=900, reverse=false} : f64[], f32[3]
        region(%2: f64[], %3: f32[3], %4: i64[]) {
          %5 = mul %2, 0.5                            : f64[]
          %6 = add %5, 1.0                            : f64[]
          %7 = slice %3 {start=[2], size=[3], step=[-1]} : f32[3]
          %8 = mul %7, %3                             : f32[3]
          return %6, %8
        }
      return %0, %1
    }
    """
    lines = jit.optimized(llvm_of(parse(text)), level=LEVEL).splitlines()
    turn = [line for line in lines if " phi " in line]
    assert any("double" in line for line in turn) and any("<4 x float>" in line for line in turn)
    assert not any("alloca" in line for line in lines)


def _reads(x: Any, n: Any) -> Any:
    total = x[0] * 0
    for i in range(n):
        total = total + x[i]
    return total


def _writes(x: Any, n: Any) -> Any:
    for i in range(n):
        x[i] = x[i] * 2
    return x


def _writes_to_the_second_axis(x: Any, n: Any) -> Any:
    y = x.reshape(2, 2) * 1
    for i in range(2):
        for j in range(n):
            if y[i, 0] > -1:
                y[i, j] = y[i, j - 1] + 1
    return y


@pytest.mark.parametrize("function", [_reads, _writes, _writes_to_the_second_axis])
def test_a_fault_ends_a_loop_at_once(function: Any) -> None:
    compiled = adjit.compile(function)
    x = adjit.arange(4.0)
    wanted = function(x.clone(), 2)
    assert adjit.equal(compiled(x.clone(), adjit.tensor(2)), wanted)
    for count in (5, 9, 10**12):
        given = x.clone()
        with pytest.raises(IndexError, match="index"):
            compiled(given, adjit.tensor(count))
        assert adjit.equal(given, x)
    assert adjit.equal(compiled(x.clone(), adjit.tensor(2)), wanted)


def test_a_checked_index_is_known_to_be_good_from_there_on() -> None:
    llvm = adjit.compile(_writes).llvm(adjit.arange(4.0), adjit.tensor(2))
    body = llvm[llvm.index("define internal i1 @control") :]
    assert "icmp ult" in body
    assert not [line for line in body.splitlines() if "phi i64" in line and "[ 0, %bad" in line]
