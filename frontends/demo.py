"""The demonstration: train the documents' convolutional network on handwritten digits, every step one native call."""

from __future__ import annotations

import time
from typing import Any

import adjit as torch
from adjit import nn
from adjit.data import digits
from adjit.nn import functional as F
from adjit.sample_arguments import example_inputs
from adjit.utils.data import DataLoader, TensorDataset


class SimpleNet(nn.Module):
    """Two convolutions with pooling, two linear layers: 28x28 images to scores of ten digits."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 10, 5)
        self.pool1 = nn.MaxPool2d(2, 2)
        self.conv2 = nn.Conv2d(10, 20, 5)
        self.pool2 = nn.MaxPool2d(2, 2)
        self.fc = nn.Linear(320, 50)
        self.out = nn.Linear(50, 10)

    def forward(self, input: Any) -> Any:
        x = self.pool1(F.relu(self.conv1(input)))
        x = self.pool2(F.relu(self.conv2(x)))
        x = x.view(x.size(0), -1)
        x = F.relu(self.fc(x))
        return self.out(x)


def first_batch(size: int = 64) -> tuple[Any, Any]:
    """The first training images and their labels."""
    return tuple(torch.from_numpy(array[:size]) for array in digits(train=True))


class Trainer:
    """A network, its optimizer, and a training step written as PyTorch users write it."""

    def __init__(self, seed: int = 0, learning_rate: float = 0.05) -> None:
        torch.manual_seed(seed)
        self.net = SimpleNet()
        self.criterion = nn.CrossEntropyLoss()
        self.optimizer = torch.optim.SGD(self.net.parameters(), lr=learning_rate, momentum=0.9)

    @example_inputs(lambda: first_batch())
    def step(self, images: Any, labels: Any) -> Any:
        """One step on a batch; the loss before it."""
        self.optimizer.zero_grad()
        loss = self.criterion(self.net(images), labels)
        loss.backward()
        self.optimizer.step()
        return loss.detach()


def accuracy(net: Any, images: Any, labels: Any) -> float:
    """The fraction of images whose highest score is at their label."""
    with torch.no_grad():
        return float((net(images).argmax(dim=1) == labels).float().mean().item())


def main(epochs: int = 8, batch_size: int = 64, seed: int = 0, progress: bool = True) -> int:
    """Train, and print what was measured; 0 if the held-out accuracy is at least 95 %."""
    from tqdm import tqdm

    train_images, train_labels = (torch.from_numpy(array) for array in digits(train=True))
    test_images, test_labels = (torch.from_numpy(array) for array in digits(train=False))
    print(f"{len(train_images)} handwritten digits to train on, {len(test_images)} held out")

    eager, compiled = Trainer(seed), Trainer(seed)
    step = torch.compile(compiled.step)
    starts = range(0, 20 * batch_size, batch_size)
    sample = [(train_images[i : i + batch_size], train_labels[i : i + batch_size]) for i in starts]
    start = time.perf_counter()
    first = step(*sample[0]).item()
    compile_seconds = time.perf_counter() - start
    losses = [(eager.step(*sample[0]).item(), first)]
    eager_times, compiled_times = [], []
    for batch in sample[1:]:
        start = time.perf_counter()
        loss = eager.step(*batch)
        middle = time.perf_counter()
        found = step(*batch)
        eager_times.append(middle - start)
        compiled_times.append(time.perf_counter() - middle)
        losses.append((loss.item(), found.item()))
    difference = max(abs(a - b) for a, b in losses)
    print(f"first compiled step {compile_seconds:.2f} s (tracing and compiling included)")
    print(f"eager {1e3 * _median(eager_times):.2f} ms a step, compiled {1e3 * _median(compiled_times):.2f} ms a step")
    print(f"largest difference of eager's and compiled's loss over {len(losses)} steps: {difference:.1e}")

    trainer = Trainer(seed)
    step = torch.compile(trainer.step)
    data = TensorDataset(train_images, train_labels)
    generator = torch.Generator().manual_seed(seed)
    loader: DataLoader[Any] = DataLoader(data, batch_size=batch_size, shuffle=True, generator=generator)
    evaluate = torch.compile(trainer.net)
    start = time.perf_counter()
    reached = 0.0
    for epoch in range(epochs):
        bar = tqdm(loader, desc=f"epoch {epoch + 1}/{epochs}", disable=not progress, leave=False)
        for images, labels in bar:
            loss = step(images, labels)
        bar.close()
        reached = accuracy(evaluate, test_images, test_labels)
        print(f"epoch {epoch + 1}: loss {loss.item():.4f}, held-out accuracy {100 * reached:.1f} %")
    print(f"trained in {time.perf_counter() - start:.1f} s with {step.compile_count} compiled programs")
    print("look inside: step.graph(images, labels) is the traced step, step.stages(...) every stage to assembly;")
    print("  python -m adjit demo --show trace    prints one (trace, simplify, fuse, lower, llvm, asm)")
    print("  python -m adjit inspect adjit.demo:Trainer.step --html digits.html    makes one page of all, linked")
    return 0 if reached >= 0.95 else 1


def show(stage: str, batch_size: int = 64, seed: int = 0) -> int:
    """Print the training step's program after `stage`."""
    images, labels = first_batch(batch_size)
    texts = torch.compile(Trainer(seed).step).stages(images, labels)
    if stage not in texts:
        print(f"no stage {stage!r}; there are {', '.join(texts)}")
        return 2
    print(texts[stage])
    return 0


def _median(times: list[float]) -> float:
    return sorted(times)[len(times) // 2]
