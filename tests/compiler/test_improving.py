"""The best code made beside the program: calls go on with quick code, and nothing is lost when it takes over."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from time import sleep
from typing import Any

import numpy as np
import pytest

import adjit as torch
from adjit.compiler import later, quick
from adjit.compiler.compile import compile_graph
from adjit.compiler.later import settle
from adjit.ir.parser import parse
from adjit.native import install, near
from adjit.runtime import improving, layout
from tests.compiler.test_quick import PROGRAMS, bits, graph, operands, settings
from tests.frontends.natively import calls_without_python
from tests.threads import in_child, in_threads

__all__ = ["settings"]  # the fixture: even small programs have quick code
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")


class Held:
    """Keeps the best code from being made until it is let go; counts how often that is begun."""

    def __init__(self) -> None:
        self.begun, self.count, self._go = threading.Event(), 0, threading.Event()

    def wait(self) -> None:
        self.count += 1
        self.begun.set()
        assert self._go.wait(60)

    def let_go(self) -> None:
        self._go.set()


def until(holds: Callable[[], bool]) -> None:
    """Wait until that is so."""
    for _ in range(600):
        if holds():
            return
        sleep(0.1)
    raise AssertionError("it never is")


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[Held]:
    monkeypatch.setenv("ADJIT_BACKGROUND", "1")
    made, original = Held(), quick.object_of

    def object_of(*given: Any) -> Any:
        made.wait()
        return original(*given)

    monkeypatch.setattr(quick, "object_of", object_of)
    yield made
    made.let_go()
    settle()


@pytest.mark.parametrize("name", PROGRAMS)
def test_calls_go_on_with_quick_code_and_change_over_with_the_same_bits(name: str, held: Held) -> None:
    program = compile_graph(graph(name))
    first = bits(program)
    assert (program.is_quick, program.is_improving) == (True, False)
    for _ in range(5):
        assert bits(program) == first
    assert (program.is_quick, program.is_improving) == (True, True)
    held.let_go()
    settle()
    assert (program.is_quick, program.is_improving) == (False, False)
    assert [bits(program) for _ in range(3)] == [first] * 3
    assert held.count == 1


def test_threads_call_while_it_changes_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory of frames, plans and both libraries stays in order, however the calls fall."""
    monkeypatch.setenv("ADJIT_BACKGROUND", "1")
    for turn in range(4):
        programs = [compile_graph(graph(name), threads=1 + turn % 2) for name in PROGRAMS]
        wanted = [bits(program) for program in programs]
        arrays = [operands(program.graph) for program in programs]

        def work(_: int, programs: Any = programs, arrays: Any = arrays, wanted: Any = wanted) -> bool:
            ended, right = 0, True
            while ended < 20:  # of calls after all have changed over
                for program, given, known in zip(programs, arrays, wanted, strict=True):
                    right &= [found.tobytes() for found in program.run(given)] == known
                ended += not any(program.is_quick for program in programs)
            return right

        assert in_threads(work) == [True] * 4
        settle()


def test_who_needs_it_waits(held: Held) -> None:
    program = compile_graph(graph())
    first = [bits(program), bits(program)]
    assert held.begun.wait(60)
    asked = threading.Thread(target=program.improve)
    asked.start()
    assert [bits(program)] * 2 == first
    held.let_go()
    asked.join()
    assert not program.is_quick
    assert [bits(program)] * 2 == first
    assert held.count == 1


def test_what_went_wrong_is_raised_by_the_next_call_and_the_one_after_begins_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ADJIT_BACKGROUND", "1")
    program, original, called = compile_graph(graph()), quick.object_of, threading.Event()

    def fails(*_: Any) -> Any:
        assert called.wait(60)
        raise MemoryError("no room")

    monkeypatch.setattr(quick, "object_of", fails)
    first = bits(program)
    assert bits(program) == first
    called.set()
    settle()
    with pytest.raises(MemoryError, match="no room"):
        bits(program)
    monkeypatch.setattr(quick, "object_of", original)
    assert bits(program) == first
    settle()
    assert not program.is_quick
    assert bits(program) == first


