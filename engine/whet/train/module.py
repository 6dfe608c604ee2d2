"""The training step as a LightningModule.

Shape suffixes: U texts of the batch, B pairs, C candidates, D dimensions.
"""

from __future__ import annotations

import os
from typing import Any

import lightning as L
import numpy as np
import torch
from torch import Tensor

from whet.config import FitConfig
from whet.data.order import Order
from whet.errors import WhetError
from whet.loss.gradcache import backward_cached, backward_whole
from whet.loss.infonce import matryoshka_info_nce, uses_tiles
from whet.model.encoder import Encoder
from whet.model.inference import token_batches
from whet.progress import say
from whet.train.examples import Batch, Examples
from whet_kernels.fused_infonce import choose_backend

MEMORY_SHARE = 0.3  # of the device, for the activations of one backward
BYTES_A_UNIT = (
    68  # activations a token, layer and hidden unit in float32 (Korthikanti et al., 2205.05198)
)
# A CPU's caches hold no more: a step took 1.1 times as long at 2,048, 2.6 times at 16,384.
CHUNK_TOKENS = {"cpu": 512, "cuda": 16_384}


class Contrastive(L.LightningModule):
    """InfoNCE on an encoder. Which pairs a step sees, and its dropout, depend on (seed, step)
    alone.
    """

    def __init__(
        self, encoder: Encoder, examples: Examples, order: Order, config: FitConfig
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.encoder = encoder
        self.examples = examples
        self.order = order
        self.config = config
        self.last_loss = float("nan")
        self.told_of_tiles = False

    @property
    def total_steps(self) -> int:
        """Optimizer steps of the whole run."""
        steps = self.order.steps_per_epoch * self.config.trainer.max_epochs
        limit = self.config.trainer.max_steps
        return steps if limit < 0 else min(steps, limit)

    def training_step(self, _: Any, batch_idx: int) -> None:
        """One optimizer step; its pairs follow from `global_step`, so the loader only counts."""
        step = self.global_step
        torch.manual_seed(step_seed(self.config.seed, step))
        self.encoder.train()
        batch = self.examples.batch(self.order.step(step), self.encoder)
        optimizer: Any = self.optimizers()
        optimizer.zero_grad(set_to_none=True)
        loss = self._backward(batch)
        norm = torch.nn.utils.clip_grad_norm_(
            [p for p in self.parameters() if p.requires_grad],
            self.config.trainer.gradient_clip_val or float("inf"),
        )
        if not (torch.isfinite(loss) and torch.isfinite(norm)):
            raise WhetError(
                f"Step {step}: the loss ({loss:.4g}) or its gradient ({norm:.4g}) is not finite; "
                f"the weights are as before the step. Its first pairs: "
                f"{', '.join(batch.pair_ids)}. Look at these texts, or lower "
                "trainer.learning_rate."
            )
        optimizer.step()
        scheduler: Any = self.lr_schedulers()
        scheduler.step()
        self.last_loss = float(loss)
        self.log_dict(
            {"loss": loss, "gradient_norm": norm, "data_epoch": float(self.order.epoch_of(step))}
        )

    def _backward(self, batch: Batch) -> Tensor:
        lengths = [len(ids) for ids in batch.tokens]
        device = self.encoder.device
        chunk_tokens = self.config.loss.chunk_tokens or CHUNK_TOKENS.get(device.type, 16_384)
        chunks = list(token_batches(lengths, chunk_tokens))
        place_U = torch.from_numpy(np.argsort(np.concatenate(chunks))).to(device)
        targets = batch.targets.to(device)
        query_B = batch.query_B.to(device)

        def forward(number: int) -> Tensor:
            return self.encoder.forward_tokens([batch.tokens[row] for row in chunks[number]])

        def loss_of(vector_UD: Tensor) -> Tensor:
            vector_UD = vector_UD[place_U]
            self._tell_of_tiles(len(query_B) * (len(vector_UD) - batch.queries), vector_UD)
            with torch.autocast(device.type, enabled=False):
                return matryoshka_info_nce(
                    vector_UD[: batch.queries][query_B],
                    vector_UD[batch.queries :],
                    targets,
                    dims=self.config.loss.matryoshka_dims,
                    temperature=self.config.loss.temperature,
                    symmetric=self.config.loss.symmetric,
                    fused=self.config.loss.fused,
                )

        if self._cached(sum(lengths)):
            return backward_cached(
                forward, len(chunks), loss_of, self.manual_backward, device=device
            )
        return backward_whole(forward, len(chunks), loss_of, self.manual_backward)

    def _tell_of_tiles(self, similarities: int, vector_UD: Tensor) -> None:
        """Say once when the similarities are not held at once, and what computes instead."""
        if self.told_of_tiles or not uses_tiles(self.config.loss.fused, similarities):
            return
        backend, why = choose_backend("auto", vector_UD.device, vector_UD.dtype)
        say(f"The loss goes by tiles of the {similarities:,} similarities ({backend}: {why}).")
        self.told_of_tiles = True

    def _cached(self, tokens: int) -> bool:
        mode = self.config.loss.cache
        if mode in ("always", "never"):
            return mode == "always"
        return tokens > (self.config.loss.cache_tokens or tokens_that_fit(self.encoder))

    def configure_optimizers(self) -> Any:
        """AdamW without decay of biases and norms; linear warm-up, then linear decay to 0."""
        trainer = self.config.trainer
        trained = [(name, p) for name, p in self.named_parameters() if p.requires_grad]
        groups = [
            {"params": [p for _, p in trained if p.ndim > 1], "weight_decay": trainer.weight_decay},
            {"params": [p for _, p in trained if p.ndim <= 1], "weight_decay": 0.0},
        ]
        optimizer = torch.optim.AdamW(groups, lr=trainer.learning_rate, fused=True)
        warm = max(1, round(trainer.warmup_ratio * self.total_steps))
        total = self.total_steps

        def share(step: int) -> float:
            return min((step + 1) / warm, max(0.0, (total - step) / max(1, total - warm)))

        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, share)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }


def step_seed(seed: int, step: int) -> int:
    """The seed of a step's dropout: a pure function, so that a resumed step draws what it would
    have drawn.
    """
    return int(np.random.SeedSequence([seed, step]).generate_state(1, np.uint64)[0] >> 1)


def tokens_that_fit(encoder: Encoder) -> int:
    """How many tokens' activations fit in a third of the device's memory (its size, not what is
    free now).
    """
    settings: Any = encoder.backbone.config
    unit = settings.num_hidden_layers * settings.hidden_size * BYTES_A_UNIT
    if encoder.device.type == "cuda":
        total = torch.cuda.get_device_properties(encoder.device).total_memory
    else:
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return int(total * MEMORY_SHARE / unit)
