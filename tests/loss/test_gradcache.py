"""GradCache gives the gradients of the whole batch, with dropout replayed exactly."""

import weakref

import numpy as np
import pytest
import torch

from whet.loss.gradcache import cached_step
from whet.loss.infonce import Targets, info_nce
from whet.model.encoder import Encoder
from whet.model.inference import token_batches

CPU = torch.device("cpu")


def with_gradient(loss_of):
    """The loss and its gradient in the vectors, as `cached_step` asks for."""

    def both(vector_ND):
        vector_ND.requires_grad_()
        loss = loss_of(vector_ND)
        loss.backward()
        return loss.detach(), vector_ND.grad

    return both


def gradients(encoder, texts, *, cached, budget):
    """Every parameter's gradient, the loss, and the next random number."""
    encoder.zero_grad()
    encoder.train()
    torch.manual_seed(5)
    tokens = encoder.tokenize(texts, "document")
    chunks = list(token_batches([len(ids) for ids in tokens], budget))
    pairs = len(texts) // 2
    targets = Targets.of_mask(torch.arange(pairs), torch.eye(pairs, dtype=torch.bool))

    def forward(rows):
        return encoder.forward_tokens([tokens[row] for row in rows])

    def loss_of(vector_ND):
        return info_nce(vector_ND[:pairs], vector_ND[pairs:], targets, temperature=0.05)

    push = torch.Tensor.backward
    loss = cached_step(forward, chunks, with_gradient(loss_of), push, cached=cached, device=CPU)
    grads = {name: p.grad.clone() for name, p in encoder.named_parameters() if p.grad is not None}
    return grads, loss, torch.rand(1), len(chunks)


def assert_same(encoder, texts, budget):
    whole, loss, after, chunks = gradients(encoder, texts, cached=False, budget=budget)
    cached, loss_cached, after_cached, _ = gradients(encoder, texts, cached=True, budget=budget)
    assert chunks > 3
    assert torch.equal(loss, loss_cached)
    assert torch.equal(after, after_cached)
    assert whole.keys() == cached.keys()
    largest = max(grad.abs().max() for grad in whole.values())
    for name, grad in whole.items():
        assert (grad - cached[name]).abs().max() <= 1e-5 * largest, name


def test_gradients_equal_the_big_batch(tiny_model):
    encoder = Encoder.load(str(tiny_model))
    texts = [" ".join(["bace difo guka lemi".split()[i % 4]] * (1 + i % 9)) for i in range(40)]
    assert_same(encoder, texts, 32)


def test_gradients_equal_the_big_batch_of_minilm():
    texts = [f"find every file number {i} " * (1 + i % 5) for i in range(16)]
    assert_same(Encoder.load("minilm"), texts, 64)


def test_dropout_is_what_is_replayed(tiny_model):
    """Without the replay the gradients would differ: two different seeds do."""
    encoder = Encoder.load(str(tiny_model)).train()
    tokens = encoder.tokenize(["bace difo", "guka"], "document")
    torch.manual_seed(1)
    first = encoder.forward_tokens(tokens)
    torch.manual_seed(2)
    assert not torch.equal(first, encoder.forward_tokens(tokens))


def test_one_chunk_is_alive_at_a_time():
    """The number of activations alive never grows with the number of chunks."""
    weight = torch.ones(3, requires_grad=True)
    alive, most = 0, 0

    class Watched(torch.autograd.Function):
        @staticmethod
        def forward(ctx, value):
            nonlocal alive, most
            kept = value.clone()
            alive += 1
            most = max(most, alive)
            weakref.finalize(kept, gone)
            ctx.save_for_backward(kept)
            return value.clone()

        @staticmethod
        def backward(ctx, gradient):
            return gradient * (ctx.saved_tensors[0] != 0)

    def gone():
        nonlocal alive
        alive -= 1

    def forward(rows):
        number = int(rows[0]) // 2
        return Watched.apply((weight * (number + 1)).repeat(2, 1))

    def step(*, cached):
        square = with_gradient(lambda vector: (vector**2).sum())
        chunks = np.split(np.arange(14), 7)
        cached_step(forward, chunks, square, torch.Tensor.backward, cached=cached, device=CPU)

    step(cached=True)
    assert most <= 2  # the one made again, and the one that just goes
    assert weight.grad == pytest.approx([2 * 2 * sum(n * n for n in range(1, 8))] * 3)
    most = alive = 0
    step(cached=False)
    assert most == 7


def test_order_is_restored_and_an_empty_chunk_has_no_part():
    """Texts come back in their order from chunks in any, and what fills up a chunk counts for
    nothing: the gradient is that of all texts at once.
    """
    torch.manual_seed(3)
    text_ND = torch.randn(5, 3)
    order, seen = [[4, 1], [], [0, 3, 2]], []

    def gradient(chunks):
        weight = torch.eye(3, requires_grad=True)

        def forward(rows):
            return (text_ND[rows] if len(rows) else torch.ones(1, 3)) @ weight

        def loss_of(vector_ND):
            seen.append(vector_ND.clone())
            return (vector_ND * torch.arange(15.0).view(5, 3)).sum()

        rows = [np.array(chunk, np.int64) for chunk in chunks]
        push = torch.Tensor.backward
        cached_step(forward, rows, with_gradient(loss_of), push, cached=True, device=CPU)
        return weight.grad

    cut, whole = gradient(order), gradient([range(5)])
    assert torch.equal(seen[0], seen[1]) and torch.equal(seen[0], text_ND)
    assert torch.allclose(cut, whole, atol=1e-6)
