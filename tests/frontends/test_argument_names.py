"""Arguments by name: sizes that may stand apart, NumPy's names of axes and operands, and `input` of all functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import adjit as torch

X = torch.arange(6.0).reshape(2, 3)
SQUARE = torch.tensor([[2.0, 1.0], [0.5, 3.0]])
PLACES = torch.tensor([[0, 1, 0]])

SIZES: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
    "reshape": (lambda: X.reshape(shape=(3, 2)), lambda: X.reshape(3, 2)),
    "reshape of input": (lambda: torch.reshape(input=X, shape=(3, 2)), lambda: X.reshape(3, 2)),
    "view": (lambda: X.view(size=(3, 2)), lambda: X.view(3, 2)),
    "view of a dtype": (lambda: X.view(dtype=torch.int32), lambda: X.view(torch.int32)),
    "permute": (lambda: X.permute(dims=(1, 0)), lambda: X.t()),
    "permute of input": (lambda: torch.permute(input=X, dims=(1, 0)), lambda: X.t()),
    "expand": (lambda: X.expand(size=(2, 2, 3)), lambda: X.expand(2, 2, 3)),
    "repeat": (lambda: X.repeat(repeats=(2, 1)), lambda: X.repeat(2, 1)),
    "tile": (lambda: torch.tile(input=X, dims=(2,)), lambda: X.tile(2)),
    "sum_to_size": (lambda: X.sum_to_size(size=(1, 3)), lambda: X.sum_to_size(1, 3)),
    "resize_": (lambda: X.clone().resize_(size=(3, 2)), lambda: X.clone().resize_(3, 2)),
}
AXES: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
    "squeeze": (lambda: X[:1].squeeze(axis=0), lambda: X[0]),
    "unsqueeze": (lambda: torch.unsqueeze(X, axis=1), lambda: X[:, None]),
    "chunk": (lambda: X.chunk(3, axis=1)[1], lambda: X[:, 1:2]),
    "unbind": (lambda: X.unbind(axis=1)[2], lambda: X[:, 2]),
    "tensor_split": (lambda: X.tensor_split(3, axis=1)[1], lambda: X[:, 1:2]),
    "gather": (lambda: X.gather(axis=0, index=PLACES), lambda: X.gather(0, PLACES)),
    "select": (lambda: X.select(axis=1, index=2), lambda: X[:, 2]),
    "narrow": (lambda: X.narrow(axis=1, start=1, length=2), lambda: X[:, 1:]),
    "kthvalue": (lambda: X.kthvalue(1, axis=0, keepdims=True)[0], lambda: X[:1]),
    "cross": (lambda: torch.cross(X, X + 1, axis=1), lambda: torch.cross(X, X + 1, dim=1)),
    "fft": (lambda: torch.fft.fft(X, axis=0), lambda: torch.fft.fft(X, dim=0)),
    "rfftn": (lambda: torch.fft.rfftn(X, axis=(0, 1)), lambda: torch.fft.rfftn(X)),
    "fftshift": (lambda: torch.fft.fftshift(X, axis=1), lambda: X.roll(1, 1)),
    "norm": (lambda: torch.linalg.norm(X, axis=1, keepdims=True), lambda: torch.linalg.norm(X, dim=1, keepdim=True)),
    "vector_norm": (lambda: torch.linalg.vector_norm(X, axis=0), lambda: X.square().sum(0).sqrt()),
    "vecdot": (lambda: torch.linalg.vecdot(X, X, axis=0), lambda: X.square().sum(0)),
}
OPERANDS: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
    "x": (lambda: torch.exp(x=X), lambda: X.exp()),
    "a": (lambda: torch.sum(a=X, dim=0), lambda: X.sum(0)),
    "x1 and x2": (lambda: torch.sub(x1=X, x2=SQUARE[0, 0]), lambda: X - 2),
    "x2": (lambda: torch.lt(X, x2=3 - X), lambda: X < 3 - X),
    "where": (lambda: torch.where(X > 2, x=X, other=-X), lambda: torch.where(X > 2, X, -X)),
    "det": (lambda: torch.det(input=SQUARE), lambda: SQUARE.det()),
    "linalg.det": (lambda: torch.linalg.det(A=SQUARE), lambda: SQUARE.det()),
    "logdet": (lambda: torch.logdet(input=SQUARE), lambda: SQUARE.logdet()),
    "matrix_exp": (lambda: torch.matrix_exp(input=SQUARE), lambda: SQUARE.matrix_exp()),
    "pinv": (lambda: torch.linalg.pinv(input=SQUARE), lambda: torch.linalg.pinv(SQUARE)),
    "linalg.norm": (lambda: torch.linalg.norm(input=X, ord=1), lambda: torch.linalg.norm(X, 1)),
    "out": (lambda: torch.add(x1=X, x2=1, out=torch.empty(2, 3)), lambda: X + 1),
}


@pytest.mark.parametrize("name", [*SIZES, *AXES, *OPERANDS])
def test_arguments_are_taken_by_name(name: str) -> None:
    found, expected = {**SIZES, **AXES, **OPERANDS}[name]
    for _ in range(20):  # the last calls with native entries
        assert torch.equal(found(), expected()), name


def test_names_in_compiled_code() -> None:
    @torch.compile
    def normed(x: Any) -> Any:
        y = torch.reshape(input=x, shape=(3, 2)).unsqueeze(axis=0)
        return torch.exp(x=y / torch.linalg.norm(y, axis=-1, keepdims=True))

    y = X.reshape(3, 2)[None]
    torch.testing.assert_close(normed(X), (y / y.norm(dim=-1, keepdim=True)).exp())


@pytest.mark.parametrize("call", [
    lambda: torch.exp(y=X), lambda: torch.exp(X, x=X), lambda: torch.exp(input=X, x=X), lambda: torch.add(X, 1, x2=1),
    lambda: torch.reshape(shape=(3, 2)), lambda: X.reshape(3, 2, shape=(3, 2)), lambda: torch.exp(x=X, a=X),
    lambda: X.squeeze(1, axis=1),
])  # fmt: skip
def test_unknown_and_double_names_are_refused(call: Callable[[], Any]) -> None:
    with pytest.raises(TypeError):
        call()
