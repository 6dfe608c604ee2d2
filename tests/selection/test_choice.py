"""The parts of the choice: mixing weights, the test, what a pool holds, the order of candidates."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from whet.config import FitConfig, GuardConfig
from whet.config.recorded import as_it_was, fill
from whet.data.load import load_dataset
from whet.errors import CheckpointError, DataError
from whet.evaluation.selection.choice import LEVELS, Choice, choose
from whet.evaluation.selection.guard import guard_data, guard_of
from whet.evaluation.selection.moments import Keeper, Moment, best_of
from whet.evaluation.selection.pool import DevPool, kept_pool, make_pool
from whet.evaluation.selection.weights import mixed, trained_weights
from whet.evaluation.significance import chance_of_gain
from whet.model.encoder import Encoder


@given(
    st.lists(st.tuples(st.floats(-9, 9, width=32), st.floats(-9, 9, width=32)), min_size=1),
    st.floats(0, 1),
)
def test_a_share_is_the_point_on_the_line(pairs: list[tuple[float, float]], share: float) -> None:
    base, tuned = (torch.tensor(side) for side in zip(*pairs, strict=True))
    found = mixed({"w": base}, {"w": tuned}, share)["w"]
    exact = (1 - share) * base.double() + share * tuned.double()
    assert torch.equal(found, exact.float())
    assert torch.equal(mixed({"w": base}, {"w": tuned}, 1.0)["w"], tuned)
    assert torch.equal(mixed({"w": base}, {"w": tuned}, 0.0)["w"], base)


def test_the_chance_of_a_gain_counts_sign_patterns() -> None:
    """Against all patterns written out."""
    gain = np.array([0.5, 0.25, -0.125, 0.0, 0.375])
    changed = gain[gain != 0]
    signs = np.array(list(product([1, -1], repeat=len(changed))))
    assert chance_of_gain(gain) == ((signs * changed).sum(1) >= changed.sum()).mean()
    assert chance_of_gain(-gain) > 0.5 and chance_of_gain(np.zeros(9)) == 1.0


def test_the_best_of_many_has_to_be_better_than_one_alone() -> None:
    """Of systems without a gain the best of eight passes a level of 0.1 about as rarely as one."""
    random = np.random.default_rng(0)
    alone, corrected = [], []
    for _ in range(200):
        family = list(random.normal(size=(8, 40)))
        best = max(family, key=np.mean)
        alone.append(chance_of_gain(best, draws=400))
        corrected.append(chance_of_gain(best, family, draws=400))
    assert np.mean(np.array(alone) < 0.1) > 0.4
    assert np.mean(np.array(corrected) < 0.1) < 0.16
    # copies of one system are one
    same = [family[0]] * 8
    assert chance_of_gain(family[0], same) == chance_of_gain(family[0], same[:2])


def test_of_equal_moments_the_last_is_best() -> None:
    scores = [Moment(step, {"a": value}, {}) for step, value in ((1, 0.5), (2, 0.7), (3, 0.7))]
    assert best_of(scores).step == 3


class OneWeight(nn.Module):
    """A model of one weight, 0 before training."""

    def __init__(self, weight: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([weight]))


QUERIES = [f"q{n}" for n in range(60)]


class Kept(Keeper):
    """Moments whose dev pool and guard are functions of the weight."""

    def __init__(self, dev: Any, guard: Any, trained: list[float]) -> None:
        judge = type("Judge", (), {})
        self.pool, self.guard = judge(), judge() if guard else None
        self.pool.judged = lambda model: spread(dev(float(model.weight)))
        if guard:
            self.guard.judged = lambda model: spread(guard(float(model.weight)))
        self.measure = "nDCG@10"
        self.whole = lambda model: model
        self.weights = trained
        of = [spread(guard(weight)) if guard else {} for weight in [0.0, *trained]]
        self.base = Moment(0, spread(dev(0.0)), of[0])
        self.moments = [
            Moment(step, spread(dev(weight)), of[step]) for step, weight in enumerate(trained, 1)
        ]

    def weights_of(self, moment: Moment, like: Any) -> Any:
        return {"weight": torch.tensor([self.weights[moment.step - 1]])}


def spread(value: float) -> dict[str, float]:
    """Scores around a value, each query by its own amount."""
    return {query: value + 0.002 * (place % 7 - 3) for place, query in enumerate(QUERIES)}


def chosen(dev: Any, guard: Any = None, trained: tuple[float, ...] = (1.0,)) -> Any:
    asked: list[float] = []

    def whole(model: Any) -> dict[str, float]:
        asked.append(float(model.weight))
        value = dev(float(model.weight))
        return {q: value + 0.004 * (at % 5 - 2) for at, q in enumerate(QUERIES)}

    model: Any = OneWeight(9.0)
    base: Any = OneWeight(0.0)
    base_whole = whole(base)
    choice = choose(Kept(dev, guard, list(trained)), model, base, whole, base_whole, max_drop=0.01)
    return choice, float(model.weight), asked[1:]


def test_what_is_better_comes_back_in_full_and_nothing_else_is_judged() -> None:
    choice, weight, judged = chosen(lambda w: 0.5 + 0.1 * w, lambda w: 0.8 - 0.005 * w)
    assert (choice.name, weight, judged) == ("the model of step 1", 1.0, [1.0])


def test_the_best_moment_is_tried_not_the_last() -> None:
    choice, weight, _ = chosen(lambda w: 0.5 + w * (1 - w), trained=(0.25, 0.5, 1.0))
    assert (choice.name, weight) == ("the model of step 2", 0.5)


def test_a_smaller_share_comes_back_where_the_whole_change_is_too_much() -> None:
    choice, weight, judged = chosen(lambda w: 0.5 + w * (0.8 - w))
    assert (choice.name, weight) == ("share 0.5 of the change at step 1", 0.5)
    assert judged == [1.0, 0.5]
    assert "In full it does not" in choice.sentence()


def test_the_guard_set_bounds_what_comes_back() -> None:
    choice, weight, judged = chosen(lambda w: 0.5 + 0.1 * w, lambda w: 0.8 - 0.03 * w)
    assert weight == 0.25 and judged == [1.0, 0.25]  # the half is not even judged
    assert "guard set fell by 0.0300" in choice.sentence()
    choice, weight, _ = chosen(lambda w: 0.5 + 0.1 * w, lambda w: 0.8 - 0.1 * w)
    assert choice.returned is None and weight == 1.0
    assert "guard.max_drop=1 lets it come back" in choice.sentence()


def test_where_nothing_is_better_the_base_comes_back() -> None:
    for dev in (lambda w: 0.5 - 0.2 * w, lambda w: 0.5):
        choice, weight, judged = chosen(dev)
        assert choice.name == "the base model" and weight == 1.0
        assert judged == [1.0]  # no pool is for a share, so no corpus is encoded for it
        assert len(choice.trials) == len(LEVELS)
        assert choice.sentence().startswith("The base model comes back")
    assert isinstance(choice, Choice) and choice.base == pytest.approx(0.5)


def test_weights_that_are_trained_are_copied(tiny_model: Path) -> None:
    encoder = Encoder.load(str(tiny_model))
    weights = trained_weights(encoder)
    trained = {name for name, weight in encoder.named_parameters() if weight.requires_grad}
    assert weights.keys() == trained and trained
    next(iter(weights.values())).zero_()
    assert next(encoder.parameters()).abs().sum() > 0


def test_a_pool_holds_positives_then_what_the_base_ranks_first(learnable: Path) -> None:
    data = load_dataset(str(learnable))
    dev = data.split("train").only(np.arange(200) < 30)
    corpus, asked = list(data.corpus.ids), data.queries.ids_of(dev.query_rows)
    ranked = {q: dict.fromkeys(corpus[100 + at : 200 + at], 0.0) for at, q in enumerate(asked)}
    pool = make_pool(dev, ranked, data, texts=180, seed=0)
    rows = set(pool.doc_rows_N.tolist())
    assert pool.query_rows_Q.tolist() == dev.query_rows.tolist() and len(rows) == 150
    assert set(dev.doc_rows_M.tolist()) < rows and set(range(100, 130)) < rows
    few = make_pool(dev, ranked, data, texts=50, seed=0)
    assert len(few.query_rows_Q) == 10 and len(few.doc_rows_N) == 40
    assert len(make_pool(dev, ranked, data, texts=10, seed=0, least=20).query_rows_Q) == 20


def test_a_kept_pool_is_read_again_and_a_damaged_one_refused(
    learnable: Path, tmp_path: Path
) -> None:
    data, path = load_dataset(str(learnable)), tmp_path / "moments/pool.json"
    pool = DevPool(np.array([1, 2]), np.array([3]))
    kept_pool(path, data, lambda: pool)
    again = kept_pool(path, data, lambda: pytest.fail("it is there"))
    assert again.query_rows_Q.tolist() == [1, 2] and again.doc_rows_N.tolist() == [3]
    for text in ('{"queries": [1], "documents": [999999]}', "[]", '{"queries": [true]}', "{"):
        path.write_text(text)
        with pytest.raises(CheckpointError):
            kept_pool(path, data, lambda: pool)


def test_the_guard_set_of_whet_and_ones_own(tiny_model: Path, learnable: Path) -> None:
    encoder, config = Encoder.load(str(tiny_model)), FitConfig()
    guarded = guard_of(config, encoder)
    assert guarded is not None and len(guarded[1]) == 240
    config.guard = GuardConfig(data=str(learnable))
    guarded = guard_of(config, encoder)
    assert guarded is not None and len(guarded[1]) == 50
    config.guard.max_drop = 1.0
    assert guard_of(config, encoder) is None
    config.guard.data = str(learnable / "nowhere")
    with pytest.raises(DataError):
        guard_data(config)


def test_a_record_from_before_there_was_a_choice_means_the_last_weights() -> None:
    old, new = FitConfig(), FitConfig()
    fill(old, as_it_was({"seed": 3}, FitConfig), "config.yaml")
    fill(new, as_it_was({"select": {"policy": "dev", "moments": 2}}, FitConfig), "config.yaml")
    assert (old.select.policy, old.seed) == ("last", 3)
    assert (new.select.policy, new.select.moments) == ("dev", 2)
