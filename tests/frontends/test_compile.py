"""`adjit.compile`: what a compiled function must share with the same function run eagerly."""

from __future__ import annotations

import sys
from collections.abc import Callable
from queue import SimpleQueue
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import adjit as torch
from adjit.ir.errors import TraceError
from adjit.ir.parser import parse
from adjit.ir.verify import verify


def filled(*shape: int, seed: int = 0, requires_grad: bool = False) -> Any:
    array = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    return torch.tensor(array, requires_grad=requires_grad)


def chain(x: Any, y: Any) -> Any:
    return ((x * y).exp() + x.sin() * 2 - y / 3).sum()


def windows(x: Any, y: Any) -> Any:
    z = x * 2
    z.view(-1)[1:4] = 0.5
    z[0] += y[0]
    z.t()[1:].mul_(3)
    return (z * y).sum()


def broadcast(x: Any, y: Any) -> Any:
    return ((x.unsqueeze(1) - y.unsqueeze(0)) ** 2).sum().sqrt()


def choices(x: Any, y: Any) -> Any:
    return torch.where(x > y, x * y, x - y).clamp(min=-0.5, max=2.0).sum() + torch.cat([x, y]).tanh().sum()


def products(x: Any, y: Any) -> Any:
    return torch.softmax(x.mm(y.t()), dim=1).log().mean()


PROGRAMS: list[Callable[..., Any]] = [chain, windows, broadcast, choices, products]


@pytest.mark.parametrize("function", PROGRAMS, ids=lambda f: f.__name__)
def test_strict_code_equals_eager_to_the_last_bit(function: Callable[..., Any]) -> None:
    x, y = filled(4, 5, seed=1), filled(4, 5, seed=2)
    expected = function(x, y)
    found = torch.compile(function, strict=True)(x, y)
    assert found.numpy().tobytes() == expected.numpy().tobytes()


@pytest.mark.parametrize("function", PROGRAMS, ids=lambda f: f.__name__)
def test_gradients_through_a_compiled_function(function: Callable[..., Any]) -> None:
    gradients = []
    for run in (function, torch.compile(function)):
        x, y = filled(4, 5, seed=1, requires_grad=True), filled(4, 5, seed=2, requires_grad=True)
        run(x, y).backward()
        gradients.append((x.grad.numpy(), y.grad.numpy()))
    for eager, compiled in zip(*gradients, strict=True):
        np.testing.assert_allclose(compiled, eager, rtol=2e-5, atol=1e-6)


def test_second_order_through_a_compiled_function() -> None:
    compiled = torch.compile(lambda x: (x**3).sum())
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    (first,) = torch.autograd.grad(compiled(x), x, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), x)
    assert first.tolist() == [3.0, 12.0]
    assert second.tolist() == [6.0, 12.0]


