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
from whet.errors import WhetError
from whet.loss.gradcache import cached_step
from whet.loss.infonce import Targets, matryoshka_info_nce, uses_tiles
from whet.model.encoder import Encoder
from whet.model.inference import token_batches
from whet.processes.devices import batch_makers, loss_products, sent, training_precision
from whet.processes.host import host_bytes
from whet.processes.world import world
from whet.progress import say
from whet.training.batches.ahead import Ahead
from whet.training.batches.examples import Batch, Examples
from whet.training.batches.order import Order, total_steps
from whet.training.exchange import all_vectors, most, own_gradient
from whet.training.strategies import Strategy
from whet_kernels.infonce.fused import choose_loss_backend

MEMORY_SHARE = 0.3  # of the device, for the activations of one backward; a GPU gives at least that
# Of a GPU, for activations, weights, gradients and optimizer together: the loss, a bucket of
# gradients, the libraries and what fragments take the rest.
GPU_SHARE = 0.85
STATE_BYTES, CAST_BYTES = 12, 2  # a trained weight beside itself; its copy that autocast keeps
# Activations per token, layer and hidden unit of a BERT, by the precision of the step. Float32:
# Korthikanti et al., arXiv 2205.05198. In bf16 most of it halves; sums before a norm stay float32,
# and each of three products casts the layer's input for itself.
BYTES_A_UNIT = {"32-true": 68, "bf16-mixed": 42}
# Where attention keeps its matrices (eager), more per token, head and token of its text.
BYTES_A_PAIR = {"32-true": 9, "bf16-mixed": 7}
BERT_LAYER = 12  # weights of its matrices over the square of the hidden size
# A CPU's caches hold no more: a step took 1.1 times as long at 2,048, 2.6 times at 16,384. A GPU
# needs work for longer than the host takes to tell it what: 65,536 where memory is large.
CPU_CHUNK, GPU_CHUNK, LARGE_GPU_CHUNK = 512, 16_384, 65_536  # tokens
LARGE_GPU = 75 << 30  # bytes; cards of 80 GB have 79 GiB


class Contrastive(L.LightningModule):
    """InfoNCE on an encoder. Which pairs a step sees, and its dropout, depend on (seed, step)
    alone.
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

    def training_step(self, _: Any, batch_idx: int) -> None:
        """One optimizer step; its pairs follow from `global_step`, so the loader only counts."""
        step = self.global_step
        # Seeded by step: dropout after a resume is what it would have been.
        torch.manual_seed(step_seed(self.config.seed, step, world().rank))
        self.encoder.train()
        batch = self.ahead.batch(step)
        optimizer: Any = self.optimizers()
        optimizer.zero_grad(set_to_none=True)
        loss = self._backward(batch)
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

    def _backward(self, batch: Batch) -> Tensor:
        """Gradients of the global batch's loss in the parameters; returns the loss, detached."""
        device = self.encoder.device
        targets = batch.targets.to(device)
        query_B = sent(batch.query_B, device)
        chunks = self._chunks(batch)
        # Where weights are sharded each forward gathers them: all processes must do as many.
        chunks += [np.empty(0, np.int64)] * (most(max(1, len(chunks))) - len(chunks))
        filler = self.encoder.tokenize(["."], "document")

        def forward(rows: np.ndarray) -> Tensor:
            return self.encoder.forward_tokens([batch.tokens[row] for row in rows] or filler)

        def loss_of(own_ND: Tensor) -> tuple[Tensor, Tensor]:
            # every process holds all vectors and computes the whole loss (exchange.py)
            vector_UD = all_vectors(own_ND, batch.texts).requires_grad_()
            loss = self._loss(vector_UD, batch.queries, query_B, targets)
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
        return list(token_batches(lengths, tokens))

    def _loss(self, vector_UD: Tensor, queries: int, query_B: Tensor, targets: Targets) -> Tensor:
        self._tell_of_tiles(len(query_B) * (len(vector_UD) - queries), vector_UD)
        return matryoshka_info_nce(
            vector_UD[:queries][query_B],
            vector_UD[queries:],
            targets,
            dims=self.config.loss.matryoshka_dims,
            temperature=self.config.loss.temperature,
            symmetric=self.config.loss.symmetric,
            fused=self.config.loss.fused,
            products=self.products,
        )

    def _tell_of_tiles(self, similarities: int, vector_UD: Tensor) -> None:
        """Say once when the similarities are not held at once, and what computes instead."""
        if self.tiles_reported or not uses_tiles(self.config.loss.fused, similarities):
            return
        backend, why = choose_loss_backend("auto", vector_UD.device, vector_UD.dtype)
        kind = str(self.products).removeprefix("torch.")
        say(
            f"The loss goes by tiles of the {similarities:,} similarities, products in {kind} "
            f"({backend}: {why})."
        )
        self.tiles_reported = True

    def _cached(self, tokens: int) -> bool:
        mode = self.config.loss.cache
        if mode in ("always", "never"):
            return mode == "always"
        asked = self.config.loss.cache_tokens
        fitting = asked or tokens_that_fit(self.encoder, self.encoder.device, self.precision)
        return tokens > fitting

    def on_fit_end(self) -> None:
        """The last step is done (Lightning calls this)."""
        self.ahead.close()

    def configure_model(self) -> None:
        """Shard the encoder's weights where the strategy does (Lightning may call this again)."""
        if not self.sharded:
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


