"""From judgments to a better model: the loss against an oracle, what changes, that it helps."""

from __future__ import annotations

import math
from uuid import uuid4

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from whet.config import EncodeConfig, TuneConfig
from whet.data.load import load_dataset
from whet.encoding.store import embeddings_folder
from whet.encoding.table import encode_table
from whet.errors import CheckpointError, ConfigError, DataError
from whet.evaluation.lexical import corpus_words
from whet.evaluation.lexical.hybrid import HybridSearch
from whet.evaluation.lexical.words import Scored
from whet.feedback.events.event import Event, Shown
from whet.feedback.events.judgments import Judged, judgments
from whet.feedback.learn import lessons as lessons_module
from whet.feedback.learn import trials
from whet.feedback.learn import tune as tune_module
from whet.feedback.learn.adapt import blend, judged_losses, put, train_encoder, train_matrix
from whet.feedback.learn.checks import JudgedQueries, guard_check
from whet.feedback.learn.lessons import Lessons, Pool, lessons_of, pool_of
from whet.feedback.learn.tune import Score, Tuned, tune
from whet.feedback.learn.versions import Versions
from whet.model.encoder import Encoder
from whet.model.towers import Towers, open_model


@pytest.fixture(scope="module")
def data(tiny_data):
    return load_dataset(str(tiny_data))


@pytest.fixture(scope="module")
def encoder(tiny_model):
    return Encoder.load(str(tiny_model))


@pytest.fixture(scope="module")
def words(data):
    return corpus_words(data.corpus)


@pytest.fixture(scope="module")
def corpus(data, encoder):
    return encode_table(encoder, data.corpus, kind="document", store=embeddings_folder())


def judged(data, rows: range) -> list[Judged]:
    train = data.split("train").relevant()
    found = []
    for row in rows:
        good = data.corpus.ids_of(train.doc_rows_M[train.query_rows_M == row])
        found.append(Judged(data.queries.text(row), relevant=list(good)))
    return found


def quiet(phase: str, done: int, total: int) -> None:
    assert 0 <= done <= total and phase


def oracle(query: np.ndarray, pool: Pool) -> list[float]:
    """judged_losses in float64, a query at a time."""
    losses = []
    for row, vector in enumerate(query.astype(np.float64)):
        sim = pool.vectors_PD.numpy().astype(np.float64) @ vector
        sim = (sim + pool.words_FP[row].numpy().astype(np.float64)) / 0.05
        good, bad = pool.relevant_FP[row].numpy(), pool.irrelevant_FP[row].numpy()
        counted = ~pool.open_FP[row].numpy()
        weight = np.exp(sim - sim.max())
        total = 0.0
        if good.any():
            total = -math.log(weight[good].sum() / weight[counted].sum())
        elif bad.any():
            total = -math.log(1 - weight[bad].sum() / weight[counted].sum())
        pairs = [(over, under) for q, over, under in pool.pairs_M3.tolist() if q == row]
        total += sum(math.log1p(math.exp(sim[u] - sim[o])) for o, u in pairs) / max(1, len(pairs))
        losses.append(total)
    return losses


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 5), st.integers(3, 9), st.integers(0, 10_000))
def test_the_loss_is_that_of_the_formula(queries, documents, seed):
    random = np.random.default_rng(seed)
    kind = random.integers(0, 4, (queries, documents))  # 0 counted, 1 relevant, 2 not, 3 open
    kind[:, 0] = 0
    pairs = [
        [query, *random.choice(documents, 2, replace=False).tolist()]
        for query in range(queries)
        for _ in range(random.integers(0, 3))
    ]
    vectors = random.normal(size=(documents, 4)) / 10
    words = (random.random((queries, documents)) / 5).astype(np.float32)
    pool = Pool(
        torch.from_numpy(vectors.astype(np.float32)),
        torch.from_numpy(kind == 1),
        torch.from_numpy(kind == 3),
        torch.from_numpy(kind == 2),
        torch.tensor(pairs, dtype=torch.long).reshape(-1, 3),
        torch.from_numpy(words),
    )
    query = random.normal(size=(queries, 4)).astype(np.float32)
    found = judged_losses(torch.from_numpy(query), pool)
    assert found.tolist() == pytest.approx(oracle(query, pool), rel=1e-4, abs=1e-5)


