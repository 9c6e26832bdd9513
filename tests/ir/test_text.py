"""The text of the IR: print -> parse -> print is the identity, and bad text is refused with its place."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

import adjit.compiler.loops.ir
from adjit.ir.analysis import callees
from adjit.ir.builder import Builder
from adjit.ir.errors import ParseError
from adjit.ir.graph import Graph, Guard, Location
from adjit.ir.hashing import structural_hash
from adjit.ir.lexer import Lexer
from adjit.ir.literal_parser import Literals
from adjit.ir.parser import parse
from adjit.ir.printer import format_graph, value_names
from adjit.ir.rewrite import clone
from adjit.ir.shape import Dim, Size
from adjit.ir.types import F32, TensorType
from adjit.ir.verify import verify
from tests.ir.random_graphs import SIZES, graphs

assert adjit.compiler.loops.ir.FUSE.family == "loop"

EXAMPLE = """\
func @loss(%x: f32[n, 3], %w: f32[3, 1], %t: f32[n, 1]) -> (f32[n, 1], f32[3, 1]) where n >= 2, n != 7 writes(%w <- 1) {
  %0 = dot %x, %w {contract=[[1], [0]], batch=[[], []]} : f32[n, 1]             # train.py:12
  %1 = mul %0, 3.0                                      : f32[n, 1]             # ∂ train.py:13   sigmoid' = out
  %2, %3 = sort %1 {axis=0, descending=false}           : f32[n, 1], i64[n, 1]
  %4 = div %1, n                                        : f32[n, 1]
  %5 = where true, %t, -inf                             : f32[n, 1]
  return %4, %w
}"""

REGIONS = """\
func @f(%p: bool[], %x: f32[n]) -> (f32[n], f64[]) {
  %0 = cond %p, %x : f32[n]  # t.py:3
    region(%a: f32[n]) {
      %1 = mul %a, 2.0 : f32[n]
      return %1
    }
    region(%b: f32[n]) {
      %2 = call %b {callee=@g}   : f32[n]
      %3 = call %2 {callee=@g_1} : f32[n]
      return %3
    }
  return %0, 2.0:f64
}
func @g(%y: f32[m]) -> (f32[m]) {
  %0 = exp %y : f32[m]
  return %0
}
func @g_1(%y: f32[m]) -> (f32[m]) {
  %0 = log %y : f32[m]
  return %0
}"""

LOOPS = """\
func @kernels(%x: f32[n, 3], %i: i64[n]) -> (f32[n, 3], f32[n]) {
  %0 = kernel %x : f32[n, 3]  # a.py:3
    region(%a: f32[n, 3], %b: f32[n, 3]) {
      for {var=[i, j], extent=[n, 3], parallel=true, sequential=false} {  # a.py:4
        %1 = load %a {at=[i, -j + 2], masked=false}                  : f32[]
        %2 = mul %1, 2.0                                             : f32[]
        %3 = reduce {kind="sum", var=[k], extent=[n], order="lanes"} : f32[] {
          %4 = load %a {at=[3*k + j], masked=false} : f32[]
          return %4
        }
        %5 = inside {of=[[i + j - 1, n]]}                            : bool[]
        %6 = add %2, %3                                              : f32[]
        store %b, %6, %5 {at=[i, j], masked=true}
      }
    }
  %7 = kernel %x, %i : f32[n]
    region(%c: f32[n, 3], %d: i64[n], %e: f32[n]) {
      for {var=[r], extent=[n], parallel=true, sequential=false} {
        %8 = load %d {at=[r], masked=false}      : i64[]
        %9 = position %8 {extent=3, masked=false} : i64[]
        %10 = load %c, %9 {at=[r, _0], masked=false} : f32[]
        update %e, %10 {at=[r], masked=false, kind="set"}
      }
    }
  return %0, %7
}"""


@contextmanager
def shallow_stack(frames: int = 120) -> Iterator[None]:
    """Only so many frames beyond the present one."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack(0)) + frames)
    try:
        yield
    finally:
        sys.setrecursionlimit(before)


def assert_round_trip(graph: Graph) -> None:
    text = format_graph(graph)
    again = parse(text)
    assert format_graph(again) == text
    verify(again)
    assert structural_hash(again) == structural_hash(graph)