def tokens_that_fit(encoder: Encoder, device: torch.device, precision: str) -> int:
    """How many tokens' activations fit in the device's memory (its size, not what is free now)
    beside what training holds.
    """
    unit = token_bytes(encoder, device, precision)
    if device.type != "cuda":
        return int(host_bytes() * MEMORY_SHARE / unit)
    total = torch.cuda.get_device_properties(device).total_memory
    held = sum(_bytes_in_training(part) for part in encoder.parameters())
    return int(max(GPU_SHARE * total - held, MEMORY_SHARE * total) / unit)


def _bytes_in_training(part: torch.nn.Parameter) -> int:
    each = part.element_size() + CAST_BYTES + STATE_BYTES * part.requires_grad
    return math.prod(_whole_shape(part)) * each


def _whole_shape(part: torch.nn.Parameter) -> tuple[int, ...]:
    """Also of one that DeepSpeed has divided, which holds no numbers of its own."""
    return tuple(getattr(part, "ds_shape", part.shape))


def chunk_tokens(encoder: Encoder, device: torch.device, precision: str) -> int:
    """How many tokens go through the model at once, with padding, where nobody says."""
    if device.type != "cuda":
        return CPU_CHUNK
    large = torch.cuda.get_device_properties(device).total_memory >= LARGE_GPU
    most = LARGE_GPU_CHUNK if large else GPU_CHUNK
    return max(1, min(most, tokens_that_fit(encoder, device, precision)))


def token_bytes(encoder: Encoder, device: torch.device, precision: str) -> int:
    """Bytes of a token's activations that its backward needs. On a CPU as in float32, whatever the
    precision: what fits there decides what earlier runs computed.
    """
    settings: Any = encoder.backbone.config
    layers, hidden = settings.num_hidden_layers, settings.hidden_size
    if device.type != "cuda":
        return int(layers * hidden * BYTES_A_UNIT["32-true"])
    shapes = [_whole_shape(part) for part in _layers_of(encoder).parameters()]
    matrices = sum(math.prod(shape) for shape in shapes if len(shape) > 1)
    # Activations grow with the matrices between which they lie: gated and wider layers have more.
    wider = max(1.0, matrices / max(1, layers * BERT_LAYER * hidden**2))
    pairs = 0
    if getattr(settings, "_attn_implementation", None) == "eager":
        pairs = BYTES_A_PAIR[precision] * settings.num_attention_heads * encoder.recipe.max_length
    return int(layers * (hidden * BYTES_A_UNIT[precision] * wider + pairs))


def _layers_of(encoder: Encoder) -> torch.nn.ModuleList:
    """The transformer's layers: its longest list of modules."""
    stacks = [part for part in encoder.modules() if isinstance(part, torch.nn.ModuleList)]
    return max(stacks, key=len, default=torch.nn.ModuleList())
