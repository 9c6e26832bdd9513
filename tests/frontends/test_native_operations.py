"""Operations served natively are the Python functions' equals: bits, history, errors, and nothing left out."""

from __future__ import annotations

import gc
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
import pytest

import adjit as torch
from adjit.autograd.tape import Recorded
from adjit.compiler.entry import known
from adjit.ir.graph import Node, Value
from adjit.memory import Memory
from adjit.native import install
from adjit.native.operation import Operation
from adjit.runtime import layout
from adjit.state import STATE
from adjit.tensor import Tensor
from tests.frontends.natively import refuse
from tests.threads import in_threads

pytestmark = pytest.mark.skipif(not layout.is_known(), reason="objects of this interpreter are not known")
install.install()

BINARY = ["__add__", "__sub__", "__mul__", "__truediv__", "__lt__", "__ge__", "__eq__", "maximum", "minimum"]
UNARY = ["__neg__", "relu", "exp", "log", "tanh", "sigmoid", "sqrt", "square", "abs", "sum", "sin"]
WITH_NUMBER = ["__add__", "__sub__", "__mul__", "__truediv__", "__rsub__", "__rmul__", "__gt__", "__pow__"]
SHAPES = [(), (1,), (0, 3), (5,), (2, 3), (33, 7)]


def operation(name: str) -> Operation:
    return install._installed[f"Tensor.{name}"]


@contextmanager
def without_python(name: str) -> Iterator[None]:
    """Inside, a call of the method that is not served natively fails."""
    table = operation(name).table
    before = table[: known.MISS + 1].copy()
    table[[known.SLOW, known.MISS]] = id(refuse)
    try:
        yield
    finally:
        table[: known.MISS + 1] = before


def native(name: str, *operands: Any) -> Any:
    """The result of a call that is certainly served natively, after so many that numbers met before do not matter."""
    for _ in range(60):
        getattr(Tensor, name)(*operands)
    with without_python(name):
        return getattr(Tensor, name)(*operands)


def values(shape: tuple[int, ...], dtype: Any, seed: int = 0, grad: bool = False) -> Any:
    array = np.random.default_rng(seed).normal(size=shape) * 3
    special = [0.0, -0.0, float("inf"), float("nan"), 1e-40]
    if array.size > len(special):
        array.ravel()[: len(special)] = special
    with np.errstate(all="ignore"):
        found = torch.tensor(array.tolist()).to(dtype).reshape(shape)
    return found.clone().requires_grad_() if grad else found.clone()


def same(left: Any, right: Any) -> None:
    assert left.dtype == right.dtype
    assert tuple(left.shape) == tuple(right.shape)
    ours, theirs = left.detach().numpy(), right.detach().numpy()
    both = np.isnan(ours) & np.isnan(theirs) if ours.dtype.kind == "f" else np.zeros(ours.shape, bool)
    kind = f"u{ours.itemsize}"
    assert ((np.atleast_1d(ours).view(kind) == np.atleast_1d(theirs).view(kind)) | np.atleast_1d(both)).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("name", "rest"), [*((n, "x") for n in BINARY), *((n, "") for n in UNARY),
                                            *((n, "n") for n in WITH_NUMBER)])  # fmt: skip
def test_bits_are_those_of_python(name: str, rest: str, shape: tuple[int, ...], dtype: Any) -> None:
    second = {"x": [values(shape, dtype, 1)], "n": [2.5], "": []}[rest]
    operands = [values(shape, dtype), *second]
    same(native(name, *operands), operation(name).function(*operands))


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.bool, torch.uint8])
@pytest.mark.parametrize("name", ["__add__", "__mul__", "maximum", "__lt__", "__eq__"])
def test_integers_and_truth_values(name: str, dtype: Any) -> None:
    operands = [torch.tensor([[0, 1, 2], [3, 200, -1]]).to(dtype), torch.tensor([[1, 1, 0], [7, 100, 5]]).to(dtype)]
    same(native(name, *operands), operation(name).function(*operands))


