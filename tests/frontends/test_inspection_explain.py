"""`stages`, `explain` and `profile`: what each pass did, why programs were made, and what kernels cost."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from typing import Any

import numpy as np
import pytest

import adjit as torch
from adjit import nn
from adjit.inspection.facts import Explanation

SCALE = 2.0


def repeated(x: Any) -> Any:
    first = x.exp() * 1.0
    second = x.exp()
    return first + second.reshape(12).reshape(3, 4)


def loss(x: Any, w: Any) -> Any:
    hidden = torch.sigmoid(x @ w)
    return (hidden.relu() * hidden.cumsum(1)).mean()


FIRST = loss.__code__.co_firstlineno


# -- stages -----------------------------------------------------------------------------------------------------------
def test_stages_are_texts_by_name() -> None:
    found = torch.compile(repeated).stages(torch.randn(3, 4))
    assert list(found) == ["trace", "legalize", "simplify", "fuse", "lower", "llvm", "asm"]
    assert found["trace"].startswith("func @repeated(") and "define" in found["llvm"]
    assert torch.parse(found["simplify"]).graph.outputs[0].dims == (3, 4)


def test_a_stage_tells_what_became_of_each_node() -> None:
    found = torch.compile(repeated).stages(torch.randn(3, 4))
    kinds = {(change.kind, change.before.split()[2]): change for change in found.changes["simplify"]}
    assert ("removed", "mul") in kinds and "it is %" in kinds["removed", "mul"].why
    assert ("merged", "exp") in kinds and kinds["merged", "exp"].after[0].split()[2] == "exp"
    shaped = kinds["removed", "reshape"]
    assert shaped.place == f"test_inspection_explain.py:{repeated.__code__.co_firstlineno + 3}"
    (grouped,) = found.changes["fuse"]
    assert grouped.kind == "grouped" and grouped.after[0].startswith("k0: ")
    (lowered,) = found.changes["lower"]
    assert "for over [12]" in lowered.after[0]
    assert "-- simplify: " in str(found) and str(shaped) in str(found)


def test_a_stage_that_changes_nothing_says_so() -> None:
    found = torch.parse("func @f(%x: f32[4]) -> (f32[4]) {\n  %0 = exp %x : f32[4]\n  return %0\n}").stages()
    assert found.changes["legalize"] == () and found.difference("legalize") == "nothing changed"


def test_inlined_bodies_are_named() -> None:
    found = torch.compile(lambda x: nn.functional.softmax(x, dim=0)).stages(torch.randn(5))
    added = [change for change in found.changes["legalize"] if change.kind == "added"]
    assert added and all("@softmax" in change.why for change in added)


# -- reasons ----------------------------------------------------------------------------------------------------------
def scaled(x: Any, times: int = 1, flag: bool = False) -> Any:
    return x * SCALE * times


def reasons(function: Any) -> list[str]:
    return [entry.reason for entry in function.explain().entries]


@pytest.mark.parametrize(("second", "reason"), [
    (lambda f: f(torch.ones(5, 3), 1), "size of x, axis 0: 2 -> 5"),
    (lambda f: f(torch.ones(2, 3).double(), 1), "dtype of x: f32 -> f64"),
    (lambda f: f(torch.ones(2), 1), "rank of x: 2 -> 1"),
    (lambda f: f(torch.ones(2, 3), 2), "times: 1 -> 2"),
    (lambda f: f(torch.ones(2, 3, requires_grad=True), 1), "requires_grad of x: False -> True"),
    (lambda f: f(torch.ones(2, 3), True), "times: 1 -> True"),
    (lambda f: f(torch.ones(2, 3), flag=True), "the arguments are (*,), {'flag': *}, not (*, *), {}"),
])  # fmt: skip
def test_the_reason_of_a_retrace_names_the_argument(second: Any, reason: str) -> None:
    function = torch.compile(scaled)
    function(torch.ones(2, 3), 1)
    second(function)
    assert reasons(function) == ["first call", reason]


def test_a_changed_global_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    function = torch.compile(scaled)
    function(torch.ones(2))
    monkeypatch.setitem(globals(), "SCALE", 3.0)
    assert torch.equal(function(torch.ones(2)), torch.full((2,), 3.0))
    assert reasons(function)[1] == "SCALE: 2.0 -> 3.0"
    assert [entry.guards for entry in function.explain().entries] == [("SCALE is 2.0",), ("SCALE is 3.0",)]


def test_a_changed_module_is_named() -> None:
    module = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5))
    function = torch.compile(module)
    function(torch.ones(1, 2))
    module.eval()
    function(torch.ones(1, 2))
    assert reasons(function)[1].endswith(": True -> False") and "training" in reasons(function)[1]


# -- facts ------------------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def explained() -> Explanation:
    function = torch.compile(loss)
    x, w = torch.randn(8, 4), torch.randn(4, 6, requires_grad=True)
    function.profile(x, w, calls=2)
    found: Explanation = function.explain(x, w)
    return found


def test_kernels_are_counted(explained: Explanation) -> None:
    forward, backward = explained.programs
    assert (forward.name, backward.name) == ("forward", "backward")
    product = next(kernel for kernel in forward.kernels if "dot" in kernel.ops)
    assert product.flops == 2 * 8 * 4 * 6 + 4 * 8 * 6  # the product, then neg, exp, add, div
    assert product.bytes == 4 * (8 * 4 + 4 * 6 + 8 * 6)
    assert product.places == (f"test_inspection_explain.py:{FIRST + 1}",)
    assert all(kernel.least > 0 and kernel.bound in ("compute", "memory") for kernel in forward.kernels)
    assert any("∂" in place for kernel in backward.kernels for place in kernel.places)
    assert all(kernel.stored for kernel in forward.kernels)
    assert any("its kernel is complete" in reason for kernel in forward.kernels for reason in kernel.refused)
    assert forward.inputs == 4 * (8 * 4 + 4 * 6) and forward.arena == 0
    assert 0 < backward.live <= backward.arena <= backward.values


def test_saved_values_say_why(explained: Explanation) -> None:
    how = {saved.how for saved in explained.saved}
    assert how == {"input", "saved", "recomputed"}
    sigmoid = next(saved for saved in explained.saved if saved.why.startswith("sigmoid"))
    assert sigmoid.how == "saved" and sigmoid.bytes == 4 * 8 * 6 and "dear" in sigmoid.why
    assert all("used by" in saved.why for saved in explained.saved)


def test_times_are_shared_out_to_lines(explained: Explanation) -> None:
    places = {f"test_inspection_explain.py:{FIRST + offset}" for offset in (1, 2)}
    assert {line.place for line in explained.lines} == places
    kernels = [kernel for program in explained.programs for kernel in program.kernels]
    assert sum(line.seconds for line in explained.lines) == pytest.approx(sum(k.seconds or 0 for k in kernels))
    assert explained.lines[0].seconds >= explained.lines[1].seconds
    assert "time by line:" in str(explained) and "not joined:" in str(explained)


def test_facts_cannot_be_changed(explained: Explanation) -> None:
    with pytest.raises(FrozenInstanceError):
        explained.programs[0].kernels[0].flops = 0  # type: ignore[misc]


def test_profiling_leaves_the_arguments_alone() -> None:
    def step(x: Any) -> Any:
        x.add_(1.0)
        return x.sum()

    x = torch.zeros(1000)
    found = torch.compile(step).profile(x, calls=2)
    assert torch.equal(x, torch.zeros(1000))
    assert found.seconds > 0 and found.calls == 2 and "a call, the least of 2" in str(found)


@pytest.mark.parametrize(("function", "said"), [
    (lambda x: torch.cumsum(x, 0), "depends on the one before"),
    (lambda x: torch.zeros(9).index_add(0, torch.tensor([1] * 8), x), "loop over [8]: each iteration depends"),
    (lambda x: x[0] * 2.0, "computes one element"),
])  # fmt: skip
def test_a_scalar_loop_says_why(function: Any, said: str) -> None:
    found = torch.compile(function).explain(torch.arange(8.0))
    assert any(said in reason for kernel in found.programs[0].kernels for reason in kernel.scalar), str(found)


def test_a_function_that_was_not_called_says_so() -> None:
    assert str(torch.compile(loss).explain()) == "@loss: not called yet"


def test_sizes_of_a_call_are_counted() -> None:
    function = torch.compile(lambda x: x * 2.0, dynamic=True)
    small, large = (function.explain(torch.from_numpy(np.ones(n, np.float32))) for n in (10, 1000))
    assert [found.programs[0].bytes for found in (small, large)] == [80, 8000]


def test_kernels_in_loops_count_their_turns() -> None:
    layer = nn.RNN(3, 4)
    found = torch.compile(lambda x: layer(x)[0]).explain(torch.randn(7, 2, 3))
    assert {kernel.runs for kernel in found.programs[0].kernels} == {1, 7}
    assert "7 times " in str(found)
