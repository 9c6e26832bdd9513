"""Executables take arrays of any layout, write inputs as if all at once, and may be called from anywhere."""

from __future__ import annotations

import ctypes
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from adjit.compiler.build import build
from adjit.compiler.loops.lower import lower
from adjit.compiler.memory import plan_memory
from adjit.compiler.prepare import prepare
from adjit.ir.errors import DTypeError, ShapeError
from adjit.ir.parser import parse
from adjit.runtime import executable as executables
from adjit.runtime.executable import Executable
from adjit.runtime.host import register_host_function
from adjit.runtime.interpreter import run as interpret
from adjit.runtime.layout import address_of
from tests.threads import in_threads

Array = np.ndarray[Any, Any]
ADD = "func @add(%x: f32[n, m], %y: f32[n, m]) -> (f32[n, m]) {\n %0 = add %x, %y : f32[n, m]\n return %0\n}"
STEP = """func @step(%w: f32[n], %g: f32[n]) -> (f32[], f32[n]) writes(%w <- 1) {
 %0 = mul %g, 0.5 : f32[n]
 %1 = sub %w, %0 : f32[n]
 %2 = reduce_sum %g {axes=[0]} : f32[]
 return %2, %1
}"""
TURN = """func @turn(%w: f32[n], %g: f32[n]) -> (f32[n]) writes(%w <- 0) {
 %0 = slice %g {start=[n - 1], size=[n], step=[-1]} : f32[n]
 %1 = add %0, 1.0 : f32[n]
 return %1
}"""
SWAP = "func @swap(%a: f32[n], %b: f32[n]) -> (f32[n], f32[n]) writes(%a <- 1, %b <- 0) {\n return %a, %b\n}"
PICK = """func @pick(%w: f32[n], %i: i64[n]) -> (f32[n]) writes(%w <- 0) {
 %0 = gather %w, %i {axes=[0]} : f32[n]
 return %0
}"""


def compiled(text: str) -> Executable:
    return build(lower(prepare(parse(text))))


def values(*shape: int) -> Array:
    return np.random.default_rng(sum(shape)).standard_normal(shape, dtype=np.float32)


def unaligned(x: Array) -> Array:
    room = np.empty(x.nbytes + 1, np.uint8)[1:].view(x.dtype).reshape(x.shape)
    room[...] = x
    return room


LAYOUTS = {
    "plain": lambda x: x,
    "columns": np.asfortranarray,
    "strided": lambda x: np.repeat(x, 2, axis=0)[::2],
    "backwards": lambda x: np.ascontiguousarray(x[::-1, ::-1])[::-1, ::-1],
    "unaligned": unaligned,
    "repeated": lambda x: np.broadcast_to(x[:1], x.shape),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_inputs_of_any_layout_are_read(layout: str) -> None:
    x, y = LAYOUTS[layout](values(5, 7)), values(5, 7)
    y.flags.writeable = False
    (found,) = compiled(ADD).run([x, y])
    np.testing.assert_array_equal(found, x + y)


def test_arrays_that_do_not_fit_are_refused() -> None:
    add = compiled(ADD)
    with pytest.raises(ShapeError, match="takes 2 inputs, not 1"):
        add.run([values(2, 3)])
    with pytest.raises(ShapeError, match="axis 0 of y is 4, not n = 2"):
        add.run([values(2, 3), values(4, 3)])
    with pytest.raises(DTypeError, match="y is f32"):
        add.run([values(2, 3), values(2, 3).astype(np.float64)])
    with pytest.raises(DTypeError):
        add.run([values(2, 3), values(2, 3).astype(">f4")])
    with pytest.raises(TypeError, match="NumPy arrays"):
        add.run([values(2, 3), 3.0])  # type: ignore[list-item]
    with pytest.raises(ShapeError, match="is to be put into"):
        add.run([values(2, 3), values(2, 3)], [values(3, 3)])


def test_results_go_where_they_are_wanted() -> None:
    add, x, y = compiled(ADD), values(5, 7), values(5, 7)
    expected = x + y
    place, strided = np.empty_like(x), np.empty((10, 7), np.float32)[::2]
    assert add.run([x, y], [place])[0] is place
    assert add.run([x, y], [strided])[0] is strided
    np.testing.assert_array_equal(place, expected)
    np.testing.assert_array_equal(strided, expected)
    shifted = np.zeros(40, np.float32)
    shifted[:35] = x.reshape(-1)
    add.run([shifted[:35].reshape(5, 7), y], [shifted[1:36].reshape(5, 7)])
    np.testing.assert_array_equal(shifted[1:36].reshape(5, 7), expected)


@pytest.mark.parametrize("text", [STEP, TURN, SWAP])
def test_written_inputs_get_their_results(text: str) -> None:
    graph, executable = parse(text), compiled(text)
    for count in (0, 1, 50):
        arrays = [values(count), values(count + 1)[1:]]
        expected = interpret(graph, *arrays)
        found = executable.run(arrays)
        for ours, theirs in zip(found, expected, strict=True):
            np.testing.assert_array_equal(ours, theirs)
        for source, output in graph.writes:
            assert found[output] is arrays[source]


def test_an_update_is_computed_in_place_where_nothing_can_tell() -> None:
    graph = lower(prepare(parse(STEP)))
    plan = plan_memory(graph, 3)
    assert not plan.copies.get(graph)
    assert plan_memory(lower(prepare(parse(TURN))), 3).copies


def test_overlapping_inputs_see_no_writes() -> None:
    turn, both = compiled(TURN), values(100)
    before = both.copy()
    turn.run([both[:60], both[40:]])
    np.testing.assert_array_equal(both, np.concatenate([before[40:][::-1] + 1, before[60:]]))
    mixed = before.copy()
    turn.run([mixed[::2], mixed[1::2]])
    np.testing.assert_array_equal(mixed[::2], before[1::2][::-1] + 1)
    np.testing.assert_array_equal(mixed[1::2], before[1::2])
    with pytest.raises(ValueError, match="overlap"):
        compiled(SWAP).run([both[:60], both[40:]])
    frozen = values(5)
    frozen.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        turn.run([frozen, values(5)])


def test_a_fault_leaves_written_inputs_as_they_were() -> None:
    pick, w = compiled(PICK), values(50)
    before, places = w.copy(), np.arange(50)[::-1].copy()
    places[7] = 50
    with pytest.raises(IndexError):
        pick.run([w, places])
    np.testing.assert_array_equal(w, before)
    places[7] = 0
    pick.run([w, places])
    np.testing.assert_array_equal(w, before[places])


def test_calls_from_many_threads_do_not_meet() -> None:
    text = """func @f(%x: f32[n]) -> (f32[n]) {
 %0 = cumulate_sum %x {axis=0, reverse=false} : f32[n]
 %1 = cumulate_sum %0 {axis=0, reverse=true} : f32[n]
 %2 = cumulate_sum %1 {axis=0, reverse=false} : f32[n]
 return %2
}"""
    executable = compiled(text)
    inputs = [values(100 + i) for i in range(8)]
    expected = [executable.run([x])[0] for x in inputs]

    def work(number: int) -> bool:
        return all(np.array_equal(executable.run([inputs[number]])[0], expected[number]) for _ in range(200))

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(8)))