def test_lessons_follow_duplicates_and_leave_out_what_is_gone(tmp_path):
    texts = ["one two", "One  two", "three", "four"]
    corpus = "".join(f'{{"_id": "d{n}", "text": "{text}"}}\n' for n, text in enumerate(texts))
    (tmp_path / "corpus.jsonl").write_text(corpus)
    (tmp_path / "queries.jsonl").write_text('{"_id": "q", "text": "x"}\n')
    table = load_dataset(str(tmp_path)).corpus
    said = [
        Judged("x", relevant=["d0"], irrelevant=["d1", "d2"], preferences=[("d3", "d2")]),
        Judged("y", relevant=["gone"]),
    ]
    lessons, lost = lessons_of(said, table)
    assert (lessons.queries, lost) == (["x"], 1)
    assert lessons.relevant[0].tolist() == [0, 1]  # its duplicate is as relevant, whatever was said
    assert lessons.irrelevant[0].tolist() == [2]
    assert lessons.preferences[0].tolist() == [[3, 2]]


def test_a_query_that_was_only_reordered_is_scored_by_what_was_put_on_top():
    pairs = np.array([[3, 1], [3, 2], [1, 2]])
    lessons = Lessons(["x"], [np.empty(0, np.int64)], [np.empty(0, np.int64)], [pairs])
    assert lessons.answers[0].tolist() == [3]
    assert lessons.gains.all()


@given(
    st.lists(st.integers(-1, 1), min_size=5, max_size=5),
    st.lists(st.lists(st.integers(0, 4), min_size=2, max_size=2, unique=True), max_size=4),
)
def test_the_queries_counted_while_judging_are_those_a_tune_can_score_by(data, marks, pairs):
    names = data.corpus.ids_of(range(5))
    good, bad = ([names[at] for at in range(5) if marks[at] == kind] for kind in (1, -1))
    one = Judged("x", relevant=good, irrelevant=bad)
    one.preferences = [(names[over], names[under]) for over, under in pairs]
    lessons, _ = lessons_of([one], data.corpus)
    assert lessons.gains.tolist() == ([one.answered] if one else [])


def test_near_unjudged_documents_are_no_negatives(data, encoder, corpus):
    lessons, _ = lessons_of(judged(data, range(8)), data.corpus)
    vectors = encoder.encode(lessons.queries, kind="query")
    pool = pool_of(lessons, vectors, corpus, None, seed=0)
    score_FP = vectors @ pool.vectors_PD.numpy().T
    for row in range(len(lessons)):
        best = score_FP[row][pool.relevant_FP[row].numpy()].max()
        open_P = pool.open_FP[row].numpy()
        assert not (open_P & pool.relevant_FP[row].numpy()).any()
        assert (score_FP[row][open_P] > best - 0.05 * abs(best) - 1e-6).all()
        rest = ~open_P & ~pool.relevant_FP[row].numpy()
        assert (score_FP[row][rest] <= best - 0.05 * abs(best) + 1e-6).all()


def test_documents_of_most_words_in_common_are_in_the_pool(
    data, encoder, corpus, words, monkeypatch
):
    monkeypatch.setattr(lessons_module, "POOL", 1)
    monkeypatch.setattr(lessons_module, "HARD", 3)
    lessons, _ = lessons_of(judged(data, range(6)), data.corpus)
    vectors = encoder.encode(lessons.queries, kind="query")
    pool = pool_of(lessons, vectors, corpus, words, seed=0)
    places = (pool.vectors_PD.numpy() @ corpus.vectors.T).argmax(1)  # the rows of the pool
    assert len(places) < 60
    share_FN = words.shares(lessons.queries)
    assert pool.words_FP.numpy().tolist() == share_FN[:, places].tolist()
    for row in range(len(lessons)):
        best = set(np.argsort(-share_FN[row], kind="stable")[:2].tolist())
        assert best <= set(places.tolist())
    without = pool_of(lessons, vectors, corpus, None, seed=0)
    assert not without.words_FP.any() and len(without.vectors_PD) < len(pool.vectors_PD)


