"""Operations of several results, and checks of their operands' numbers, served natively as Python serves them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

import adjit as torch
from adjit import generator
from adjit.compiler.entry import known
from adjit.native import install
from adjit.native.operation import Operation
from adjit.runtime import layout

pytestmark = pytest.mark.skipif(not layout.is_known(), reason="objects of this interpreter are not known")
install.install()

F = torch.nn.functional
SEVERAL: dict[str, Callable[[Any], Any]] = {
    "max": lambda x: x.max(1),
    "min": lambda x: torch.min(x, dim=0, keepdim=True),
    "median": lambda x: x.median(-1),
    "sort": lambda x: x.sort(descending=True),
    "topk": lambda x: torch.topk(x, 2, 0),
    "kthvalue": lambda x: x.kthvalue(2),
    "cummax": lambda x: x.cummax(1),
    "aminmax": lambda x: torch.aminmax(x),
    "var_mean": lambda x: torch.var_mean(x, 1),
    "std_mean": lambda x: torch.std_mean(x),
    "split": lambda x: x.split(2, 1),
    "split of sizes": lambda x: torch.split(x, [1, 3, 1], 1),
    "chunk": lambda x: torch.chunk(x, 3),
    "unbind": lambda x: x.unbind(),
    "tensor_split": lambda x: x.tensor_split((1, 3), 1),
    "meshgrid": lambda x: torch.meshgrid(x[0], x[1], indexing="ij"),
}


def operand(grad: bool) -> Any:
    torch.manual_seed(3)
    return torch.rand(4, 5, requires_grad=grad)


def described(found: Any) -> list[Any]:
    """What anyone can see of a tuple of results."""
    rows: list[Any] = [type(found)]
    for item in found:
        history = None if item.grad_fn is None else (item.grad_fn.name(), len(item.grad_fn.next_functions))
        rows.append((item.tolist(), item.dtype, item.stride(), item.requires_grad, item.is_leaf, item._is_view(),
                     item.__dict__.get("_several"), history))  # fmt: skip
    return rows


def gradient(x: Any, found: Any) -> Any:
    x.grad = None
    sum((item * item).sum() for item in found if item.requires_grad).backward()
    return x.grad.tolist()


def by_python(path: str = "") -> int:
    """How many calls of the Python functions of all operations, or of one, there were."""
    return sum(operation.calls for operation in counted if not path or operation.path == path)


class Counted:
    """Stands in the place of an operation's Python functions, and counts."""

    def __init__(self, path: str, operation: Operation) -> None:
        self.path, self.calls = path, 0
        self.slow, self.miss = operation.function, operation.miss
        self.ways = (self._slow, self._miss)  # the table points to them
        operation.table[[known.SLOW, known.MISS]] = [id(way) for way in self.ways]

    def _slow(self, *args: Any, **kwargs: Any) -> Any:
        self.calls += 1
        return self.slow(*args, **kwargs)

    def _miss(self, *args: Any) -> Any:
        self.calls += 1
        return self.miss(*args)


counted: list[Counted] = []


@pytest.fixture
def count() -> Any:
    operations = list(install._installed.values())
    before = [operation.table[[known.SLOW, known.MISS]].copy() for operation in operations]
    counted[:] = [Counted(path, operation) for path, operation in install._installed.items()]
    yield by_python
    for operation, words in zip(operations, before, strict=True):
        operation.table[[known.SLOW, known.MISS]] = words


@pytest.mark.parametrize("grad", [False, True])
@pytest.mark.parametrize("name", SEVERAL)
def test_several_results_are_those_of_python(name: str, grad: bool, count: Callable[[], int]) -> None:
    function, x = SEVERAL[name], operand(grad)
    first = function(x)
    expected = described(first)
    slope = gradient(x, first) if grad else None
    for _ in range(50):
        function(x)
    before = count()
    found = function(x)
    assert count() == before
    assert described(found) == expected
    if grad:
        assert gradient(x, found) == slope


def test_pieces_of_a_split_may_not_be_written() -> None:
    x = operand(True)
    for _ in range(8):
        first, _, _ = (x * 1).split(2, 1)
        with pytest.raises(RuntimeError, match=r"Output 0 of Split.* is a view"):
            first.mul_(2)


