"""Origins of NaN: thirty programs with one planted, half of them only in the backward pass; eager and compiled."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

import adjit as torch
from adjit.ir.errors import NonFiniteError

F = torch.nn.functional


@dataclass(frozen=True)
class Planted:
    """A program with a NaN (or, with `inf`, an infinity) at `index`, made by the line marked with `# here`."""

    function: Callable[..., Any]
    inputs: tuple[Any, ...]
    index: tuple[int, ...]
    inf: bool
    backward: bool

    @property
    def line(self) -> int:
        source, first = inspect.getsourcelines(self.function)
        (found,) = (number for number, line in enumerate(source) if "# here" in line)
        return first + found


PLANTED: list[Planted] = []


def planted(*inputs: Any, at: tuple[int, ...] = (), inf: bool = False, backward: bool = False) -> Any:
    def add(function: Callable[..., Any]) -> Callable[..., Any]:
        PLANTED.append(Planted(function, inputs, at, inf, backward))
        return function

    return add


# -- forward ----------------------------------------------------------------------------------------------------------
@planted([1.0, 4.0, -1.0], at=(2,))
def root_of_negative(x):
    y = x * 2
    return torch.sqrt(y).sum()  # here


@planted([1.0, -3.0], at=(1,))
def logarithm_of_negative(x):
    return (torch.log(x) + 1).mean()  # here


@planted([[1.0, 2.0], [0.0, 0.0]], at=(1, 0))
def division_of_zero_by_zero(x):
    total = x.sum(1, keepdim=True)
    return (x / total).sum()  # here


@planted([88.0, 100.0], at=(1,), inf=True)
def overflow_of_exp(x):
    y = torch.exp(x)  # here
    return (y / y.sum()).sum()


@planted([88.0, 100.0], at=(1,))
def infinity_over_infinity(x):
    y = torch.exp(x)
    return y / y.sum()  # here


@planted([1.0, 2.0, 3.0], [False, False, False], at=(0,))
def softmax_of_masked_row(x, keep):
    scores = x.masked_fill(keep.logical_not(), -torch.inf)
    return torch.softmax(scores, 0).sum()  # here


@planted([3e38, 3e38], inf=True)
def overflow_of_sum(x):
    return x.sum() / 2  # here


@planted([0.5, 1.5], at=(1,))
def arcsine_outside(x):
    return torch.asin(x).sum()  # here


@planted([2.0, -8.0], at=(1,))
def fraction_power(x):
    return (x ** (1 / 3)).sum()  # here


@planted([[1e30, 1.0], [1.0, 1.0]], at=(0, 0), inf=True)
def overflow_of_product(x):
    y = x @ x  # here
    return (y - y).sum()


@planted([1.0, 2.0, 3.0], at=(1,))
def missing_number_in_data(x):
    y = torch.where(x == 2, x - x, x)
    z = y / torch.where(y == 0, y, 1)  # here
    return torch.relu(z) + 1


@planted([0.0, 1.0], at=(0,))
def zero_times_infinity(x):
    return (x * (1 / x)).sum()  # here


@planted([1.0, -2.0], at=(1,))
def in_the_middle_of_a_chain(x):
    for _ in range(3):
        x = torch.tanh(x) * 2
    y = torch.log1p(x)  # here
    for _ in range(3):
        y = torch.sin(y) + y
    return y.sum()


@planted([[1.0, 1.0], [2.0, 3.0]], at=(0, 0))
def standardised_constant(x):
    centred = x - x.mean(1, keepdim=True)
    return (centred / x.std(1, keepdim=True)).sum()  # here


@planted([5.0, 2.0], at=())
def in_a_loop(x):
    total = x.sum()
    for _ in range(4):
        total = torch.sqrt(total - 2)  # here
    return total


# -- backward only ----------------------------------------------------------------------------------------------------
@planted([0.0, 4.0], at=(0,), inf=True, backward=True)
def root_at_zero(x):
    return torch.sqrt(x).sum()  # here


@planted([0.0, 4.0], at=(0,), backward=True)
def root_of_square_at_zero(x):
    y = x * x  # here
    return torch.sqrt(y).sum()


@planted([0.0, 0.0], inf=True, backward=True)
def norm_by_hand_at_zero(x):
    return torch.sqrt((x * x).sum())  # here


@planted([0.0, 1.0], at=(0,), inf=True, backward=True)
def power_below_one_at_zero(x):
    return (x**0.5).sum()  # here


@planted([1e-30, 1.0], at=(0,), inf=True, backward=True)
def reciprocal_squared(x):
    return (1 / x).sum()  # here


@planted([1e-30, 1.0], at=(0,), inf=True, backward=True)
def division_far_below(x):
    y = x * 2
    return (3 / y).sum()  # here


@planted([1e-30, 1.0], [1e30, 1.0], at=(0,), inf=True, backward=True)
def growing_cotangent(x, w):
    y = x * w  # here
    return (y * 1e30).sum()


@planted([1.0, 1.0], at=(1,), backward=True)
def distance_to_one(x):
    y = torch.stack([x[0] * 0.5, x[1]])
    z = (y - 1) * (y - 1)  # here
    return (torch.sqrt(z)).sum()


@planted([0.0, 2.0], at=(0,), backward=True)
def distance_to_itself(x):
    d = x - x.clone()
    squared = d**2  # here
    return torch.sqrt(squared).sum()


@planted([[0.0, 0.0], [3.0, 4.0]], at=(0, 0), backward=True)
def lengths_of_rows(x):
    squares = x * x  # here
    return squares.sum(1).sqrt().sum()


@planted([0.0, 1.0], at=(0,), inf=True, backward=True)
def logarithm_shifted(x):
    y = torch.log(x + 1e-40)  # here
    return y.mul(0.5).sum()


@planted([1.0, 1e-15], at=(1,), inf=True, backward=True)
def reciprocal_root(x):
    y = torch.rsqrt(x)  # here
    return y.mul(1e20).sum()


@planted([0.0, 1.0], at=(0,), inf=True, backward=True)
def arccosine_of_one(x):
    return torch.acos(1 - x).sum()  # here


@planted([[1e-30, 1e-30]], at=(0, 0), inf=True, backward=True)
def cotangent_of_a_layer(x):
    y = x @ torch.full((2, 2), 1e30)  # here
    return (y * 1e20).sum()


@planted([0.0, 9.0], at=(0,), inf=True, backward=True)
def trap_behind_a_factor(x):
    y = torch.sqrt(x)  # here
    return torch.where(x >= 0, y, x).sum()


def run(case: Planted, kind: str) -> NonFiniteError:
    function = case.function if kind == "eager" else torch.compile(case.function, strict=kind == "strict")
    inputs = [torch.tensor(given) for given in case.inputs]
    if case.backward:
        inputs[0].requires_grad_()
        result = function(*inputs)
        assert torch.isfinite(result)
        with pytest.raises(NonFiniteError) as caught, torch.check_nan(inf=case.inf):
            function(*inputs).backward()
    else:
        with pytest.raises(NonFiniteError) as caught, torch.check_nan(inf=case.inf):
            function(*inputs)
    return caught.value


@pytest.mark.parametrize("kind", ["eager", "compiled", "strict"])
@pytest.mark.parametrize("case", PLANTED, ids=lambda case: case.function.__name__)
def test_origin(case: Planted, kind: str):
    error = run(case, kind)
    text = str(error)
    assert f"test_check_nan.py:{case.line}    " in text
    origin = error.origin
    assert origin.index == case.index, text
    assert ("in the backward pass" in text) is case.backward
    assert origin.operands
    assert len(text.splitlines()) <= 15


def masked(x, keep):
    """Softmax of scores of which some are left out by -inf."""
    return torch.softmax(x.masked_fill(keep.logical_not(), -torch.inf), 0).sum()


def unselected(x):
    """NaN that is never selected, neither forward nor backward."""
    return torch.where(x > 0, torch.log(x), 0).sum()


@pytest.mark.parametrize("inf", [False, True])
def test_masks_are_no_fault(inf: bool):
    x, keep = torch.tensor([1.0, 2.0, 3.0], requires_grad=True), torch.tensor([True, False, True])
    for function in (masked, torch.compile(masked)):
        with torch.check_nan(inf=inf):
            function(x, keep).backward()
    mask = torch.tensor([0.0, -torch.inf, 0.0])
    with torch.check_nan(inf=inf):
        torch.compile(lambda x: torch.softmax(x + mask, 0).sum())(x).backward()


def test_unselected_nan_inside_a_kernel_is_no_fault():
    x = torch.tensor([1.0, -2.0], requires_grad=True)
    with torch.check_nan():
        torch.compile(unselected)(x).backward()
    assert x.grad.tolist() == [1.0, 0.0]


def step(weight, x):
    weight.sub_(torch.log(x))
    return weight.sum()


def test_inputs_are_unchanged_after_a_fault():
    weight, x = torch.ones(3), torch.tensor([1.0, -1.0, 2.0])
    compiled = torch.compile(step, check_nan=True)
    with pytest.raises(NonFiniteError, match=r"log made nan at \[1\]"):
        compiled(weight, x)
    assert weight.tolist() == [1.0, 1.0, 1.0] and weight._version == 0
    compiled(weight, torch.ones(3))
    assert weight.tolist() == [1.0, 1.0, 1.0] and weight._version == 1


def test_data_that_come_in():
    x = torch.tensor([1.0, torch.nan])
    with pytest.raises(NonFiniteError, match=r"^%x came in with nan at \[1\]"):
        torch.compile(lambda x: x * 2, check_nan=True)(x)


def repeated(x):
    return torch.while_loop(lambda x: x.sum() > -10, lambda x: (torch.sqrt(x) - 1,), (x,))


def test_turn_of_a_loop():
    with pytest.raises(NonFiniteError) as caught, torch.check_nan():
        torch.compile(repeated)(torch.tensor([2.0, 9.0]))
    assert "in turn 2 of the loop" in str(caught.value) and caught.value.origin.index == (0,)
    assert "test_check_nan.py" in str(caught.value)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("place", [0, 63, 64, 299])
def test_dtypes_and_places(dtype, place):
    x = torch.ones(300, dtype=dtype)
    x[place] = -1
    compiled = torch.compile(lambda x: torch.sqrt(x), check_nan=True)
    for _ in range(3):  # the last of them without Python
        assert compiled(x.abs()).sum() == 300
    with pytest.raises(NonFiniteError, match=rf"sqrt made nan at \[{place}\]"):
        compiled(x)


def training_step(weight, x):
    loss = torch.sqrt((x @ weight) ** 2).sum()
    loss.backward()
    return loss


def test_anomaly_detection_looks_at_compiled_backward_passes():
    weight = torch.zeros(3, requires_grad=True)
    x = torch.ones(2, 3)
    with pytest.warns(UserWarning, match="Anomaly Detection"), torch.autograd.detect_anomaly():
        with pytest.raises(NonFiniteError, match=r"^Function 'CompiledBackward0' returned nan values"):
            torch.compile(training_step)(weight, x)
        torch.compile(lambda x: torch.log(x))(torch.tensor([-1.0]))  # the forward pass is not looked at
    assert weight.grad is None


def guarded_step(weight, x):
    with torch.autograd.detect_anomaly(check_nan=True):
        loss = torch.sqrt((x @ weight) ** 2).sum()
        loss.backward()
    return loss


@torch.compile
def guarded_logarithm(x):
    with torch.check_nan():
        return torch.log(x)


@pytest.mark.filterwarnings("ignore:Anomaly Detection")
def test_asked_for_inside_a_compiled_function():
    weight = torch.zeros(3, requires_grad=True)
    with pytest.raises(NonFiniteError, match="in the backward pass"):
        torch.compile(guarded_step)(weight, torch.ones(2, 3))
    for _ in range(3):
        assert guarded_logarithm(torch.ones(2)).tolist() == [0, 0]
    with pytest.raises(NonFiniteError, match="log made nan"):
        guarded_logarithm(-torch.ones(2))


def test_off_means_the_same_program():
    compiled = torch.compile(lambda x: torch.sqrt(x) + 1)
    x = torch.tensor([4.0, -1.0])
    compiled(x)
    before = compiled.served((x,), {})[1].executables
    program = before["forward"]
    with pytest.raises(NonFiniteError), torch.check_nan():
        compiled(x)
    assert before["forward"] is program and len(before) == 2
    with torch.check_nan(), torch.check_nan(False):
        assert compiled(x)[0] == 3
    assert compiled(x)[0] == 3


def test_complex_numbers_and_results_of_the_host():
    with pytest.raises(NonFiniteError, match="div made nan"):
        torch.compile(lambda x: x / (x - x), check_nan=True)(torch.tensor([1 + 1j, 2j]))
    for function in (torch.exp, torch.compile(torch.exp)):
        with pytest.raises(NonFiniteError, match=r"nan.* at \[1\]"), torch.check_nan():
            function(torch.tensor([1 + 1j, complex("nan")]))
    broken = torch.full((2, 2), torch.nan)
    with pytest.raises(NonFiniteError, match="came in with nan"):
        torch.compile(torch.linalg.eigvalsh, check_nan=True)(broken)


def test_there_are_thirty():
    assert len(PLANTED) == 30 and sum(case.backward for case in PLANTED) == 15