def test_queries_with_nothing_but_wrong_documents_count(data, encoder, corpus):
    names = data.corpus.ids_of(range(3))
    said = [*judged(data, range(6)), Judged("bace difo", irrelevant=list(names))]
    lessons, _ = lessons_of(said, data.corpus)
    vectors = encoder.encode(lessons.queries, kind="query")
    pool = pool_of(lessons, vectors, corpus, None, seed=0)
    losses = judged_losses(torch.from_numpy(vectors), pool)
    assert torch.isfinite(losses).all() and losses[-1] > 0
    assert not pool.open_FP[-1].any()
    assert lessons.gains.tolist() == [True] * 6 + [False]


def test_training_lowers_the_loss_and_leaves_the_encoder_as_it_was(data, encoder, corpus):
    lessons, _ = lessons_of(judged(data, range(20)), data.corpus)
    vectors = encoder.encode(lessons.queries, kind="query")
    pool = pool_of(lessons, vectors, corpus, None, seed=0)
    before = encoder.fingerprint()
    asked = [weight.requires_grad for weight in encoder.parameters()]
    start = float(judged_losses(torch.from_numpy(vectors), pool).mean())
    old, new = train_encoder(encoder, lessons.queries, pool, seed=0, step_done=lambda count: None)
    assert encoder.fingerprint() == before
    assert [weight.requires_grad for weight in encoder.parameters()] == asked
    put(encoder, new)
    learned = torch.from_numpy(encoder.encode(lessons.queries, kind="query"))
    after = float(judged_losses(learned, pool).mean())
    put(encoder, blend(old, new, 0.0))
    assert after < start
    assert encoder.fingerprint() == before
    plain, moved = train_matrix(torch.from_numpy(vectors), pool, lambda count: None)
    turned = torch.nn.functional.normalize(torch.from_numpy(vectors) @ moved["matrix"].T, dim=1)
    assert float(judged_losses(turned, pool).mean()) < start
    assert torch.equal(plain["matrix"], torch.eye(32))


def test_tuning_helps_on_queries_nobody_judged(data, encoder, corpus):
    lessons, _ = lessons_of(judged(data, range(50)), data.corpus)
    guard = guard_check(
        data, corpus, encoder, other=None, avoid=set(lessons.queries), encode=EncodeConfig()
    )
    assert len(guard) == 20  # the test split
    before = encoder.fingerprint()
    found = tune(
        encoder, lessons, corpus, guard, words=None, config=TuneConfig(), report_progress=quiet
    )
    assert encoder.fingerprint() == before
    assert found.model.document is encoder
    assert len(found.held_out.after_C) == 50
    assert found.held_out.gain > 0 and found.losses.gain < 0 and found.better
    assert found.lists[0]["query"] in lessons.queries
    assert "not encoded again" in found.why
    for word in ("50 judged queries", "20 other queries"):
        assert word in found.verdict()
    again = tune(
        encoder, lessons, corpus, guard, words=None, config=TuneConfig(), report_progress=quiet
    )
    assert (
        again.model.fingerprint() == found.model.fingerprint()
    )  # the same feedback, the same model


def test_too_little_is_refused_with_what_is_missing(data, encoder, corpus):
    lessons, _ = lessons_of(judged(data, range(4)), data.corpus)
    guard = JudgedQueries([], [], corpus)
    with pytest.raises(DataError, match="4 judged queries have a relevant document"):
        tune(
            encoder, lessons, corpus, guard, words=None, config=TuneConfig(), report_progress=quiet
        )


def test_a_held_out_score_is_of_weights_that_never_saw_the_query(
    data, encoder, corpus, monkeypatch
):
    from whet.feedback.learn import trials as module

    seen: list[set[str]] = []
    scored: list[set[str]] = []
    train, encode = module.train_encoder, module.Work.vectors

    def watched(twin, queries, pool, **options):
        seen.append(set(queries))
        return train(twin, queries, pool, **options)

    def scoring(self, texts, weights):
        scored.append(set(texts))
        assert not seen[-1] & set(texts)
        return encode(self, texts, weights)

    monkeypatch.setattr(module, "train_encoder", watched)
    monkeypatch.setattr(module.Work, "vectors", scoring)
    lessons, _ = lessons_of(judged(data, range(12)), data.corpus)
    guard = guard_check(data, corpus, encoder, other=None, avoid=set(), encode=EncodeConfig())
    config = TuneConfig(method="encoder")
    tune(encoder, lessons, corpus, guard, words=None, config=config, report_progress=quiet)
    assert [len(part) for part in seen] == [6, 6, 12]
    assert set().union(*scored) == set(lessons.queries)


