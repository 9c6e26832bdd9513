"""Calls as older programs write them: numbers before the tensors that they scale, and PyTorch's names of arguments."""

from collections.abc import Callable

import pytest

import adjit as torch

ROW = torch.tensor([1.0, 2.0, 4.0])
SQUARE = torch.arange(9.0).reshape(3, 3)
BATCH = SQUARE[None]

FORMER: dict[str, tuple[Callable[[], torch.Tensor], Callable[[], torch.Tensor]]] = {
    "add": (lambda: ROW.add(2, ROW), lambda: ROW.add(ROW, alpha=2)),
    "add of the namespace": (lambda: torch.add(ROW, 2, ROW), lambda: torch.add(ROW, ROW, alpha=2)),
    "add_": (lambda: ROW.clone().add_(0.5, ROW), lambda: ROW.clone().add_(ROW, alpha=0.5)),
    "sub_": (lambda: ROW.clone().sub_(2, ROW), lambda: ROW.clone().sub_(ROW, alpha=2)),
    "addcmul": (lambda: torch.addcmul(ROW, 3, ROW, ROW), lambda: torch.addcmul(ROW, ROW, ROW, value=3)),
    "addcdiv_": (lambda: ROW.clone().addcdiv_(-0.5, ROW, ROW), lambda: ROW.addcdiv(ROW, ROW, value=-0.5)),
    "addmm of beta": (lambda: SQUARE.addmm(2, SQUARE, SQUARE), lambda: SQUARE.addmm(SQUARE, SQUARE, beta=2)),
    "addmm of beta and alpha": (
        lambda: torch.addmm(2, SQUARE, 3, SQUARE, SQUARE),
        lambda: SQUARE.addmm(SQUARE, SQUARE, beta=2, alpha=3),
    ),
    "addmv": (lambda: ROW.addmv(2, SQUARE, ROW), lambda: ROW.addmv(SQUARE, ROW, beta=2)),
    "addr": (lambda: SQUARE.addr(1, 4, ROW, ROW), lambda: SQUARE.addr(ROW, ROW, alpha=4)),
    "baddbmm": (lambda: BATCH.baddbmm(1, 2, BATCH, BATCH), lambda: BATCH.baddbmm(BATCH, BATCH, alpha=2)),
    "addbmm": (lambda: SQUARE.addbmm(2, BATCH, BATCH), lambda: SQUARE.addbmm(BATCH, BATCH, beta=2)),
}


@pytest.mark.parametrize("name", FORMER)
def test_numbers_may_stand_before_what_they_scale(name: str) -> None:
    former, present = FORMER[name]
    for _ in range(3):  # by Python and by native code
        with pytest.warns(UserWarning, match=r"is deprecated:\n\t(add|sub|badd)") as caught:
            found = former()
        assert found.equal(present())
        assert caught[0].filename == __file__


def test_they_have_gradients_and_are_compiled() -> None:
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    with pytest.warns(UserWarning, match="addcmul"):
        torch.addcmul(x, 2, x, x.detach()).sum().backward()
    assert x.grad is not None and x.grad.tolist() == [3.0, 5.0]
    with pytest.warns(UserWarning, match="add"):
        assert torch.compile(lambda a, b: a.add(0.5, b))(ROW, ROW).tolist() == [1.5, 3.0, 6.0]


def test_a_number_that_is_given_twice_or_too_much_is_an_error() -> None:
    for call in (
        lambda: torch.add(ROW, 2, ROW, alpha=3),  # type: ignore[call-arg]
        lambda: torch.add(ROW, ROW, ROW),  # type: ignore[call-arg]
        lambda: ROW.addcmul(1, 2, ROW, ROW),
    ):
        with pytest.raises(TypeError, match=r"takes \d positional arguments but"):
            call()


def test_the_method_split_has_a_size_and_the_function_sizes() -> None:
    assert [piece.tolist() for piece in ROW.split(split_size=2)] == [[1.0, 2.0], [4.0]]
    assert [piece.tolist() for piece in ROW.split(split_size=(1, 2), dim=0)] == [[1.0], [2.0, 4.0]]
    assert [piece.tolist() for piece in torch.split(ROW, split_size_or_sections=2)] == [[1.0, 2.0], [4.0]]


def test_integers_like_another_tensor_take_bounds_by_name() -> None:
    assert torch.randint_like(ROW, high=1).tolist() == [0.0, 0.0, 0.0]
    assert torch.randint_like(ROW, low=3, high=4).tolist() == [3.0, 3.0, 3.0]
    with pytest.raises(TypeError, match="missing 1 required positional"):
        torch.randint_like(ROW)


def test_an_optimizer_around_another_need_not_make_its_base() -> None:
    class Twice(torch.optim.Optimizer):
        def __init__(self, inner: torch.optim.Optimizer) -> None:
            self.inner = inner
            self.param_groups = inner.param_groups

        def step(self, closure: None = None) -> None:
            self.inner.step()
            self.inner.step()

    x = torch.tensor([3.0], requires_grad=True)
    around = Twice(torch.optim.SGD([x], lr=1.0))
    (2 * x).sum().backward()
    around.step()
    around.zero_grad()
    assert x.tolist() == [-1.0] and x.grad is None
