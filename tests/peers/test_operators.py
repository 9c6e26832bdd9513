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


@pytest.mark.parametrize("name", ["div", "exp", "abs", "angle", "fft.rfft", "fft.hfft"])
def test_operator_on_complex_numbers(name: str) -> None:
    """The same with complex tensors."""
    import argparse

    from tests.peers.operators import chosen, examine

    options = argparse.Namespace(
        dtypes=[torch.complex64, torch.complex128, torch.float64], limit=2, second=True, compiled=1, errors=False
    )
    for op in chosen([name]):
        row = examine(op, options)
        assert row.right or not (row.failed or row.passed), row.messages
