"""What a compiled function computes for nothing fails as it does in eager mode."""

from __future__ import annotations

import pytest

import adjit as torch
from adjit.ir.dead_code import dead_checks

functional = torch.nn.functional
READS = {
    "index": lambda x, i: x[i],
    "gather": lambda x, i: x.gather(0, i),
    "embedding": lambda x, i: functional.embedding(i, x[:, None]),
    "index_select": lambda x, i: x.index_select(0, i),
    "take": lambda x, i: x.take(i),
    "assignment": lambda x, i: x.clone().__setitem__(i, 0.0),
    "scatter_add": lambda x, i: torch.zeros(5).scatter_add(0, i, x[:1]),
    "nll_loss": lambda x, i: functional.nll_loss(x[None], i),
    "floor division": lambda x, i: 3 // (i - 7),
    "remainder": lambda x, i: i % (i - 7),
    "fmod": lambda x, i: torch.fmod(i, i - 7),
}


@pytest.mark.parametrize("name", READS)
@pytest.mark.parametrize("grad", [False, True])
def test_what_nothing_reads_fails_all_the_same(name, grad):
    def function(x, i):
        READS[name](x, i)
        return x * 2

    compiled = torch.compile(function)
    x = torch.arange(5.0).requires_grad_(grad)
    with pytest.raises(RuntimeError if "division" in name or "mod" in name else Exception) as expected:
        function(x, torch.tensor([7]))
    for _ in range(3):
        assert compiled(x, torch.tensor([1])).tolist() == [0, 2, 4, 6, 8]
        with pytest.raises(type(expected.value)) as found:
            compiled(x, torch.tensor([7]))
        assert str(found.value).splitlines()[0] == str(expected.value).splitlines()[0]
    if grad:
        compiled(x, torch.tensor([1])).sum().backward()
        assert x.grad.tolist() == [2] * 5


def test_what_is_known_is_not_looked_at_again():
    def function(x, i):
        x = x.clone()
        row = x[i]
        row.mul_(2)
        x[i] += 1
        _ = x[i], x.long() // 2
        return x

    graph = torch.compile(function).graph(torch.rand(4, 3), torch.tensor(1))
    assert len(graph.outputs) == 1 and not dead_checks(graph)
