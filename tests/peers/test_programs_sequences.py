"""Sequence models as tutorials write them, step by step equal to torch's from equal weights, eager and compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

torch = pytest.importorskip("torch")

import adjit  # noqa: E402
from tests.peers.test_programs_around import Source, Wrap  # noqa: E402


def character_transformer(lib: Any, wrap: Wrap) -> list[float]:
    """A small GPT: masked attention, AdamW with two groups, clipping, a cosine schedule, greedy sampling."""
    nn, F, source = lib.nn, lib.nn.functional, Source(lib)
    vocabulary, length, width, heads = 20, 12, 16, 4

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.ln1, self.ln2 = nn.LayerNorm(width), nn.LayerNorm(width)
            self.qkv, self.proj = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width)
            self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
            self.register_buffer("mask", lib.tril(lib.ones(length, length)).view(1, 1, length, length))

        def forward(self, x: Any) -> Any:
            batch, steps, _ = x.shape
            q, k, v = self.qkv(self.ln1(x)).split(width, dim=2)
            q, k, v = (z.view(batch, steps, heads, width // heads).transpose(1, 2) for z in (q, k, v))
            weights = (q @ k.transpose(-2, -1)) * (width // heads) ** -0.5
            weights = weights.masked_fill(self.mask[:, :, :steps, :steps] == 0, float("-inf"))
            y = (F.softmax(weights, dim=-1) @ v).transpose(1, 2).contiguous().view(batch, steps, width)
            x = x + self.proj(y)
            return x + self.mlp(self.ln2(x))

    class Transformer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tokens, self.places = nn.Embedding(vocabulary, width), nn.Embedding(length, width)
            self.blocks = nn.ModuleList([Block() for _ in range(2)])
            self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, vocabulary, bias=False)

        def forward(self, index: Any, targets: Any = None) -> Any:
            x = self.tokens(index) + self.places(lib.arange(index.shape[1]))
            for block in self.blocks:
                x = block(x)
            logits = self.head(self.norm(x))
            loss = None if targets is None else F.cross_entropy(logits.view(-1, vocabulary), targets.reshape(-1))
            return logits, loss

    model = source.fill(Transformer())
    groups = [
        {"params": [p for p in model.parameters() if p.dim() >= 2], "weight_decay": 0.1},
        {"params": [p for p in model.parameters() if p.dim() < 2], "weight_decay": 0.0},
    ]
    optimizer = lib.optim.AdamW(groups, lr=3e-3, betas=(0.9, 0.95))
    schedule = lib.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=10)

    @wrap
    def train_step(x: Any, y: Any) -> Any:
        optimizer.zero_grad(set_to_none=True)
        _, loss = model(x, y)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return loss

    text = source.classes(vocabulary, 6, length + 1)
    found = []
    for _ in range(6):
        found.append(train_step(text[:, :-1], text[:, 1:]).item())
        schedule.step()
    model.eval()
    index = lib.zeros((1, 1), dtype=lib.long)
    with lib.no_grad():
        for _ in range(8):
            logits, _ = model(index[:, -length:])
            index = lib.cat([index, logits[:, -1, :].argmax(-1, keepdim=True)], dim=1)
    return [*found, *map(float, index[0].tolist())]


def sequence_tagger(lib: Any, wrap: Wrap) -> list[float]:
    """An LSTM tagger over an embedding, as the tutorial on sequence models has it, with a recurrent state kept."""
    nn, F, source = lib.nn, lib.nn.functional, Source(lib)

    class Tagger(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words = nn.Embedding(11, 6)
            self.lstm = nn.LSTM(6, 8, num_layers=2, batch_first=True, bidirectional=True)
            self.tags = nn.Linear(16, 4)

        def forward(self, sentence: Any) -> Any:
            hidden, _ = self.lstm(self.words(sentence))
            return F.log_softmax(self.tags(hidden), dim=-1)

    model = source.fill(Tagger())
    optimizer = lib.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

    @wrap
    def train_step(x: Any, y: Any) -> Any:
        model.zero_grad()
        loss = F.nll_loss(model(x).flatten(0, 1), y.flatten())
        loss.backward()
        optimizer.step()
        return loss

    found = []
    for steps in (5, 7, 5, 9):
        found.append(train_step(source.classes(11, 3, steps), source.classes(4, 3, steps)).item())
    return found


def encoder_classifier(lib: Any, wrap: Wrap) -> list[float]:
    """A transformer encoder over padded sequences, with PyTorch's own layers."""
    nn, F, source = lib.nn, lib.nn.functional, Source(lib)

    class Classifier(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            layer = nn.TransformerEncoderLayer(8, 2, dim_feedforward=16, dropout=0.0, batch_first=True)
            self.words, self.encoder = nn.Embedding(9, 8, padding_idx=0), nn.TransformerEncoder(layer, 2)
            self.out = nn.Linear(8, 3)

        def forward(self, x: Any) -> Any:
            padding = x == 0
            hidden = self.encoder(self.words(x), src_key_padding_mask=padding)
            kept = (~padding).unsqueeze(-1).to(hidden.dtype)
            return self.out((hidden * kept).sum(1) / kept.sum(1).clamp(min=1))

    model = source.fill(Classifier())
    optimizer = lib.optim.RMSprop(model.parameters(), lr=1e-3)

    @wrap
    def train_step(x: Any, y: Any) -> Any:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y, label_smoothing=0.1)
        loss.backward()
        optimizer.step()
        return loss

    x = source.classes(9, 4, 6)
    x[:, 0] = 3
    x[1:, 4:] = 0
    return [train_step(x, source.classes(3, 4)).item() for _ in range(4)]


PROGRAMS = (character_transformer, sequence_tagger, encoder_classifier)


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: str(program.__name__))
@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
def test_program(program: Callable[[Any, Wrap], list[float]], compiled: bool) -> None:
    expected = program(torch, lambda function: function)
    found = program(adjit, adjit.compile if compiled else lambda function: function)
    assert found == pytest.approx(expected, rel=2e-4, abs=2e-5)
