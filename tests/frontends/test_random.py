"""Random numbers: seeds, distributions, and the same stream in eager and compiled code."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

import adjit as torch
from adjit import random_words

DRAWS: list[Callable[[], Any]] = [
    lambda: torch.rand(5),
    lambda: torch.rand(5, dtype=torch.float64),
    lambda: torch.rand(5, dtype=torch.bfloat16),
    lambda: torch.randn(2, 3),
    lambda: torch.randn(5, dtype=torch.float64),
    lambda: torch.randint(10, (4,)),
    lambda: torch.randint(-5, 5, (4,), dtype=torch.int8),
    lambda: torch.randperm(7),
    lambda: torch.rand_like(torch.ones(2, 2)),
    lambda: torch.randint_like(torch.ones(3), 2, 9),
    lambda: torch.normal(torch.zeros(3), torch.ones(3) * 2),
    lambda: torch.bernoulli(torch.full((6,), 0.5)),
    lambda: torch.multinomial(torch.arange(1.0, 9.0), 6),
    lambda: torch.multinomial(torch.ones(2, 4), 6, replacement=True),
    lambda: torch.empty(4).uniform_(-1, 1),
    lambda: torch.empty(4).normal_(2, 3),
    lambda: torch.empty(4, dtype=torch.int64).random_(),
    lambda: torch.empty(4).exponential_(2.0),
    lambda: torch.empty(4).geometric_(0.25),
    lambda: torch.empty(4).cauchy_(),
    lambda: torch.empty(4).log_normal_(),
]


def number(index: int) -> str:
    return f"draw {index}"


@pytest.mark.parametrize("draw", DRAWS, ids=[number(i) for i in range(len(DRAWS))])
def test_a_seed_gives_one_stream_in_eager_and_strict_compiled_code(draw: Callable[[], Any]) -> None:
    torch.manual_seed(7)
    eager = [draw(), draw()]
    assert eager[0].tolist() != eager[1].tolist()
    compiled = torch.compile(lambda: draw(), strict=True)
    torch.manual_seed(7)
    found = [compiled(), compiled()]
    for expected, result in zip(eager, found, strict=True):
        assert result.dtype is expected.dtype
        assert result.tolist() == expected.tolist()


def test_eager_and_compiled_draws_take_turns_from_one_state() -> None:
    compiled = torch.compile(lambda: torch.rand(3))
    torch.manual_seed(1)
    expected = [torch.rand(3).tolist() for _ in range(4)]
    torch.manual_seed(1)
    assert [draw().tolist() for draw in (compiled, lambda: torch.rand(3), compiled, compiled)] == expected


def test_seeding_inside_a_compiled_function() -> None:
    def function() -> Any:
        torch.manual_seed(3)
        return torch.rand(2)

    torch.manual_seed(3)
    expected = [torch.rand(2).tolist(), torch.rand(2).tolist()]
    compiled = torch.compile(function)
    assert [compiled().tolist(), compiled().tolist()] == [expected[0]] * 2
    assert torch.rand(2).tolist() == expected[1]


def drawings(shape: tuple[int, ...]) -> list[bytes]:
    """What each way of drawing gives after one seed, and the state that it leaves."""
    torch.manual_seed(3)
    found = []
    for dtype in (torch.float32, torch.float64, torch.float16):
        new = torch.empty(shape, dtype=dtype)
        found += [draw(shape, dtype=dtype) for draw in (torch.rand, torch.randn, partial(torch.normal, 0.5, 2))]
        found += [new.clone().uniform_(-3, 2.5), new.clone().normal_(1.5, 0.1), new.clone().exponential_(0.3)]
        found += [new.clone().log_normal_(0.1, 0.2), new.clone().bernoulli_(0.3), new.clone().random_()]
    for low, high in ((0, 5), (-7, 9), (-7, 2**40), (0, 2**40), (0, 2**63 - 1), (-(2**63), 2**63 - 1)):
        found.append(torch.randint(low, high, shape))
    found += [torch.randint(3, 9, shape, dtype=torch.int8), torch.randn(shape, dtype=torch.complex64)]
    return [tensor.numpy().tobytes() for tensor in (*found, torch.randperm(11), torch.get_rng_state())]


@pytest.mark.parametrize("shape", [(0,), (1,), (3,), (255,), (257,), (3, 100), (), (70_000,)])
def test_programs_draw_what_operations_draw(shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random_words, "_programs", {})
    monkeypatch.setattr(random_words, "_LATE", float("inf"))
    expected = drawings(shape)
    assert not random_words._programs
    monkeypatch.setattr(random_words, "_LATE", -1.0)
    assert drawings(shape) == expected
    assert random_words._programs


# -- state ----------------------------------------------------------------------------------------------------------
def test_a_state_is_restored() -> None:
    state = torch.get_rng_state()
    expected = torch.rand(3).tolist()
    torch.set_rng_state(state)
    with torch.fork_rng():
        assert torch.rand(3).tolist() == expected
    assert torch.rand(3).tolist() == expected


def test_generators_are_independent_of_each_other() -> None:
    first, second = torch.Generator().manual_seed(5), torch.Generator().manual_seed(5)
    torch.rand(3)
    expected = torch.rand(3, generator=first).tolist()
    assert torch.rand(3, generator=second).tolist() == expected
    later = copy.deepcopy(first)
    assert torch.randn(3, generator=first).tolist() == torch.randn(3, generator=later).tolist()
    assert first.initial_seed() == 5 and first.device == torch.device("cpu")


@pytest.mark.parametrize(("seed", "known"), [(0, 0), (-1, 2**64 - 1), (2**64 - 1, 2**64 - 1), (2**63, 2**63)])
def test_seeds_are_taken_modulo_2_to_64(seed: int, known: int) -> None:
    assert torch.Generator().manual_seed(seed).initial_seed() == known


# -- distributions --------------------------------------------------------------------------------------------------
COUNT = 40_000


@pytest.mark.parametrize(
    ("draw", "mean", "deviation"),
    [
        (lambda: torch.rand(COUNT), 1 / 2, 12**-0.5),
        (lambda: torch.rand(COUNT, dtype=torch.float64), 1 / 2, 12**-0.5),
        (lambda: torch.rand(COUNT, dtype=torch.float16), 1 / 2, 12**-0.5),
        (lambda: torch.randn(COUNT), 0, 1),
        (lambda: torch.randn(COUNT, dtype=torch.float64), 0, 1),
        (lambda: torch.randint(10, (COUNT,)), 4.5, 8.25**0.5),
        (lambda: torch.empty(COUNT).normal_(3, 2), 3, 2),
        (lambda: torch.empty(COUNT).exponential_(0.5), 2, 2),
        (lambda: torch.empty(COUNT).geometric_(0.25), 4, 12**0.5),
        (lambda: torch.bernoulli(torch.full((COUNT,), 0.3)), 0.3, 0.21**0.5),
        (lambda: torch.empty(COUNT).log_normal_(0, 0.5), 1.1331, 0.6039),
    ],
)
def test_mean_and_deviation(draw: Callable[[], Any], mean: float, deviation: float) -> None:
    torch.manual_seed(11)
    found = draw().double().numpy()
    # Five standard errors of the mean; the deviation of the heaviest tail here wavers by a few per cent.
    assert abs(found.mean() - mean) < 5 * deviation / COUNT**0.5 + 1e-3
    assert abs(found.std() / deviation - 1) < 0.05


def test_uniform_numbers_fill_their_range_evenly() -> None:
    torch.manual_seed(0)
    counts = np.histogram(torch.rand(COUNT).numpy(), 20, (0.0, 1.0))[0]
    assert counts.sum() == COUNT
    chi_squared = float(((counts - COUNT / 20) ** 2 / (COUNT / 20)).sum())
    assert chi_squared < 43.8  # 19 degrees of freedom, exceeded once in a thousand draws


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_uniform_numbers_stay_below_one(dtype: Any) -> None:
    drawn = torch.rand(COUNT, dtype=dtype)
    assert drawn.dtype is dtype
    assert float(drawn.min()) >= 0 and float(drawn.max()) < 1


def test_permutations_hold_every_index_once() -> None:
    assert sorted(torch.randperm(500).tolist()) == list(range(500))


@pytest.mark.parametrize("replacement", [False, True])
def test_multinomial_draws_in_proportion(replacement: bool) -> None:
    torch.manual_seed(2)
    weights = torch.tensor([1.0, 0.0, 3.0, 6.0]).expand(8000, 4)
    drawn = torch.multinomial(weights, 2, replacement).numpy()
    shares = np.bincount(drawn[:, 0], minlength=4) / 8000
    assert np.abs(shares - [0.1, 0.0, 0.3, 0.6]).max() < 0.03
    if not replacement:
        assert (drawn[:, 0] != drawn[:, 1]).all()
        # After 0 was drawn, 2 and 3 remain in the proportion 1 to 2.
        after = drawn[drawn[:, 0] == 0, 1]
        assert abs((after == 3).mean() - 2 / 3) < 0.08


@pytest.mark.parametrize(
    ("draw", "kind", "first"),
    [
        (
            lambda: torch.randint(5, 3, (2,)),
            RuntimeError,
            "random_ expects 'from' to be less than 'to', but got from=5 >= to=3",
        ),
        (lambda: torch.randint(0, 300, (2,), dtype=torch.uint8), RuntimeError, "to - 1 is out of bounds for"),
        (lambda: torch.rand(2, dtype=torch.int64), NotImplementedError, '"check_uniform_bounds" not implemented'),
        (lambda: torch.randn_like(torch.ones(2, dtype=torch.int64)), NotImplementedError, '"normal_kernel_cpu"'),
        (lambda: torch.normal(0.0, -1.0, (2,)), RuntimeError, "normal expects std >= 0.0, but found std -1"),
        (lambda: torch.bernoulli(torch.tensor([2.0])), RuntimeError, "Expected p_in >= 0 && p_in <= 1 to be true"),
        (lambda: torch.ones(2).bernoulli_(2.0), RuntimeError, "bernoulli_ expects p to be in [0, 1], but got p=2"),
        (lambda: torch.ones(2).uniform_(1, 0), RuntimeError, "uniform_ expects to return a [from, to) range"),
        (lambda: torch.multinomial(torch.zeros(3), 1), RuntimeError, "invalid multinomial distribution"),
        (lambda: torch.multinomial(torch.ones(3), 4), RuntimeError, "cannot sample n_sample > prob_dist.size(-1)"),
        (lambda: torch.manual_seed(2**64), ValueError, "Overflow when unpacking long long"),
        (lambda: torch.randperm(300, dtype=torch.uint8), RuntimeError, "value cannot be converted to type uint8_t"),
    ],
)
def test_errors(draw: Callable[[], Any], kind: type[Exception], first: str) -> None:
    with pytest.raises(kind) as caught:
        draw()
    assert str(caught.value).startswith(first)


def test_random_numbers_carry_no_gradient_and_leaves_are_guarded() -> None:
    p = torch.full((3,), 0.5, requires_grad=True)
    assert not torch.bernoulli(p).requires_grad
    assert torch.rand(2, requires_grad=True).is_leaf
    with pytest.raises(RuntimeError, match="a leaf Variable that requires grad"):
        p.uniform_()


@pytest.mark.parametrize("late", [float("inf"), -1.0])
def test_tensors_of_one_number_are_bounds_whatever_their_dtype(late: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random_words, "_LATE", late)
    low, wide = torch.tensor(-2.0), torch.tensor(3.0, dtype=torch.float64)
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        for fill in ("uniform_", "normal_", "cauchy_"):
            found = []
            for bounds in ((low, wide), (-2.0, 3.0)):
                torch.manual_seed(3)
                found.append(getattr(torch.empty(7, dtype=dtype), fill)(*bounds).tolist())
            assert found[0] == found[1]


@pytest.mark.parametrize("late", [float("inf"), -1.0])
def test_sizes_of_which_no_memory_can_be_are_refused_and_draw_nothing(
    late: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(random_words, "_LATE", late)
    before = torch.get_rng_state().tolist()
    for size in ((2**61,), (2**40, 2**40)):
        for draw in (torch.rand, torch.randn):
            with pytest.raises(RuntimeError, match="Storage size calculation overflowed with sizes="):
                draw(*size)
    assert torch.get_rng_state().tolist() == before