def test_host_functions_are_called_and_may_fail_and_may_call_back() -> None:
    add = compiled(ADD)

    def double(x: Array) -> tuple[Array]:
        if x[0, 0] == 13:
            raise LookupError("thirteen")
        return (add.run([x, x])[0],)

    register_host_function("tests.executable.double", double)
    text = """func @f(%x: f32[n, m]) -> (f32[n, m]) {
 %0 = add %x, 1.0 : f32[n, m]
 %1 = host_call %0 {function="tests.executable.double", types=[f32[n, m]]} : f32[n, m]
 %2 = add %1, %0 : f32[n, m]
 return %2
}"""
    executable, x = compiled(text), values(3, 4)
    np.testing.assert_allclose(executable.run([x])[0], 3 * (x + 1), rtol=1e-6)
    with pytest.raises(LookupError, match="thirteen"):
        executable.run([np.full((2, 2), 12, np.float32)])
    np.testing.assert_allclose(executable.run([x])[0], 3 * (x + 1), rtol=1e-6)


def test_addresses_are_those_of_the_arrays() -> None:
    for array in (values(3), values(3, 4)[1:, ::-1], np.zeros((0, 3)), np.array(2.5), values(4, 4).T):
        assert address_of(array) == array.ctypes.data


TWICE = """
func @twice(%x: f32[300, 400]) -> (f32[300, 300]) {
  %0 = exp %x                                                   : f32[300, 400]
  %1 = dot %0, %0 {contract=[[1], [1]], batch=[[], []]}         : f32[300, 300]
  %2 = dot %1, %1 {contract=[[1], [1]], batch=[[], []]}         : f32[300, 300]
  return %2
}
"""


def test_memory_is_given_back_to_a_caller_that_has_its_own() -> None:
    """Else a program that is called natively would hold its temporaries twice."""
    executable = build(lower(prepare(parse(TWICE))), threads=1)
    x = values(300, 400)
    expected = executable.run([x])
    assert executable.layout.arena and len(executable._frames) == 1
    call = executable.native_call((x.shape,))
    assert call is not None and call.arena == executable.layout.arena
    assert not executable._frames
    assert np.array_equal(executable.run([x])[0], expected[0])


def test_threads_that_first_call_the_host_at_the_same_time_have_one_way_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second one would be freed while programs hold its address."""
    both, original = threading.Barrier(2), ctypes.CFUNCTYPE

    def make(*types: Any) -> Any:
        both.wait(20)
        return original(*types)

    monkeypatch.setattr(executables, "_trampolines", {})
    monkeypatch.setattr(ctypes, "CFUNCTYPE", make)
    first, second = in_threads(lambda _: executables.host_call_address(), 2)
    assert first == second
