"""Mistakes in what is compiled: numbers asked of a trace, branches and loops of two minds."""

from __future__ import annotations

from queue import SimpleQueue

import adjit as torch
from tests.frontends.mistakes import compiled_alone, mistake


@compiled_alone
def truth_where_it_cannot_be_captured(run):
    run(lambda x: x * 2 if x.sum() > 0 else x, torch.ones(3))


@compiled_alone
def or_for_a_default(run):
    run(lambda x, bias: x + (bias or torch.zeros(3)), torch.ones(3), torch.tensor(0.5))


@compiled_alone
def int_of_a_tensor(run):
    def rows(x, count):
        return x[: int(count)]

    run(rows, torch.ones(3), torch.tensor(2))


@compiled_alone
def range_over_a_tensor(run):
    def repeat(x, count):
        return [x * i for i in range(count)]

    run(repeat, torch.ones(3), torch.tensor(2))


@compiled_alone
def numpy_in_a_trace(run):
    run(lambda x: x.numpy().mean(), torch.ones(3))


@compiled_alone
def list_of_a_tensor(run):
    run(lambda x: x.tolist(), torch.ones(100))


@compiled_alone
def number_in_a_text(run):
    run(lambda x: print(f"loss {float(x.sum()):.3f}"), torch.ones(3))


@compiled_alone
def mask_as_an_index(run):
    run(lambda x: x[x > 0].sum(), torch.ones(3))


@compiled_alone
def nonzero_in_a_trace(run):
    run(lambda x: torch.nonzero(x), torch.ones(3))


@compiled_alone
def leaked_tensor(run):
    kept = SimpleQueue()

    def keep(x):
        kept.put(x * 2)
        return x

    run(keep, torch.ones(3))
    kept.get() + 1


@compiled_alone
def branches_of_two_dtypes(run):
    def choose(x):
        return torch.cond(x.sum() > 0, lambda x: x * 2, lambda x: x.long(), (x,))

    run(choose, torch.ones(3))


@compiled_alone
def branches_of_two_shapes(run):
    def choose(x):
        y = x.sum()
        if y > 0:
            y = x * 2
        return y

    run(choose, torch.ones(3))


@compiled_alone
def loop_that_changes_dtype(run):
    def grow(n):
        return torch.while_loop(lambda n: n < 100, lambda n: (n * 1.5,), (n,))

    run(grow, torch.tensor(3))


@mistake
def divisor_of_zero(run):
    run(lambda a, b: a // b, torch.tensor([4, 5]), torch.tensor([2, 0]))


@compiled_alone
def name_of_one_branch(run):
    def choose(x):
        if x.sum() > 0:
            y = x * 2
        return y

    run(choose, torch.ones(3))


@mistake
def compiled_generator(run):
    def parts(x):
        yield x
        yield x * 2

    torch.compile(parts)(torch.ones(3))


@mistake
def compiled_coroutine(run):
    async def double(x):
        return x * 2

    torch.compile(double)(torch.ones(3))


@mistake
def compiled_number(run):
    torch.compile(3)