def test_nothing_is_made_for_a_program_that_is_gone(held: Held) -> None:
    first, second = compile_graph(graph()), compile_graph(graph("rows"))
    for program in (first, second):
        bits(program)
        bits(program)
    assert held.begun.wait(60)
    del second, program
    gc.collect()
    held.let_go()
    settle()
    assert not first.is_quick
    assert held.count == 1


@needs_fork
def test_a_fork_waits_for_it(held: Held) -> None:
    program = compile_graph(graph())
    first = bits(program)
    bits(program)
    assert held.begun.wait(60)
    threading.Timer(0.05, held.let_go).start()

    def child() -> None:
        assert not program.is_quick
        assert bits(program) == first

    assert in_child(child) == 0


@needs_fork
def test_a_child_begins_itself_what_its_parent_has_just_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that was started and has not got anywhere yet is not waited for."""
    monkeypatch.setenv("ADJIT_BACKGROUND", "1")
    works: list[Any] = []
    monkeypatch.setattr("adjit.compiler.later.compile_later", lambda work, pays: works.append(work))
    program = compile_graph(graph())
    first = bits(program)
    bits(program)
    assert program.is_improving
    monkeypatch.undo()

    def child() -> None:
        assert not program.is_improving
        assert bits(program) == first
        settle()
        assert not program.is_quick
        assert bits(program) == first

    monkeypatch.setenv("ADJIT_BACKGROUND", "1")
    assert in_child(child) == 0
    works[0]()
    assert not program.is_quick
    assert bits(program) == first


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A program whose best code waits for five calls."""
    monkeypatch.setenv("ADJIT_BACKGROUND", "1")
    monkeypatch.setattr(later, "_LONG", float("inf"))
    monkeypatch.setattr(quick, "_MADE_BY_LINE", 0.0)
    program = compile_graph(graph(), patient=True)
    assert program._better._after == 2
    program._better._after = 5
    return program


def test_a_patient_program_runs_quick_code_until_the_best_would_have_paid(patient: Any, held: Held) -> None:
    first = [bits(patient) for _ in range(5)]
    assert (patient.is_quick, patient.is_improving) == (True, False)
    assert bits(patient) == first[0]
    assert patient.is_improving
    held.let_go()
    settle()
    assert not patient.is_quick
    assert [*first, bits(patient)] == [first[0]] * 6


def test_the_best_code_pays_later_the_less_a_call_does() -> None:
    text = """
func @f(%x: f32[N, N]) -> (f32[N, N]) {
  %0 = dot %x, %x {contract=[[1], [0]], batch=[[], []]} : f32[N, N]
  return %0
}
"""
    small, large = (compile_graph(parse(text.replace("N", size)), patient=True)._better for size in ("40", "400"))
    assert 2 <= large._after < small._after


