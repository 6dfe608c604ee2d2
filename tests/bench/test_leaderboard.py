"""mteb's evaluator and Whet's agree on data both read; results are read back by mteb."""

import json
import time

import numpy as np
import pytest

import whet
from whet.bench.leaderboard import result_file, run_task, task_of
from whet.config import ModelConfig
from whet.errors import ConfigError, DataError, EnvironmentRefused
from whet.model.encoder import Encoder

MEASURES = ["nDCG@10", "R@100", "AP@100", "RR@10", "Success@10", "P@1"]


@pytest.fixture
def saved(tiny_model, tmp_path):
    """The tiny model with prompts, which each side must get for itself."""
    config = ModelConfig(str(tiny_model), query_prompt="bace ", document_prompt="difo: ")
    return Encoder.load(config).save(tmp_path / "saved")


def test_mteb_scores_a_dataset_as_whet_does(saved, tiny_data, tmp_path):
    """Whet's encoder through mteb's evaluator, and sentence-transformers through it, both give what
    `whet eval` gives, under every measure.
    """
    from sentence_transformers import SentenceTransformer

    data = whet.load_dataset(str(tiny_data))
    ours = whet.evaluate(str(saved), str(tiny_data), measures=MEASURES).scores.means
    models = {"ours": Encoder.load(str(saved)), "st": SentenceTransformer(str(saved), device="cpu")}
    for name, model in models.items():
        found = run_task(model, task_of(data), tmp_path / "out", name=name)
        assert found.main_score == pytest.approx(ours["nDCG@10"], abs=1e-4)
        for measure, theirs in zip(
            MEASURES,
            "ndcg_at_10 recall_at_100 map_at_100 mrr_at_10 hit_rate_at_10 precision_at_1".split(),
            strict=True,
        ):
            assert found.scores[theirs] == pytest.approx(ours[measure], abs=1e-4), measure
        assert json.loads(found.path.read_text())["task_name"] == data.name


def test_ties_and_a_query_that_is_a_document(tiny_model, tmp_path):
    """Documents of equal text, and ids that are a query's: both count, and tie, as in Whet."""
    folder = tmp_path / "data"
    (folder / "qrels").mkdir(parents=True)
    docs = {f"d{n}": "bace difo" if n % 2 else "guka lemi" for n in range(12)} | {"q0": "bace difo"}
    lines = [json.dumps({"_id": name, "title": "", "text": text}) for name, text in docs.items()]
    (folder / "corpus.jsonl").write_text("\n".join(lines))
    queries = [json.dumps({"_id": f"q{n}", "text": "bace difo"}) for n in range(2)]
    (folder / "queries.jsonl").write_text("\n".join(queries))
    judged = ["query-id\tcorpus-id\tscore", "q0\td3\t1", "q0\tq0\t2", "q1\td11\t1"]
    (folder / "qrels" / "test.tsv").write_text("\n".join(judged) + "\n")
    data = whet.load_dataset(str(folder))
    model = Encoder.load(str(tiny_model))
    wanted = whet.evaluate(model, str(folder)).scores.means["nDCG@10"]
    found = run_task(model, task_of(data, name="Ties"), tmp_path / "out", name="tiny")
    assert found.task == "Ties" and 0 < wanted < 1
    assert found.main_score == pytest.approx(wanted, abs=1e-4)


def test_results_of_two_models_are_kept_apart(tiny_model, saved, tiny_data, tmp_path):
    """Also where both are called the same, and a second run reads what the first wrote."""
    from sentence_transformers import SentenceTransformer

    data = whet.load_dataset(str(tiny_data))
    found = {}
    for folder in (tiny_model, saved):
        for model in (Encoder.load(str(folder)), SentenceTransformer(str(folder), device="cpu")):
            found[run_task(model, task_of(data), tmp_path / "out", name="m").path] = model
    assert len(found) == 4  # the same weights, but not the same prompts
    path = next(iter(found))
    before = path.stat().st_mtime_ns
    run_task(found[path], task_of(data), tmp_path / "out", name="m")
    assert path.stat().st_mtime_ns == before


def test_whets_results_are_read_by_mteb(tiny_model, tiny_data, tmp_path):
    import mteb

    data, model = whet.load_dataset(str(tiny_data)), Encoder.load(str(tiny_model))
    found = whet.evaluate(model, str(tiny_data), split="train", measures=MEASURES)
    path = result_file(
        found, data, model, tmp_path / "out", name="tiny", split="train", seconds=3.0
    )
    assert path.relative_to(tmp_path / "out").parts[:2] == ("results", "whet__tiny")
    (read,) = mteb.ResultCache(tmp_path / "out").load_results(include_remote=False).model_results
    assert (read.model_name, read.model_revision) == ("whet/tiny", model.fingerprint())
    (result,) = read.task_results
    means = found.scores.means
    assert result.task_name == data.name and result.dataset_revision == data.digest
    rounded = pytest.approx(means["nDCG@10"], abs=1e-6)  # mteb's files have six places
    assert result.get_score() == rounded
    (scores,) = result.scores["train"]
    assert scores["hit_rate_at_10"] == pytest.approx(means["Success@10"], abs=1e-6)
    assert scores["map_at_100"] == pytest.approx(means["AP@100"], abs=1e-6)


def test_without_the_main_measure_no_result(tiny_model, tiny_data, tmp_path):
    data, model = whet.load_dataset(str(tiny_data)), Encoder.load(str(tiny_model))
    found = whet.evaluate(model, str(tiny_data), measures=["R@10"])
    with pytest.raises(ConfigError, match=r"need nDCG@10, and evaluate\.measures has R@10"):
        result_file(found, data, model, tmp_path, name="tiny")


def test_a_task_whose_data_is_on_the_hub_is_refused_at_once(tiny_model, tmp_path, monkeypatch):
    """The network is closed, but nothing told the hub's client so: it is found out, in seconds."""
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    start = time.monotonic()
    words = "mteb's task SciFact: its data, mteb/scifact, comes from the Hugging Face hub, which"
    with pytest.raises(EnvironmentRefused, match=words):
        run_task(Encoder.load(str(tiny_model)), "SciFact", tmp_path, name="tiny")
    assert time.monotonic() - start < 10
    assert huggingface_hub.constants.HF_HUB_OFFLINE is False


@pytest.mark.parametrize(
    ("task", "words"),
    [
        ("SciFactt", "mteb has no task SciFactt: .*Did you mean: 'SciFact'"),
        (
            "Banking77Classification",
            "is a task of Classification, and Whet runs those of retrieval",
        ),
    ],
)
def test_a_task_that_is_none_of_retrieval(tiny_model, tmp_path, task, words):
    with pytest.raises(ConfigError, match=words):
        run_task(Encoder.load(str(tiny_model)), task, tmp_path, name="tiny")


def test_a_split_that_is_not_there(tiny_data):
    with pytest.raises(DataError, match="has no split 'dev'"):
        task_of(whet.load_dataset(str(tiny_data)), split="dev")


def test_vectors_are_the_encoders(saved):
    """What mteb is given for each kind of text is what the encoder makes of it."""
    from mteb.types import PromptType

    from whet.bench.leaderboard import MtebEncoder

    encoder = Encoder.load(str(saved))
    batches = [{"text": ["bace"]}, {"text": ["difo guka", ""]}]
    for kind in ("query", "document"):
        found = MtebEncoder(encoder, "m").encode(batches, prompt_type=PromptType(kind))
        wanted = encoder.encode(["bace", "difo guka", ""], kind=kind)
        assert np.abs(found - wanted).max() < 1e-6
