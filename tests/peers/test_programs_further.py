"""Further programs as users write them, equal to torch's from equal weights and noise, eager and compiled."""

from __future__ import annotations

import math
from typing import Any

import pytest

torch = pytest.importorskip("torch")

import adjit  # noqa: E402
from tests.peers.test_programs_around import Source, Wrap  # noqa: E402


def translation_with_attention(lib: Any, wrap: Wrap) -> list[float]:
    """GRU encoder and decoder with additive attention, teacher forcing, greedy decoding."""
    nn, F, source = lib.nn, lib.nn.functional, Source(lib)

    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.v = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 1)

        def forward(self, query: Any, keys: Any) -> Any:
            scores = self.v(lib.tanh(self.a(query) + self.b(keys))).squeeze(2).unsqueeze(1)
            weights = F.softmax(scores, dim=-1)
            return lib.bmm(weights, keys), weights

    class Translator(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.source, self.target = nn.Embedding(9, 6), nn.Embedding(8, 6)
            self.encoder = nn.GRU(6, 6, batch_first=True)
            self.decoder = nn.GRU(12, 6, batch_first=True)
            self.attention, self.out = Attention(), nn.Linear(6, 8)

        def forward(self, given: Any, wanted: Any = None) -> Any:
            keys, hidden = self.encoder(self.source(given))
            token, steps = lib.zeros(given.size(0), 1, dtype=lib.long), []
            for place in range(3):
                context, _ = self.attention(hidden.permute(1, 0, 2), keys)
                output, hidden = self.decoder(lib.cat((self.target(token), context), dim=2), hidden)
                steps.append(self.out(output))
                _, top = steps[-1].topk(1)
                token = top.squeeze(-1).detach() if wanted is None else wanted[:, place].unsqueeze(1)
            return F.log_softmax(lib.cat(steps, dim=1), dim=-1)

    model = source.fill(Translator())
    optimizer = lib.optim.Adam(model.parameters(), lr=0.02)

    @wrap
    def step(given: Any, wanted: Any) -> Any:
        optimizer.zero_grad()
        loss = F.nll_loss(model(given, wanted).view(-1, 8), wanted.view(-1), ignore_index=1)
        loss.backward()
        optimizer.step()
        return loss

    given, wanted = source.classes(9, 3, 4), source.classes(8, 3, 3)
    losses = [step(given, wanted).item() for _ in range(4)]
    with lib.no_grad():
        decoded = wrap(lambda given: model(given).argmax(-1))(given)
    return [*losses, *map(float, decoded.flatten().tolist())]


def trainer_with_a_memory(lib: Any, wrap: Wrap) -> list[float]:
    """A trainer class: meters, histories, the best loss, a moving average of weights, bad batches, rates by hand."""
    nn, F, source = lib.nn, lib.nn.functional, Source(lib)
    model = source.fill(nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 1)))
    average = [param.detach().clone() for param in model.parameters()]

    class Trainer:
        decay = 0.9

        def __init__(self) -> None:
            self.optimizer = lib.optim.AdamW(model.parameters(), lr=0.05)
            self.seen, self.skipped = 0, 0
            self.best: float | None = None
            self.history: dict[str, list[Any]] = {"loss": [], "norm": []}

        def step(self, x: Any, y: Any) -> Any:
            for group in self.optimizer.param_groups:
                group["lr"] = 0.05 * 0.8 ** (self.seen // 2)
            self.optimizer.zero_grad()
            loss = F.smooth_l1_loss(model(x), y)
            if lib.isfinite(loss):
                loss.backward()
                norm = nn.utils.clip_grad_norm_(model.parameters(), 0.5)
                self.optimizer.step()
            else:
                norm = lib.zeros(())
                self.skipped += 1
            with lib.no_grad():
                for kept, param in zip(average, model.parameters(), strict=True):
                    kept.mul_(self.decay).add_(param, alpha=1 - self.decay)
            self.seen += 1
            self.history["loss"].append(loss.item())
            self.history["norm"].append(norm)
            if self.best is None or loss.item() < self.best:
                self.best = loss.item()
            return loss

    trainer = Trainer()
    step = wrap(trainer.step)
    found: list[float] = []
    for number in range(6):
        x, y = source.normal(4, 3), source.normal(4, 1)
        step(x, y * float("nan") if number == 2 else y)
        if number == 3:
            trainer.decay = 0.5
        found += [trainer.best or 0.0, trainer.seen, trainer.skipped, trainer.optimizer.param_groups[0]["lr"]]
    found += [0.0 if math.isnan(loss) else loss for loss in trainer.history["loss"]]
    found += [norm.item() for norm in trainer.history["norm"]]
    return [*found, *(kept.sum().item() for kept in average)]


def energy_model(lib: Any, wrap: Wrap) -> list[float]:
    """Contrastive divergence with samples by Langevin steps on the inputs, parameters frozen meanwhile."""
    nn, source = lib.nn, Source(lib)
    energy = source.fill(nn.Sequential(nn.Linear(2, 8), nn.SiLU(), nn.Linear(8, 1)))
    optimizer = lib.optim.Adam(energy.parameters(), lr=0.01)

    @wrap
    def sample(x: Any, noise: Any) -> Any:
        for param in energy.parameters():
            param.requires_grad = False
        x = x.clone().detach()
        x.requires_grad = True
        for number in range(3):
            x.data.add_(noise[number] * 0.01)
            energy(x).sum().backward()
            x.grad.data.clamp_(-0.03, 0.03)
            x.data.add_(-0.1 * x.grad.data)
            x.grad.zero_()
        for param in energy.parameters():
            param.requires_grad = True
        return x.detach()

    @wrap
    def step(real: Any, fake: Any) -> Any:
        of_real, of_fake = energy(lib.cat([real, fake])).chunk(2, dim=0)
        loss = of_real.mean() - of_fake.mean() + 0.1 * (of_real**2 + of_fake**2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    found: list[float] = []
    for _ in range(3):
        fake = sample(source.uniform(5, 2), source.normal(3, 5, 2))
        found += [fake.sum().item(), step(source.normal(5, 2), fake).item()]
    return found


def graph_of_experts(lib: Any, wrap: Wrap) -> list[float]:
    """A graph convolution by index_add, attention over edges by scatter_reduce, a mixture of experts by topk."""
    nn, F, source = lib.nn, lib.nn.functional, Source(lib)
    start, end = lib.tensor([0, 1, 1, 2, 3, 4, 0, 2]), lib.tensor([1, 0, 2, 3, 4, 0, 3, 4])

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.score, self.gate = nn.Linear(3, 4), nn.Linear(8, 1), nn.Linear(4, 3, bias=False)
            self.experts = nn.ModuleList([nn.Linear(4, 2) for _ in range(3)])
            self.register_buffer("usage", lib.zeros(3))

        def forward(self, x: Any) -> Any:
            h = self.first(x)
            degree = lib.zeros(5).scatter_add_(0, end, lib.ones(8)).clamp(min=1)
            h = F.relu(h + lib.zeros_like(h).index_add_(0, end, h[start] / degree[end].view(-1, 1)))
            edge = F.leaky_relu(self.score(lib.cat([h[start], h[end]], -1)).squeeze(-1), 0.2)
            top = lib.full((5,), float("-inf")).scatter_reduce(0, end, edge, reduce="amax", include_self=False)
            weight = (edge - top[end]).exp()
            weight = weight / lib.zeros(5).index_add(0, end, weight)[end]
            h = h + lib.zeros_like(h).scatter_add(0, end[:, None].expand(-1, 4), weight[:, None] * h[start])
            share, index = self.gate(h).topk(2, dim=-1)
            share, out = F.softmax(share, dim=-1), lib.zeros(5, 2)
            for number, expert in enumerate(self.experts):
                out += (share * (index == number)).sum(-1, keepdim=True) * expert(h)
            with lib.no_grad():
                self.usage += F.one_hot(index, 3).sum((0, 1))
            return out

    net = source.fill(Net())
    optimizer = lib.optim.RMSprop(net.parameters(), lr=0.01)

    @wrap
    def step(x: Any, y: Any) -> Any:
        optimizer.zero_grad(set_to_none=True)
        loss = F.cross_entropy(net(x), y)
        loss.backward()
        optimizer.step()
        return loss

    x, y = source.normal(5, 3), source.classes(2, 5)
    return [*(step(x, y).item() for _ in range(4)), *net.usage.tolist()]


def straight_through_adapters(lib: Any, wrap: Wrap) -> list[float]:
    """Fake quantization by a straight-through Function, low-rank adapters on frozen layers, a user's optimizer."""
    nn, F, source = lib.nn, lib.nn.functional, Source(lib)

    class Round(lib.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any, scale: float) -> Any:
            return lib.clamp(lib.round(x / scale), -7, 7) * scale

        @staticmethod
        def backward(ctx: Any, gradient: Any) -> Any:
            return gradient.clone(), None

    class Adapted(nn.Module):
        def __init__(self, linear: Any) -> None:
            super().__init__()
            self.linear = linear.requires_grad_(False)
            self.a = nn.Parameter(source.normal(2, linear.in_features) * 0.3)
            self.b = nn.Parameter(lib.zeros(linear.out_features, 2))

        def forward(self, x: Any) -> Any:
            weight = Round.apply(self.linear.weight + self.b @ self.a, 0.05)
            return F.linear(x, weight, self.linear.bias)

    class Lion(lib.optim.Optimizer):
        def __init__(self, params: Any, lr: float) -> None:
            super().__init__(params, {"lr": lr})

        @lib.no_grad()
        def step(self, closure: Any = None) -> None:
            for group in self.param_groups:
                for param in group["params"]:
                    if param.grad is None:
                        continue
                    state = self.state[param]
                    if len(state) == 0:
                        state["mean"] = lib.zeros_like(param)
                    param.add_((state["mean"] * 0.9 + param.grad * 0.1).sign_(), alpha=-group["lr"])
                    state["mean"].mul_(0.99).add_(param.grad, alpha=0.01)

    base = source.fill(nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)))
    for name, layer in list(base.named_children()):
        if isinstance(layer, nn.Linear):
            setattr(base, name, Adapted(layer))
    optimizer = Lion((param for param in base.parameters() if param.requires_grad), lr=0.02)

    @wrap
    def step(x: Any, y: Any) -> Any:
        optimizer.zero_grad()
        loss = F.mse_loss(base(x), y)
        loss.backward()
        optimizer.step()
        return loss

    x, y = source.normal(6, 3), source.normal(6, 1)
    return [*(step(x, y).item() for _ in range(6)), base[2].b.sum().item()]


def quasi_newton_in_one_step(lib: Any, wrap: Wrap) -> list[float]:
    """A whole L-BFGS step with its line search and its closure inside the compiled function."""
    nn, F, source = lib.nn, lib.nn.functional, Source(lib)
    model = source.fill(nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 1)))
    optimizer = lib.optim.LBFGS(model.parameters(), max_iter=3, line_search_fn="strong_wolfe")
    x, y = source.normal(8, 2), source.normal(8, 1)

    @wrap
    def step(x: Any, y: Any) -> Any:
        def closure() -> Any:
            optimizer.zero_grad()
            loss = F.mse_loss(model(x), y)
            loss.backward()
            return loss

        return optimizer.step(closure)

    return [step(x, y).item() for _ in range(3)]


PROGRAMS = [
    translation_with_attention, trainer_with_a_memory, energy_model, graph_of_experts, straight_through_adapters,
    quasi_newton_in_one_step,
]  # fmt: skip


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)
def test_the_program_gives_torchs_numbers(program: Any, compiled: bool) -> None:
    expected = program(torch, lambda function: function)
    found = program(adjit, adjit.compile if compiled else lambda function: function)
    assert found == pytest.approx(expected, rel=2e-3, abs=2e-4)