# -- printing and reading back ----------------------------------------------------------------------------------------
@given(graphs())
def test_random_graphs_round_trip(graph: Graph) -> None:
    verify(graph)
    assert_round_trip(graph)


@pytest.mark.parametrize("text", [EXAMPLE, REGIONS], ids=["example", "regions"])
def test_text_is_its_own_print(text: str) -> None:
    graph = parse(text)
    verify(graph)
    assert format_graph(graph) == text


def test_the_loop_level_round_trips() -> None:
    assert_round_trip(parse(LOOPS))


def test_locations_are_read_back() -> None:
    location = parse(EXAMPLE).nodes[2].location
    assert location == Location("train.py", 13, "∂", "sigmoid' = out")
    assert "#" not in format_graph(parse(EXAMPLE), locations=False)


def test_layout_and_comments_of_the_reader_do_not_matter() -> None:
    loose = "# mine\n\n" + re.sub(r" {2,}", " ", EXAMPLE).replace(", ", " ,\n  ").replace("return", "# here\nreturn")
    assert structural_hash(parse(loose)) == structural_hash(parse(EXAMPLE))


def test_equal_callees_are_printed_once() -> None:
    graph = parse(REGIONS.replace("log", "exp"))
    for callee in callees(graph):
        callee.name = "g"
    assert format_graph(graph).count("func @g") == 1
    different = parse(REGIONS)
    for callee in callees(different):
        callee.name = "g"
    assert format_graph(different) == REGIONS


@given(st.recursive(st.sampled_from(SIZES), lambda part: st.tuples(st.sampled_from("+-*/%"), part, part), max_leaves=6))
def test_sizes_are_read_back(tree: object) -> None:
    def build(tree: object) -> Size:
        if not isinstance(tree, tuple):
            return tree  # type: ignore[return-value]
        left, right = build(tree[1]), build(tree[2])
        match tree[0]:
            case "+":
                return left + right
            case "-":
                return left - right
            case "*":
                return left * right
        if right == 0:
            return left
        return left // right if tree[0] == "/" else left % right

    size = build(tree)
    assert Literals(Lexer(str(size)), {}).size() == size


# -- names ------------------------------------------------------------------------------------------------------------
def test_names_are_kept_made_distinct_and_numbered_around() -> None:
    graph = Graph("f")
    builder = Builder(graph)
    type = TensorType(F32, ())
    values = [builder.input(type, name) for name in ("x", "x", "x_1", "1", None, None, "a b")]
    assert list(value_names(graph).values()) == ["x", "x_2", "x_1", "1", "0", "2", "a_b"]
    assert set(value_names(graph)) == set(values)


def test_numbers_are_not_taken_for_names() -> None:
    graph = parse(EXAMPLE)
    assert [value.name for value in graph.nodes[0].outputs] == [None]
    assert parse(EXAMPLE.replace("%0", "%9")).nodes[0].output.name == "9"


# -- hashing ----------------------------------------------------------------------------------------------------------
@given(graphs())
def test_hash_forgets_names_and_places(graph: Graph) -> None:
    other = clone(graph, name="other")
    for value in (*other.inputs, *(v for node in other.walk() for v in node.outputs)):
        value.name = None
    for node in other.walk():
        node.location = Location("elsewhere.py", 1)
    assert structural_hash(other) == structural_hash(graph)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("n >= 2", "n >= 3"),
        ("%w <- 1", "%t <- 0"),
        ("mul %0, 3.0", "mul %0, -3.0"),
        ("mul %0, 3.0", "add %0, 3.0"),
        ("mul %0, 3.0", "mul 3.0, %0"),
        ("descending=false", "descending=true"),
        ("return %4", "return %1"),
        ("true, %t", "false, %t"),
        ("n", "m"),
    ],
)
def test_hash_sees(old: str, new: str) -> None:
    changed = re.sub(rf"\b{old}\b", new, EXAMPLE) if old == "n" else EXAMPLE.replace(old, new)
    assert changed != EXAMPLE
    assert structural_hash(parse(changed)) != structural_hash(parse(EXAMPLE))


def test_hash_sees_callees() -> None:
    assert structural_hash(parse(REGIONS)) != structural_hash(parse(REGIONS.replace("log", "sin")))


