"""Printed tensors, letter for letter as PyTorch 2.13 prints them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

import adjit as torch

# The texts were printed by PyTorch.
GOLDENS: list[tuple[Callable[[], Any], str]] = [
    (
        lambda: torch.tensor(3.5),
        "tensor(3.5000)",
    ),
    (
        lambda: torch.tensor(3),
        "tensor(3)",
    ),
    (
        lambda: torch.tensor(True),
        "tensor(True)",
    ),
    (
        lambda: torch.tensor(1e-8),
        "tensor(1.0000e-08)",
    ),
    (
        lambda: torch.tensor(1234567.5),
        "tensor(1234567.5000)",
    ),
    (
        lambda: torch.tensor(-0.0),
        "tensor(-0.)",
    ),
    (
        lambda: torch.tensor([]),
        "tensor([])",
    ),
    (
        lambda: torch.zeros(2, 0, 3),
        "tensor([], size=(2, 0, 3))",
    ),
    (
        lambda: torch.zeros(0, dtype=torch.int64),
        "tensor([], dtype=torch.int64)",
    ),
    (
        lambda: torch.tensor([1.0, 2.0, 3.0]),
        "tensor([1., 2., 3.])",
    ),
    (
        lambda: torch.tensor([1.0, 2.5, -3.0]),
        "tensor([ 1.0000,  2.5000, -3.0000])",
    ),
    (
        lambda: torch.tensor([1e-4, 1.0]),
        "tensor([1.0000e-04, 1.0000e+00])",
    ),
    (
        lambda: torch.tensor([1.5, 1001.5]),
        "tensor([   1.5000, 1001.5000])",
    ),
    (
        lambda: torch.tensor([1.5, 1501.5]),
        "tensor([1.5000e+00, 1.5015e+03])",
    ),
    (
        lambda: torch.tensor([1.0, 1e9]),
        "tensor([1.0000e+00, 1.0000e+09])",
    ),
    (
        lambda: torch.tensor([123456.789, 200.5]),
        "tensor([123456.7891,    200.5000])",
    ),
    (
        lambda: torch.tensor([0.0, 1e-10]),
        "tensor([0.0000e+00, 1.0000e-10])",
    ),
    (
        lambda: torch.tensor([float("nan"), float("inf"), -float("inf")]),
        "tensor([nan, inf, -inf])",
    ),
    (
        lambda: torch.tensor([float("nan"), 1.5, -float("inf")]),
        "tensor([   nan, 1.5000,   -inf])",
    ),
    (
        lambda: torch.tensor([[float("inf"), 1.0], [2.0, 3.0]]),
        ("tensor([[inf, 1.],\n        [2., 3.]])"),
    ),
    (
        lambda: torch.tensor([-0.0, 1.5]),
        "tensor([-0.0000, 1.5000])",
    ),
    (
        lambda: torch.tensor([[True, False], [False, False]]),
        ("tensor([[ True, False],\n        [False, False]])"),
    ),
    (
        lambda: torch.tensor([[1, -20], [300, 4]]),
        ("tensor([[  1, -20],\n        [300,   4]])"),
    ),
    (
        lambda: torch.tensor([1.1, 65000.0], dtype=torch.float16),
        "tensor([1.0996e+00, 6.4992e+04], dtype=torch.float16)",
    ),
    (
        lambda: torch.tensor([1.1, 2.2], dtype=torch.bfloat16),
        "tensor([1.1016, 2.2031], dtype=torch.bfloat16)",
    ),
    (
        lambda: torch.tensor([1.1, 2.2], dtype=torch.float64),
        "tensor([1.1000, 2.2000], dtype=torch.float64)",
    ),
    (
        lambda: torch.tensor([255, 0], dtype=torch.uint8),
        "tensor([255,   0], dtype=torch.uint8)",
    ),
    (
        lambda: torch.arange(30),
        (
            "tensor([ 0,  1,  2,  3,  4,  5,  6,  7,  8,  9, 10, 11, 12, 13, 14, 15, 16, 17,\n"
            "        18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29])"
        ),
    ),
    (
        lambda: torch.arange(24.0).reshape(2, 3, 2, 2),
        (
            "tensor([[[[ 0.,  1.],\n"
            "          [ 2.,  3.]],\n"
            "\n"
            "         [[ 4.,  5.],\n"
            "          [ 6.,  7.]],\n"
            "\n"
            "         [[ 8.,  9.],\n"
            "          [10., 11.]]],\n"
            "\n"
            "\n"
            "        [[[12., 13.],\n"
            "          [14., 15.]],\n"
            "\n"
            "         [[16., 17.],\n"
            "          [18., 19.]],\n"
            "\n"
            "         [[20., 21.],\n"
            "          [22., 23.]]]])"
        ),
    ),
    (
        lambda: torch.arange(1001),
        "tensor([   0,    1,    2,  ...,  998,  999, 1000])",
    ),
    (
        lambda: torch.arange(2000.0).reshape(20, 100) / 7,
        (
            "tensor([[0.0000e+00, 1.4286e-01, 2.8571e-01,  ..., 1.3857e+01, 1.4000e+01,\n"
            "         1.4143e+01],\n"
            "        [1.4286e+01, 1.4429e+01, 1.4571e+01,  ..., 2.8143e+01, 2.8286e+01,\n"
            "         2.8429e+01],\n"
            "        [2.8571e+01, 2.8714e+01, 2.8857e+01,  ..., 4.2429e+01, 4.2571e+01,\n"
            "         4.2714e+01],\n"
            "        ...,\n"
            "        [2.4286e+02, 2.4300e+02, 2.4314e+02,  ..., 2.5671e+02, 2.5686e+02,\n"
            "         2.5700e+02],\n"
            "        [2.5714e+02, 2.5729e+02, 2.5743e+02,  ..., 2.7100e+02, 2.7114e+02,\n"
            "         2.7129e+02],\n"
            "        [2.7143e+02, 2.7157e+02, 2.7171e+02,  ..., 2.8529e+02, 2.8543e+02,\n"
            "         2.8557e+02]])"
        ),
    ),
    (
        lambda: torch.arange(2000).reshape(500, 2, 2),
        (
            "tensor([[[   0,    1],\n"
            "         [   2,    3]],\n"
            "\n"
            "        [[   4,    5],\n"
            "         [   6,    7]],\n"
            "\n"
            "        [[   8,    9],\n"
            "         [  10,   11]],\n"
            "\n"
            "        ...,\n"
            "\n"
            "        [[1988, 1989],\n"
            "         [1990, 1991]],\n"
            "\n"
            "        [[1992, 1993],\n"
            "         [1994, 1995]],\n"
            "\n"
            "        [[1996, 1997],\n"
            "         [1998, 1999]]])"
        ),
    ),
    (
        lambda: torch.tensor([1.0, 2.0], requires_grad=True),
        "tensor([1., 2.], requires_grad=True)",
    ),
    (
        lambda: torch.tensor([1.0, 2.0], requires_grad=True) * 2,
        "tensor([2., 4.], grad_fn=<MulBackward0>)",
    ),
    (
        lambda: torch.tensor([[1.0, 2.0]], requires_grad=True).t(),
        ("tensor([[1.],\n        [2.]], grad_fn=<TBackward0>)"),
    ),
    (
        lambda: torch.tensor([1.0, 2.0], requires_grad=True).exp().sum(),
        "tensor(10.1073, grad_fn=<SumBackward0>)",
    ),
    (
        lambda: torch.tensor([1.0, 2.0], requires_grad=True).double(),
        "tensor([1., 2.], dtype=torch.float64, grad_fn=<ToCopyBackward0>)",
    ),
    (
        lambda: torch.ones(8, dtype=torch.float64) * 1.5,
        ("tensor([1.5000, 1.5000, 1.5000, 1.5000, 1.5000, 1.5000, 1.5000, 1.5000],\n       dtype=torch.float64)"),
    ),
    (
        lambda: torch.ones(8, dtype=torch.float64, requires_grad=True) * 1.5,
        (
            "tensor([1.5000, 1.5000, 1.5000, 1.5000, 1.5000, 1.5000, 1.5000, 1.5000],\n"
            "       dtype=torch.float64, grad_fn=<MulBackward0>)"
        ),
    ),
    (
        lambda: torch.ones(9, requires_grad=True) * 1.5,
        (
            "tensor([1.5000, 1.5000, 1.5000, 1.5000, 1.5000, 1.5000, 1.5000, 1.5000, 1.5000],\n"
            "       grad_fn=<MulBackward0>)"
        ),
    ),
]
OPTIONS: list[tuple[dict[str, Any], Callable[[], Any], str]] = [
    (
        dict(precision=2),
        lambda: torch.tensor([1.123456, 2.0]),
        "tensor([1.12, 2.00])",
    ),
    (
        dict(sci_mode=True),
        lambda: torch.tensor([1.0, 2.0]),
        "tensor([1.0000e+00, 2.0000e+00])",
    ),
    (
        dict(sci_mode=False),
        lambda: torch.tensor([1.5e-8, 2e9]),
        "tensor([         0.0000, 2000000000.0000])",
    ),
    (
        dict(threshold=5, edgeitems=1),
        lambda: torch.arange(100.0).reshape(10, 10),
        ("tensor([[ 0.,  ...,  9.],\n        ...,\n        [90.,  ..., 99.]])"),
    ),
    (
        dict(threshold=5, edgeitems=0),
        lambda: torch.arange(10.0),
        "tensor([...], size=(10,))",
    ),
    (
        dict(linewidth=30),
        lambda: torch.arange(14.0).reshape(2, 7) / 3,
        (
            "tensor([[0.0000, 0.3333,\n"
            "         0.6667, 1.0000,\n"
            "         1.3333, 1.6667,\n"
            "         2.0000],\n"
            "        [2.3333, 2.6667,\n"
            "         3.0000, 3.3333,\n"
            "         3.6667, 4.0000,\n"
            "         4.3333]])"
        ),
    ),
    (
        dict(profile="short"),
        lambda: torch.arange(1200.0) / 3,
        "tensor([0.00e+00, 3.33e-01,  ..., 3.99e+02, 4.00e+02])",
    ),
]


@pytest.fixture
def options() -> Iterator[None]:
    yield
    torch.set_printoptions(profile="default")


@pytest.mark.parametrize(("make", "text"), GOLDENS, ids=[text.partition("\n")[0] for _, text in GOLDENS])
def test_text(make: Callable[[], Any], text: str) -> None:
    assert repr(make()) == text
    assert str(make()) == text


@pytest.mark.usefixtures("options")
@pytest.mark.parametrize(("given", "make", "text"), OPTIONS, ids=[str(given) for given, _, _ in OPTIONS])
def test_options(given: dict[str, Any], make: Callable[[], Any], text: str) -> None:
    torch.set_printoptions(**given)
    assert repr(make()) == text


def test_a_number_is_formatted_and_a_tensor_is_not() -> None:
    assert f"{torch.tensor(3.14159):.2f}" == "3.14"
    assert f"{torch.tensor(3)}" == "3"
    assert f"{torch.tensor([1.5])}" == "tensor([1.5000])"
    with pytest.raises(TypeError, match="unsupported format string"):
        format(torch.ones(2), ".2f")


def test_a_traced_tensor_shows_its_type() -> None:
    seen: list[str] = []

    def function(x: Any) -> Any:
        seen.append(repr(x))
        return x * 2

    torch.compile(function)(torch.ones(2, 3))
    assert seen == ["<traced f32[2, 3]>"]


def test_limits_of_dtypes() -> None:
    assert repr(torch.finfo(torch.float32)) == (
        "finfo(resolution=1e-06, min=-3.40282e+38, max=3.40282e+38, eps=1.19209e-07, smallest_normal=1.17549e-38, "
        "tiny=1.17549e-38, dtype=float32)"
    )
    assert torch.finfo(torch.bfloat16).eps == 2.0**-7
    assert torch.iinfo(torch.int32).max == 2**31 - 1
    with pytest.raises(TypeError, match="requires a floating point input type"):
        torch.finfo(torch.int64)
