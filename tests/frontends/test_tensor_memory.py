"""Memory: what views share, what in-place operations write, and what they forbid."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import adjit as torch

VIEWS: dict[str, Callable[[Any], Any]] = {
    "view": lambda x: x.view(6, 2), "reshape": lambda x: x.reshape(2, -1), "flatten": lambda x: x.flatten(),
    "ravel": lambda x: x.ravel(), "t": lambda x: x.t(), "T": lambda x: x.T, "mT": lambda x: x.mT,
    "transpose": lambda x: x.transpose(0, 1), "permute": lambda x: x.permute(1, 0),
    "movedim": lambda x: x.movedim(0, 1),
    "int": lambda x: x[1], "slice": lambda x: x[:, 1:3], "slice with a step": lambda x: x[::2, ::3],
    "none": lambda x: x[:, None], "dots": lambda x: x[..., 0], "squeeze": lambda x: x[:1].squeeze(0),
    "unsqueeze": lambda x: x.unsqueeze(1), "select": lambda x: x.select(1, 2), "narrow": lambda x: x.narrow(1, 1, 2),
    "unbind": lambda x: x.unbind()[1], "split": lambda x: x.split(2, 1)[1], "chunk": lambda x: x.chunk(2)[0],
    "unflatten": lambda x: x.unflatten(1, (2, 2)), "diagonal": lambda x: x.diagonal(1),
    "detach": lambda x: x.detach(),
    "data": lambda x: x.data, "view of a view": lambda x: x.t()[1:].t(),
    "view_as": lambda x: x.view_as(torch.ones(2, 6)),
    "unsafe_split": lambda x: x.unsafe_split(2, 1)[1], "unsafe_chunk": lambda x: x.unsafe_chunk(2)[0],
    "unfold": lambda x: x.unfold(1, 2, 2), "expand": lambda x: x.expand(1, 3, 4), "as_strided": lambda x:
    x.as_strided((2, 2), (5, 2), 1), "as_strided of a view": lambda x: x[1:].t().as_strided((3,), (4,), 0),
    "swapaxes": lambda x: x.swapaxes(0, 1), "tensor_split": lambda x: x.tensor_split(2)[1], "numpy": lambda x:
    torch.from_numpy(x.detach().numpy()),
}  # fmt: skip


def numbers() -> Any:
    return torch.arange(12.0).view(3, 4)


# Functions that give several views: while recording these may not be written.
SEVERAL = ("unbind", "split", "chunk")


@pytest.mark.parametrize("name", VIEWS)
def test_views_alias(name: str) -> None:
    x = numbers()
    view = VIEWS[name](x)
    before, marks = view.clone(), VIEWS[name](torch.ones(3, 4)).sum().item()
    view.add_(100)
    assert torch.equal(view, before + 100)
    assert (x - numbers()).sum().item() == 100 * marks
    x.zero_()
    assert view.abs().sum().item() == 0


@pytest.mark.parametrize("name", [n for n in VIEWS if n not in ("detach", "data", "numpy", *SEVERAL)])
def test_writing_through_a_view_reaches_the_bases_history(name: str) -> None:
    """y with its view tripled: d(sum(y**2))/dx is 18 y where the view reaches, 2 y elsewhere."""
    x = numbers().requires_grad_()
    y = x * 1
    VIEWS[name](y).mul_(3)
    (y**2).sum().backward()
    reach = torch.zeros(3, 4)
    VIEWS[name](reach).fill_(1)
    assert torch.equal(x.grad, 2 * numbers() * (1 + 8 * reach))


@pytest.mark.parametrize("name", SEVERAL)
def test_views_made_together_may_not_be_written_while_recording(name: str) -> None:
    y = numbers().requires_grad_() * 1
    title = {"unbind": "Output 1 of Unbind", "split": "Output 1 of Split", "chunk": "Output 0 of Split"}[name]
    with pytest.raises(RuntimeError, match=f"^{title} is a view and is being modified inplace. This view is the"):
        VIEWS[name](y).mul_(3)
    with torch.no_grad():
        VIEWS[name](y).mul_(3)
    assert not torch.equal(y.detach(), numbers())


def test_a_view_made_without_recording_may_not_be_written_while_recording() -> None:
    y = numbers().requires_grad_() * 1
    with torch.no_grad():
        view = y[1:]
    with pytest.raises(RuntimeError, match=r"^A view was created in no_grad mode and is being modified inplace"):
        view.add_(1)


@pytest.mark.parametrize("name", [n for n in VIEWS if n not in ("detach", "data", "numpy")])
def test_a_view_sees_its_bases_new_history(name: str) -> None:
    x = numbers().requires_grad_()
    y = x * 1
    view = VIEWS[name](y)
    y.mul_(5)
    view.sum().backward()
    reach = torch.zeros(3, 4)
    VIEWS[name](reach).fill_(1)
    assert torch.equal(x.grad, 5 * reach)


@pytest.mark.parametrize("name", [n for n in VIEWS if n not in ("data", "numpy")])
def test_writes_in_a_trace_are_those_of_eager(name: str) -> None:
    def function(x: Any) -> Any:
        y = x * 2
        view = VIEWS[name](y)
        view.add_(1)
        y[0] *= 3
        view.mul_(view)
        return y, view + 0

    for found, expected in zip(torch.compile(function)(numbers()), function(numbers()), strict=True):
        assert torch.equal(found, expected)


def test_copies_share_nothing() -> None:
    x = numbers()
    copies = x.clone(), x.t().reshape(12), x[[0, 1]], x[x > 3], x + 0, x.t().contiguous(), x.repeat(1, 1), x.flip(0)
    for copy in copies:
        copy.zero_()
    assert torch.equal(x, numbers())
    assert x.contiguous() is x


def test_reshape_of_a_transpose_is_a_copy() -> None:
    a = torch.zeros(3, 2)
    b, c = a.t().reshape(6), a.view(2, 3)
    a.fill_(1)
    assert b.tolist() == [0.0] * 6
    assert c.tolist() == [[1.0] * 3] * 2


@pytest.mark.parametrize(
    ("make", "strides", "contiguous"),
    [
        (lambda: torch.zeros(2, 3, 4), (12, 4, 1), True),
        (lambda: torch.zeros(2, 3, 4).permute(2, 0, 1), (1, 12, 4), False),
        (lambda: torch.zeros(4, 6)[:, ::2], (6, 2), False),
        (lambda: torch.zeros(4, 6)[1:3], (6, 1), True),
        (lambda: torch.zeros(3, 1).expand(3, 4), (1, 0), False),
        (lambda: torch.zeros(3).expand(2, 3), (0, 1), False),
        (lambda: torch.zeros(0, 3), (3, 1), True),
        (lambda: torch.zeros(()), (), True),
    ],
)
def test_strides(make: Callable[[], Any], strides: tuple[int, ...], contiguous: bool) -> None:
    x = make()
    assert x.stride() == strides
    assert x.is_contiguous() == contiguous


NOT_OPERAND = {"addmm_", "addmv_", "addr_", "addbmm_", "baddbmm_", "index_add_", "index_copy_", "index_fill_",
               "index_put_", "scatter_", "scatter_add_", "scatter_reduce_", "addcmul_", "addcdiv_",
               "lerp_", "put_", "renorm_", "index_reduce_", "mvlgamma_", "polygamma_",
               "tril_", "triu_", "cumsum_", "cumprod_", "clamp_", "clip_", "clamp_min_",
               "clamp_max_"}  # fmt: skip
INTEGER = {f"bitwise_{name}_" for name in ("and", "or", "xor", "not", "left_shift", "right_shift")} | {
    "gcd_", "lcm_"}  # fmt: skip


def derived() -> list[str]:
    from adjit.inplace import IN_PLACE

    names = [f"{name}_" for name in IN_PLACE]
    return [name for name in names if name not in NOT_OPERAND and hasattr(torch.Tensor, name)]


@pytest.mark.parametrize("name", derived())
def test_in_place_is_the_function_written(name: str) -> None:
    """x.f_(...) leaves x equal to f(x, ...) in x's dtype, in the same memory, one version on."""
    x = torch.tensor([3, 1, 2]) if name in INTEGER else torch.tensor([0.3, 0.8, 0.5])
    x = x.double() if name == "float_power_" else x  # whose result is never narrower
    function = getattr(torch.Tensor, name.rstrip("_"))
    try:
        args: tuple[Any, ...] = ()
        expected = function(x)
    except TypeError:
        args = (x.flip(0),)
        expected = function(x, *args)
    place = x.data_ptr()
    assert getattr(x, name)(*args) is x
    assert torch.equal(x.nan_to_num(7), expected.to(x.dtype).nan_to_num(7))
    assert x.data_ptr() == place
    assert x._version == 1


