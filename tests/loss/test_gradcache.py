"""GradCache gives the gradients of the whole batch, with dropout replayed exactly."""

import weakref

import pytest
import torch

from whet.loss.gradcache import backward_of, chunked_vectors
from whet.loss.infonce import Targets, info_nce
from whet.model.encoder import Encoder
from whet.model.inference import token_batches


def backward(forward, chunks, loss_of, *, cached):
    """What a training step does: vectors, their loss, its gradient through what made them."""
    made_ND = chunked_vectors(forward, chunks, cached=cached)
    vector_ND = made_ND.detach().requires_grad_()
    loss = loss_of(vector_ND)
    loss.backward()
    backward_of(made_ND, vector_ND.grad, torch.Tensor.backward)
    return loss.detach()


def gradients(encoder, texts, *, cached, budget):
    """Every parameter's gradient, the loss, and the next random number."""
    encoder.zero_grad()
    encoder.train()
    torch.manual_seed(5)
    tokens = encoder.tokenize(texts, "document")
    chunks = list(token_batches([len(ids) for ids in tokens], budget))
    place = torch.argsort(torch.cat([torch.from_numpy(chunk) for chunk in chunks]))
    pairs = len(texts) // 2
    targets = Targets.of_mask(torch.arange(pairs), torch.eye(pairs, dtype=torch.bool))

    def forward(number):
        return encoder.forward_tokens([tokens[row] for row in chunks[number]])

    def loss_of(vector_ND):
        vector_ND = vector_ND[place]
        return info_nce(vector_ND[:pairs], vector_ND[pairs:], targets, temperature=0.05)

    loss = backward(forward, len(chunks), loss_of, cached=cached)
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

    def forward(number):
        return Watched.apply((weight * (number + 1)).repeat(2, 1))

    backward(forward, 7, lambda v: (v**2).sum(), cached=True)
    assert most <= 2  # the one made again, and the one that just goes
    assert weight.grad == pytest.approx([2 * 2 * sum(n * n for n in range(1, 8))] * 3)
    most = alive = 0
    backward(forward, 7, lambda v: (v**2).sum(), cached=False)
    assert most == 7
