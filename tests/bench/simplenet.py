"""The SimpleNet training step, adjit beside PyTorch in one run: `python -m tests.bench.simplenet [--threads N]`.

Each round times every contender once, in turn; medians and the ratio to PyTorch's eager time are printed.  Losses are
compared first: a wrong answer has no time.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

import adjit
from adjit.data import digits
from adjit.demo import Trainer
from tests.bench.warm import warm_up


def adjit_step(mode: str, batch: int, threads: int) -> Callable[[], float]:
    """A step of adjit on a fixed batch: mode is eager or compiled."""
    images, labels = (adjit.from_numpy(array[:batch]) for array in digits(train=True))
    trainer = Trainer(0)
    adjit.set_num_threads(threads)
    step = trainer.step if mode == "eager" else adjit.compile(trainer.step, threads=threads)
    return lambda: float(step(images, labels).item())


def torch_step(batch: int, threads: int) -> Callable[[], float]:
    """The same step in PyTorch eager, from the same weights."""
    import torch
    from torch import nn

    torch.set_num_threads(threads)

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1, self.conv2 = nn.Conv2d(1, 10, 5), nn.Conv2d(10, 20, 5)
            self.pool = nn.MaxPool2d(2, 2)
            self.fc, self.out = nn.Linear(320, 50), nn.Linear(50, 10)

        def forward(self, x: Any) -> Any:
            x = self.pool(torch.relu(self.conv1(x)))
            x = self.pool(torch.relu(self.conv2(x))).view(x.size(0), -1)
            return self.out(torch.relu(self.fc(x)))

    images, labels = (torch.from_numpy(array[:batch]) for array in digits(train=True))
    net, criterion = Net(), nn.CrossEntropyLoss()
    ours = Trainer(0).net.state_dict()
    net.load_state_dict({name: torch.from_numpy(tensor.numpy()).clone() for name, tensor in ours.items()})
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)

    def step() -> float:
        optimizer.zero_grad()
        loss = criterion(net(images), labels)
        loss.backward()
        optimizer.step()
        return float(loss.item())

    return step


def main() -> None:
    """Run the comparison and print a table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=60)
    chosen = parser.parse_args()
    contenders = {
        "torch eager": torch_step(chosen.batch, chosen.threads),
        "adjit compiled": adjit_step("compiled", chosen.batch, chosen.threads),
        "adjit eager": adjit_step("eager", chosen.batch, chosen.threads),
    }
    warm: dict[str, list[float]] = {}
    first: dict[str, float] = {}
    for name, step in contenders.items():
        start = time.perf_counter()
        warm[name] = [step() for _ in range(10)]
        first[name] = time.perf_counter() - start
    worst = max(abs(a - b) for losses in warm.values() for a, b in zip(losses, warm["torch eager"], strict=True))
    if worst > 1e-4:
        raise SystemExit(f"losses differ by {worst}: no times")
    warm_up(*contenders.values())
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(chosen.rounds):
        for name, step in contenders.items():
            start = time.perf_counter()
            step()
            times[name].append(time.perf_counter() - start)
    setting = os.environ.get("OPENBLAS_CORETYPE", "unset")
    print(
        f"SimpleNet step, batch {chosen.batch}, {chosen.threads} thread(s), OPENBLAS_CORETYPE={setting}; "
        f"losses agree to {worst:.1e}"
    )
    base = times["torch eager"]
    for name, found in times.items():
        ratio = statistics.median(a / b for a, b in zip(found, base, strict=True))
        print(
            f"{name:16s} {1e3 * statistics.median(found):8.2f} ms   {ratio:5.2f}x torch eager   "
            f"first ten steps {first[name]:.2f} s"
        )


if __name__ == "__main__":
    main()
