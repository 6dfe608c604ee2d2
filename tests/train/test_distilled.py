"""A fit that learns from a teacher's scores, from graded pairs, beside a guide."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import whet
from whet.config import DataConfig, DistillConfig, FitConfig, LossConfig, ModelConfig
from whet.data.load import Dataset, load_dataset
from whet.data.splits import training_qrels
from whet.errors import ConfigError, DataError
from whet.mining.crossencoder import CrossEncoder
from whet.model.encoder import Encoder
from whet.training.batches.aids import aids_of, gains_of
from whet.training.batches.examples import Examples
from whet.training.batches.teacher import ModelTeacher
from whet.types import Negatives

WORDS = "bace difo guka lemi nopu rase tivo zuba cedi fogu kale mino".split()


def rows_of_flag(count: int = 24) -> list[dict[str, Any]]:
    """Each query's word is in its positive, which scores 3 to 5 above its two negatives."""
    rows = []
    for n in range(count):
        word, other = WORDS[n % 12], WORDS[(n + 1) % 12]
        rows.append(
            {
                "query": f"{word} {n}",
                "pos": [f"{word} {other} {n}"],
                "neg": [f"{other} {n} a", f"{WORDS[(n + 2) % 12]} {n} b"],
                "pos_scores": [5.0],
                "neg_scores": [2.0, float(n % 3)],
            }
        )
    return rows


def written(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def flag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("flag") / "train.jsonl", rows_of_flag())