def test_detached_tensors_share_memory() -> None:
    base = torch.zeros(3, 4)
    for x in (base, base.T, base[1:, ::2], base.clone().requires_grad_()):
        for _ in range(5):
            found = x.detach()
        assert not found.requires_grad
        assert found.stride() == x.stride()
        assert found.data_ptr() == x.data_ptr()
        found.fill_(7)
        assert x[0, 0] == 7
        assert x._version == found._version


def test_views_made_without_recording_do_not_hinder_others() -> None:
    x, y = operand(True), operand(False)
    for _ in range(8):
        with torch.no_grad():
            assert x.view(-1).requires_grad
        assert not y.view(-1).requires_grad


@pytest.mark.parametrize(
    ("call", "good", "bad", "error"),
    [
        (lambda x: F.binary_cross_entropy(x, x * 0), [0.1, 0.9], [0.1, 1.5], "all elements of input should"),
        (lambda x: F.gaussian_nll_loss(x, x, x), [0.1, 0.9], [0.1, -1.5], "var has negative entry"),
        (lambda x: F.one_hot(x.long(), 3), [0.0, 2.0], [0.0, 3.0], "Class values must be smaller"),
        (lambda x: torch.bernoulli(x), [0.1, 0.9], [0.1, 1.5], "Expected p_in >= 0"),
        (lambda x: torch.quantile(x, x), [0.1, 0.9], [0.1, 1.5], "q values must be in the range"),
        (lambda x: x.new_zeros(2).masked_scatter(x > 0, x[:1]), [0.0, 1.0], [1.0, 1.0], "Number of elements of source"),
        (lambda x: F.embedding_bag(x.new_zeros(2).long(), torch.ones(4, 2), x.long()), [0.0, 1.0], [0.0, 5.0],
         "can not be greater than input"),
    ],
)  # fmt: skip
def test_numbers_are_checked_as_often_as_a_call_comes(call: Any, good: Any, bad: Any, error: str) -> None:
    for _ in range(8):
        call(torch.tensor(good))
    with pytest.raises((RuntimeError, ValueError), match=error):
        call(torch.tensor(bad))


@pytest.mark.parametrize("name", ["sin_", "floor_", "abs_", "zero_", "round_", "cumsum_", "tril_"])
def test_in_place_forms(name: str, count: Callable[[], int]) -> None:
    arguments = (1,) if name == "cumsum_" else ()
    expected = getattr(operand(False).double(), name)(*arguments)
    for _ in range(50):
        getattr(operand(False).double(), name)(*arguments)
    x = operand(False).double()
    version, before = x._version, count()
    assert getattr(x, name)(*arguments) is x
    assert count() == before
    assert x._version == version + 1
    assert x.tolist() == expected.tolist()


# -- what is read and written outside the operands ------------------------------------------------------------------
DRAWS: dict[str, Callable[[], Any]] = {
    "rand": lambda: torch.rand(7),
    "randn": lambda: torch.randn(3, 2, dtype=torch.float64),
    "randint": lambda: torch.randint(0, 9, (5,)),
    "randperm": lambda: torch.randperm(6),
    "normal": lambda: torch.normal(1.0, 2.0, (4,)),
    "normal_": lambda: torch.zeros(5).normal_(),
    "uniform_": lambda: torch.zeros(5).uniform_(-1, 1),
    "bernoulli_": lambda: torch.zeros(5).bernoulli_(0.3),
    "dropout": lambda: F.dropout(torch.ones(9), 0.4),
    "own generator": lambda: torch.rand(3, generator=OWN),
}
OWN = torch.Generator()
for load in DRAWS.values():  # functions that are loaded at first use
    load()


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    for operation in install._installed.values():
        monkeypatch.setattr(operation, "later", 6)