# -- length -----------------------------------------------------------------------------------------------------------
def test_a_long_chain_needs_no_stack() -> None:
    graph = Graph("chain")
    builder = Builder(graph)
    x = y = builder.expr(builder.input(TensorType(F32, (Dim.named("n"), 3)), "x"))
    for line in range(50_000):
        builder.location = Location("train.py", line)
        y = y * 1.5 + x
    graph.outputs = (y.value,)
    with shallow_stack():
        text = format_graph(graph)
        again = parse(text)
        verify(again)
        assert structural_hash(again) == structural_hash(graph)
    assert len(again.nodes) == 100_001
    assert text.count("\n") == 100_002


# -- refusals ---------------------------------------------------------------------------------------------------------
def body(*lines: str) -> str:
    return "\n".join(["func @f(%x: f32[n], %i: u8[n], %p: bool[]) -> (f32[n]) {", *lines, "  return %x", "}"])


REFUSED = [
    ("", "line 1:1: expected 'func', found no function"),
    ("hello func @f() -> () {\n}", "line 1:1: expected 'func', found 'hello'"),
    ("func f() -> () {\n}", "line 1:1: expected 'func', found no function"),
    ("func @f() -> () {\n}\nfunc @f() -> () {\n}", "line 3:6: a second function is called @f"),
    ("func @f() -> () {\n} }", "line 2:3: expected another function or the end of the text, found '}'"),
    ("func @f() -> () {\n", "line 2:1: expected '}' at the end of a body, found the end of the text"),
    ("func @f(%x) -> () {\n}", "line 1:11: expected ':' and the input's type, found ')'"),
    ("func @f(%x: f31[n]) -> () {\n}", "line 1:13: expected a type, as f32[n, 3], found 'f31'"),
    ("func @f(%x: f32[n], %x: f32[n]) -> () {\n}", "line 1:21: %x is defined twice"),
    ("func @f(%x: f32[-3]) -> () {\n}", "line 1:17: a dim is -3"),
    ("func @f(%x: f32[true]) -> () {\n}", "line 1:17: expected a size, found 'true'"),
    ("func @f(%x: f32[n // 0]) -> () {\n}", "line 1:19: a size is divided by 0"),
    ("func @f(%x: f32[n]) -> () where n < 3 {\n}", "line 1:35: unexpected character '<'"),
    ("func @f(%x: f32[n]) -> () where n {\n}", "line 1:35: expected ==, !=, >= or > in a guard, found '{'"),
    ("func @f(%x: f32[n]) -> () writes(%x <- 0) {\n}", "line 1:34: a write names output 0 of 0"),
    (
        "func @f(%x: f32[n]) -> (f32[3]) {\n  return %x\n}",
        "line 3:1: the body returns (f32[n]), the header says (f32[3])",
    ),
    (body("  %0 = sine %x : f32[n]"), "line 2:8: unknown op 'sine'"),
    (body("  %0 = add %x, %y : f32[n]"), "line 2:16: %y is not defined"),
    (body("  %0 = add %x, %x : f32[n]", "  %0 = neg %x : f32[n]"), "line 3:3: %0 is defined twice"),
    (body("  %0 = add %x, %x : f32[3]"), "line 2:19: add gives f32[n], not f32[3]"),
    (body("  %0 = add %x, %i : f32[n]"), "line 2:8: add does not fit: add: operands of f32 and u8"),
    (body("  %0 = add %x : f32[n]"), "line 2:8: add takes 2 operands, not 1"),
    (body("  %0 = add %x, %x {axis=0} : f32[n]"), "line 2:8: add has no attribute 'axis'"),
    (body("  %0 = reduce_sum %x : f32[]"), "line 2:8: reduce_sum lacks the attribute 'axes'"),
    (body("  %0 = reduce_sum %x {axes=\"a\"} : f32[]"), "line 2:8: reduce_sum does not fit: "),
    (body("  %0 = reduce_sum %x {axes=[0], axes=[0]} : f32[]"), "line 2:33: axes is given twice"),
    (body("  %0 = call %x {callee=@g} : f32[]"), "line 2:24: no function is called @g"),
    (body("  %0 = call %x {callee=@f} : f32[]"), "line 2:24: @f calls itself: recursion is not in the IR"),
    (body("  %0, %1 = add %x, %x : f32[n]"), "line 2:23: 2 results and 1 types"),
    (body("  %0 = add %x, %x"), "line 3:3: expected ':' and the results' types, found 'return'"),
    (body("  add %x, %x : f32[n]"), "line 2:14: add gives f32[n], not nothing"),
    (body("  %0 = add %i, 300 : u8[n]"), "line 2:16: 300 is outside the range of u8, 0 to 255"),
    (body("  %0 = add %i, 1.5 : u8[n]"), "line 2:16: 1.5 is not an integer, as u8 needs"),
    (body("  %0 = and %p, 1 : bool[]"), "line 2:16: 1 is not true or false"),
    (body("  %0 = add 1, 2 : f32[]"), "line 2:12: nothing in add gives this literal a dtype"),
    (body("  %0 = add %x, \"a\" : f32[]"), "line 2:16: expected an operand, found \"a\""),
    (body("  %0 = host_call {function=\"\\x\", types=[]} : f32[]"), "line 2:28: a string is not well formed: "),
    (body("  %0 = reduce_sum %x {axes=" + "[" * 40), "line 2:44: lists are nested more than 16 deep"),
    (body("  %0 = add %x, " + "(" * 40), "line 2:32: parentheses are nested more than 16 deep"),
    (body("  %0 = add %x, " + "9" * 101), "line 2:16: a number has more than 100 digits"),
    (body("  %0 = add %x, " + "*".join(["n"] * 40)), "line 2:47: a size has a degree above 16"),
    (body("  %0 = add %x, " + " + ".join(f"n{i}" for i in range(99))), ": a size has more than 64 terms"),
    (body("  %0 = add %x, " + "*".join(["(a + b + c + d)"] * 9)), ": a size has more than 64 terms"),
    (body("  %0 = add %x, n" + " // m % k" * 999), "line 2:90: a size nests too many divisions"),
    (body("  %0 = add %x, " + "(" * 9 + "n" + " // m)*(a + b + c)" * 9), ": a size "),
    (
        "func @f(%x: f32[" + ", ".join(f"a{i} + b{i}" for i in range(64)) + "]) -> () {\n}",
        "line 1:129: the product of these sizes has more than 4096 terms",
    ),
    (body("  for {var=[i], extent=[n]} {\n" * 70), "line 66:3: regions are nested more than 64 deep"),
    (
        body("  %0 = cond %p, %x : f32[n]", "    region(%a: f32[n]) {", "      return %x"),
        "line 4:14: %x is outside: this region sees only its inputs",
    ),
]