def fitted(folder: Path, data: Path, model: Path, **options: Any) -> list[float]:
    """The losses of four steps."""
    trainer = {"max_steps": 4, "batch_size": 8, "log_every_n_steps": 1, "accelerator": "cpu"}
    trainer |= {"learning_rate": 1e-3}
    model_of = {"name": str(model), "dropout": 0.0}
    whet.fit(str(data), model=model_of, trainer=trainer, output=str(folder), **options)
    lines = (folder / "train_log.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["loss"] for line in lines if "loss" in json.loads(line)]


def scores_by_text(data: Dataset) -> dict[tuple[str, str, str], float]:
    assert data.scores is not None
    columns = data.scores.query_rows_M, data.scores.positive_rows_M, data.scores.doc_rows_M
    tables = data.queries, data.corpus, data.corpus
    texts = [table.texts(column) for table, column in zip(tables, columns, strict=True)]
    return dict(zip(zip(*texts, strict=True), data.scores.score_M.tolist(), strict=True))


ABSOLUTE = {("q", "p", "p"): 4.0, ("q", "p", "n"): 1.0, ("q", "p", "m"): -2.0}
MARGINS = {("q", "p", "p"): 0.0, ("q", "p", "n"): -3.0, ("q", "p", "m"): -6.0}
COLUMNS = [
    ({"pos": ["p"], "neg": ["n", "m"], "pos_scores": [4], "neg_scores": [1, -2]}, ABSOLUTE),
    ({"positive": "p", "negative_1": "n", "negative_2": "m", "score": [4, 1, -2]}, ABSOLUTE),
    ({"positive": "p", "negative_1": "n", "negative_2": "m", "label": [3.0, 6.0]}, MARGINS),
    ({"positive": "p", "negative": "n", "margin": 3.0}, dict(list(MARGINS.items())[:2])),
    ({"positive": "p", "negative": ["n", "m"], "scores": [4.0, 1.0, -2.0]}, ABSOLUTE),
]


@pytest.mark.parametrize(("columns", "wanted"), COLUMNS)
def test_columns_of_scores(tmp_path, columns, wanted):
    data = load_dataset(str(written(tmp_path / "a.jsonl", [{"query": "q", **columns}])))
    assert scores_by_text(data) == wanted
    assert data.findings.count("teacher scores") == 1


def test_scores_that_fit_no_texts_are_told_and_left_out(tmp_path):
    rows = rows_of_flag(3)
    rows[1]["neg_scores"] = [1.0]
    rows[2]["pos_scores"] = ["high"]
    data = load_dataset(str(written(tmp_path / "a.jsonl", rows)))
    assert len(scores_by_text(data)) == 3
    told = data.findings.describe("teacher scores that do not fit")
    assert "a.jsonl line 2" in told and "1 positives and 2 negatives" in told


def test_scores_change_no_digest_but_their_own(tmp_path, flag):
    plain = [{k: v for k, v in row.items() if "scores" not in k} for row in rows_of_flag()]
    other = rows_of_flag()
    other[0]["pos_scores"] = [6.0]
    loaded = [load_dataset(str(flag))]
    loaded += [
        load_dataset(str(written(tmp_path / f"{n}.jsonl", r))) for n, r in enumerate([plain, other])
    ]
    assert len({data.digest for data in loaded}) == 1
    assert loaded[1].scores is None
    assert loaded[0].scores.digest != loaded[2].scores.digest  # type: ignore[union-attr]


def test_the_scores_of_columns_are_learned(tmp_path, flag, tiny_model):
    """In chunks and by tiles of InfoNCE's share alike."""
    options = {"mining": {"num_negatives": 0}, "distill": {"temperature": 2.0, "weight": 0.8}}
    plain = fitted(
        tmp_path / "plain",
        flag,
        tiny_model,
        loss={"name": "margin_mse", "cache": "never"},
        **options,
    )
    cached = {"name": "margin_mse", "cache": "always", "chunk_tokens": 32, "fused": "always"}
    assert fitted(tmp_path / "cached", flag, tiny_model, loss=cached, **options) == pytest.approx(
        plain, rel=1e-4
    )
    assert len(plain) == 4 and plain[-1] < plain[0]
    begun = json.loads((tmp_path / "plain" / "environment.json").read_text())
    assert begun["data"]["scores"] == load_dataset(str(flag)).scores.digest


@pytest.mark.parametrize(
    ("data", "options", "error", "match"),
    [
        ("tiny", {"loss": {"name": "margin_mse"}}, DataError, "has none of its training pairs"),
        ("flag", {"loss": {"name": "distill_kl"}}, ConfigError, "mined negatives lack. Add mining"),
        (
            "tiny",
            {
                "loss": {"name": "margin_mse"},
                "distill": {"teacher": "minilm"},
                "mining": {"num_negatives": 0},
            },
            ConfigError,
            "compares a positive with negatives, and there are none",
        ),
        (
            "tiny",
            {"distill": {"teacher": "minilm"}},
            ConfigError,
            "teach nothing with loss=infonce",
        ),
        ("tiny", {"loss": {"guide_margin": 0.1}}, ConfigError, "Add loss.guide=start"),
        (
            "flag",
            {"loss": {"name": "margin_mse", "symmetric": True}, "mining": {"num_negatives": 0}},
            ConfigError,
            "loss.symmetric=true is of InfoNCE",
        ),
        ("tiny", {"loss": {"guide": "/no/such"}}, ConfigError, "loss.guide=/no/such"),
    ],
)
def test_refused_before_any_work(
    tmp_path, tiny_data, flag, tiny_model, data, options, error, match
):
    with pytest.raises(error, match=match):
        fitted(tmp_path / "run", {"tiny": tiny_data, "flag": flag}[data], tiny_model, **options)
    assert not (tmp_path / "run").exists()


class Tiny:
    """The tiny data with negatives drawn once."""

    def __init__(self, path: Path, model: Path, **options: Any) -> None:
        self.data = load_dataset(str(path))
        self.config = FitConfig(
            data=DataConfig(path=str(path)), model=ModelConfig(name=str(model)), **options
        )
        self.config.trainer.batch_size, self.config.trainer.max_steps = 8, 3
        self.qrels = training_qrels(self.data, "train")

    def examples(self, store: Path) -> Examples:
        made = Examples(
            self.qrels,
            self.data.positives(self.qrels),
            queries=self.data.queries,
            corpus=self.data.corpus,
            aids=aids_of(self.config, self.data, store),
        )
        rows = self.qrels.relevant().query_rows
        docs = np.random.default_rng(4).integers(120, size=(len(rows), 2))
        made.set_negatives(Negatives(rows, docs, docs * 0.0, docs * 0, docs[:, 0] * 0.0))
        return made


@pytest.fixture
def own_teacher_cache(tmp_path, monkeypatch):
    monkeypatch.setattr("whet.training.batches.teacher.cache_folder", lambda: tmp_path / "cache")


def test_a_cross_encoder_scores_what_the_steps_read_and_once(
    tmp_path, tiny_data, tiny_model, tiny_cross_encoder, own_teacher_cache, monkeypatch
):
    """A job that is killed between two blocks goes on; the next one scores nothing."""
    loss, distill = LossConfig(name="margin_mse"), DistillConfig(teacher=str(tiny_cross_encoder))
    tiny = Tiny(tiny_data, tiny_model, loss=loss, distill=distill)
    counts: list[int] = []
    real = CrossEncoder.logits

    def counted(self, queries, documents):
        if len(counts) == 1 and counts[0] > 0 and not killed:
            killed.append(True)
            raise KeyboardInterrupt
        counts.append(len(queries))
        return real(self, queries, documents)

    killed: list[bool] = []
    monkeypatch.setattr(CrossEncoder, "logits", counted)
    monkeypatch.setattr("whet.training.batches.teacher.BLOCK", 16)
    with pytest.raises(KeyboardInterrupt):
        tiny.examples(tmp_path / "store")
    examples = tiny.examples(tmp_path / "store")
    pairs = examples.aids.pairs(examples.order(examples.aids.config))
    lists = examples._lists(pairs)
    read = {
        (int(q), int(d)) for q, row in zip(lists.query_rows_B, lists.doc_rows_BL, strict=True)
        for d in row if d >= 0
    }  # fmt: skip
    assert sum(counts) == len(read) and len(pairs) == 24 < len(examples)
    tiny.examples(tmp_path / "store")
    assert sum(counts) == len(read)

    batch = examples.batch(pairs[:8], Encoder.load(str(tiny_model)))
    taught = batch.targets.taught
    assert taught is not None
    model = CrossEncoder(str(tiny_cross_encoder))
    part = examples._lists(pairs[:8])
    for b in range(8):
        for place, doc in enumerate(part.doc_rows_BL[b]):
            score = float(taught.score_BL[b, place])
            if np.isfinite(score):
                texts = (
                    tiny.data.queries.texts([part.query_rows_B[b]]),
                    tiny.data.corpus.texts([doc]),
                )
                assert score == pytest.approx(float(real(model, *texts)[0]), abs=1e-5)
    assert taught.score_BL.isfinite().float().mean() > 0.5


def test_a_larger_encoder_is_a_teacher_by_its_cosines(tmp_path, tiny_data, tiny_model):
    distill = DistillConfig(teacher=str(tiny_model))
    tiny = Tiny(
        tiny_data, tiny_model, loss=LossConfig(name="distill_kl", temperature=0.1), distill=distill
    )
    teacher = ModelTeacher(tiny.config, tiny.data, tmp_path / "store")
    query, doc = np.array([0, 1, 1]), np.array([5, 7, -1])
    teacher.prepare(query, doc, doc)
    encoder = Encoder.load(str(tiny_model))
    vectors = [
        encoder.encode(table.texts(rows[:2]), kind=kind)
        for table, rows, kind in (
            (tiny.data.queries, query, "query"),
            (tiny.data.corpus, doc, "document"),
        )
    ]
    wanted = (vectors[0] * vectors[1]).sum(1) / 0.1
    found = teacher.scores(query, doc, doc)
    assert found[:2] == pytest.approx(wanted, rel=1e-4) and np.isnan(found[2])


def test_a_pair_of_text_is_listed_once_and_known_positives_never(tmp_path, tiny_model):
    """A negative given twice, and one that is a positive's twin, teach nothing more."""
    rows = rows_of_flag(2)
    rows[0]["neg"] = ["zuba", "zuba"]
    rows[1]["neg"] = ["nopu", "rase"]
    data = load_dataset(str(written(tmp_path / "a.jsonl", rows)))
    qrels = training_qrels(data, "train")
    config = FitConfig(loss=LossConfig(name="margin_mse"))
    examples = Examples(
        qrels,
        data.positives(qrels),
        queries=data.queries,
        corpus=data.corpus,
        aids=aids_of(config, data, tmp_path),
    )
    twin = int(examples.doc_rows_P[0])
    rows_Q = qrels.relevant().query_rows
    docs = np.array([[twin, int(examples.judged_PJ[0, 0])], [-1, -1]])
    blank = docs * 0.0
    examples.set_negatives(Negatives(rows_Q, docs, blank, docs, blank[:, 0]))
    taught = examples.batch(np.array([0, 1]), Encoder.load(str(tiny_model))).targets.taught
    assert taught is not None
    counted = taught.negative_BL.sum(1).tolist()
    assert counted == [len({*rows[0]["neg"]}), 2] or counted == [2, len({*rows[0]["neg"]})]


@pytest.mark.slow
def test_a_fit_beside_a_guide_and_graded(tmp_path, tiny_data, tiny_model, capsys):
    """`start` is the base model: its mask is that of the base model named."""
    start, named, off, graded = (
        fitted(tmp_path / name, tiny_data, tiny_model, loss=loss)
        for name, loss in {
            "start": {"guide": "start", "guide_margin": 0.02},
            "named": {"guide": str(tiny_model), "guide_margin": 0.02},
            "off": {},
            "graded": {"gains": "linear", "fused": "always"},
        }.items()
    )
    assert start == named and start[0] < off[0]  # fewer negatives, a smaller loss
    assert graded != off
    assert "by tiles it knows no gains (loss.gains=linear)" in capsys.readouterr().err


def test_the_mask_of_a_batch_is_by_the_guides_similarities(tmp_path, tiny_data, tiny_model):
    from whet.loss.guided import without_likely_positives

    tiny = Tiny(tiny_data, tiny_model, loss=LossConfig(guide="start"))
    examples = tiny.examples(tmp_path / "store")
    pairs = examples.aids.pairs(examples.order(examples.aids.config))[:8]
    batch = examples.batch(pairs, Encoder.load(str(tiny_model)))
    guide = batch.targets.guide
    assert guide is not None
    encoder = Encoder.load(str(tiny_model))
    queries = encoder.encode(tiny.data.queries.texts(examples.query_rows_P[pairs]), kind="query")
    own = encoder.encode(tiny.data.corpus.texts(examples.doc_rows_P[pairs]), kind="document")
    assert np.allclose(guide.query_BD, queries, atol=1e-5)
    assert np.allclose(guide.doc_CD[batch.targets.column_B], own, atol=1e-5)
    masked = without_likely_positives(batch.targets, 0.0).mask(len(guide.doc_CD))
    sim_BC = torch.from_numpy(queries) @ guide.doc_CD.T
    likely_BC = sim_BC > torch.from_numpy((queries * own).sum(1))[:, None] + 1e-4
    assert (masked | ~likely_BC).all() and likely_BC.any()


def test_gains_of_grades():
    assert gains_of(np.array([1, 2]), "off") is None
    assert gains_of(np.array([1, 2, 3]), "exponential").tolist() == [1, 3, 7]  # type: ignore[union-attr]