@pytest.mark.parametrize("name", DRAWS)
def test_draws_are_the_same_natively(name: str, soon: None, count: Callable[[], int]) -> None:
    draw = DRAWS[name]
    for _ in range(60):  # sizes met before do not matter
        draw()
    torch.manual_seed(5)
    OWN.manual_seed(6)
    first = [draw().tolist() for _ in range(20)]
    state = torch.get_rng_state().tolist(), OWN.get_state().tolist()
    torch.manual_seed(5)
    OWN.manual_seed(6)
    before = count()
    assert [draw().tolist() for _ in range(20)] == first
    assert count() == before
    assert (torch.get_rng_state().tolist(), OWN.get_state().tolist()) == state
    with generator.DRAWING:  # as if another thread drew
        draw()
    assert count() > before


def test_batch_norm_moves_its_averages_natively(soon: None, count: Callable[[str], int]) -> None:
    def run(steps: int) -> list[Any]:
        torch.manual_seed(1)
        norm = torch.nn.BatchNorm1d(4)
        for _ in range(steps):
            x = torch.rand(5, 4).requires_grad_()
            norm(x).square().sum().backward()
        return [norm.running_mean.tolist(), norm.running_var.tolist(), norm.num_batches_tracked.item(),
                norm.running_mean._version, x.grad.tolist(), norm.weight.grad.tolist()]  # fmt: skip

    expected = run(4)
    run(12)
    before = count("nn.functional.batch_norm")
    assert run(4) == expected
    assert count("nn.functional.batch_norm") == before
    with torch.no_grad():
        mean, var = torch.zeros(8)[::2], torch.ones(4)
        for _ in range(8):
            F.batch_norm(torch.rand(5, 4), mean, var, training=True)
        assert mean.abs().sum() > 0


def test_new_tensors_have_the_default_dtype_of_the_day(count: Callable[[], int]) -> None:
    makers = [lambda: torch.zeros(3), lambda: torch.full((2,), 1.5), lambda: torch.eye(2)]
    for make in makers:
        for _ in range(60):  # whatever sizes were made before
            make()
        before = count()
        found = make()
        assert count() == before
        assert found.dtype is torch.float32
        assert make() is not make()
        torch.set_default_dtype(torch.float64)
        try:
            for _ in range(8):
                assert make().dtype is torch.float64
        finally:
            torch.set_default_dtype(torch.float32)
        assert make().dtype is torch.float32
        assert make().add_(1).tolist() != make().tolist()


@pytest.mark.parametrize("dtype", [torch.float32, torch.int64, torch.bool, torch.float16])
@pytest.mark.parametrize("shape", [(4, 5), (4,)])
def test_masks_choose_the_same_recorded_or_not(shape: tuple[int, ...], dtype: Any) -> None:
    x = (torch.arange(20).reshape(4, 5) - 3).to(dtype)
    mask = torch.arange(math.prod(shape)).reshape(shape) % 3 == 0
    found = x[mask]
    assert found.dtype is dtype
    rows = zip(x.reshape(mask.numel(), -1), mask.flatten(), strict=True)
    expected = torch.stack([row for row, chosen in rows if chosen])
    assert found.tolist() == expected.reshape(found.shape).tolist()
    x[mask] = 1
    assert bool((x[mask] == 1).all())
    if dtype.is_floating_point:
        y = x.clone().requires_grad_()
        assert y[mask].tolist() == x[mask].tolist()
        assert y[mask].requires_grad


def test_assigned_positions() -> None:
    x = torch.zeros(4, 3)
    version = x._version
    x[torch.tensor([0, -1, 0])] = 2.5
    assert x._version == version + 1
    assert x[:, 0].tolist() == [2.5, 0, 0, 2.5]
    with pytest.raises(IndexError, match="index 4 is out of bounds for dimension 0 with size 4"):
        x[torch.tensor([1, 4])] = 1.0
    with pytest.raises(IndexError, match="The shape of the mask"):
        x[torch.tensor([True, False])] = 1.0
    assert x[1].tolist() == [0, 0, 0]
    y = torch.zeros(3, requires_grad=True)
    with pytest.raises(RuntimeError, match="a leaf Variable that requires grad"):
        y[torch.tensor([True, False, True])] = 1.0
    z = y * 1
    z[torch.tensor([True, False, True])] = 1.0
    z.sum().backward()
    assert y.grad.tolist() == [0, 1, 0]
