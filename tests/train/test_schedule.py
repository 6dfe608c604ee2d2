"""Steps of the optimizer: rates by a closed form, gradients cut, AdamW against float64."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.data import DataLoader

from whet.config import DataConfig, FitConfig, ModelConfig, StrategyConfig
from whet.data.load import load_dataset
from whet.data.positives import positives_of
from whet.data.splits import training_qrels
from whet.errors import WhetError
from whet.model.activations import chunk_tokens, tokens_that_fit
from whet.model.encoder import Encoder
from whet.training.batches.examples import Examples
from whet.training.batches.order import Order, total_steps
from whet.training.module import Contrastive, step_seed
from whet.training.strategies import Strategy
from whet.training.trainer import Ticks, quietly, trainer_of

CLIP = 0.7
ORDERS = [[4, 7, 6, 3, 5, 0, 2, 1], [7, 3, 1, 6, 0, 4, 2, 5]]
SEEDS = (7896617691693857887, 2530781778362038830, 6665335680343557524)


@pytest.fixture(scope="module")
def parts(tiny_data: Path, tiny_model: Path) -> tuple[FitConfig, Examples, Encoder]:
    config = FitConfig(
        data=DataConfig(path=str(tiny_data)), model=ModelConfig(name=str(tiny_model), dropout=0.1)
    )
    data = load_dataset(str(tiny_data))
    qrels = training_qrels(data, "train")
    positives = positives_of(qrels, data.queries, data.corpus)
    examples = Examples(qrels, positives, queries=data.queries, corpus=data.corpus)
    return config, examples, Encoder.load(config.model)


class Keeping(Strategy):
    """A single process that keeps the gradients of each step, as they were and as they were cut."""

    def __init__(self, clip: float) -> None:
        super().__init__(StrategyConfig(name="single"), clip)
        self.whole: list[dict[str, Tensor]] = []
        self.cut: list[dict[str, Tensor]] = []
        self.norms: list[float] = []

    def gradient_norm(self, module: nn.Module, limit: float) -> Tensor:
        self.whole.append(_gradients(module))
        norm = super().gradient_norm(module, limit)
        self.cut.append(_gradients(module))
        self.norms.append(float(norm))
        return norm


def _gradients(module: nn.Module) -> dict[str, Tensor]:
    named = module.named_parameters()
    return {name: p.grad.double().clone() for name, p in named if p.grad is not None}


class Rates(L.Callback):
    """The learning rate of each step, of both groups."""

    def __init__(self) -> None:
        self.seen: list[list[float]] = []

    def on_train_batch_start(self, trainer: Any, module: Any, *_: Any) -> None:
        self.seen.append([group["lr"] for group in module.optimizers().param_groups])


def module_of(
    parts: tuple[FitConfig, Examples, Encoder], strategy: Strategy, **trainer: Any
) -> Contrastive:
    config, examples, encoder = parts
    options = {"batch_size": 13, "gradient_clip_val": CLIP, **trainer}
    config = replace(config, trainer=replace(config.trainer, **options))
    order = Order(len(examples), 13, config.seed)
    return Contrastive(copy.deepcopy(encoder), examples, order, config, strategy)


def run(module: Contrastive, folder: Path, *callbacks: L.Callback) -> None:
    steps = module.total_steps
    trainer = trainer_of(module.config, folder, module.strategy, list(callbacks), steps)
    quietly(trainer.fit, module, DataLoader(Ticks(), batch_size=None))


def rate(step: int, total: int, ratio: float) -> float:
    """Up by equal parts to 1 over the first steps, then down to what would be 0 after the last."""
    warm = max(1, round(ratio * total))
    if step < warm:
        return min((step + 1) / warm, (total - step) / max(1, total - warm))
    return (total - step) / max(1, total - warm)


@settings(deadline=None, max_examples=15)
@given(st.integers(1, 200), st.floats(0, 1), st.floats(1e-6, 1))
def test_rates_go_up_then_down(
    parts: tuple[FitConfig, Examples, Encoder], total: int, ratio: float, peak: float
) -> None:
    config, examples, _ = parts
    tiny: Any = nn.Linear(2, 2)
    options = replace(
        config.trainer, learning_rate=peak, warmup_ratio=ratio, max_steps=total, max_epochs=200
    )
    order = Order(200, 1, 0)
    module = Contrastive(
        tiny, examples, order, replace(config, trainer=options), Strategy(StrategyConfig(), 1.0)
    )
    made = module.configure_optimizers()
    optimizer, scheduler = made["optimizer"], made["lr_scheduler"]["scheduler"]
    found = []
    for _ in range(total):
        found.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        scheduler.step()
    wanted = [[peak * min(1.0, rate(step, total, ratio))] * 2 for step in range(total)]
    assert np.allclose(found, wanted, rtol=1e-9) and np.min(found) > 0
    rates = [both[0] for both in found]
    top = int(np.argmax(rates))
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert made["lr_scheduler"]["interval"] == "step"
    assert optimizer.param_groups[0]["lr"] == 0  # after the last step


def test_three_steps_are_those_of_adamw_in_float64(
    parts: tuple[FitConfig, Examples, Encoder], tmp_path: Path
) -> None:
    """Loshchilov and Hutter, arXiv 1711.05101, algorithm 2, fed the gradients that were cut: no
    decay of biases and norms, moments from 0, each step's rate by the closed form.
    """
    kept, rates = Keeping(CLIP), Rates()
    options = {"learning_rate": 3e-3, "weight_decay": 0.2, "warmup_ratio": 0.5, "max_steps": 4}
    module = module_of(parts, kept, **options)
    first = {name: p.detach().double().clone() for name, p in module.named_parameters()}
    run(module, tmp_path, rates)
    assert len(kept.cut) == 4
    assert np.allclose(rates.seen, [[3e-3 * r] * 2 for r in (0.5, 1.0, 1.0, 0.5)])
    moved = 0
    for name, weight in module.named_parameters():
        wanted, mean, square = first[name], torch.zeros(()), torch.zeros(())
        if name not in kept.cut[0]:
            assert torch.equal(weight.double(), wanted) and ".pooler." in name
            continue
        for number, cut in enumerate(kept.cut):
            lr = 3e-3 * (0.5, 1.0, 1.0, 0.5)[number]
            mean = 0.9 * mean + 0.1 * cut[name]
            square = 0.999 * square + 0.001 * cut[name] ** 2
            wanted = wanted * (1 - lr * (0.2 if weight.ndim > 1 else 0.0))
            mean_hat = mean / (1 - 0.9 ** (number + 1))
            square_hat = square / (1 - 0.999 ** (number + 1))
            wanted = wanted - lr * mean_hat / (square_hat.sqrt() + 1e-8)
        assert (weight.double() - wanted).abs().max() < 1e-5, name
        moved += 1
    assert moved > 30


def test_gradients_are_cut_all_together_to_the_norm(
    parts: tuple[FitConfig, Examples, Encoder], tmp_path: Path
) -> None:
    """And the norm that is told is the one before."""
    kept = Keeping(CLIP)
    run(module_of(parts, kept, max_steps=3), tmp_path / "cut")
    for whole, cut, told in zip(kept.whole, kept.cut, kept.norms, strict=True):
        norm = float(torch.cat([grad.flatten() for grad in whole.values()]).norm())
        assert told == pytest.approx(norm, rel=1e-5) and norm > CLIP
        for name, grad in whole.items():
            assert torch.allclose(cut[name], grad * CLIP / norm, rtol=1e-4, atol=1e-9)
    never = Keeping(0.0)
    run(module_of(parts, never, max_steps=1, gradient_clip_val=0.0), tmp_path / "never")
    assert all(torch.equal(never.cut[0][name], grad) for name, grad in never.whole[0].items())
    assert never.norms[0] == pytest.approx(kept.norms[0])


def test_a_gradient_that_is_not_finite_never_reaches_the_weights(
    parts: tuple[FitConfig, Examples, Encoder], tmp_path: Path
) -> None:
    class Spoiled(Strategy):
        def gradient_norm(self, module: nn.Module, limit: float) -> Tensor:
            next(p for p in module.parameters() if p.grad is not None).grad.fill_(torch.inf)  # type: ignore[union-attr]
            return super().gradient_norm(module, limit)

    module = module_of(parts, Spoiled(StrategyConfig(name="single"), CLIP), max_steps=2)
    before = module.encoder.fingerprint()
    first = module.examples.batch(module.order.step(0), module.encoder).pair_ids
    with pytest.raises(WhetError, match=r"Step 0: the loss .* its gradient \((inf|nan)\)") as told:
        run(module, tmp_path)
    assert module.encoder.fingerprint() == before
    assert ", ".join(first) in str(told.value) and len(first) == 5


@pytest.mark.parametrize("workers", [0, 2])
def test_a_training_is_the_same_again(
    parts: tuple[FitConfig, Examples, Encoder], tmp_path: Path, workers: int
) -> None:
    """Dropout and all, to the bit, whatever was drawn before; also with batches made ahead."""
    prints = set()
    for number, ahead in enumerate((0, workers)):
        torch.manual_seed(number)
        module = module_of(parts, Keeping(CLIP), max_steps=4, num_workers=ahead)
        run(module, tmp_path / str(number))
        prints.add(module.encoder.fingerprint())
    assert len(prints) == 1


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**62), st.integers(0, 2**31), st.integers(0, 500))
def test_each_step_and_process_draws_its_own(seed: int, step: int, rank: int) -> None:
    found = step_seed(seed, step, rank)
    assert found == step_seed(seed, step, rank) and 0 <= found < 2**63
    assert found not in (step_seed(seed, step + 1, rank), step_seed(seed + 1, step, rank))
    assert found != step_seed(seed, step, rank + 1)
    torch.manual_seed(found)


def test_what_a_resume_of_an_older_run_draws_stays_as_it_is() -> None:
    """Golden: another order or other seeds would make a resumed run another one."""
    assert Order(8, 3, seed=5).shuffled(0).tolist() == ORDERS[0]
    assert Order(8, 3, seed=5).shuffled(1).tolist() == ORDERS[1]
    assert (step_seed(0, 0), step_seed(7, 3), step_seed(7, 3, 1)) == SEEDS


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 500), st.integers(1, 64), st.integers(1, 9), st.integers(-1, 300))
def test_steps_of_a_run_are_whole_epochs_or_what_was_asked(
    pairs: int, batch: int, epochs: int, most: int
) -> None:
    order = Order(pairs, batch, 0)
    config = replace(FitConfig().trainer, max_epochs=epochs, max_steps=most)
    found = total_steps(order, config)
    if most >= 0:
        assert found == min(most, total_steps(order, replace(config, max_steps=-1)))
    else:
        assert sum(len(order.step(step)) for step in range(found)) == epochs * pairs


def test_the_tokens_that_fit_fill_three_tenths_of_the_memory(
    parts: tuple[FitConfig, Examples, Encoder], monkeypatch: pytest.MonkeyPatch
) -> None:
    """2 layers of 32 numbers, 68 bytes each: 4,352 bytes a token."""
    monkeypatch.setattr("whet.model.activations.host_bytes", lambda: 4352 * 1000)
    module = module_of(parts, Keeping(CLIP))
    for precision in ("32-true", "bf16-mixed"):  # what fits decides what earlier runs computed
        assert tokens_that_fit(parts[2], torch.device("cpu"), precision) == 300
        assert chunk_tokens(parts[2], torch.device("cpu"), precision) == 512
    assert [module._cached(tokens) for tokens in (300, 301)] == [False, True]
    module.config.loss = replace(module.config.loss, cache_tokens=9)
    assert [module._cached(tokens) for tokens in (9, 10)] == [False, True]
    for mode in ("always", "never"):
        module.config.loss = replace(module.config.loss, cache=mode)
        assert {module._cached(tokens) for tokens in (0, 10**9)} == {mode == "always"}