def test_augmented_assignment_is_in_place() -> None:
    x = torch.ones(3)
    kept = x
    x += 2
    x *= 3
    x -= 1
    x /= 2
    x **= 2
    x //= 3
    x %= 4
    assert kept is x
    assert x.tolist() == [1.0] * 3
    assert x._version == 7


def test_operands_with_gaps_may_lie_in_what_is_written() -> None:
    x = numbers()
    x[:, :2].add_(x[:, 1:3])
    assert torch.equal(x[:, :2], numbers()[:, :2] + numbers()[:, 1:3])
    x = numbers()
    x[0] += x[1]
    assert torch.equal(x[0], numbers()[0] + numbers()[1])


def test_versions() -> None:
    x = torch.ones(3)
    view = x[1:]
    view.add_(1)
    x.mul_(2)
    assert x._version == view._version == 2
    assert x.clone()._version == 0


def test_an_overwritten_operand_is_noticed() -> None:
    x = torch.ones(2, requires_grad=True)
    y = x.exp()
    z = y * y
    y.add_(1)
    with pytest.raises(RuntimeError) as caught:
        z.sum().backward()
    first = str(caught.value).split("\n")[0]
    assert first.startswith(
        "one of the variables needed for gradient computation has been modified by an inplace operation: "
        "[torch.FloatTensor [2]]"
    )
    assert "test_tensor_memory.py" in str(caught.value)


