"""Dtypes of results: PyTorch's table for every pair, and broadcasting."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra import numpy as hnp

import adjit as torch

# Written by PyTorch, not by adjit: the one golden file that --update-golden leaves alone.
TABLES = Path(__file__).parent.parent / "golden" / "promotion.txt"
NUMBERS = {"bool": True, "int": 1, "float": 1.0}


def entries() -> list[tuple[str, str, str, str]]:
    """(table, row, column, entry) of every entry."""
    found = []
    for block in re.split(r"\n\n", TABLES.read_text(encoding="utf-8").strip()):
        title, *lines = block.split("\n")
        if not title.startswith("["):
            continue
        columns = lines[0].split()
        for line in lines[1:]:
            row, *cells = line.split()
            found += [(title.strip("[]"), row, column, cell) for column, cell in zip(columns, cells, strict=True)]
    return found


def operand(name: str, *shape: int) -> Any:
    return torch.ones(shape, dtype=getattr(torch, name))


def outcome(table: str, row: str, column: str) -> str:
    match table.split(" and "):
        case ["can_cast"]:
            return str(torch.can_cast(getattr(torch, row), getattr(torch, column)))
        case ["quotient of vector", "vector"]:
            return str((operand(row, 2) / operand(column, 2)).dtype)[6:]
        case [left, "number"]:
            other: Any = NUMBERS[column]
        case [left, right]:
            other = operand(column, *((2,) if right == "vector" else ()))
    tensor = operand(row, *((2,) if left == "vector" else ()))
    assert torch.result_type(tensor, other) == (tensor + other).dtype
    assert torch.result_type(other, tensor) == (other + tensor).dtype
    return str((tensor + other).dtype)[6:]


@pytest.mark.parametrize("table", sorted({entry[0] for entry in entries()}))
def test_promotion(table: str) -> None:
    expected = {(row, column): cell for title, row, column, cell in entries() if title == table}
    assert len(expected) in (30, 100)
    assert {place: outcome(table, *place) for place in expected} == expected


@pytest.mark.parametrize("name", ["eq", "lt", "ge", "isfinite", "logical_not", "logical_and"])
def test_tests_give_truth_values(name: str) -> None:
    for dtype in (torch.int32, torch.float16, torch.float64, torch.bool):
        x = torch.ones(2, dtype=dtype)
        found = getattr(torch, name)(*((x,) if name in ("isfinite", "logical_not") else (x, x)))
        assert found.dtype == torch.bool


@pytest.mark.parametrize("name", ["sum", "prod", "cumsum", "cumprod"])
def test_integers_are_summed_in_int64(name: str) -> None:
    for dtype in (torch.bool, torch.uint8, torch.int32):
        x = torch.ones(3, dtype=dtype)
        assert getattr(x, name)(0).dtype == torch.int64
        assert getattr(x, name)(0, dtype=torch.float32).dtype == torch.float32


@pytest.mark.parametrize("name", ["exp", "sqrt", "sin", "sigmoid", "tanh", "log1p", "reciprocal"])
def test_functions_of_integers_are_floats(name: str) -> None:
    assert getattr(torch, name)(torch.tensor([1, 2])).dtype == torch.get_default_dtype()


def test_the_default_dtype_is_that_of_python_floats() -> None:
    torch.set_default_dtype(torch.float64)
    try:
        assert torch.tensor([0.5]).dtype == torch.float64
        assert (torch.tensor([1]) * 0.5).dtype == torch.float64
        assert torch.zeros(2).dtype == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.tensor([0.5]).dtype == torch.float32


@given(hnp.mutually_broadcastable_shapes(num_shapes=2, min_side=0, max_side=3))
def test_broadcasting(shapes: Any) -> None:
    first, second = (np.arange(np.prod(s, dtype=int), dtype=np.float32).reshape(s) for s in shapes.input_shapes)
    found = torch.from_numpy(first) + torch.from_numpy(second)
    assert tuple(found.shape) == shapes.result_shape
    np.testing.assert_array_equal(found.numpy(), first + second)
    assert tuple(torch.broadcast_shapes(*shapes.input_shapes)) == shapes.result_shape


def test_gradients_are_summed_over_what_was_broadcast() -> None:
    x = torch.ones(3, 1, requires_grad=True)
    y = torch.ones(4, requires_grad=True)
    z = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    (x * y * z).sum().backward()
    assert x.grad.tolist() == [[8.0]] * 3
    assert y.grad.tolist() == [6.0] * 4
    assert z.grad.item() == 12.0
    assert z.grad.dtype == torch.float64


UNSIGNED = ("uint8", "uint16", "uint32", "uint64")


@pytest.mark.parametrize("name", UNSIGNED)
def test_unsigned_integers_compute_as_numpy_does_compiled_too(name: str) -> None:
    most = np.iinfo(name).max
    left = np.array([0, 1, 7, most - 1, most], name)
    right = np.array([3, most, 2, 1, most], name)

    def compute(function: Any, a: Any, b: Any) -> list[Any]:
        return [a + b, a * b, a - b, a // b, a % b, a < b, a >= b, a & b, ~a, a >> 1, function(a, b)]

    for run in (compute, torch.compile(compute)):
        found = run(torch.maximum, torch.from_numpy(left), torch.from_numpy(right))
        expected = compute(np.maximum, left, right)
        assert [t.numpy().tolist() for t in found] == [a.tolist() for a in expected]
        assert [str(t.dtype)[6:] for t in found] == [a.dtype.name for a in expected]
    assert torch.tensor([0, int(most)], dtype=getattr(torch, name)).tolist() == [0, most]
    sums = torch.from_numpy(left).sort().values.max() + torch.tensor(0.5)
    assert sums.dtype is torch.float32
    assert float(torch.from_numpy(left).to(torch.float64)[-1]) == float(most)


def test_unsigned_integers_promote_to_the_least_dtype_that_holds_both() -> None:
    for unsigned in UNSIGNED:
        for other in (*UNSIGNED, "int8", "int16", "int32", "int64"):
            expected = np.promote_types(unsigned, other)
            given = getattr(torch, unsigned), getattr(torch, other)
            if expected.kind == "f":
                with pytest.raises(RuntimeError, match="Promotion for uint16, uint32, uint64 types is not supported"):
                    torch.promote_types(*given)
            else:
                assert torch.promote_types(*given) == torch.promote_types(*given[::-1]) == getattr(torch, expected.name)


def test_uint16_stays_apart_from_bfloat16_in_the_native_entry_too() -> None:
    """Both are held in 16 unsigned bits; after some calls operations and compiled functions run natively."""
    x = torch.tensor([1, 40000], dtype=torch.uint16)
    double = torch.compile(lambda a: a + a)
    for _ in range(300):
        difference = (x[1] - x[0]) + (double(x)[0] - x[0])
    assert difference.item() == 40000 and difference.dtype is torch.uint16
    assert (x.to(torch.bfloat16) * 2).to(torch.uint16).tolist() == [2, 65535]


@pytest.mark.parametrize("wrap", [lambda f: f, torch.compile], ids=["eager", "compiled"])
@pytest.mark.parametrize("name", ["uint8", "int8", "int16", "int32"])
def test_numbers_beyond_an_integer_dtype_are_taken_modulo_its_range(name: str, wrap: Any) -> None:
    array = np.array([0, 1, 100], name)
    number = 3 * 2 ** np.dtype(name).itemsize ** 2 + 7  # beyond the range
    for add, expected in ((number, array.astype(np.int64) + number), (-number, array.astype(np.int64) - number)):
        found = wrap(lambda a, k=add: a + k)(torch.from_numpy(array))
        assert found.numpy().tolist() == expected.astype(name).tolist()
    assert wrap(lambda a: a == -3)(torch.tensor([253], dtype=torch.uint8)).tolist() == [True]


@pytest.mark.parametrize(
    "choose",
    [
        lambda a: a.fill_(300), lambda a: a.clamp(0, 300), lambda a: a.masked_fill(a > 0, 300), lambda a: a ** 300,
        lambda a: torch.where(a > 0, a, 300), lambda a: torch.add(a, a, alpha=300),
        lambda a: a.index_fill(0, a[:1].long(), 300), lambda a: torch.nn.functional.pad(a, (1, 1), value=-1.0),
        lambda a: torch.full_like(a, -1.0), lambda a: a.masked_fill(a > 0, torch.tensor(300)),
    ],
)  # fmt: skip
def test_choices_refuse_numbers_that_the_dtype_cannot_hold(choose: Any) -> None:
    with pytest.raises(RuntimeError, match="value cannot be converted to type uint8_t without overflow"):
        choose(torch.ones(2, dtype=torch.uint8))


@pytest.mark.parametrize(
    ("function", "text"),
    [
        (torch.nn.functional.elu, '"elu_cpu" not implemented for \'Long\''),
        (torch.nn.functional.gelu, '"GeluKernelImpl" not implemented for \'Long\''),
        (torch.nn.functional.softplus, '"softplus_cpu" not implemented for \'Long\''),
        (lambda x: torch.nn.functional.layer_norm(x, (3,)), '"LayerNormKernelImpl" not implemented for \'Long\''),
        (lambda x: torch.nn.functional.mse_loss(x, x), '"mse_cpu" not implemented for \'Long\''),
        (lambda x: torch.lerp(x, x, 0.5), '"lerp_kernel_scalar" not implemented for \'Long\''),
    ],
)
def test_functions_of_floats_name_the_kernel_that_refuses_integers(function: Any, text: str) -> None:
    with pytest.raises(NotImplementedError, match=re.escape(text)):
        function(torch.arange(3))
    assert torch.sigmoid(torch.arange(2)).dtype is torch.float32 is torch.nn.functional.tanh(torch.arange(2)).dtype


def test_moments_of_halves_are_rounded_once() -> None:
    x = torch.tensor([1.0, 0.0, 1.0], dtype=torch.float16)
    assert x.var().item() == float(np.float16(1 / 3)) and x.std().item() == float(np.float16(np.sqrt(1 / 3)))


@pytest.mark.filterwarnings("ignore:Using a target size")
def test_losses_take_their_target_in_full() -> None:
    x, mask = torch.tensor([1.0, 2.0], requires_grad=True), torch.tensor([True, False])
    for loss in (torch.nn.functional.mse_loss, torch.nn.functional.huber_loss, torch.nn.functional.smooth_l1_loss):
        for function in (loss, torch.compile(loss)):
            value = function(x, mask)
            assert torch.equal(value, loss(x, mask.float()))
            wide = torch.float32 if loss is torch.nn.functional.huber_loss else torch.float64
            assert function(x, torch.tensor(1.0, dtype=torch.float64)).dtype is wide
        (slope,) = torch.autograd.grad(value, x)
        assert torch.equal(slope, torch.autograd.grad(loss(x, mask.float()), x)[0])


def test_functions_that_do_not_promote_raise() -> None:
    ones = torch.ones(2)
    with pytest.raises(RuntimeError, match="not yet implemented for tensors with different dtypes"):
        torch.heaviside(ones, ones.double())
    with pytest.raises(RuntimeError, match="Integer division with addcdiv is no longer supported"):
        torch.addcdiv(ones, ones.long(), ones.int())
    assert torch.addcdiv(ones, ones.long(), ones).tolist() == [2.0, 2.0]
    for pair, text in (((torch.ones(3), ones), "must have length 3. Got 3 and 2"),
                       ((torch.ones(2, 3), torch.ones(3)), "must have the same number of dimensions")):  # fmt: skip
        with pytest.raises(RuntimeError, match=text):
            torch.cross(*pair)