@pytest.mark.parametrize(("text", "message"), REFUSED, ids=[message for _, message in REFUSED])
def test_refusals_name_the_place(text: str, message: str) -> None:
    with pytest.raises(ParseError) as caught, shallow_stack(400):
        parse(text)
    first, quoted, caret = str(caught.value).split("\n")
    assert message in first
    line, column = map(int, re.match(r"line (\d+):(\d+): ", first).groups())  # type: ignore[union-attr]
    assert (caught.value.lineno, caught.value.offset) == (line, column)
    source = (text + "\n").split("\n")[line - 1]
    assert quoted.strip() in source
    assert quoted[caret.index("^") : caret.index("^") + 1] == source[column - 1 : column]


PIECES = [
    "", "%0", "(", "]", "{", "}", "\n", '"', "n", "7", "-", "# x", "@g", ":", "func", "where", "∂", "f32[", "region(",
]  # fmt: skip
EDIT = st.tuples(st.integers(0, 2000), st.integers(0, 6), st.sampled_from(PIECES))


@given(st.sampled_from([EXAMPLE, REGIONS, LOOPS]), st.lists(EDIT, min_size=1, max_size=4))
def test_broken_text_is_refused_or_sound(text: str, edits: list[tuple[int, int, str]]) -> None:
    for position, length, inserted in edits:
        position %= len(text)
        text = text[:position] + inserted + text[position + length :]
    try:
        graph = parse(text)
    except ParseError as error:
        assert re.match(r"line \d+:\d+: ", str(error))
    else:
        assert format_graph(parse(format_graph(graph))) == format_graph(graph)


def test_a_guard_and_a_write_are_read() -> None:
    graph = parse(EXAMPLE)
    assert graph.guards == (Guard(Dim.named("n"), ">=", 2), Guard(Dim.named("n"), "!=", 7))
    assert graph.writes == ((1, 1),)
