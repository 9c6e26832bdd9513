"""What some losses take: a target for each pair of rows, or one for a pair of vectors; targets of other dtypes."""

import warnings

import pytest

import adjit as torch
from adjit.nn import functional


def test_targets_are_for_rows_or_for_vectors() -> None:
    x, y = torch.tensor([[1.0, 0.0], [1.0, 1.0]]), torch.tensor([[0.0, 1.0], [1.0, 1.0]])
    target = torch.tensor([1.0, -1.0])
    assert functional.cosine_embedding_loss(x, y, target, reduction="none").tolist() == pytest.approx([1.0, 1.0])
    assert functional.cosine_embedding_loss(x[0], y[0], target[0]).item() == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("shape", "target", "text"),
    [
        ((2, 3), (2, 1), "0D or 1D target tensor expected, multi-target not supported"),
        ((3,), (3,), r"1D target tensor expects 2D input tensors, but found inputs with sizes \[3\] and \[3\]"),
        ((2, 3), (), r"0D target tensor expects 1D input tensors, but found inputs with sizes \[2, 3\] and \[2, 3\]"),
        ((3, 2), (2,), r"size of tensor a \(2\) must match the size of tensor b \(3\)"),
    ],
)
def test_others_are_refused(shape: tuple[int, ...], target: tuple[int, ...], text: str) -> None:
    with pytest.raises(RuntimeError, match=text):
        functional.cosine_embedding_loss(torch.ones(shape), torch.ones(shape), torch.ones(target))


@pytest.mark.parametrize("target", [torch.float64, torch.bool, torch.int64, torch.float16])
def test_huber_losses_have_the_dtype_of_the_input(target: torch.dtype) -> None:
    for shape in ((3,), ()):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = functional.huber_loss(torch.zeros(3), torch.ones(shape).to(target))
        assert found.dtype is torch.float32 and found.item() == 0.5
