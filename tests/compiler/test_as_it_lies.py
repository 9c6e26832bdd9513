"""Sums over axes that lie in another order in a smaller operand, and sums that are asked for in another order."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import adjit as torch
from adjit.compiler.pipeline import lowered

FORMS = {
    "abc,cb->a": ((17, 9, 13), (13, 9)),
    "cb,abc->a": ((13, 9), (17, 9, 13)),
    "abcd,dbc->a": ((5, 3, 4, 7), (7, 3, 4)),
    "zabc,zcb->za": ((2, 33, 6, 5), (2, 5, 6)),
    "abc,cb->": ((1, 9, 13), (13, 9)),
    "abc,a->cb": ((20, 9, 13), (20,)),
    "abc,b->ca": ((9, 20, 13), (20,)),
    "abc,cb->ab": ((6, 4, 5), (5, 4)),
}


def _operands(form: str, dtype: str) -> list[Any]:
    random = np.random.default_rng(len(form))
    return [torch.tensor(random.integers(-8, 9, shape).astype(dtype), requires_grad=True) for shape in FORMS[form]]


@pytest.mark.parametrize("dtype", ("float32", "float64"))
@pytest.mark.parametrize("form", FORMS)
def test_sums_and_their_gradients(form: str, dtype: str) -> None:
    operands = _operands(form, dtype)
    found = torch.compile(lambda *given: torch.einsum(form, *given))(*operands)
    arrays = [operand.detach().numpy() for operand in operands]
    np.testing.assert_array_equal(found.detach().numpy(), np.einsum(form, *arrays))
    terms, result = form.split("->")
    cotangent = np.arange(found.numel(), dtype=dtype).reshape(found.shape)
    found.backward(torch.tensor(cotangent))
    letters = terms.split(",")
    for side, operand in enumerate(operands):
        ones = np.ones(operand.shape, dtype)
        inverse = f"{letters[1 - side]},{result},{letters[side]}->{letters[side]}"
        assert operand.grad is not None
        np.testing.assert_array_equal(operand.grad.numpy(), np.einsum(inverse, arrays[1 - side], cotangent, ones))


@pytest.mark.parametrize("name", ("sum", "max", "prod"))
@pytest.mark.parametrize("dim", (0, 1, 2))
def test_sums_in_another_order(name: str, dim: int) -> None:
    x = torch.tensor(np.random.default_rng(0).integers(-2, 3, (19, 11, 18)).astype("float32"))
    x[3, 4, 5] = float("nan")
    found = torch.compile(lambda x: (x.amax(dim) if name == "max" else getattr(x, name)(dim)).T)(x).numpy()
    np.testing.assert_array_equal(found, getattr(np, name)(x.numpy(), dim).T)


@pytest.mark.parametrize("form", ("abc,cb->a", "abc,a->cb"))
def test_what_is_stored_for_them(form: str) -> None:
    """A turned copy of the smaller operand, or the sums as they lie, in a kernel of its own."""
    shapes = (64, 48, 40), (40, 48) if form == "abc,cb->a" else (64,)
    program = torch.compile(lambda x, y: torch.einsum(form, x, y)).graph(*(torch.ones(shape) for shape in shapes))
    assert len([node for node in lowered(program).nodes if node.op.name == "kernel"]) == 2


def test_a_spread_factor_is_turned_alone() -> None:
    """The outer product in another order is that of turned operands."""
    x, y = torch.arange(20.0).reshape(4, 5), torch.arange(70.0)
    program = torch.compile(lambda x, y: torch.einsum("cb,a->abc", x, y))
    np.testing.assert_array_equal(program(x, y).numpy(), np.einsum("cb,a->abc", x.numpy(), y.numpy()))
    assert len([node for node in lowered(program.graph(x, y)).nodes if node.op.name == "kernel"]) == 2


def test_sums_of_rows_and_of_columns_do_not_share_a_loop() -> None:
    """Of square matrices both have the same dims."""
    x = torch.tensor(np.random.default_rng(0).integers(-3, 4, (70, 70)).astype("float32"))
    for function in (
        lambda x: (x.sum(1), x.sum(0)),
        lambda x: (x @ x[0], x[0] @ x),
        lambda x: (x.sum(1), x.sum(0) + x.sum(1)),
    ):
        program = torch.compile(function)
        for found, expected in zip(program(x), function(x.double()), strict=True):
            np.testing.assert_array_equal(found.numpy(), expected.numpy())
        assert len([node for node in lowered(program.graph(x)).nodes if node.op.name == "kernel"]) == 2
