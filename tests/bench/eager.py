"""Eager operations beside PyTorch's, the late ones first: `python -m tests.bench.eager [--only TEXT] [--rounds N]`.

Operations run on few elements, where a call's own cost shows, and most on 100 KB, where their kernels do; one thread,
both libraries in turn.  What recorded operations leave behind is dropped at once.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from tests.bench.calls import Figure, compare, measure, table
from tests.bench.eager_usual import USUAL, Operation

SIZES = (10, 25_600)
# So long, or so often, an operation is called before it is measured.
WARM_SECONDS, WARM_CALLS = 0.7, 600


class Data:
    """Operands of a library: vectors of `count` numbers, and matrices of about as many."""

    def __init__(self, library: Any, count: int) -> None:
        random = np.random.default_rng(0)
        rows = max(count // 10, 3)
        self.count = count
        self.array = random.standard_normal(count).astype(np.float32)
        self.x, self.y = (library.tensor(random.standard_normal(count).astype(np.float32)) for _ in range(2))
        self.share = library.tensor(random.random(count).astype(np.float32))
        self.leaf = self.x.clone().requires_grad_()
        self.mask = self.x > 0
        self.places = library.tensor(random.integers(0, count, count))
        self.integers = library.tensor(random.integers(0, 10, count))
        self.table = library.tensor(random.standard_normal((rows, 10)).astype(np.float32))
        self.leaf_table = self.table.clone().requires_grad_()
        self.rows = library.tensor(random.integers(0, rows, rows))
        self.labels = library.tensor(random.integers(0, 10, rows))
        self.out = library.empty(count)
        self.target = self.y.clone()
        self.double = self.x.double()
        self.square = library.zeros(max(int(count**0.5), 2), max(int(count**0.5), 2))
        self.weight = library.tensor(random.standard_normal((256, 256)).astype(np.float32))
        self.row = library.tensor(random.standard_normal((1, 256)).astype(np.float32))
        self.one = library.tensor(1.0)


READING: dict[str, Operation] = {
    "x[mask]": lambda t, d: d.x[d.mask],
    "x[x > 0]": lambda t, d: d.x[d.x > 0],
    "x[places]": lambda t, d: d.x[d.places],
    "table[rows]": lambda t, d: d.table[d.rows],
    "table[rows, labels]": lambda t, d: d.table[d.rows, d.labels],
    "table[:, [0, 2]]": lambda t, d: d.table[:, [0, 2]],
    "table[[0, 1]]": lambda t, d: d.table[[0, 1]],
    "table[mask of rows]": lambda t, d: d.table[d.table[:, 0] > 0],
    "masked_select": lambda t, d: t.masked_select(d.x, d.mask),
    "nonzero": lambda t, d: d.mask.nonzero(),
    "where of a mask": lambda t, d: t.where(d.mask),
    "where": lambda t, d: t.where(d.mask, d.x, d.y),
    "gather": lambda t, d: d.table.gather(1, d.labels[:, None]),
    "recorded x[mask]": lambda t, d: d.leaf[d.mask],
    "recorded x[places]": lambda t, d: d.leaf[d.places],
    "recorded masked_select": lambda t, d: t.masked_select(d.leaf, d.mask),
    "recorded table[rows, labels]": lambda t, d: d.leaf_table[d.rows, d.labels],
    "gradient of x[mask]": lambda t, d: t.autograd.grad(d.leaf[d.mask].sum(), d.leaf),
    "item": lambda t, d: d.one.item(),
    "if": lambda t, d: 1 if d.one > 0 else 0,
    "tolist": lambda t, d: d.weight[0, :10].tolist(),
    "shape": lambda t, d: d.table.shape,
    "unpacked": lambda t, d: [*d.weight[:2]],
}
OUT: dict[str, Operation] = {
    "add into": lambda t, d: t.add(d.x, d.y, out=d.out),
    "add into an operand": lambda t, d: t.mul(d.target, d.one, out=d.target),
    "cumsum into": lambda t, d: t.cumsum(d.x, 0, out=d.out),
    "exp into": lambda t, d: t.exp(d.x, out=d.out),
}


def _changed(d: Data, change: Callable[[Any], object]) -> Any:
    """A recorded copy of the leaf after a change."""
    copy = d.leaf.clone()
    change(copy)
    return copy


def _added_to_part(copy: Any) -> None:
    copy[1:] += 1


WRITING: dict[str, Operation] = {
    "x[mask] = 0": lambda t, d: d.target.__setitem__(d.mask, 0.0),
    "x[places] = y": lambda t, d: d.target.__setitem__(d.places, d.y),
    "copy_": lambda t, d: d.target.copy_(d.x),
    "copy_ from float64": lambda t, d: d.target.copy_(d.double),
    "fill_": lambda t, d: d.target.fill_(2.0),
    "zero_": lambda t, d: d.target.zero_(),
    "fill_diagonal_": lambda t, d: d.square.fill_diagonal_(1.0),
    "masked_fill_": lambda t, d: d.target.masked_fill_(d.mask, 0.0),
    "recorded x[mask] = 0": lambda t, d: _changed(d, lambda copy: copy.__setitem__(d.mask, 0.0)),
    "recorded x[places] = y": lambda t, d: _changed(d, lambda copy: copy.__setitem__(d.places, d.y)),
    "recorded x[0].mul_": lambda t, d: _changed(d, lambda copy: copy[0].mul_(2)),
    "recorded x[1:] += 1": lambda t, d: _changed(d, _added_to_part),
    "recorded x.view().mul_": lambda t, d: _changed(d, lambda copy: copy.view(-1).mul_(2)),
}
MAKING: dict[str, Operation] = {
    "arange": lambda t, d: t.arange(d.count),
    "arange of floats": lambda t, d: t.arange(0.0, d.count),
    "empty": lambda t, d: t.empty(d.count),
    "eye": lambda t, d: t.eye(len(d.square)),
    "from_numpy": lambda t, d: t.from_numpy(d.array),
    "full": lambda t, d: t.full((d.count,), 2.0),
    "linspace": lambda t, d: t.linspace(0, 1, d.count),
    "ones": lambda t, d: t.ones(d.count),
    "tensor of a list": lambda t, d: t.tensor([1.0, 2.0, 3.0]),
    "tensor of a number": lambda t, d: t.tensor(1.0),
    "zeros": lambda t, d: t.zeros(d.count),
    "zeros_like": lambda t, d: t.zeros_like(d.x),
    "bernoulli": lambda t, d: t.bernoulli(d.share),
    "multinomial": lambda t, d: t.multinomial(d.share, 5),
    "rand": lambda t, d: t.rand(d.count),
    "randint": lambda t, d: t.randint(0, 10, (d.count,)),
    "randn": lambda t, d: t.randn(d.count),
    "randperm": lambda t, d: t.randperm(d.count),
}
COUNTING: dict[str, Operation] = {
    "bincount": lambda t, d: t.bincount(d.integers),
    "cumsum": lambda t, d: t.cumsum(d.x, 0),
    "equal": lambda t, d: t.equal(d.x, d.x),
    "histc": lambda t, d: t.histc(d.x, 10),
    "histogram": lambda t, d: t.histogram(d.x, 10),
    "sort": lambda t, d: t.sort(d.x),
    "topk": lambda t, d: t.topk(d.x, 5),
    "unique": lambda t, d: t.unique(d.integers),
    "unique with counts": lambda t, d: t.unique(d.integers, return_counts=True),
    "matrix by vector": lambda t, d: d.weight @ d.row[0],
    "linear of one row": lambda t, d: t.nn.functional.linear(d.row, d.weight),
}
AT_ALL_SIZES = {**READING, **OUT, **WRITING, **MAKING, **COUNTING}


def _warm(call: Callable[[], object]) -> None:
    """Call until what is compiled for the call is there."""
    start = time.perf_counter()
    for _ in range(WARM_CALLS):
        call()
        if time.perf_counter() - start > WARM_SECONDS:
            return


def run(rounds: int, only: str, seconds: float) -> list[Figure]:
    """The figures of all operations whose name has `only` in it, the latest beside PyTorch first."""
    import torch

    import adjit
    from adjit.native.install import install
    from adjit.runtime.threads import set_num_threads

    install()
    set_num_threads(1)
    torch.set_num_threads(1)
    figures = []
    for count in SIZES:
        data = [(library, Data(library, count)) for library in (adjit, torch)]
        operations = AT_ALL_SIZES if count > SIZES[0] else {**AT_ALL_SIZES, **USUAL}
        for name, operation in operations.items():
            if only not in name:
                continue
            calls = [lambda pair=pair, operation=operation: operation(*pair) for pair in data]  # type: ignore[misc]
            for call in calls:
                _warm(call)
            contenders: list[Callable[[], float]] = [lambda call=call: measure(call, seconds) for call in calls]  # type: ignore[misc]
            figures.append(compare(f"{name}, {count}", contenders, rounds))
    return sorted(figures, key=lambda figure: figure.ratio or 0.0)


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.005, help="of one measurement")
    parser.add_argument("--only", default="", help="operations whose name has this text")
    chosen = parser.parse_args()
    warnings.simplefilter("ignore")
    figures = run(chosen.rounds, chosen.only, chosen.seconds)
    print(table(figures, "torch"))
    late = sum((figure.ratio or 1.0) < 1 for figure in figures)
    print(f"{late} of {len(figures)} take longer than PyTorch")


if __name__ == "__main__":
    main()