def test_versions_stay_and_can_be_used_back_and_forth(
    data, encoder, corpus, words, tiny_model, tmp_path
):
    from whet.config import ModelConfig

    lessons, _ = lessons_of(judged(data, range(12)), data.corpus)
    guard = guard_check(
        data, corpus, encoder, other=None, avoid=set(), encode=EncodeConfig(), words=words
    )
    config = TuneConfig(method="matrix")
    tuned = tune(encoder, lessons, corpus, guard, words=words, config=config, report_progress=quiet)
    assert tuned.model.words > 0
    versions = Versions(tmp_path, ModelConfig(name=str(tiny_model)))
    assert versions.current() == 0
    assert versions.open(0).fingerprint() == encoder.fingerprint()
    assert versions.add(tuned, events=12) == 1
    assert versions.current() == 0  # nobody asked to use it yet
    versions.ship(1)
    assert versions.current() == 1
    opened = versions.open(1)
    assert isinstance(opened, Towers)
    assert opened.fingerprint() == tuned.model.fingerprint()
    assert opened.words == tuned.model.words
    with pytest.raises(ConfigError, match="Version 1 is in use"):
        versions.discard(1)
    versions.use(0)
    versions.discard(1)
    assert [one["state"] for one in versions.all()] == ["base", "discarded"]
    versions.use(1)  # what was discarded is still there
    with pytest.raises(ConfigError, match=r"no version 7 .* There are: 0, 1\."):
        versions.use(7)


def test_a_shipped_version_opens_in_sentence_transformers(encoder, data, tmp_path):
    from sentence_transformers import SentenceTransformer

    matrix = torch.eye(32) + 0.1 * torch.randn(32, 32, generator=torch.Generator().manual_seed(0))
    twin = Encoder(encoder.backbone, encoder.tokenizer, encoder.recipe, encoder.source)
    towers = Towers(twin.with_matrix(matrix), encoder)
    folder = towers.save(tmp_path / "model")
    theirs = SentenceTransformer(str(folder), device="cpu")
    texts = data.queries.texts(range(5))
    for kind, call in (("query", theirs.encode_query), ("document", theirs.encode_document)):
        assert np.abs(call(texts) - towers.encode(texts, kind=kind)).max() < 1e-6
    with pytest.raises(ConfigError, match="encoder for queries of its own"):
        Encoder.load(str(folder))


@pytest.mark.parametrize(
    ("loss", "noise", "ndcg", "guard", "better"),
    [
        (-0.2, 0.0, 0.1, 0.0, True),
        (-0.2, 0.0, 0.0, -0.005, True),  # what the guard may lose
        (-0.02, 0.3, 0.1, 0.0, False),  # less than chance does often
        (-0.2, 0.0, -0.01, 0.0, False),  # the lists got worse
        (-0.2, 0.0, 0.1, -0.006, False),  # it forgets
    ],
)
def test_better_asks_for_more_than_chance(loss, noise, ndcg, guard, better):
    zero, spread = np.zeros(40), noise * np.tile([1.0, -1.0], 20)
    scores = [
        Score(zero, zero + ndcg),
        Score(zero, spread + loss, "loss"),
        Score(zero, zero + guard),
    ]
    assert Tuned(None, "matrix", 1.0, "", *scores, seconds=1.0).better == better


def test_gestures_become_lessons(data):
    names = data.corpus.ids_of(range(6))
    shown = tuple(Shown(name, 0.5) for name in names)
    query = data.queries.text(0)
    events = [
        Event(uuid4().hex, query, "relevant", shown, doc_id=names[3]),
        Event(uuid4().hex, query, "move", shown, doc_id=names[3], place=1),
    ]
    lessons, lost = lessons_of(judgments(events), data.corpus)
    assert lost == 0
    assert lessons.relevant[0].tolist() == [3]
    assert lessons.preferences[0].tolist() == [[3, 1], [3, 2]]