@pytest.mark.parametrize("sizes", [((3, 4), (4, 5)), ((40, 33), (33, 20)), ((4,), (4,)), ((3, 4), (4,))])
def test_matrix_products(sizes: Any) -> None:
    a, b = (values(size, torch.float32, seed) for seed, size in enumerate(sizes))
    same(native("__matmul__", a, b), operation("__matmul__").function(a, b))


@pytest.mark.parametrize("number", [0, 1, -3, 2**40, 1e-300, float("nan"), float("inf"), -0.0, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_numbers_of_all_sizes(number: Any, dtype: Any) -> None:
    x = values((7,), dtype)
    for _ in range(4):
        same(x * number, operation("__mul__").function(x, number))
    same(number + x, operation("__add__").function(number, x))


def test_powers_are_told_apart_by_their_number() -> None:
    x = torch.tensor([1.1, 2.2, 3.3])
    for exponent in (3.0, 2.0, 2, 0.5, 3, 2.0, 3.0):
        for _ in range(3):
            same(x**exponent, operation("__pow__").function(x, exponent))


# -- recording ------------------------------------------------------------------------------------------------------
def history(tensor: Any) -> list[Any]:
    """Names and saved values of all that was recorded, from the last."""
    found = []
    pending = [tensor._value.node]
    while pending:
        node = pending.pop()
        if node is not None and node.op.name != "const":
            entry = node.attached
            saved = [(k.array.tobytes(), k.dtype, k.requires_grad, k.version, k.memory is None) for k in entry.saved]
            found.append((node.op.name, entry.name, saved, len(entry.leaves), entry.seeded, entry.reached,
                          entry.freed, entry.full, entry.custom, entry.fault, str(entry.pullback)))  # fmt: skip
            pending.extend(value.node for value in node.inputs)
    return found


def printed(tensor: Any) -> list[str]:
    """The recorded program without lines of the source."""
    return [line.split("#")[0] for line in str(tensor.graph).splitlines()[1:]]


RECORDED = ["__add__", "__sub__", "__mul__", "__truediv__", "maximum", "__rsub__", "__pow__", *UNARY]


@pytest.mark.parametrize("name", RECORDED)
def test_what_is_recorded_is_what_python_records(name: str) -> None:
    x, y = (values((4, 3), torch.float64, seed, grad=True) for seed in range(2))
    operands: tuple[Any, ...] = (x,) if name in UNARY else (x, 1.75) if name in ("__rsub__", "__pow__") else (x, y)
    native(name, *operands)
    with without_python(name):
        ours = getattr(Tensor, name)(*operands)
    theirs = operation(name).function(*operands)
    same(ours, theirs)
    assert ours.requires_grad
    assert not ours.is_leaf
    assert ours.grad_fn.name() == theirs.grad_fn.name()
    assert ours.grad_fn.next_functions == theirs.grad_fn.next_functions
    assert history(ours) == history(theirs)
    assert printed(ours) == printed(theirs)
    tensors = [item for item in operands if isinstance(item, Tensor)]
    gradients = [torch.autograd.grad(result, tensors, torch.ones_like(result)) for result in (ours, theirs)]
    for left, right in zip(*gradients, strict=True):
        same(left, right)


def test_each_line_is_recorded_as_itself() -> None:
    x = torch.rand(3, requires_grad=True)
    first = []
    for _ in range(5):
        a = x * x
        b = a.exp()
        first.append((a._value.node.location.expression, b._value.node.location.expression))
    assert set(first) == {("a = x * x", "b = a.exp()")}


def test_two_different_operands_are_not_taken_for_one() -> None:
    x, y = torch.tensor([1.0, 2.0]), torch.tensor([5.0, 7.0])
    for _ in range(4):
        assert (x - x).tolist() == [0.0, 0.0]
        assert (x > x).tolist() == [False, False]
    assert (x - y).tolist() == [-4.0, -5.0]
    assert (y > x).tolist() == [True, True]
    assert (x > y).tolist() == [False, False]


def test_mixed_needs() -> None:
    x, y = torch.rand(4, requires_grad=True), torch.rand(4)
    for a, b in ((x, y), (y, x), (y, y), (x, x)) * 3:
        z = a * b
        assert z.requires_grad == (a is x or b is x)
        if z.requires_grad:
            x.grad = None
            z.sum().backward()
            same(x.grad, (torch.ones(4) * (y if a is y or b is y else 2 * x.detach())))


# -- nothing is skipped ---------------------------------------------------------------------------------------------
@pytest.fixture
def product() -> Callable[[Any, Any], Any]:
    x = torch.rand(4, requires_grad=True)
    native("__mul__", x, x)
    native("__mul__", x.detach(), x.detach())
    return lambda a, b: a * b


def test_modes(product: Callable[[Any, Any], Any]) -> None:
    x = torch.rand(4, requires_grad=True)
    for _ in range(3):
        assert product(x, x).requires_grad
        with torch.no_grad():
            assert not product(x, x).requires_grad
            with torch.enable_grad():
                assert product(x, x).requires_grad
        with torch.inference_mode():
            assert not product(x, x).requires_grad
    found = []
    worker = threading.Thread(target=lambda: found.append(product(x, x).requires_grad))
    with torch.no_grad():  # another thread has a mode of its own
        worker.start()
        worker.join()
        assert not product(x, x).requires_grad
    assert found == [True]


def test_versions_and_writes(product: Callable[[Any, Any], Any]) -> None:
    x = torch.rand(4, requires_grad=True)
    y = x * 1.0
    z = product(y, y)
    y.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        z.sum().backward()
    assert product(y, y)._version == 0


def test_views_of_written_bases(product: Callable[[Any, Any], Any]) -> None:
    base = torch.rand(8)
    view = base[:4]
    assert not product(view, view).requires_grad
    base.mul_(torch.rand(8, requires_grad=True))
    assert product(view, view).requires_grad


def test_other_layouts_and_classes(product: Callable[[Any, Any], Any]) -> None:
    x = torch.rand(4, 4)
    native("__mul__", x, x)
    same(product(x.T, x.T), operation("__mul__").function(x.T, x.T))
    same(product(x[:, ::2], x[:, ::2]), operation("__mul__").function(x[:, ::2], x[:, ::2]))
    same(product(x, x[0]), operation("__mul__").function(x, x[0]))
    parameter = torch.nn.Parameter(x)
    assert type(native("__mul__", parameter, parameter)) is Tensor

    class Marked(Tensor):
        def __mul__(self, other: Any) -> Any:
            return "marked"

    marked = Tensor._wrap(x._array, x._dtype, cls=Marked)
    assert product(marked, x) == "marked"
    assert isinstance(product(x, marked), (str, Tensor))


def test_hooks_and_retained_gradients(product: Callable[[Any, Any], Any]) -> None:
    x = torch.rand(4, requires_grad=True)
    seen: list[Any] = []
    x.register_hook(lambda g: seen.append("leaf"))
    y = product(x, x)
    y.register_hook(lambda g: seen.append("result"))
    y.grad_fn.register_hook(lambda given, got: seen.append("node"))
    y.retain_grad()
    product(y, y).sum().backward()
    assert seen == ["result", "node", "leaf"]
    assert y.grad is not None


@pytest.mark.parametrize(
    ("left", "right", "kind", "text"),
    [
        ((4,), (5,), RuntimeError, "The size of tensor a (4) must match the size of tensor b (5)"),
        ((4,), object(), TypeError, "unsupported operand"),
    ],
)
def test_errors(product: Callable[[Any, Any], Any], left: Any, right: Any, kind: type[Exception], text: str) -> None:
    for _ in range(3):
        with pytest.raises(kind) as caught:
            product(torch.rand(*left), torch.rand(*right) if isinstance(right, tuple) else right)
        assert text in str(caught.value)


def test_integer_division_by_zero_is_an_error_each_time() -> None:
    x = torch.tensor([4, 6])
    for _ in range(4):
        assert (x % torch.tensor([3, 4])).tolist() == [1, 2]
    for _ in range(3):
        with pytest.raises((ZeroDivisionError, RuntimeError)):
            x % torch.tensor([0, 1])


def test_a_trace_sees_every_operation() -> None:
    x = torch.rand(4)
    native("__mul__", x, x)
    native("exp", x)
    step = torch.compile(lambda a: (a * a).exp())
    assert [node.op.name for node in step.graph(x).nodes] == ["mul", "exp"]
    same(step(x), (x * x).exp())


def test_keywords_and_too_many_arguments() -> None:
    x = torch.rand(2, 3)
    native("sum", x)
    for _ in range(3):
        same(x.sum(dim=1, keepdim=True), operation("sum").function(x, 1, True))
        same(torch.add(x, x, alpha=2), operation("add").function(x, x, alpha=2))
        with pytest.raises(TypeError):
            torch.exp(*[x] * 40)
        with pytest.raises(TypeError):
            torch.exp()


def test_nothing_leaks() -> None:
    x, y, wrong = torch.rand(4, requires_grad=True), torch.rand(4), torch.rand(3)

    def work(count: int) -> None:
        for _ in range(count):
            (x * x).sum()
            assert (y * 2.0 < y).shape == (4,)
            with suppress(RuntimeError):
                y * wrong

    work(20)
    gc.collect()
    constants = (None, True, False, 0, (), x, y, Tensor)
    before = [sys.getrefcount(item) for item in constants]
    kinds = (Tensor, Memory, Node, Value, Recorded)
    objects = sum(type(item) in kinds for item in gc.get_objects())
    work(300)
    gc.collect()
    after = [sys.getrefcount(item) for item in constants]
    assert sum(type(item) in kinds for item in gc.get_objects()) <= objects
    assert all(abs(a - b) < 60 for a, b in zip(after, before, strict=True)), list(zip(after, before, strict=True))


def test_threads_share_the_tables() -> None:
    x = torch.rand(300, 300)
    expected = operation("__mul__").function(x, x)
    native("__mul__", x, x)

    def works() -> bool:
        right = np.array_equal((x * x).numpy(), expected.numpy())
        (x @ x).sum()
        return right

    assert in_threads(lambda _: all(works() for _ in range(100))) == [True] * 4


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_child_learns_though_a_thread_was_learning() -> None:
    """What threads held at the fork, tables and memory of signatures, is free in the child."""
    table = operation("tanh")._signatures
    native("tanh", values((3, 5), torch.float32))
    held, done = threading.Event(), threading.Event()

    def learn() -> None:
        with table.lock:
            held.set()
            done.wait()

    thread = threading.Thread(target=learn)
    thread.start()
    held.wait()
    words = table._kept[-1][1]
    words[known.BUSY] = 1
    child = os.fork()
    if child == 0:
        status = 1
        try:
            before = len(table)
            native("tanh", values((7, 11), torch.float32))
            status = int(len(table) == before or words[known.BUSY] != 0)
        finally:
            os._exit(status)
    words[known.BUSY] = 0
    done.set()
    thread.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_the_entry_knows_every_mode() -> None:
    """Whoever adds a mode says in `adjit.native.entry._mode` whether native calls must leave it to Python."""
    assert set(vars(STATE)) == {
        "recording", "inference", "tracer", "anomaly", "checks", "packing", "hooks_disabled", "sweep", "autocast",
        "duals", "keeps_any", "overwritten", "watching", "within",
    }  # fmt: skip


def test_an_unknown_layout_leaves_python_in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    from adjit.native.entry import native_entry
    from adjit.runtime import layout

    monkeypatch.setattr(layout, "is_known", lambda: False)
    monkeypatch.setattr(install, "_installed", {})
    monkeypatch.setattr(install, "native_entry", native_entry.__wrapped__)
    monkeypatch.setattr(install, "_serving", install._serving.__wrapped__)
    assert install.install() is False


@pytest.mark.parametrize("name", ["cond", "eigvalsh", "svdvals"])
def test_values_without_vectors_keep_their_bits(name: str) -> None:
    function = getattr(torch.linalg, name)
    torch.manual_seed(3)
    x = torch.rand(7, 7, dtype=torch.float64)
    first = function(x).tolist()
    for _ in range(12):
        assert function(x).tolist() == first


@pytest.mark.parametrize("recording", [False, True])
def test_integers_that_are_constants_of_programs_need_no_python(recording: bool) -> None:
    x = values((7,), torch.float32, grad=recording)
    for number in (1, 3, -2):
        same(native("__rtruediv__", x, number), operation("__rtruediv__").function(x, number))
