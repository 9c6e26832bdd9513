"""Operands that do not stand in order, and halves, are served natively: views, copies and bits are as in Python."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import adjit as torch
from adjit.native import install
from adjit.native.standing import as_operands_stand, orders_of

pytestmark = pytest.mark.skipif(not install.install(), reason="objects of this interpreter are not known")
OFTEN = 9
LYING: dict[str, Callable[[Any], Any]] = {
    "in order": lambda b: b,
    "transposed": lambda b: b.transpose(-2, -1),
    "without the first column": lambda b: b[..., 1:],
    "every other row": lambda b: b[:, ::2],
    "one column for all": lambda b: b[..., :1].expand(b.shape),
}
OPERATIONS: dict[str, Callable[[Any], Any]] = {
    "transpose": lambda x: x.transpose(-2, -1),
    "permute": lambda x: x.permute(2, 0, 1),
    "reshape": lambda x: x.reshape(-1),
    "flatten": lambda x: x.flatten(0, 1),
    "contiguous": lambda x: x.contiguous(),
    "element": lambda x: x[0],
    "slice": lambda x: x[:, 1:],
    "unsqueeze": lambda x: x.unsqueeze(1),
    "chunk": lambda x: x.chunk(2, -1)[0],
    "detach": lambda x: x.detach(),
    "sum": lambda x: x.sum(-1),
    "product": lambda x: x @ x.transpose(-2, -1),
    "product by a vector": lambda x: x @ torch.arange(1.0, 1 + x.shape[-1]),
    "product of planes": lambda x: x[0] @ x[1].T,
    "softmax": lambda x: torch.nn.functional.softmax(x, -1),
    "sum and product": lambda x: torch.addmm(torch.ones(x.shape[1]), x[0], x[1].T),
    "sum and products of a batch": lambda x: torch.baddbmm(torch.ones(1), x, x.transpose(-2, -1), alpha=0.5),
    "linear": lambda x: torch.nn.functional.linear(x[1].T, x[0].T, torch.ones(x.shape[2])),
}


def seen(result: Any, operand: Any, base: Any) -> list[Any]:
    """What can be told of a result: its numbers, how it lies, whose memory it shows, its gradient."""
    shared = np.shares_memory(result._array, base._array)
    facts = [result.tolist(), result.stride(), result.storage_offset(), result._base is None, result is operand, shared,
             type(result.grad_fn).__name__]  # fmt: skip
    if result.requires_grad:
        base.grad = None
        result.sum().backward()
        facts.append(base.grad.tolist())
    return facts


@pytest.mark.parametrize("recording", [False, True])
@pytest.mark.parametrize("lying", LYING)
def test_operations_on_operands_that_lie_so(lying: str, recording: bool) -> None:
    base = torch.rand(2, 4, 6).requires_grad_(recording)
    for _ in range(OFTEN):
        for name, operation in OPERATIONS.items():
            operand = LYING[lying](base)
            with torch.autograd.set_detect_anomaly(True):
                wanted = seen(operation(operand), operand, base)
            assert seen(operation(operand), operand, base) == wanted, name


def test_views_of_views_need_no_python(monkeypatch: Any) -> None:
    x = torch.rand(2, 3, 4)

    def turned() -> Any:
        return x.transpose(0, 1).transpose(1, 2)[1:].unsqueeze(0)

    for _ in range(OFTEN):
        wanted = turned()
    monkeypatch.setattr("adjit.views.view", None)
    assert turned().tolist() == wanted.tolist()


def test_lines_are_the_users_through_modules() -> None:
    layer = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.Tanh())
    x = torch.rand(2, 3)
    for _ in range(OFTEN):
        first = layer(x)
        second = layer(first)
    lines = [result._value.node.location.line for result in (first, second)]
    assert lines[1] == lines[0] + 1
    assert first._value.node.location.path == __file__


def test_results_go_where_they_are_wanted() -> None:
    x, y, out = torch.rand(5), torch.rand(5), torch.zeros(6)
    wanted = (x * y).tolist()
    for turn in range(OFTEN):
        place = out[1:]
        found = torch.mul(x, y, out=place)
        assert found is place
        assert out.tolist() == [0.0, *wanted]
        assert out._version == turn + 1
    for _ in range(OFTEN):
        torch.add(x, x, out=x)
    assert x.tolist() == pytest.approx([512 * number / other for number, other in zip(wanted, y.tolist(), strict=True)])


HALVES: dict[str, Callable[[Any], Any]] = {
    "product": lambda x: x @ x.T,
    "number": lambda x: 1 - x * 0.3,
    "exp": lambda x: x.exp(),
    "sum": lambda x: x.sum(1),
    "softmax": lambda x: torch.nn.functional.softmax(x, 1),
    "float": lambda x: x.float(),
    "transposed": lambda x: x.T,
}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("recording", [False, True])
def test_halves_have_the_bits_of_python(dtype: Any, recording: bool) -> None:
    base = torch.rand(5, 7).to(dtype).requires_grad_(recording)
    for _ in range(OFTEN):
        for name, operation in HALVES.items():
            with torch.autograd.set_detect_anomaly(True):
                wanted = seen(operation(base), base, base)
            assert seen(operation(base), base, base) == wanted, name


STRIDED: dict[str, Callable[[], Any]] = {
    "window elsewhere": lambda: torch.arange(32.0).reshape(4, 8)[1:, 1:5].as_strided((2, 2), (1, 1), 1),
    "gaps": lambda: torch.arange(24.0).reshape(3, 8)[:, ::2].as_strided((2, 2), (1, 1)),
    "offset of its own": lambda: torch.arange(12.0)[4:10].as_strided((2,), (1,), 4),
    "function": lambda: torch.as_strided(torch.arange(12.0)[4:10], (2,), (1,), 4),
    "diagonal of a transpose": lambda: torch.arange(12.0).reshape(4, 3).t().requires_grad_().diagonal(),
    "diagonals of a crop": lambda: torch.arange(48.0).reshape(2, 4, 6)[:, 1:, 2:].diagonal(1, 1, 2),
    "other diagonals": lambda: torch.diagonal(torch.arange(48.0).reshape(4, 6, 2).permute(2, 1, 0), 0, 2, 1),
}


@pytest.mark.parametrize("name", STRIDED)
def test_places_in_memory_are_those_of_the_call(name: str) -> None:
    first = STRIDED[name]()
    wanted = first.tolist(), first.stride(), first.storage_offset()
    for _ in range(OFTEN):
        again = STRIDED[name]()
        assert (again.tolist(), again.stride(), again.storage_offset()) == wanted


def test_one_kind_at_other_offsets() -> None:
    memory = torch.arange(32.0)
    for _ in range(OFTEN):
        for start in range(3):
            assert memory[start : start + 6].as_strided((2,), (1,), 2).tolist() == [2.0, 3.0]
            assert memory[start : start + 6].as_strided((2,), (2,)).tolist() == [start, start + 2.0]


OF_ONE: dict[str, tuple[Callable[[], Any], Callable[[Any], Any]]] = {
    "row by steps": (lambda: torch.arange(2.0).reshape(1, 2)[:, ::2], lambda x: x[::2]),
    "column turned": (lambda: torch.arange(3.0).reshape(1, 3).t(), lambda x: x.T),
    "one of a batch": (lambda: torch.arange(48.0).reshape(4, 3, 4)[0:1, :, :], lambda x: x.transpose(1, 2)),
    "last axis": (lambda: torch.arange(6.0).reshape(6, 1)[:, 0:1], lambda x: x[..., None]),
}


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("name", OF_ONE)
def test_strides_of_axes_of_one_are_kept(name: str, compiled: bool) -> None:
    make, operation = OF_ONE[name]
    if compiled:
        operation = torch.compile(operation)
    odd, plain = make(), torch.zeros(make().shape)
    wanted = [(operation(x).stride(), operation(x).tolist()) for x in (odd, plain)]
    for first in (0, 1):
        for _ in range(OFTEN):
            for x, expected in list(zip((odd, plain), wanted, strict=True))[first:]:
                assert (operation(x).stride(), operation(x).tolist()) == expected
    fresh = make().clone()[:]  # as new: what was learnt from it must not take the other
    for _ in range(OFTEN):
        operation(fresh)
    assert operation(odd).stride() == wanted[0][0]


def test_what_only_products_read_is_read_as_it_stands() -> None:
    graph = torch.compile(lambda b, x, w: torch.addmm(b, x, w) + x.sum()).graph(
        torch.ones(5), torch.ones(3, 4), torch.ones(4, 5)
    )
    bias, turned, weight = np.ones(5), np.ones((4, 3)).T, np.ones((5, 4)).T
    assert orders_of(graph, [bias, turned, weight]) == [None, None, (1, 0)]
    assert orders_of(graph, [bias, turned, weight[:, ::2]]) == [None, None, None]
    standing = as_operands_stand(graph, [None, None, (1, 0)])
    assert [value.type.dims for value in standing.inputs] == [(5,), (3, 4), (5, 4)]
