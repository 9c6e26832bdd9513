"""The operators most used, on torch's own samples; the whole table is `python -m tests.peers.operators`."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("expecttest")


@pytest.mark.parametrize("name", ["add", "matmul", "sum", "__getitem__", "nn.functional.conv2d", "softmax", "cat"])
def test_operator(name: str) -> None:
    """Results, gradients, second order and compiled programs equal torch's."""
    import argparse

    from tests.peers.operators import chosen, examine

    options = argparse.Namespace(
        dtypes=[torch.float32, torch.float64, torch.int64, torch.bool], limit=4, second=True, compiled=1, errors=False
    )
    for op in chosen([name]):
        row = examine(op, options)
        assert row.right, row.messages
