"""The training step as a LightningModule.

Shape suffixes: U texts of the batch, B pairs, C candidates, D dimensions.
"""

from __future__ import annotations

import math
from typing import Any

import lightning as L
import numpy as np
import torch
from torch import Tensor

from whet.config import FitConfig
from whet.errors import EnvironmentRefused, WhetError
from whet.loss.gradcache import cached_step
from whet.loss.guided import without_likely_positives
from whet.loss.infonce import Targets, matryoshka_info_nce, uses_tiles
from whet.loss.objective import step_loss
from whet.model.activations import chunk_tokens, is_out_of_memory, recompute, tokens_that_fit
from whet.model.encoder import Encoder
from whet.model.inference import token_batches
from whet.processes.devices import batch_makers, loss_products, sent, training_precision
from whet.processes.world import world
from whet.progress import say
from whet.training.batches.ahead import Ahead
from whet.training.batches.examples import Batch, Examples
from whet.training.batches.order import Order, total_steps
from whet.training.exchange import all_vectors, most, own_gradient
from whet.training.strategies import Strategy
from whet_kernels.infonce.fused import choose_loss_backend


class Contrastive(L.LightningModule):
    """A contrastive loss on an encoder. Which pairs a step sees, and its dropout, depend on (seed,
    step) alone.
    """

    def __init__(
        self,
        encoder: Encoder,
        examples: Examples,
        order: Order,
        config: FitConfig,
        strategy: Strategy,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.encoder = encoder
        self.examples = examples
        self.order = order
        self.config = config
        self.strategy = strategy
        self.total_steps = total_steps(order, config.trainer)  # of the whole run
        self.ahead = Ahead(
            examples,
            encoder,
            order.step,
            steps=self.total_steps,
            workers=batch_makers(config.trainer),
        )
        self.precision = training_precision(config.trainer)
        self.products = loss_products(config.trainer)
        self.last_loss = float("nan")
        self.tiles_reported = False
        self.sharded = False
        self.most_tokens: int | None = None  # of a chunk, since one did not fit in the memory

    def training_step(self, _: Any, batch_idx: int) -> None:
        """One optimizer step; its pairs follow from `global_step`, so the loader only counts."""
        step = self.global_step
        self.encoder.train()
        batch = self.ahead.batch(step)
        optimizer: Any = self.optimizers()
        loss = self._backward_that_fits(step, batch)
        limit = self.config.trainer.gradient_clip_val
        norm = self.strategy.gradient_norm(self, limit or float("inf"))
        # Before the step, so that a bad gradient never reaches the weights. It is the one time in a
        # step that we have the host wait for a GPU.
        self.last_loss = self._finite_loss(step, loss, norm, batch)
        optimizer.step()
        # DeepSpeed knows the norm only after its step, so it is looked at again.
        after = self.strategy.norm_of_step(norm)
        if after is not norm:
            norm = after
            self._finite_loss(step, loss, norm, batch)
        scheduler: Any = self.lr_schedulers()
        scheduler.step()
        self.log_dict(
            {"loss": loss, "gradient_norm": norm, "data_epoch": float(self.order.epoch_of(step))}
        )

    def _finite_loss(self, step: int, loss: Tensor, norm: Tensor, batch: Batch) -> float:
        """The loss as a number; WhetError where it or the gradient's norm is none."""
        value: float
        value, length = torch.stack([loss, norm.to(loss.device)]).tolist()
        if math.isfinite(value) and math.isfinite(length):
            return value
        raise WhetError(
            f"Step {step}: the loss ({value:.4g}) or its gradient ({length:.4g}) is not finite; "
            f"the weights are as before the step. Its first pairs: "
            f"{', '.join(batch.pair_ids)}. Look at these texts, or lower "
            "trainer.learning_rate."
        )

    def _backward_that_fits(self, step: int, batch: Batch) -> Tensor:
        """`_backward`, seeded by the step; where memory does not hold it, once more in
        chunks of half the tokens, which later steps keep to.

        EnvironmentRefused where nothing is left to make smaller.
        """
        optimizer: Any = self.optimizers()
        while True:
            # Seeded by step: dropout after a resume is what it would have been.
            torch.manual_seed(step_seed(self.config.seed, step, world().rank))
            optimizer.zero_grad(set_to_none=True)
            try:
                return self._backward(batch)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                self._halve(step, batch, error)
            # Out here: what failed is held by the error until its block ends.
            torch.cuda.empty_cache()

    def _halve(self, step: int, batch: Batch, error: BaseException) -> None:
        chunks, lengths = self._chunks(batch), [len(ids) for ids in batch.tokens]
        longest = max(lengths)
        size = max(len(rows) * max(lengths[row] for row in rows) for rows in chunks)
        # Processes that wait for each other could not begin again, and DeepSpeed has added up some.
        alone = world().size == 1 and self.config.strategy.name in ("auto", "single")
        if not alone or self.config.loss.cache == "never" or size <= longest:
            raise EnvironmentRefused(
                f"Step {step} does not fit in memory, with {size:,} tokens in a forward "
                f"pass, padding counted. Begin again with loss.cache=always loss.chunk_tokens="
                f"{max(longest, size // 2)}, trainer.activation_checkpointing=always, or a smaller "
                "model.max_length or trainer.batch_size."
            ) from error
        self.most_tokens = max(longest, size // 2)
        say(
            f"Step {step} does not fit in memory: from here on forward passes of at most "
            f"{self.most_tokens:,} tokens, activations not kept (loss.cache=always "
            f"loss.chunk_tokens={self.most_tokens} does so from the start)."
        )

    def _backward(self, batch: Batch) -> Tensor:
        """Gradients of the global batch's loss in the parameters; returns the loss, detached."""
        device = self.encoder.device
        targets = without_likely_positives(batch.targets.to(device), self.config.loss.guide_margin)
        query_B = sent(batch.query_B, device)
        fixed = None if batch.doc_CD is None else sent(batch.doc_CD, device)
        chunks = self._chunks(batch)
        # Where weights are sharded each forward gathers them: all processes must do as many.
        chunks += [np.empty(0, np.int64)] * (most(max(1, len(chunks))) - len(chunks))
        filler = self.encoder.tokenize([self.encoder.filler], "document")

        def forward(rows: np.ndarray) -> Tensor:
            return self.encoder.forward_tokens([batch.tokens[row] for row in rows] or filler)

        def loss_of(own_ND: Tensor) -> tuple[Tensor, Tensor]:
            # every process holds all vectors and computes the whole loss (exchange.py)
            vector_UD = all_vectors(own_ND, batch.texts).requires_grad_()
            query_BD = vector_UD[: batch.queries][query_B]
            encoded_CD = vector_UD[batch.queries :]
            doc_CD = encoded_CD if fixed is None else fixed.to(vector_UD.dtype)
            loss = self._loss(query_BD, doc_CD, targets)
            loss.backward()
            assert vector_UD.grad is not None
            return loss.detach(), own_gradient(vector_UD.grad, own_ND)

        cached = self._cached(most(sum(map(len, batch.tokens))))
        return cached_step(
            forward, chunks, loss_of, self.manual_backward, cached=cached, device=device
        )

    def _chunks(self, batch: Batch) -> list[np.ndarray]:
        lengths = [len(ids) for ids in batch.tokens]
        asked = self.config.loss.chunk_tokens
        tokens = asked or chunk_tokens(self.encoder, self.encoder.device, self.precision)
        return list(token_batches(lengths, min(tokens, self.most_tokens or tokens)))

    def _loss(self, query_BD: Tensor, doc_CD: Tensor, targets: Targets) -> Tensor:
        loss = self.config.loss

        def info_nce() -> Tensor:
            self._tell_of_tiles(len(query_BD) * len(doc_CD), query_BD, targets)
            return matryoshka_info_nce(
                query_BD,
                doc_CD,
                targets,
                dims=loss.matryoshka_dims,
                temperature=loss.temperature,
                symmetric=loss.symmetric,
                fused=loss.fused,
                products=self.products,
            )

        distill = self.config.distill
        return step_loss(query_BD, doc_CD, targets, loss=loss, distill=distill, info_nce=info_nce)

    def _tell_of_tiles(self, similarities: int, query_BD: Tensor, targets: Targets) -> None:
        """Say once when the similarities are not held at once, and what computes instead."""
        if self.tiles_reported or not uses_tiles(self.config.loss.fused, similarities):
            return
        self.tiles_reported = True
        if targets.gain_B is not None:
            say(
                f"The loss holds all {similarities:,} similarities: by tiles it knows no gains "
                f"(loss.gains={self.config.loss.gains})."
            )
            return
        backend, why = choose_loss_backend("auto", query_BD.device, query_BD.dtype)
        kind = str(self.products).removeprefix("torch.")
        say(
            f"The loss goes by tiles of the {similarities:,} similarities, products in {kind} "
            f"({backend}: {why})."
        )

    def _cached(self, tokens: int) -> bool:
        mode = self.config.loss.cache
        if self.most_tokens is not None:
            return True
        if mode in ("always", "never"):
            return mode == "always"
        asked = self.config.loss.cache_tokens
        fitting = asked or tokens_that_fit(self.encoder, self.encoder.device, self.precision)
        return tokens > fitting

    def on_fit_end(self) -> None:
        """The last step is done (Lightning calls this)."""
        self.ahead.close()

    def configure_model(self) -> None:
        """Make the encoder ready: layers computed again where memory asks for it, weights sharded
        where the strategy does (Lightning may call this again).
        """
        if not self.sharded:
            recompute(self.encoder, self.config.trainer)
            self.strategy.shard(self.encoder, self.device_mesh)
            self.sharded = True

    def configure_optimizers(self) -> Any:
        """AdamW without decay of biases and norms; linear warm-up, then linear decay to 0."""
        trainer = self.config.trainer
        trained = [(name, p) for name, p in self.named_parameters() if p.requires_grad]
        groups = [
            {"params": [p for _, p in trained if p.ndim > 1], "weight_decay": trainer.weight_decay},
            # Decay would pull norms towards 0 instead of their neutral 1.
            {"params": [p for _, p in trained if p.ndim <= 1], "weight_decay": 0.0},
        ]
        if self.config.strategy.name == "deepspeed":  # it drops a group of none, a LoRA's second
            groups = [group for group in groups if group["params"]]
        optimizer = torch.optim.AdamW(groups, lr=trainer.learning_rate, fused=True)
        warm = max(1, round(trainer.warmup_ratio * self.total_steps))
        total = self.total_steps

        def share(step: int) -> float:
            # step + 1: else the first step would have a rate of 0 and teach nothing.
            return min((step + 1) / warm, max(0.0, (total - step) / max(1, total - warm)))

        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, share)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }


def step_seed(seed: int, step: int, rank: int = 0) -> int:
    """The seed of a step's dropout: a pure function, so that a resumed step draws what it would
    have drawn. Each process draws its own.

    >>> step_seed(0, 7) == step_seed(0, 7) != step_seed(0, 8)
    True
    """
    words = [seed, step, rank] if rank else [seed, step]
    return int(np.random.SeedSequence(words).generate_state(1, np.uint64)[0] >> 1)