def test_what_is_told_is_of_the_share_that_the_guard_bears(data, encoder, corpus, monkeypatch):
    from whet.feedback.learn import trials as module

    monkeypatch.setattr(module, "GUARD_MAY_LOSE", -2.0)  # a guard that bears nothing
    lessons, _ = lessons_of(judged(data, range(12)), data.corpus)
    guard = guard_check(data, corpus, encoder, other=None, avoid=set(), encode=EncodeConfig())
    config = TuneConfig(method="matrix")
    found = tune(encoder, lessons, corpus, guard, words=None, config=config, report_progress=quiet)
    assert found.share == 0.25 and "25% of the change is kept" in found.why
    trial = module.Work(
        encoder, lessons, corpus, None, guard=guard, config=config, report_progress=quiet
    ).cross_fit("matrix")[0.25]
    assert found.losses.after_C.tolist() == trial.loss_F.tolist()
    assert found.held_out.after_C.tolist() == trial.ndcg_C.tolist()


def guarded(data, encoder, corpus, words) -> JudgedQueries:
    return guard_check(
        data, corpus, encoder, other=None, avoid=set(), encode=EncodeConfig(), words=words
    )


def test_words_count_as_much_as_has_the_least_loss(data, encoder, corpus, words):
    lessons, _ = lessons_of(judged(data, range(50)), data.corpus)
    guard = guarded(data, encoder, corpus, words)
    config = TuneConfig(method="words")
    found = tune(encoder, lessons, corpus, guard, words=words, config=config, report_progress=quiet)
    query_FD = encoder.encode(lessons.queries, kind="query")
    pool = pool_of(lessons, query_FD, corpus, words, seed=0)
    loss = {
        weight: judged_losses(torch.from_numpy(query_FD), pool.weighted(weight)).double()
        for weight in trials.WEIGHTS
    }
    cost = {
        weight: float((loss_F - loss[0.3]).clamp(-1, 1).sum()) + (weight - 0.3) ** 2 / 0.02
        for weight, loss_F in loss.items()
    }
    assert found.model.words == min(cost, key=cost.get) > 0.3  # queries are words of documents
    assert found.model.side("query").fingerprint() == encoder.fingerprint()
    assert found.better and f"count {found.model.words:g} beside a cosine" in found.why
    top = HybridSearch(lessons.queries, words, found.model.words)(query_FD, corpus.vectors, 10)[1]
    for one in found.lists:
        row = lessons.queries.index(one["query"])
        assert one["after"] == data.corpus.ids_of(top[row])


def test_few_queries_leave_words_near_their_usual_weight():
    less = {weight: np.full(40, 0.3 - weight) for weight in trials.WEIGHTS}  # 0.6 is best for all
    chosen = [
        trials.likely_weight({weight: more[:count] for weight, more in less.items()})
        for count in (0, 5, 20, 40)
    ]
    assert chosen == [0.3, 0.35, 0.5, 0.6]
    assert trials.likely_weight({0.0: np.zeros(3), 0.1: np.zeros(3)}) == 0.1


def test_a_wrong_click_says_little():
    more = {weight: np.full(40, 0.3 - weight) for weight in trials.WEIGHTS}
    for weight, more_A in more.items():
        more_A[0] = 40 * (weight - 0.3)  # a document without the query's words, marked by mistake
    assert trials.likely_weight(more) == 0.6


