"""Each verb once, for real, on the tiny data with the tiny model."""

import gzip
import json

import numpy as np
import pytest

import whet
from whet_launch.cli.main import main

QUICK = {"max_steps": 6, "batch_size": 16, "learning_rate": 1e-3}


def fit(data, model_folder, output, **options):
    trainer = {**QUICK, **options.pop("trainer", {})}
    named = {"name": str(model_folder), **options.pop("model", {})}
    options.setdefault("select", {"policy": "last"})
    return whet.fit(str(data), model=named, output=str(output), trainer=trainer, **options)


def test_a_fit_tells_little_and_what_comes_next(tiny_data, tiny_model, tmp_path, capsys):
    """The demo's fit once told 35 lines of mining figures before its result."""
    run = fit(tiny_data, tiny_model, tmp_path / "run")
    told = capsys.readouterr().err.splitlines()
    assert len(told) < 30
    (mined,) = [line for line in told if line.startswith("Mined ")]
    assert mined.endswith("All of it: report.html")
    at = told.index(run.comparison.table().splitlines()[0])
    assert "\n".join(told[at : at + 6]) == str(run.comparison)
    assert told[-4] == "Next:"
    assert told[-3].split("  ")[1] == f'whet search {run.folder} "words"'
    assert told[-2].split("  ")[1] == f"whet label data={tiny_data} model={run.model}"
    assert told[-1].split("  ")[1] == f"whet export {run.folder}"


def test_fit_leaves_a_whole_run_folder(tiny_data, tiny_model, tmp_path):
    from sentence_transformers import SentenceTransformer

    run = fit(tiny_data, tiny_model, tmp_path / "run")
    names = {path.name for path in run.folder.iterdir()}
    assert names >= {
        "config.yaml",
        "environment.json",
        "metrics.json",
        "comparison.json",
        "per_query.jsonl",
        "mining_report.json",
        "train_log.jsonl",
        "report.html",
        "model",
        "negatives",
        "trec",
        "tb",
    }
    metrics = json.loads((run.folder / "metrics.json").read_text())
    main_row = run.comparison.main
    assert metrics["base"]["nDCG@10"] == main_row.base
    assert metrics["tuned"]["nDCG@10"] == main_row.tuned
    texts = ["bace difo", "guka"]
    theirs = SentenceTransformer(str(run.model), device="cpu").encode(texts)
    ours = whet.Encoder.load(str(run.model)).encode(texts)
    assert np.abs(theirs - ours).max() < 1e-6
    assert np.abs(ours - whet.Encoder.load(str(tiny_model)).encode(texts)).max() > 1e-3
    page = (run.folder / "report.html").read_text()
    assert f"{main_row.tuned:.4f}" in page and "http://" not in page and "src=" not in page
    card = (run.model / "README.md").read_text()
    assert f"{main_row.tuned:.4f}" in card and card.startswith("---\n")
    assert list((run.folder / "tb").glob("events.*"))


def test_metrics_are_those_of_the_files(tiny_data, tiny_model, tmp_path):
    """ir_measures on the files we wrote says what we say."""
    import ir_measures
    from ir_measures import AP, RR, R, nDCG

    folder = fit(tiny_data, tiny_model, tmp_path / "run").folder
    qrels = list(ir_measures.read_trec_qrels(str(folder / "trec" / "qrels")))
    said = json.loads((folder / "metrics.json").read_text())
    for name in ("base", "tuned"):
        with gzip.open(folder / "trec" / f"{name}.run.gz", "rt") as file:
            run = list(ir_measures.read_trec_run(file.read()))
        found = ir_measures.calc_aggregate([nDCG @ 10, RR @ 10, R @ 100, AP @ 100], qrels, run)
        for measure, value in found.items():
            assert said[name][str(measure)] == pytest.approx(value, abs=1e-12)


