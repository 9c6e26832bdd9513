"""`torch.autocast("cpu")`: which functions compute in lower precision, in eager and compiled programs."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any, ClassVar

import pytest

import adjit as torch
from adjit import autocasting
from adjit.nn import functional as F
from adjit.tensor import Tensor


@pytest.fixture(scope="module", autouse=True)
def _functions_as_before() -> Iterator[None]:
    """Functions without wrappers again after these tests, which others count on."""
    from importlib import import_module

    from adjit.native.install import install

    install()
    places: list[tuple[Any, str, Any]] = []
    for path, names in [*autocasting._LOWER.items(), *autocasting._SINGLE.items()]:
        module = import_module(f"adjit.{path}" if path else "adjit")
        places += [(module, name, getattr(module, name)) for name in names]
    methods = (*autocasting._METHODS_LOWER, *autocasting._METHODS_SINGLE)
    places += [(Tensor, name, getattr(Tensor, name)) for name in methods]
    owners = (torch, torch.linalg, Tensor)
    places += [(owner, name, getattr(owner, name)) for name in autocasting._INSIDE for owner in owners
               if hasattr(owner, name)]  # fmt: skip
    yield
    for owner, name, found in places:
        setattr(owner, name, found)
    autocasting._placed = False


LOWER = {
    "linear": lambda x: F.linear(x, x), "matmul": lambda x: x @ x, "mm": lambda x: torch.mm(x, x),
    "einsum": lambda x: torch.einsum("ij,jk->ik", x, x), "conv1d": lambda x: F.conv1d(x[None], x[:, :, None]),
    "sdpa": lambda x: F.scaled_dot_product_attention(x[None], x[None], x[None]),
    "tensordot": lambda x: torch.tensordot(x, x, 1), "vecdot": lambda x: torch.linalg.vecdot(x, x),
    "method": lambda x: x.matmul(x), "LSTM": lambda x: torch.nn.LSTM(4, 4)(x.float())[0],
    "attention": lambda x: torch.nn.MultiheadAttention(4, 2)(x.float(), x.float(), x.float())[0],
}  # fmt: skip
SINGLE = {
    "mse_loss": lambda x: F.mse_loss(x, x), "prod": lambda x: x.prod(), "svdvals": lambda x: torch.linalg.svdvals(x),
    "cross_entropy": lambda x: F.cross_entropy(x, torch.zeros(4, dtype=torch.int64)),
    "inverse": lambda x: x.add(torch.eye(4)).to(x.dtype).inverse(),
    "quantile": lambda x: torch.quantile(x, 0.5), "cdist": lambda x: torch.cdist(x, x),
}  # fmt: skip
KEPT = {"add": lambda x: x + 1, "softmax": lambda x: x.softmax(-1), "sum": lambda x: x.sum(), "gelu": F.gelu}


@pytest.mark.parametrize("name", [*LOWER, *SINGLE, *KEPT])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dtypes_are_pytorchs(name: str, dtype: Any) -> None:
    x = torch.rand(4, 4).to(dtype)
    function = {**LOWER, **SINGLE, **KEPT}[name]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = function(x).dtype
    wanted = torch.bfloat16 if name in LOWER else torch.float32 if name in SINGLE else dtype
    assert found is wanted


def test_float64_and_integers_stay() -> None:
    x = torch.eye(2, dtype=torch.float64)
    with torch.autocast("cpu"):
        assert (x @ x).dtype is torch.float64
        assert torch.eye(2, dtype=torch.int64).prod().dtype is torch.int64


def test_contexts_nest_and_end() -> None:
    m, x = torch.nn.Linear(2, 2), torch.ones(1, 2)
    assert not torch.is_autocast_enabled("cpu")
    with torch.autocast("cpu", dtype=torch.float16):
        assert torch.is_autocast_enabled("cpu")
        assert torch.get_autocast_dtype("cpu") is torch.float16
        with torch.autocast("cpu", enabled=False):
            assert m(x).dtype is torch.float32
        assert m(x).dtype is torch.float16
    assert m(x).dtype is torch.float32
    assert torch.get_autocast_dtype("cpu") is torch.bfloat16
    with pytest.raises(ZeroDivisionError), torch.autocast("cpu"):
        _ = 1 // 0
    assert m(x).dtype is torch.float32

    @torch.autocast("cpu")
    def decorated() -> Any:
        return m(x)

    assert decorated().dtype is torch.bfloat16
    with pytest.warns(UserWarning, match="In CPU autocast, but the target dtype is not supported"):
        torch.autocast("cpu", dtype=torch.float64)


def test_gradients_have_the_parameters_dtype() -> None:
    m, x = torch.nn.Linear(3, 2), torch.rand(4, 3)
    with torch.autocast("cpu"):
        loss = F.mse_loss(m(x), torch.zeros(4, 2))
    assert loss.dtype is torch.float32
    loss.backward()
    assert m.weight.grad is not None
    assert m.weight.grad.dtype is torch.float32
    found = m.weight.grad.clone()
    m.zero_grad()
    F.mse_loss(m(x), torch.zeros(4, 2)).backward()
    assert torch.allclose(found, m.weight.grad, rtol=0.05, atol=0.01)


@pytest.mark.parametrize("inside", [False, True])
def test_compiled_functions_know_whether_it_is_on(inside: bool) -> None:
    m, x = torch.nn.Linear(3, 2), torch.rand(4, 3)
    plain = torch.compile(m)

    def within(x: Any) -> Any:
        with torch.autocast("cpu"):
            return m(x)

    cast = torch.compile(within)
    for _ in range(40):
        assert plain(x).dtype is torch.float32
        if inside:
            assert cast(x).dtype is torch.bfloat16
        else:
            with torch.autocast("cpu"):
                assert plain(x).dtype is torch.bfloat16
    with torch.autocast("cpu"):
        eager = m(x)
    found = cast(x)
    assert torch.allclose(found.float(), eager.float(), atol=0.02)


def test_threads_have_their_own() -> None:
    x = torch.rand(4, 4)
    product = torch.compile(lambda a: a @ a)
    for _ in range(40):
        product(x)
    turn, found = threading.Barrier(2), dict[Any, set[Any]]()

    def run(dtype: Any) -> None:
        with torch.autocast("cpu", dtype, enabled=dtype is not torch.float32):
            for round in range(60):
                for who in (torch.bfloat16, torch.float16, torch.float32):
                    turn.wait()
                    if who is dtype or round % 2:
                        found.setdefault(dtype, set()).add(product(x).dtype)

    for pair in ((torch.float32, torch.bfloat16), (torch.float16, torch.bfloat16)):
        threads = [threading.Thread(target=run, args=(dtype,)) for dtype in pair]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert found == {dtype: {dtype} for dtype in (torch.float32, torch.bfloat16, torch.float16)}


def test_what_is_checkpointed_runs_again_as_it_ran() -> None:
    m, x = torch.nn.Linear(3, 3), torch.rand(2, 3)
    grads = []
    for again in (False, True):
        m.zero_grad()
        with torch.autocast("cpu"):
            y = torch.utils.checkpoint.checkpoint(m, x, use_reentrant=False) if again else m(x)
        y.float().sum().backward()
        assert m.weight.grad is not None
        grads.append(m.weight.grad.clone())
    assert torch.equal(*grads)


def test_a_given_result_is_written() -> None:
    x, out = torch.rand(3, 3), torch.zeros(3, 3)
    with torch.autocast("cpu"):
        assert torch.mm(x, x, out=out) is out
    assert torch.equal(out, x @ x)


def test_import_is_not_dearer() -> None:
    code = "import sys, adjit; print('adjit.autocasting' in sys.modules, 'adjit.amp' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


@pytest.mark.parametrize(
    "function",
    [
        lambda x: torch.cov(x), lambda x: torch.corrcoef(x), lambda x: x.cov(), lambda x: torch.matrix_power(x, 3),
        lambda x: torch.linalg.matrix_power(x, 2), lambda x: torch.nn.functional.prelu(x, torch.tensor([0.1])),
    ],
)  # fmt: skip
def test_products_within_other_functions(function: Any) -> None:
    x = torch.eye(3) * 2 + 1
    wide = function(x)
    for run in (function, torch.compile(function)):
        for _ in range(12):
            with torch.autocast("cpu", dtype=torch.bfloat16):
                found = run(x)
            assert found.dtype is torch.bfloat16
            assert torch.allclose(found.float(), wide, rtol=0.02)
            assert run(x).dtype is torch.float32
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.matrix_power(x, 1).dtype is torch.float32


class Product(torch.autograd.Function):
    """A product that notes whether its backward runs under autocast."""

    seen: ClassVar[list[bool]] = []

    @staticmethod
    @torch.amp.custom_fwd(device_type="cpu")
    def forward(ctx: Any, a: Any, b: Any) -> Any:
        ctx.save_for_backward(a, b)
        return a @ b

    @staticmethod
    @torch.amp.custom_bwd(device_type="cpu")
    def backward(ctx: Any, gradient: Any) -> Any:
        a, b = ctx.saved_tensors
        Product.seen.append(torch.is_autocast_enabled("cpu"))
        return gradient @ b.t(), a.t() @ gradient


class WideProduct(Product):
    @staticmethod
    @torch.amp.custom_fwd(device_type="cpu", cast_inputs=torch.float32)
    def forward(ctx: Any, a: Any, b: Any) -> Any:
        ctx.save_for_backward(a, b)
        return a @ b


@pytest.mark.parametrize(("function", "inside"), [(Product, True), (WideProduct, False)])
def test_functions_go_back_under_the_autocast_of_their_forward(function: Any, inside: bool) -> None:
    a, b = torch.ones(2, 3, requires_grad=True), torch.ones(3, 3, requires_grad=True)
    Product.seen.clear()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = function.apply(a.bfloat16(), b)
    assert y.dtype is (torch.bfloat16 if inside else torch.float32)
    y.sum().backward()
    plain = function.apply(a, b)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        plain.sum().backward()
    assert Product.seen == [inside, False]
    assert a.grad is not None
    assert a.grad.tolist() == [[6.0] * 3] * 2


def test_devices_of_custom_rules_are_names() -> None:
    for make in (torch.amp.custom_fwd, torch.amp.custom_bwd):
        with pytest.raises(ValueError, match="Expected `device_type` of type `str`, got: `<class 'int'>`"):
            make(lambda ctx: None, device_type=3)


@pytest.mark.parametrize("name", ["GRU", "LSTM", "RNN"])
def test_recurrent_cells_keep_the_precision_of_their_states(name: str) -> None:
    torch.manual_seed(0)
    cell, layer = getattr(torch.nn, f"{name}Cell")(3, 4), getattr(torch.nn, name)(3, 4)
    x = torch.rand(5, 2, 3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found, layered = cell(x[0]), layer(x)[0]
        from_half = cell(x[0].bfloat16())
    found, from_half = (each[0] if name == "LSTM" else each for each in (found, from_half))
    assert found.dtype is (torch.bfloat16 if name == "RNN" else torch.float32)
    assert from_half.dtype is torch.bfloat16
    assert layered.dtype is (torch.float32 if name == "GRU" else torch.bfloat16)  # as in PyTorch
    (found.float().sum() + layered.float().sum()).backward()
    lowered = [parameter.grad.clone() for module in (cell, layer) for parameter in module.parameters()]
    cell.zero_grad()
    layer.zero_grad()
    expected, layered_expected = cell(x[0]), layer(x)[0]
    expected = expected[0] if name == "LSTM" else expected
    (expected.sum() + layered_expected.sum()).backward()
    assert torch.allclose(found.float(), expected, atol=0.02)
    assert torch.allclose(layered.float(), layered_expected, atol=0.02)
    for gradient, parameter in zip(lowered, [*cell.parameters(), *layer.parameters()], strict=True):
        assert torch.allclose(gradient, parameter.grad, atol=0.1, rtol=0.05)


BOUND = """
import adjit as torch
from adjit.nn.functional import linear, mse_loss
from adjit.linalg import multi_dot
mm, bmm = torch.mm, torch.bmm
a = torch.ones(4, 4)
for _ in range({calls}):
    torch.mm(a, a)
late = torch.matmul
with torch.autocast("cpu"):
    found = [mm(a, a), bmm(a[None], a[None]), late(a, a), linear(a, a), multi_dot([a, a])]
    print({{each.dtype for each in found}}, mse_loss(a.bfloat16(), a).dtype)
print(mm(a, a).dtype, mm is torch.mm)
"""


@pytest.mark.parametrize("calls", [0, 400])
def test_names_that_a_module_bound_before_the_first_context(calls: int) -> None:
    """Before native entries served the functions, and after."""
    code = BOUND.format(calls=calls)
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "{torch.bfloat16} torch.float32\ntorch.float32 True\n"