def test_a_patient_program_whose_calls_take_long_waits_no_more(
    patient: Any, held: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(improving, "_ENOUGH", 1e-9)
    first = bits(patient)
    assert not patient.is_improving
    assert bits(patient) == first and patient.is_improving


def test_what_calls_of_an_open_program_do_is_not_known(held: Held) -> None:
    text = "func @f(%x: f32[n, 8]) -> (f32[n]) {\n  %0 = reduce_sum %x {axes=[1]} : f32[n]\n  return %0\n}"
    program, words = compile_graph(parse(text), patient=True), np.zeros(3, np.uint64)
    first = [found.tobytes() for found in program.run([np.ones((5, 8), np.float32)])]
    program.keep_address(words, 0, 1)
    assert program.is_improving and not later._patient
    held.let_go()
    settle()
    assert not program.is_quick and words[0] == program.native_call(((5, 8),)).main
    assert [found.tobytes() for found in program.run([np.ones((5, 8), np.float32)])] == first


def test_a_kept_address_becomes_that_of_the_best_code(patient: Any) -> None:
    words, gone = np.zeros(3, np.uint64), np.zeros(3, np.uint64)
    first = bits(patient)
    shapes = tuple(array.shape for array in operands(patient.graph))
    address = patient.native_call(shapes).main
    for kept in (words, gone):
        patient.keep_address(kept, 1, 2)
        assert kept[1] == address and patient.is_quick and patient.is_improving
    del kept, gone
    words[2] = 3
    sleep(3 * later._PAUSE)
    assert patient.is_quick  # four calls
    words[2] = 4
    until(lambda: not patient.is_quick)
    assert words[1] == patient.native_call(shapes).main != address
    assert bits(patient) == first
    patient.keep_address(words, 0, 2)
    assert words[0] == words[1]


def test_who_settles_waits_for_what_does_not_pay_yet(patient: Any) -> None:
    words = np.zeros(3, np.uint64)
    patient.keep_address(words, 0, 1)
    assert patient.is_quick
    settle()
    assert not patient.is_quick and not later._patient


def test_a_process_that_has_run_for_long_waits_no_more(patient: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(later, "_LONG", 0.0)
    words = np.zeros(3, np.uint64)
    patient.keep_address(words, 0, 1)
    until(lambda: not patient.is_quick)
    assert not later._patient


def test_a_patient_program_whose_calls_take_long_waits_no_more_where_its_address_is_kept(
    patient: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = np.zeros(3, np.uint64)
    patient.keep_address(words, 0, 1)
    monkeypatch.setattr(improving, "_ENOUGH", 1e-9)
    first = bits(patient)
    until(lambda: not patient.is_quick)
    assert bits(patient) == first


@needs_fork
def test_a_child_has_waiting_what_its_parent_has(patient: Any) -> None:
    """It asks itself for what it calls; what is called natively is asked about with the next that waits."""
    natively, words = compile_graph(graph("rows"), patient=True), np.zeros(6, np.uint64)
    patient.keep_address(words, 0, 1)
    natively.keep_address(words, 2, 3)

    def child() -> None:
        assert not patient.is_improving
        first = [bits(patient) for _ in range(6)]
        words[3] = 1 << 40
        later.compile_later(int, bool)
        until(lambda: not natively.is_quick)
        settle()
        assert not patient.is_quick and first == [bits(patient)] * 6

    assert in_child(child) == 0
    settle()
    assert not patient.is_quick and not natively.is_quick


PROGRAM = """
import sys
import adjit as torch
from adjit.compiler import quick
quick._LEAST_LINES, quick._SAVED = 0, 1.0
step = torch.compile(lambda x: ((x @ x).tanh() @ x.sin()).softmax(1).sum(0))
x = torch.ones(40, 40) / 40
found = {step(x).numpy().tobytes() for _ in range(int(sys.argv[1]))}
assert len(found) == 1
"""


@pytest.mark.parametrize("calls", [1, 2, 3, 50])
def test_a_program_may_end_meanwhile(calls: int) -> None:
    environment = {**os.environ, "ADJIT_CACHE": "0", "ADJIT_BACKGROUND": "1"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(calls)], env=environment, check=False, capture_output=True, text=True,
        timeout=120,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


# -- compiled functions -----------------------------------------------------------------------------------------------
def new_step() -> tuple[Any, Any]:
    return torch.compile(lambda x, w: ((x @ w).tanh() * w.sin()).softmax(1)), torch.full((40, 40), 0.01)


@pytest.mark.skipif(not layout.is_known(), reason="objects of this interpreter are not known")
@pytest.mark.parametrize("recorded", [False, True])
def test_native_calls_begin_with_the_best_code(recorded: bool, held: Held) -> None:
    install.install()
    step, x = new_step()
    w = torch.linspace(-1, 1, 1600).reshape(40, 40).requires_grad_(recorded)

    def run() -> bytes:
        return bytes(step(x, w).detach().numpy().tobytes())

    found = [run() for _ in range(20)]
    with pytest.raises(AssertionError, match="Python was asked"), calls_without_python():
        run()
    assert "quick code: forward; the best is being made" in str(step.explain())
    held.let_go()
    settle()
    assert "quick code" not in str(step.explain())
    for _ in range(3):
        found.append(run())
        settle()
    with calls_without_python():
        found.append(run())
    assert set(found) == {found[0]}


def test_explain_tells_of_quick_code_before_its_second_call(held: Held) -> None:
    step, x = new_step()
    step(x, x)
    assert "quick code: forward; the second call begins to make the best" in str(step.explain())


def test_variants_of_one_program_become_better_apart(held: Held) -> None:
    """One that was called once without gradients does not keep the other from native code."""
    held.let_go()
    install.install()
    step, x = new_step()
    w = torch.ones(40, 40).requires_grad_()
    with torch.no_grad():
        step(x, w)
    for _ in range(5):
        step(x, w)
        settle()
    assert str(step.explain()).count("quick code") == 1
    if layout.is_known():
        with calls_without_python():
            step(x, w)


def test_threads_train_while_their_programs_become_better(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADJIT_BACKGROUND", "1")
    inputs = torch.linspace(-1, 1, 640).reshape(16, 40)

    def train(_: int) -> bytes:
        weight = torch.full((40, 40), 0.01).requires_grad_()
        step = torch.compile(lambda x, w: ((x @ w).tanh() @ w.cos()).exp().mean())
        for _ in range(25):
            loss = step(inputs, weight)
            loss.backward()
            with torch.no_grad():
                weight -= 0.1 * weight.grad
            weight.grad = None
        return bytes(weight.detach().numpy().tobytes())

    found = in_threads(train, 4)
    settle()
    monkeypatch.setenv("ADJIT_BACKGROUND", "0")
    assert set(found) == {train(0)}


NEAR = """
import os, sys
import adjit as torch
from adjit.compiler.later import settle
from adjit.ir.parser import parse
from adjit.native import near
works = []
if sys.argv[1] == "fork":  # a thread that was started and has not got anywhere yet is not in the child
    from adjit.compiler import later
    original, later.compile_later = later.compile_later, works.append
step = torch.compile(lambda x: x * 2 + 1)
x = torch.ones(3)
assert [step(x).tolist() for _ in range(3)] == [[3, 3, 3]] * 3
assert "adjit.native.install" not in sys.modules or not works
if works:
    later.compile_later = original
    assert not near.is_at_hand()
    child = os.fork()
    if child:
        sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
near.is_at_hand()
settle()
near.is_at_hand()
settle()
assert near.is_at_hand()
assert "adjit.native.compiled" in sys.modules
for _ in range(3):
    step(x)
assert step._native is not None
assert step(x).tolist() == [3, 3, 3]
os._exit(0)
"""


@pytest.mark.skipif(not layout.is_known(), reason="objects of this interpreter are not known")
@pytest.mark.parametrize("way", ["plain", pytest.param("fork", marks=needs_fork)])
def test_the_native_entry_is_imported_beside_the_program(way: str) -> None:
    environment = {**os.environ, "ADJIT_BACKGROUND": "1"}
    done = subprocess.run(
        [sys.executable, "-c", NEAR, way], env=environment, check=False, capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_an_interrupt_while_the_thread_starts_leaves_it_to_the_next_call(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(thread: threading.Thread) -> None:
        raise KeyboardInterrupt

    monkeypatch.setenv("ADJIT_BACKGROUND", "1")
    program = compile_graph(graph())
    first = bits(program)
    with monkeypatch.context() as interrupted, pytest.raises(KeyboardInterrupt):
        interrupted.setattr(threading.Thread, "start", interrupt)
        bits(program)
    assert not program.is_improving
    assert bits(program) == first
    settle()
    assert not program.is_quick


def test_an_import_that_an_interrupt_ended_begins_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt() -> bool:
        raise KeyboardInterrupt

    monkeypatch.setenv("ADJIT_BACKGROUND", "0")
    monkeypatch.setattr(near, "_is_loaded", False)
    monkeypatch.setattr(near, "_loading", 0)
    with monkeypatch.context() as interrupted, pytest.raises(KeyboardInterrupt):
        interrupted.setattr(install, "is_settled", interrupt)
        near.is_at_hand()
    near.is_at_hand()
    assert near._is_loaded