@pytest.mark.parametrize("function", PROGRAMS, ids=lambda f: f.__name__)
def test_every_stage_verifies_and_reads_back(function: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADJIT_CHECK", "1")
    compiled = torch.compile(function)
    texts = compiled.stages(filled(4, 5), filled(4, 5))
    assert list(texts) == ["trace", "legalize", "simplify", "fuse", "lower", "llvm", "asm"]
    for name in ("trace", "legalize", "simplify", "fuse", "lower"):
        graph = parse(texts[name])
        verify(graph)
        assert str(graph) == texts[name]


class Step:
    """A training step of a small regression."""

    def __init__(self) -> None:
        self.weight = filled(3, 2, seed=3, requires_grad=True)
        self.momentum = torch.zeros(3, 2)

    def __call__(self, x: Any, target: Any) -> Any:
        self.weight.grad = None
        loss = ((x.mm(self.weight) - target) ** 2).mean()
        loss.backward()
        with torch.no_grad():
            self.momentum.mul_(0.9).add_(self.weight.grad)
            self.weight.sub_(self.momentum * 0.1)
        return loss


def test_a_training_step_is_one_program_with_written_state() -> None:
    eager, compiled = Step(), Step()
    step = torch.compile(compiled, strict=True)
    x, target = filled(8, 3, seed=4), filled(8, 2, seed=5)
    for _ in range(5):
        assert step(x, target).item() == eager(x, target).item()
    assert compiled.weight.detach().numpy().tobytes() == eager.weight.detach().numpy().tobytes()
    assert compiled.weight.grad.detach().numpy().tobytes() == eager.weight.grad.detach().numpy().tobytes()
    assert compiled.weight.is_leaf and compiled.weight.grad_fn is None
    assert step.compile_count == 1


def test_to_load_the_hooks_of_all_modules_makes_no_program_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    import adjit.nn.global_hooks

    double, x = torch.compile(lambda x: x * 2), torch.ones(3)
    with monkeypatch.context() as before:
        before.setitem(sys.modules, adjit.nn.global_hooks.__name__, None)  # type: ignore[arg-type]
        double(x)
    double(x)
    assert double.compile_count == 1


def test_a_thread_may_be_loading_the_hooks_of_all_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    double, x = torch.compile(lambda x: x * 2), torch.ones(3)
    monkeypatch.setitem(sys.modules, "adjit.nn.global_hooks", ModuleType("adjit.nn.global_hooks"))
    assert double(x).tolist() == [2.0] * 3


def test_a_hundred_batch_sizes_take_two_programs() -> None:
    eager, compiled = Step(), Step()
    step = torch.compile(compiled)
    for n in range(2, 102):
        x, target = filled(n, 3, seed=n), filled(n, 2, seed=n + 1)
        assert step(x, target).item() == pytest.approx(eager(x, target).item(), rel=1e-5)
    assert step.compile_count == 2


def test_gradients_accumulate_in_compiled_steps_as_in_eager() -> None:
    def accumulate(w: Any, x: Any) -> None:
        (w * x).sum().backward()

    grads = []
    for run in (accumulate, torch.compile(accumulate)):
        w, x = filled(3, requires_grad=True), filled(3, seed=1)
        for _ in range(3):
            run(w, x)
        grads.append(w.grad.tolist())
    assert grads[0] == grads[1]


def test_arguments_and_results_are_trees() -> None:
    def f(batch: dict[str, Any], scales: list[float], *, flag: bool) -> dict[str, Any]:
        x = batch["x"] * scales[0]
        return {"sum": x.sum(), "pair": (x, batch["x"]), "flag": flag, "none": None}

    x = filled(3)
    found = torch.compile(f)({"x": x}, [2.0], flag=True)
    assert found["flag"] is True and found["none"] is None
    assert found["pair"][1] is x
    assert found["pair"][0].tolist() == (x * 2.0).tolist()


def test_static_arguments_choose_programs() -> None:
    compiled = torch.compile(lambda x, k: x * k)
    x = filled(3)
    assert compiled(x, 2).tolist() == (x * 2).tolist()
    assert compiled(x, 3).tolist() == (x * 3).tolist()
    assert compiled(x, 2).tolist() == (x * 2).tolist()
    assert compiled.compile_count == 2


FACTOR = 2.0


def scaled(x: Any) -> Any:
    return x * FACTOR


def test_a_changed_global_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = torch.compile(scaled)
    x = filled(3)
    assert compiled(x).tolist() == (x * 2.0).tolist()
    monkeypatch.setitem(scaled.__globals__, "FACTOR", 5.0)
    assert compiled(x).tolist() == (x * 5.0).tolist()


def test_a_changed_closure_is_seen() -> None:
    factor = 2.0

    def f(x: Any) -> Any:
        return x * factor

    compiled = torch.compile(f)
    x = filled(3)
    assert compiled(x).tolist() == (x * 2.0).tolist()
    factor = 4.0
    assert compiled(x).tolist() == (x * 4.0).tolist()


def test_arguments_are_written_in_place() -> None:
    def f(x: Any) -> None:
        x.mul_(2)
        x[0] = 7.0

    eager, compiled = filled(3), filled(3)
    f(eager)
    version = compiled._version
    assert torch.compile(f)(compiled) is None
    assert compiled.tolist() == eager.tolist()
    assert compiled._version > version


@pytest.mark.parametrize(
    "arrange",
    [lambda x: x.t(), lambda x: x[::2], lambda x: x[:, 1:], lambda x: x[0].expand(4, 5), lambda x: x[:0]],
    ids=["transposed", "strided", "shifted", "expanded", "empty"],
)
def test_any_layout_of_an_argument(arrange: Callable[[Any], Any]) -> None:
    x = arrange(filled(4, 5))
    compiled = torch.compile(lambda x: (x * 2 + 1).sum(0), strict=True)
    assert compiled(x).tolist() == (x * 2 + 1).sum(0).tolist()


def test_asking_for_a_traced_number_names_the_line_and_a_fix() -> None:
    def f(x: Any) -> Any:
        return x if x.numpy().sum() > 0 else -x

    with pytest.raises(TraceError) as caught:
        torch.compile(f)(filled(3))
    text = str(caught.value)
    assert "test_compile.py" in text and "x.numpy().sum() > 0" in text and "move this line out" in text


def test_branching_on_a_traced_tensor_where_the_source_is_not_at_hand() -> None:
    namespace: dict[str, Any] = {}
    exec("def f(x):\n    if x.sum() > 0:\n        return x\n    return -x", namespace)
    with pytest.raises(TraceError, match="needs the numbers of a traced tensor"):
        torch.compile(namespace["f"])(filled(3))


def test_a_leaked_traced_tensor_is_an_error() -> None:
    kept: SimpleQueue[Any] = SimpleQueue()  # not one of the places that a compiled function may write to

    def f(x: Any) -> Any:
        kept.put(x * 2)
        return x

    torch.compile(f)(filled(3))
    with pytest.raises(TraceError, match="outside the compiled function"):
        kept.get() + 1


def test_a_failing_function_leaves_no_trace_running() -> None:
    def f(x: Any) -> Any:
        raise KeyError("mine")

    x = filled(3, requires_grad=True)
    with pytest.raises(KeyError, match="mine"):
        torch.compile(f)(x)
    assert (x * 2).sum().requires_grad and x.grad is None


def test_tensor_hooks_are_part_of_the_program() -> None:
    def f(x: Any) -> Any:
        y = x * 3
        y.register_hook(lambda g: g * 10)
        y.sum().backward()
        return y

    grads = []
    for run in (f, torch.compile(f)):
        x = filled(3, requires_grad=True)
        run(x)
        grads.append(x.grad.tolist())
    assert grads[0] == grads[1] == [30.0, 30.0, 30.0]


def test_a_program_from_text_runs_and_differentiates() -> None:
    lines = ["  %0 = exp %x : f32[n]", "  %1 = reduce_sum %0 {axes=[0]} : f32[]", "  return %1"]
    text = "\n".join(["func @f(%x: f32[n]) -> (f32[]) {", *lines, "}"])
    program = torch.parse(text)
    x = filled(5)
    assert program(x).item() == pytest.approx(program.interpret(x).item(), rel=1e-6)
    forward, backward = program.derivative()
    _, *saved = forward(x)
    np.testing.assert_allclose(backward(np.float32(1), *saved).numpy(), np.exp(x.numpy()), rtol=1e-6)
    assert "exp" in program.stages()["lower"] and "define" in program.stages()["llvm"]


def test_threads_do_not_change_bits() -> None:
    x, y = filled(300, 400), filled(300, 400, seed=1)

    def f(x: Any, y: Any) -> Any:
        return (x * y).exp().sum(1).log().sum(), x.mm(y.t())

    one, two = (torch.compile(f, threads=count)(x, y) for count in (1, 2))
    assert [a.numpy().tobytes() for a in one] == [b.numpy().tobytes() for b in two]


def writes_one(x: Any, y: Any) -> Any:
    x.add_(1)
    return y * 2


def writes_both(x: Any, y: Any) -> Any:
    x.add_(1)
    y.mul_(3)
    return x.sum() - y.sum()


def reads(x: Any, y: Any) -> Any:
    return (x * 2).sum() + y.sum()


ALIASES: dict[str, Callable[[Any], tuple[Any, Any]]] = {
    "the same tensor": lambda t: (t, t),
    "a row": lambda t: (t, t[0]),
    "a transpose": lambda t: (t.t(), t),
    "two overlapping windows": lambda t: (t[:, 1:], t[:, :2]),
    "detached": lambda t: (t, t.detach()),
    "apart": lambda t: (t, t.clone()),
}


@pytest.mark.parametrize("arrange", ALIASES.values(), ids=ALIASES.keys())
def test_arguments_may_share_memory(arrange: Callable[[Any], tuple[Any, Any]]) -> None:
    for function in (writes_one, writes_both, reads):
        compiled = torch.compile(function, strict=True)
        for _ in range(2):
            found = []
            for run in (function, compiled):
                memory = filled(3, 3)
                result = run(*arrange(memory))
                found.append((result.tolist(), memory.tolist(), memory._version))
            assert found[0] == found[1]
        for other in ALIASES.values():  # the program of one pattern does not serve another
            memories = filled(3, 3), filled(3, 3)
            assert compiled(*other(memories[0])).tolist() == function(*other(memories[1])).tolist()


def test_an_argument_may_be_a_captured_tensor() -> None:
    captured = filled(3)

    def function(x: Any) -> Any:
        captured.add_(1)
        return x * 2 + captured

    compiled = torch.compile(function)
    for argument in (captured, filled(3, seed=1), captured):
        before = captured.clone()
        expected = (before + 1) * 3 if argument is captured else argument * 2 + before + 1
        assert compiled(argument).tolist() == expected.tolist()


def test_windows_of_one_memory_that_are_only_read_are_one_program() -> None:
    data = torch.arange(40.0).reshape(2, 20)

    def loss(x: Any, y: Any, w: Any) -> Any:
        return ((x * w - y) ** 2).sum()

    for w in (filled(4), filled(4, requires_grad=True)):
        compiled = torch.compile(loss)
        for start in range(0, 15, 3):
            x, y = data[:, start : start + 4], data[:, start + 1 : start + 5]
            assert torch.allclose(compiled(x, y, w), loss(x, y, w))
        assert torch.allclose(compiled(x.clone(), y.clone(), w), loss(x, y, w))
        assert compiled.compile_count == 1
    # What was traced with arguments apart, and writes one of them, does not serve windows.
    compiled = torch.compile(writes_one)
    for arrange in (ALIASES["apart"], ALIASES["two overlapping windows"], ALIASES["apart"]):
        memories = filled(3, 3), filled(3, 3)
        assert compiled(*arrange(memories[0])).tolist() == writes_one(*arrange(memories[1])).tolist()
        assert memories[0].tolist() == memories[1].tolist()
    assert compiled.compile_count == 2


@pytest.mark.parametrize("requires_grad", [False, True])
def test_an_argument_that_is_captured_too(requires_grad: bool) -> None:
    captured = filled(4, requires_grad=requires_grad)
    functions = (
        lambda x: x * 2 + captured,
        lambda x: x[:1] * 2 + captured[1:],
        lambda x: x * 2 + captured.detach(),
        lambda x, y=captured[:2]: x.sum() + y + captured[1:3],
    )
    for function in functions:
        compiled = torch.compile(function)
        for argument in (captured, filled(4, seed=1), captured, filled(4, seed=2)):
            assert compiled(argument).tolist() == function(argument).tolist()


def test_gradients_of_arguments_that_share_memory() -> None:
    for run in (reads, torch.compile(reads)):
        x = filled(3, 3, requires_grad=True)
        run(x, x).backward()
        assert x.grad.tolist() == [[3.0] * 3] * 3
        run(x, x[0]).backward()
        assert x.grad.tolist() == [[6.0] * 3, [5.0] * 3, [5.0] * 3]


def test_writes_through_aliases_that_require_grad_are_refused() -> None:
    x = filled(3, 3, requires_grad=True)
    with pytest.raises(TraceError, match="shares memory with another tensor"):
        torch.compile(writes_one)(x.detach(), x)
    assert x._version == 0


class Scaled:
    """An object whose method is compiled where the class is defined."""

    def __init__(self) -> None:
        self.factor = 2.0
        self.weight = torch.ones(2)
        self.settings = {"shift": 1.0}
        self.powers = [1, 2]

    @torch.compile
    def compiled(self, x: torch.Tensor) -> torch.Tensor:
        return self.plain(x)

    def plain(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.factor + self.weight * self.settings["shift"] + x ** self.powers[1]


def test_an_objects_attributes_and_what_they_hold_are_guarded() -> None:
    x, item = torch.tensor([3.0, 4.0]), Scaled()

    def change_setting() -> None:
        item.settings["shift"] = 7.0

    def change_power() -> None:
        item.powers[1] = 3

    changes = [lambda: None, lambda: setattr(item, "factor", 5.0), lambda: setattr(item, "weight", torch.zeros(2)),
               change_setting, lambda: setattr(item, "weight", torch.ones(2)), change_power]  # fmt: skip
    outside = torch.compile(lambda item, x: item.plain(x) + 0)
    for change in changes:
        change()
        for _ in range(3):  # the later calls are native
            assert torch.equal(item.compiled(x), item.plain(x))
            assert torch.equal(outside(item, x), item.plain(x))
    assert torch.equal(Scaled().compiled(x), Scaled().plain(x))


def test_arguments_on_one_memory_are_one_program_for_all_memories() -> None:
    captured = torch.rand(5)

    def function(a: Any, b: Any) -> Any:
        a.add_(1)
        return b * 2 + captured[1:]

    compiled = torch.compile(function)
    for whole in (torch.rand(5), torch.rand(5), torch.rand(5)):
        expected = (whole[1:] + 1) * 2 + captured[1:]
        assert torch.allclose(compiled(whole, whole[1:]), expected)
    assert compiled.compile_count == 1
    # The captured tensor's memory is written, too: another program.
    expected = (captured[1:] + 1) * 3
    assert torch.allclose(compiled(captured, captured[1:]), expected)
    assert compiled.compile_count == 2


def test_equal_devices_and_numbers_of_numpy_are_one_program() -> None:
    @torch.compile
    def function(x: Any, factor: Any, device: Any = None) -> Any:
        return x.to(device) * factor if factor > 0 else x

    for step in range(1, 6):
        factor = np.float64(0.5) * step
        found = function(torch.ones(2), factor, device=torch.device("cpu"))
        assert found.tolist() == [0.5 * step] * 2 and found.dtype is torch.float32
    assert function.compile_count == 2
    indexed = torch.compile(lambda x, n: x[n])
    assert [indexed(torch.arange(4.0), np.int64(n)).item() for n in range(4)] == [0, 1, 2, 3]