@pytest.mark.parametrize(
    "options",
    [
        {"loss": {"symmetric": True, "matryoshka_dims": [16, 8]}},
        {"loss": {"cache": "always", "chunk_tokens": 16}},
        {"refresh": {"policy": "steps", "every_n_steps": 2}},
        {"mining": {"num_negatives": 0}},
        {"mining": {"num_negatives": 3, "sampling": "random", "range_max": 20}},
        {"mining": {"reference": "each"}},
    ],
    ids=["matryoshka", "gradcache", "refresh", "in batch", "random", "each"],
)
def test_every_way_to_train_runs_and_learns(tiny_data, tiny_model, tmp_path, options):
    run = fit(tiny_data, tiny_model, tmp_path / "run", **options)
    log = [json.loads(line) for line in (run.folder / "train_log.jsonl").read_text().splitlines()]
    assert log[-1]["step"] == 6 and np.isfinite(log[-1]["loss"])
    vectors = [whet.Encoder.load(str(path)).encode(["bace"]) for path in (tiny_model, run.model)]
    assert np.abs(vectors[0] - vectors[1]).max() > 1e-3
    assert len(list((run.folder / "negatives").glob("*.parquet"))) == (
        0
        if options.get("mining", {}).get("num_negatives") == 0
        else 3
        if "refresh" in options
        else 1
    )


def test_lora_leaves_an_ordinary_model(tiny_data, tiny_model, tmp_path):
    config = {"model": {"lora_rank": 4}, "trainer": {"max_steps": 3, "learning_rate": 1e-2}}
    run = fit(tiny_data, tiny_model, tmp_path / "run", **config)
    names = {path.name for path in run.model.iterdir()}
    assert "model.safetensors" in names
    assert [name for name in names if "adapter" in name] == ["adapter"]  # beside, for who wants it


def test_pairs_without_a_test_split_are_held_out(tiny_model, tmp_path, capsys):
    pairs = "".join(
        f"{a} {b},{b} {a} {a}\n" for a in ("bace", "difo", "guka", "lemi") for b in "xyzuvw"
    )
    (tmp_path / "pairs.csv").write_text("anchor,positive\n" + pairs)
    run = fit(tmp_path / "pairs.csv", tiny_model, tmp_path / "run")
    assert "held out to judge by" in capsys.readouterr().err
    assert run.comparison.queries == 2


def test_not_finite_stops_before_the_step(tiny_data, tiny_model, tmp_path):
    with pytest.raises(whet.WhetError, match="is not finite; the weights are as before the step"):
        fit(tiny_data, tiny_model, tmp_path / "run", trainer={"learning_rate": 1e38})
    assert not (tmp_path / "run" / "model").exists()


def test_mine_writes_what_others_read(tiny_data, tiny_model, tmp_path, capsys):
    formats = "[sentence-transformers,flagembedding,tevatron,nemo,ms-swift,trec]"
    words = [f"data={tiny_data}", f"model={tiny_model}", f"output={tmp_path / 'm'}"]
    assert main(["mine", *words, "mining.num_negatives=2", f"formats={formats}"]) == 0
    assert "Negative" in capsys.readouterr().out
    assert (tmp_path / "m" / "report.html").exists()
    from datasets import load_dataset

    (file,) = (tmp_path / "m").rglob("*sentence*.parquet")
    rows = load_dataset("parquet", data_files=str(file), cache_dir=str(tmp_path / "hf"))["train"]
    assert rows.column_names[:3] == ["anchor", "positive", "negative_1"] and len(rows) > 20


def test_encode_writes_vectors_and_ids(tiny_data, tiny_model, tmp_path):
    words = [f"data={tiny_data}", f"model={tiny_model}", f"output={tmp_path / 'e'}", "kind=query"]
    assert main(["encode", *words]) == 0
    folder = tmp_path / "e" / "vectors"
    vectors = np.load(folder / "vectors.npy", mmap_mode="r")
    ids = (folder / "ids.txt").read_text().splitlines()
    assert vectors.shape == (80, 32) and vectors.dtype == np.float32
    data = whet.load_dataset(str(tiny_data))
    want = whet.Encoder.load(str(tiny_model)).encode(data.queries.texts([7]), kind="query")
    assert np.abs(vectors[ids.index(data.queries.id(7))] - want[0]).max() < 1e-6


