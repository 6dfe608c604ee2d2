"""GradCache gives the gradients of the whole batch, with dropout replayed exactly."""

import pytest
import torch

from whet.loss.gradcache import backward_cached, backward_whole
from whet.loss.infonce import Targets, info_nce
from whet.model.encoder import Encoder
from whet.model.inference import token_batches

CPU = torch.device("cpu")


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

    if cached:
        loss = backward_cached(forward, len(chunks), loss_of, torch.Tensor.backward, device=CPU)
    else:
        loss = backward_whole(forward, len(chunks), loss_of, torch.Tensor.backward)
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
    """The number of graphs alive never grows with the number of chunks."""
    weight = torch.ones(3, requires_grad=True)
    alive, most = 0, 0

    class Watched(torch.autograd.Function):
        @staticmethod
        def forward(ctx, value):
            nonlocal alive, most
            if torch.is_grad_enabled() or ctx.needs_input_grad[0]:
                alive += 1
                most = max(most, alive)
            return value.clone()

        @staticmethod
        def backward(ctx, gradient):
            nonlocal alive
            alive -= 1
            return gradient

    def forward(number):
        vector = (weight * (number + 1)).repeat(2, 1)
        return Watched.apply(vector) if torch.is_grad_enabled() else vector

    backward_cached(forward, 7, lambda v: (v**2).sum(), torch.Tensor.backward, device=CPU)
    assert most == 1
    assert weight.grad == pytest.approx([2 * 2 * sum(n * n for n in range(1, 8))] * 3)
