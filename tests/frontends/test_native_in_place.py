"""In-place operations served natively: the same numbers, versions, errors and aliases."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import adjit as torch
from adjit.compiler.entry import known
from adjit.native import install, operation
from adjit.runtime import layout

pytestmark = pytest.mark.skipif(not layout.is_known(), reason="objects of this interpreter are not known")
install.install()
torch.manual_seed(5)
Y, Z, ROW = torch.randn(4, 6), torch.rand(4, 6) + 0.5, torch.randn(6)
CALLS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "add_": ("Tensor.add_", lambda x: x.add_(Y)),
    "add_ a number": ("Tensor.add_", lambda x: x.add_(2.5)),
    "add_ with alpha": ("Tensor.add_", lambda x: x.add_(Y, alpha=0.25)),
    "add_ itself": ("Tensor.add_", lambda x: x.add_(x)),
    "add_ a row": ("Tensor.add_", lambda x: x.add_(ROW)),
    "sub_": ("Tensor.sub_", lambda x: x.sub_(Y)),
    "mul_": ("Tensor.mul_", lambda x: x.mul_(0.9)),
    "div_": ("Tensor.div_", lambda x: x.div_(Z)),
    "+=": ("Tensor.__iadd__", lambda x: x.__iadd__(Y)),
    "addcmul_": ("Tensor.addcmul_", lambda x: x.addcmul_(Y, Z, value=0.5)),
    "addcdiv_": ("Tensor.addcdiv_", lambda x: x.addcdiv_(Y, Z, value=-0.5)),
    "lerp_": ("Tensor.lerp_", lambda x: x.lerp_(Y, 0.1)),
    "clamp_": ("Tensor.clamp_", lambda x: x.clamp_(-0.5, 0.5)),
    "sqrt_": ("Tensor.sqrt_", lambda x: x.abs().sqrt_()),
    "relu_": ("Tensor.relu_", lambda x: x.relu_()),
}


def _refuse(*_: Any, **__: Any) -> Any:
    raise AssertionError("Python was asked")


def natively(name: str, call: Callable[[], Any]) -> Any:
    """A call that fails unless the operation serves it natively."""
    table = install._installed[name].table
    before = table[: known.MISS + 1].copy()
    table[[known.SLOW, known.MISS]] = id(_refuse)
    try:
        return call()
    finally:
        table[: known.MISS + 1] = before


def by_python(name: str, call: Callable[[], Any]) -> Any:
    """A call that native code must leave to Python."""
    with pytest.raises(AssertionError, match="Python was asked"):
        natively(name, call)
    return call()


def taught(call: Callable[[Any], Any], make: Callable[[], Any]) -> None:
    for _ in range(operation.LATER + 1):
        call(make())


def fresh() -> Any:
    return torch.linspace(-2, 2, 24).reshape(4, 6).clone()


@pytest.mark.parametrize("name", sorted(CALLS))
def test_numbers_and_versions(name: str) -> None:
    served, call = CALLS[name]
    expected = call(fresh())  # the first call is Python's
    taught(call, fresh)
    x = fresh()
    memory, array = x._memory, x._array
    before = x._version
    found = natively(served, lambda: call(x))
    assert found.numpy().tobytes() == expected.numpy().tobytes()
    if name != "sqrt_":
        assert found is x
        assert x._array is array
        assert x._memory is memory
        assert x._version == before + 1
    assert x.is_leaf


def test_views_share_and_overlap() -> None:
    base = torch.zeros(12)
    taught(lambda x: x.add_(torch.ones(6)), lambda: torch.zeros(6))
    one = torch.ones(6)
    view = base[3:9]
    natively("Tensor.add_", lambda: view.add_(one))
    assert base.tolist() == [0.0] * 3 + [1.0] * 6 + [0.0] * 3
    assert base._version == 1
    before = base.tolist()
    with pytest.raises(RuntimeError, match="single memory location"):
        view.add_(base[4:10])
    assert base.tolist() == before
    natively("Tensor.add_", lambda: view.add_(view))


def test_leaves_that_require_grad() -> None:
    w = torch.ones(6, requires_grad=True)
    step = torch.ones(6)
    with torch.no_grad():
        taught(lambda x: x.sub_(step), lambda: torch.ones(6, requires_grad=True))
        natively("Tensor.sub_", lambda: w.sub_(step))
        view = w[:6]
    for target, text in ((w, "leaf Variable that requires grad"), (view, "A view was created in no_grad mode")):
        with pytest.raises(RuntimeError, match=text):
            target.sub_(step)
    assert w.tolist() == [0.0] * 6
    assert w._version == 1
    assert w.requires_grad
    assert w.is_leaf


def test_history_is_python_s() -> None:
    w = torch.ones(6, requires_grad=True)
    taught(lambda x: x.add_(w.detach()), lambda: torch.ones(6))
    y = torch.ones(6)
    y.add_(w)
    assert y.grad_fn.name() == "AddBackward0"
    y.sum().backward()
    assert w.grad.tolist() == [1.0] * 6


def test_saved_values_notice() -> None:
    w = torch.ones(6, requires_grad=True)
    c = torch.ones(6)
    taught(lambda x: x.add_(1.0), lambda: torch.ones(6))
    result = (w * c).sum()
    natively("Tensor.add_", lambda: c.add_(1.0))
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        result.backward()


def test_what_does_not_fit() -> None:
    x = torch.ones(4, 6)
    taught(lambda t: t.add_(Y), fresh)
    with pytest.raises(RuntimeError, match="doesn't match the broadcast shape"):
        torch.ones(6).add_(Y)
    with pytest.raises(RuntimeError, match="more than one element"):
        torch.ones(6).expand(4, 6).add_(Y)
    transposed = torch.zeros(6, 4).t()
    by_python("Tensor.add_", lambda: transposed.add_(Y))
    frozen = torch.from_numpy(np.zeros((4, 6), np.float32))
    frozen._array.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        frozen.add_(Y)
    integers = torch.ones(4, 6, dtype=torch.int64)
    for _ in range(operation.LATER + 2):
        with pytest.raises(RuntimeError, match="can't be cast"):
            integers.add_(Y)
        x.add_(integers)
    assert x.dtype is torch.float32


def test_integer_faults_leave_the_target() -> None:
    x = torch.tensor([7, 8, 9])
    for _ in range(operation.LATER + 2):
        assert (x // torch.tensor([1, 2, 3])).tolist() == [7, 4, 3]
    with pytest.raises((ZeroDivisionError, RuntimeError)):
        x //= torch.tensor([1, 0, 1])
    assert x.tolist() == [7, 8, 9]


def test_traces_see_writes() -> None:
    x = torch.ones(6)
    taught(lambda t: t.add_(1.0), lambda: torch.ones(6))
    step = torch.compile(lambda t: t.add_(1.0) * 2)
    for count in range(1, 5):
        assert step(x).tolist() == [2.0 * (count + 1)] * 6
        assert x._version == count


@pytest.mark.parametrize("name", ["SGD", "Adam"])
def test_optimizers(name: str) -> None:
    def train(count: int) -> list[bytes]:
        torch.manual_seed(0)
        w = torch.randn(5, 3).requires_grad_()
        options: dict[str, Any] = {"momentum": 0.9, "weight_decay": 0.01} if name == "SGD" else {}
        optimizer = getattr(torch.optim, name)([w], lr=0.1, **options)
        found = []
        for _ in range(count):
            optimizer.zero_grad()
            torch.autograd.backward((w * w).sum())
            optimizer.step()
            found.append(w.detach().numpy().tobytes())
        return found

    assert train(12) == train(24)[:12]


# Of z = W * 2 and W, while both require grad.
RECORDED: dict[str, tuple[str, Callable[[Any, Any], Any]]] = {
    "a number": ("Tensor.add_", lambda z, w: z.add_(1.5)),
    "a tensor": ("Tensor.__iadd__", lambda z, w: z.__iadd__(w)),
    "what is overwritten is kept": ("Tensor.mul_", lambda z, w: z.mul_(w)),
    "another shape": ("Tensor.mul_", lambda z, w: z.mul_(w[0])),
    "the result is kept": ("Tensor.exp_", lambda z, w: z.exp_()),
    "the input is kept": ("Tensor.clamp_", lambda z, w: z.clamp_(-0.5, 0.5)),
    "masked": ("Tensor.masked_fill_", lambda z, w: z.masked_fill_(Y > 0, 0.0)),
    "copied": ("Tensor.copy_", lambda z, w: z.copy_(w)),
    "by a function": ("nn.functional.relu", lambda z, w: torch.nn.functional.relu(z, inplace=True)),
    "with a number": ("nn.functional.leaky_relu", lambda z, w: torch.nn.functional.leaky_relu(z, 0.1, inplace=True)),
}


@pytest.mark.parametrize("name", sorted(RECORDED))
def test_recorded_writes(name: str) -> None:
    served, call = RECORDED[name]
    w = Z.clone().sub_(1.0).requires_grad_()
    w.data[0, :3] = torch.tensor([float("nan"), float("inf"), -0.0])

    def once(run: Callable[[Callable[[], Any]], Any]) -> tuple[Any, ...]:
        z = w * 2
        shown = z[1:3]
        before = z._version
        found = run(lambda: call(z, w))
        assert found is z
        assert not z.is_leaf
        (gradient,) = torch.autograd.grad((found * Y).sum() + shown.sum(), w)
        numbers = [x.detach().numpy().tobytes() for x in (z, shown, gradient)]
        return numbers, z._version - before, z.grad_fn.name(), shown.grad_fn.name()

    expected = once(lambda run: run())
    for _ in range(12 * operation.LATER):
        found = once(lambda run: run())
    assert found == expected
    assert once(lambda run: natively(served, run)) == expected


def test_recorded_writes_to_what_required_no_grad() -> None:
    w = torch.ones(6, requires_grad=True)
    for _ in range(12 * operation.LATER):
        torch.zeros(6).add_(w)
    total = torch.zeros(6)
    shown = total[:2]
    natively("Tensor.add_", lambda: total.add_(w))
    assert not total.is_leaf
    assert shown.requires_grad
    total.sum().backward()
    assert w.grad.tolist() == [1.0] * 6


def test_recorded_writes_that_python_decides() -> None:
    w = torch.rand(6).requires_grad_()
    for _ in range(12 * operation.LATER):
        (w * 2).mul_(w * 3)
        (w * 2).add_(1.0)
    target, factor = w * 2, w * 3
    natively("Tensor.mul_", lambda: target.mul_(factor))
    whole = w * 2
    by_python("Tensor.add_", lambda: whole[2:4].add_(1.0))
    assert whole.grad_fn.name() == "torch::autograd::CopySlices"
    with pytest.raises(RuntimeError, match="leaf Variable that requires grad"):
        w.add_(1.0)
    z = w * 2
    z.mul_(z)  # keeps what it overwrites
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        z.sum().backward()
    z = w * 2
    kept = z.exp()
    natively("Tensor.add_", lambda: kept.add_(1.0))  # the derivative of exp is its result
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        kept.sum().backward()


def test_hooks_stay_with_the_value_before_a_write() -> None:
    w = torch.ones(4, requires_grad=True)
    seen: list[list[float]] = []
    for _ in range(12 * operation.LATER):
        seen.clear()
        z = w * 2
        z.register_hook(lambda g: seen.append(g.tolist()))
        z.mul_(3.0)
        z.sum().backward()
        assert seen == [[3.0] * 4]
        z = w * 2
        z.retain_grad()
        z.mul_(3.0)
        z.sum().backward()
        assert z.grad.tolist() == [1.0] * 4  # of the value after the write


def test_slopes_that_are_drawn_reach_what_they_overwrite() -> None:
    for _ in range(50):
        x = torch.randn(20, requires_grad=True)
        before = x * 2
        twice = before.detach().clone()
        assert torch.nn.functional.rrelu(before, training=True, inplace=True) is before
        (gradient,) = torch.autograd.grad(before.sum(), x)
        slopes = before.detach() / twice
        assert before._version == 1 and ((slopes == 1) == (twice > 0)).all()
        assert np.allclose(gradient.numpy(), 2 * slopes.numpy())


OVERWRITABLE: dict[str, Callable[..., Any]] = {
    "div": lambda x, w: x / w,
    "div of a number": lambda x, w: 3.0 / w,
    "div by one number": lambda x, w: x / w[0],
    "fmod": torch.fmod,
    "remainder": torch.remainder,
    "silu": lambda x, w: torch.nn.functional.silu(x),
    "sinc": lambda x, w: torch.sinc(x),
    "erfinv": lambda x, w: torch.erfinv(x / 4),
}


@pytest.mark.parametrize("name", OVERWRITABLE)
def test_results_that_pytorch_does_not_save_may_be_overwritten(name: str) -> None:
    function = OVERWRITABLE[name]
    x = torch.tensor([1.0, -2.0, 0.25], dtype=torch.float64, requires_grad=True)
    w = torch.tensor([0.75, 1.5, -2.0], dtype=torch.float64, requires_grad=True)
    for _ in range(40):  # first as Python does it, then natively
        expected = torch.autograd.grad((function(x, w) + 1).square().sum(), (x, w), allow_unused=True)
        changed = function(x, w)
        changed.add_(1)
        found = torch.autograd.grad(changed.square().sum(), (x, w), allow_unused=True)
        for ours, theirs in zip(found, expected, strict=True):
            assert (ours is None) == (theirs is None)
            assert ours is None or ours.tolist() == theirs.tolist()
    assert torch.autograd.gradgradcheck(lambda *given: function(*given).square().add_(1), (x, w))