def test_eval_compares_with_a_baseline(tiny_data, tiny_model, tmp_path, capsys):
    words = [f"data={tiny_data}", f"model={tiny_model}", f"output={tmp_path / 'v'}"]
    assert main(["eval", *words, f"baseline={tiny_model}"]) == 0
    assert "No query changed." in capsys.readouterr().out
    assert {path.name for path in (tmp_path / "v" / "trec").iterdir()} == {
        "qrels",
        "model.run.gz",
        "baseline.run.gz",
    }


def test_check_counts_and_exits_with_3_on_problems(tiny_data, tmp_path, capsys):
    assert main(["check", str(tiny_data)]) == 0
    assert "120" in capsys.readouterr().out
    (tmp_path / "corpus.jsonl").write_text(
        '{"_id": "d0", "text": "bace"}\n{"_id": "d0", "text": ""}\n'
    )
    (tmp_path / "queries.jsonl").write_text('{"_id": "q0", "text": "bace"}\n')
    (tmp_path / "qrels").mkdir()
    (tmp_path / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq0\td0\t1\n")
    assert main(["check", str(tmp_path)]) == 3
    out = capsys.readouterr().out
    assert "corpus.jsonl line 2" in out


def test_refresh_without_negatives_is_refused(tiny_data, tiny_model, tmp_path, capsys):
    words = [f"data={tiny_data}", f"model={tiny_model}", f"output={tmp_path / 'r'}"]
    assert main(["fit", *words, "mining=off", "refresh=epoch"]) == 2
    err = capsys.readouterr().err
    assert "needs negatives to refresh, and mining.num_negatives is 0" in err
    assert not (tmp_path / "r").exists()


def data_with_id(folder, id_):
    (folder / "qrels").mkdir(parents=True)
    (folder / "corpus.jsonl").write_text(json.dumps({"_id": id_, "text": "bace"}) + "\n")
    (folder / "queries.jsonl").write_text('{"_id": "q0", "text": "bace"}\n')
    for split in ("train", "test"):
        lines = f"query-id\tcorpus-id\tscore\nq0\t{id_}\t1\n"
        (folder / "qrels" / f"{split}.tsv").write_text(lines)
    return folder


def test_an_id_with_a_space_is_kept(tiny_model, tmp_path):
    data = data_with_id(tmp_path / "data", "d 0")
    assert main(["check", str(data)]) == 0
    assert main(["eval", f"data={data}", f"model={tiny_model}", f"output={tmp_path / 'e'}"]) == 0
    assert (tmp_path / "e/trec/qrels").read_text() == "q0 0 d%200 1\n"


def test_an_id_that_cannot_be_is_refused_before_training(tiny_model, tmp_path, capsys):
    data = data_with_id(tmp_path / "data", "d0\x1b[2J")
    assert main(["check", str(data)]) == 3
    words = [f"data={data}", f"model={tiny_model}", f"output={tmp_path / 'run'}"]
    assert main(["fit", *words]) == 3
    assert "corpus.jsonl line 1: id 'd0\\x1b[2J'." in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("option", ["trainer.accelerator=gpu", "encode.device=cuda"])
def test_a_gpu_that_is_not_there_is_one_line(tiny_data, tiny_model, tmp_path, capsys, option):
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is one")
    words = [f"data={tiny_data}", f"model={tiny_model}", f"output={tmp_path / 'run'}"]
    assert main(["fit", *words, option]) == 4
    assert f"{option}: torch finds no GPU here." in capsys.readouterr().err
