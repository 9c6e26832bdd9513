"""Word functions: what the translated code computes is what the same Python text computes."""

from __future__ import annotations

import ast
import ctypes
import inspect
from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adjit.compiler.entry import known as positions
from adjit.compiler.llvm import words
from adjit.compiler.llvm.jit import Library, compile_library
from adjit.compiler.llvm.words import KNOWN, double, half, known, room, set_half, set_word, single, translate, word
from adjit.ir.errors import CompileError

TWO = 2


def arithmetic(a: int, b: int) -> int:
    """Operators and precedence."""
    return (a + b * TWO - (a & b)) ^ (a | b) << 1


def choice(a: int, b: int) -> int:
    """Conditions that look no further than they must."""
    found = 0
    if a > b and not (b == 3 or a == 7):
        found = 1
    elif a <= b or a != 5:
        found = 2 + (a < b)
    while found < 10:
        found += 4
        if found == 9:
            return -1
    return found


def sums(a: int, b: int) -> int:
    """Calls and loops."""
    total = 0
    k = 0
    while k < (a & 7):
        total += arithmetic(k, b)
        k += 1
    return total


def division(a: int, b: int) -> int:
    """Quotients and rests of natural numbers."""
    left = a & 1023
    right = (b & 7) + 1
    return left // right * 2048 + left % right


def memory(a: int, b: int) -> int:
    """The stack, and the known table."""
    place = room(3)
    set_word(place + 8, a)
    set_word(place + 16, 0)
    set_half(place + 16, b)
    return word(place + 8) + half(place + 16) + known(1)


def numbers(a: int, b: int) -> int:
    """Integers as float64, rounded to float32."""
    return single(double(a))


def refused(a: int, b: int) -> int:
    """What words have no meaning for."""
    return a**b


@pytest.fixture(scope="module")
def library() -> Library:
    functions = (arithmetic, choice, division, sums, memory, numbers)
    table = (ctypes.c_uint64 * 2)(7, 11)
    text = translate(functions, {}, [function.__name__ for function in functions])
    loaded = compile_library(text, [f.__name__ for f in functions], imports={KNOWN: ctypes.addressof(table)})
    _kept.append(table)
    return loaded


_kept: list[object] = []
WORDS = st.integers(-(2**40), 2**40)


def native(library: Library, function: Callable[[int, int], int]) -> Callable[[int, int], int]:
    kind = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)
    return kind(library.address(function.__name__))


@settings(max_examples=60, deadline=None)
@given(a=st.one_of(st.integers(-9, 9), WORDS), b=st.one_of(st.integers(-9, 9), WORDS))
@pytest.mark.parametrize("function", [arithmetic, choice, division, sums])
def test_native_code_computes_what_python_does(
    library: Library, function: Callable[[int, int], int], a: int, b: int
) -> None:
    assert native(library, function)(a, b) == function(a, b)


def test_memory_and_numbers(library: Library) -> None:
    assert native(library, memory)(2**50, -5) == 2**50 - 5 + 11
    bits = native(library, numbers)(16777217, 0)
    assert ctypes.c_float.from_buffer(ctypes.c_uint32(bits)).value == 16777216.0


def test_other_python_is_refused() -> None:
    with pytest.raises((CompileError, KeyError)):
        translate([refused], {}, [])


def test_a_parser_that_another_thread_disturbed_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    expected, parse, calls = translate([arithmetic], {}, ()), ast.parse, []

    def disturbed(source: str) -> ast.Module:
        calls.append(source)
        if len(calls) < 3:
            raise SystemError("AST constructor recursion depth mismatch")
        return parse(source)

    words._definitions.cache_clear()
    monkeypatch.setattr(ast, "parse", disturbed)
    assert translate([arithmetic], {}, ()) == expected
    assert len(calls) == 3


def test_the_positions_of_the_entrys_blocks_are_bound_once_each() -> None:
    """A name bound twice would point into the wrong block wherever its first meaning was meant."""
    bound = [
        name.id
        for statement in ast.parse(inspect.getsource(positions)).body
        if isinstance(statement, ast.Assign)
        for name in ast.walk(statement.targets[0])
        if isinstance(name, ast.Name)
    ]
    assert len(bound) > 200
    assert not [name for name, times in Counter(bound).items() if times > 1]