def test_a_weight_is_chosen_without_the_queries_it_is_scored_by(
    data, encoder, corpus, words, monkeypatch
):
    lessons, _ = lessons_of(judged(data, range(20)), data.corpus)
    asked: list[set[int]] = []
    choose = trials.Work.weight_for

    def watched(self, at):
        asked.append(set(at.tolist()))
        return choose(self, at)

    guard = guarded(data, encoder, corpus, words)
    work = trials.Work(
        encoder, lessons, corpus, words, guard=guard, config=TuneConfig(), report_progress=quiet
    )
    monkeypatch.setattr(trials.Work, "weight_for", watched)
    trial = work.cross_fit("words")[1.0]
    assert [len(part) for part in asked] == [10, 10] and not asked[0] & asked[1]
    for learned, scored in (asked, asked[::-1]):
        rows = sorted(scored)
        pool = work.pool.take(np.array(rows)).weighted(choose(work, np.array(sorted(learned))))
        expected = judged_losses(torch.from_numpy(work.query_FD[rows]), pool)
        assert trial.loss_F[rows].tolist() == pytest.approx(expected.tolist(), rel=1e-5)


def test_words_that_the_guard_set_does_not_bear_do_not_count(data, encoder, corpus, words):
    class Backwards:
        """Words that are found in every document but those that have them."""

        def found(self, queries, *, shares):
            for share_N in 1 - words.shares(queries):
                rows = np.flatnonzero(share_N)
                yield Scored(rows, share_N[rows])

    lessons, _ = lessons_of(judged(data, range(20)), data.corpus)
    test = guarded(data, encoder, corpus, words)
    guard = JudgedQueries(test.texts, test.relevant, corpus, Backwards())
    found = tune(
        encoder, lessons, corpus, guard, words=words, config=TuneConfig(), report_progress=quiet
    )
    assert found.model.words == 0 and "Words in common" not in found.why


def test_training_that_forgets_leaves_the_words(data, encoder, corpus, words, monkeypatch):
    lessons, _ = lessons_of(judged(data, range(20)), data.corpus)
    guard = guarded(data, encoder, corpus, words)
    borne = trials.Work.borne
    calls: list[bool] = []

    def bears_words_alone(self, score_C):
        calls.append(borne(self, score_C))
        if len(calls) <= len(trials.WEIGHTS):
            return True
        return len(calls) > len(trials.WEIGHTS) + len(trials.SHARES)  # none of the shares

    monkeypatch.setattr(trials.Work, "borne", bears_words_alone)
    monkeypatch.setattr(tune_module, "best", lambda found: ("matrix", 1.0))
    found = tune(
        encoder, lessons, corpus, guard, words=words, config=TuneConfig(), report_progress=quiet
    )
    assert (found.method, found.share) == ("words", 1.0) and found.model.words > 0
    assert "forgets too much" in found.why


def test_a_model_whose_searches_count_words_is_compared_with_itself(data, encoder, corpus, words):
    """Before and after a tune are the searches before and after, words and all."""
    lessons, _ = lessons_of(judged(data, range(8)), data.corpus)
    guard = guarded(data, encoder, corpus, words)
    base, config = Towers(encoder, encoder, 0.4), TuneConfig(method="words")
    found = tune(base, lessons, corpus, guard, words=words, config=config, report_progress=quiet)
    query_CD = encoder.encode(guard.texts, kind="query")
    assert np.array_equal(found.guard.before_C, guard.scores(query_CD, 0.4))
    assert not np.array_equal(found.guard.before_C, guard.scores(query_CD))
    text = found.lists[0]["query"]
    query_1D = encoder.encode([text], kind="query")
    rows = HybridSearch([text], words, 0.4)(query_1D, corpus.vectors, 10)[1][0]
    assert found.lists[0]["before"] == [corpus.ids[int(row)] for row in rows]


def test_words_cannot_be_asked_for_and_left_out(data, encoder, corpus):
    lessons, _ = lessons_of(judged(data, range(12)), data.corpus)
    guard = guarded(data, encoder, corpus, None)
    config = TuneConfig(method="words")
    with pytest.raises(ConfigError, match=r"tune\.words=false says that they do not"):
        tune(encoder, lessons, corpus, guard, words=None, config=config, report_progress=quiet)


def test_a_damaged_weight_is_told(encoder, tmp_path):
    folder = Towers(encoder, encoder, 0.2).save(tmp_path / "model")
    assert open_model(str(folder)).words == 0.2
    (folder / "words.json").write_text('{"weight": "much"}')
    with pytest.raises(CheckpointError, match=r"words\.json is damaged"):
        open_model(str(folder))
    (folder / "words.json").unlink()
    assert open_model(str(folder)).words == 0
