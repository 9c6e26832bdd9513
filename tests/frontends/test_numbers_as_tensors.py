"""Tensors of rank 0 where an int is wanted: places, sizes and axes; what is recorded has the ints."""

from collections.abc import Callable

import pytest

import adjit as torch

Case = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

CASES: dict[str, Case] = {
    "select": lambda x, i: x.select(1, i),
    "index": lambda x, i: x.t()[i, -i],
    "narrow": lambda x, i: x.narrow(1, i, 1),
    "unfold": lambda x, i: x.unfold(1, i, i),
    "split": lambda x, i: x.split(i, 1)[0],
    "roll": lambda x, i: x.roll(i, i - i),
    "pad": lambda x, i: torch.nn.functional.pad(x, (i, i)),
    "topk": lambda x, i: x.topk(i)[0],
    "kthvalue": lambda x, i: x.kthvalue(i)[0],
    "sum": lambda x, i: x.sum(i - i),
    "movedim": lambda x, i: x.movedim(i - i, i - i + 1),
    "squeeze": lambda x, i: x.unsqueeze(0).squeeze(i - i),
    "reshape": lambda x, i: x.reshape(i, -1),
}


@pytest.mark.parametrize("name", CASES)
def test_a_number_may_be_a_tensor(name: str) -> None:
    case = CASES[name]
    for _ in range(12):  # its backward pass by steps and as a plan
        x, y = (torch.arange(12.0).reshape(3, 4).requires_grad_() for _ in range(2))
        found, expected = case(x, torch.tensor(2)), case(y, 2)  # type: ignore[arg-type]
        assert found.equal(expected)
        found.square().sum().backward()
        expected.square().sum().backward()
        assert x.grad is not None and y.grad is not None and x.grad.equal(y.grad)
    assert "Tensor" not in str(found.graph)
