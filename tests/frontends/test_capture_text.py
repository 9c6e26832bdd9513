"""What compiled functions print and format, at every call, as in eager mode."""

from __future__ import annotations

from typing import Any

import pytest

import adjit as torch
from adjit import nn

W = torch.tensor([1.0, 2.0], requires_grad=True)
KEPT: list[Any] = []


def plain_words(x: Any) -> Any:
    print("hello", x.shape, f"{x.dim()} {tuple(x.shape)} {x.shape[0]:>3}", sep="|", end="\n\n")
    return x + 1


def tensors(x: Any) -> Any:
    print(x, [x.sum(), {"w": W}], (W * x[:2]).sum(), None)
    x += 1
    print("then", x)
    return x


def numbers(x: Any) -> Any:
    loss = x.mean()
    print(f"{loss:.3f} {loss.item():>8.2f} {loss.item()!r} {3.0:{5}.{1}f} {x[0]}")
    print("%.2f of %s" % (loss, "it"), "%d" % x.sum(), f"{loss.item():.1f} {x.max()}")  # noqa: UP031
    return x


def converted(x: Any) -> Any:
    return f"sum {x.sum().item():.1f}", {"text": str(x.sum().item()) + "!"}, round(x.mean().item(), 2), round(2.675, 2)


def in_branches_and_loops(x: Any) -> Any:
    if x.sum() > 2:
        print("large", x.sum().item())
    else:
        print("small")
    count = 0
    while x.sum() > 1:
        x = x / 2
        count += 1
        print(f"step {count}: {x.sum().item():.2f}")
    return x


def kept(x: Any) -> Any:
    KEPT.append(f"{x.sum().item():.1f}")
    return x


class Noisy(nn.Module):
    """A layer that prints, with a hook that prints."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0
        self.linear = nn.Linear(2, 2, bias=False)
        nn.init.ones_(self.linear.weight)
        self.linear.register_forward_hook(lambda module, given, found: print(given[0].shape, found.sum()))
        self.linear.register_full_backward_hook(lambda module, given, found: print("back", found[0].sum()))

    def forward(self, x: Any) -> Any:
        self.calls += 1
        print(f"call {self.calls}")
        return self.linear(x.reshape(-1, 2))


@pytest.mark.parametrize(
    "function", [plain_words, tensors, numbers, converted, in_branches_and_loops, kept], ids=lambda f: f.__name__
)
def test_every_call_prints_what_eager_mode_prints(function: Any, capfd: pytest.CaptureFixture[str]) -> None:
    seen = []
    for prepared in (function, torch.compile(function)):
        KEPT.clear()
        results = [prepared(torch.arange(1.0 + k, 3.0 + 2 * k)) for k in range(3)]
        seen.append((str(results), list(KEPT), capfd.readouterr().out))
    assert seen[0] == seen[1]


def test_layers_and_hooks_print_at_every_call(capfd: pytest.CaptureFixture[str]) -> None:
    seen = []
    for prepare in (lambda m: m, torch.compile):
        model = prepare(Noisy())
        for rows in (1, 2, 3):
            model(torch.ones(rows, 2, requires_grad=True)).sum().backward()
        with torch.no_grad():
            model(torch.ones(4, 2))
        seen.append(capfd.readouterr().out)
    assert seen[0] == seen[1] and seen[0].count("call") == 4 and seen[0].count("back") == 3


def test_text_of_unknown_numbers_has_no_characters_yet() -> None:
    def length(x: Any) -> Any:
        return len(f"{x.sum().item():.2f}")

    with pytest.raises(TypeError, match="Text"):
        torch.compile(length)(torch.ones(2))