SHARED = ("unsupported operation: some elements of the input tensor and the written-to tensor refer to a single memory "
          "location. Please clone() the tensor before performing the operation.")  # fmt: skip
LEAF = "a leaf Variable that requires grad is being used in an in-place operation."
ERRORS: list[tuple[Callable[[], Any], str]] = [
    (lambda: torch.ones(2, requires_grad=True).add_(1), LEAF),
    (lambda: torch.ones(2, requires_grad=True).zero_(), LEAF),
    (lambda: torch.ones(2, requires_grad=True).__setitem__(0, 1), f"a view of {LEAF}"),
    (lambda: torch.ones(2, requires_grad=True).view(2).mul_(2), f"a view of {LEAF}"),
    (lambda: torch.ones(2).add_(torch.ones(2, 2)), "output with shape [2] doesn't match the broadcast shape [2, 2]"),
    (lambda: torch.ones(2, dtype=torch.long).add_(1.5),
     "result type Float can't be cast to the desired output type Long"),
    (lambda: torch.ones(2, dtype=torch.bool).add_(1), "result type Long can't be cast to the desired output type Bool"),
    (lambda: torch.ones(2).copy_(torch.ones(3)),
     "The size of tensor a (2) must match the size of tensor b (3) at non-singleton dimension 0"),
    (lambda: torch.ones(2).fill_(torch.ones(2)),
     "fill_ only supports 0-dimension value tensor but got tensor with 1 dimensions."),
    (lambda: torch.ones(1, 3).expand(2, 3).add_(1),
     "unsupported operation: more than one element of the written-to tensor refers to a single memory location. Please "
     "clone() the tensor before performing the operation."),
    (lambda: (lambda x: x[:2].add_(x[1:]))(numbers()), SHARED),
    (lambda: (lambda x: x[1:].copy_(x[:2]))(numbers()), SHARED),
    (lambda: (lambda x: x.__setitem__(slice(2), x[1:]))(numbers()), SHARED),
    (lambda: (lambda x: x[0].mul_(x[0, 0]))(numbers()), SHARED),
    (lambda: numbers().t().view(12),
     "view size is not compatible with input tensor's size and stride (at least one dimension spans across two "
     "contiguous subspaces). Use .reshape(...) instead."),
    (lambda: torch.ones(2, requires_grad=True).numpy(),
     "Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() instead."),
]  # fmt: skip


@pytest.mark.parametrize(("function", "first"), ERRORS, ids=[first[:40] for _, first in ERRORS])
def test_errors_start_with_pytorchs_line(function: Callable[[], Any], first: str) -> None:
    with pytest.raises(RuntimeError) as caught:
        function()
    assert str(caught.value).split("\n")[0] == first


def test_leaves_can_be_written_without_recording() -> None:
    w = torch.ones(2, requires_grad=True)
    with torch.no_grad():
        w -= 0.5
        w[0] = 3
        w.view(2).mul_(2)
    assert w.tolist() == [6.0, 1.0]
    assert w.is_leaf
    assert w.requires_grad


def test_shared_memory_with_numpy() -> None:
    array = np.zeros(3, np.float32)
    x = torch.from_numpy(array)
    x.add_(1)
    array[0] = 5
    assert x.tolist() == [5.0, 1.0, 1.0]
    assert np.shares_memory(x.numpy(), array)
    assert torch.tensor(array).data_ptr() != x.data_ptr()
