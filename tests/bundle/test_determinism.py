"""Two fresh processes, one recipe: the same bits, whatever caches hold and however sets hash."""

from __future__ import annotations

import json
import os
import random

import pytest
import torch
from bundles import fit_words, whet_in_a_process

import whet.version
from whet.config import FitConfig
from whet.encoding.corpus import Pace
from whet.run.determinism import base_store, fixed_order, what_stands_against
from whet_launch.cli.main import main

FILES = ("model/model.safetensors", "negatives/step_00000000.parquet", "metrics.json")


def fit(words, **environment):
    code, said = whet_in_a_process(*words, **environment)
    assert code == 0, said


@pytest.mark.slow
def test_a_fresh_process_with_another_cache_and_hash_seed_gives_the_same_bits(run, place, tmp_path):
    words = fit_words(place, tmp_path / "again")
    fit(words, WHET_CACHE=str(tmp_path / "cache"), PYTHONHASHSEED="99")
    for name in FILES:
        assert (tmp_path / "again" / name).read_bytes() == (run / name).read_bytes(), name


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_that_make_batches_change_no_bit(place, tmp_path, workers):
    """Also where negatives change in the midst of what was made ready."""
    words = [*fit_words(place, tmp_path / "a"), "refresh=steps", "refresh.every_n_steps=2"]
    assert main(words) == 0
    words[3] = f"output={tmp_path / 'b'}"
    assert main([*words, f"trainer.num_workers={workers}"]) == 0
    for name in (*FILES, "negatives/step_00000002.parquet", "train_log.jsonl"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name


@pytest.fixture(scope="module")
def crowded(tmp_path_factory):
    """Data in which few queries have most pairs, so that a batch adds many gradients into one."""
    root = tmp_path_factory.mktemp("crowded")
    rng = random.Random(3)
    words = [f"w{number}" for number in range(60)]
    docs = [" ".join(rng.sample(words, 6)) for _ in range(200)]
    rows = [{"_id": f"d{i}", "title": "", "text": text} for i, text in enumerate(docs)]
    queries = [{"_id": f"q{i}", "text": " ".join(rng.sample(words, 3))} for i in range(12)]
    for name, lines in (("corpus", rows), ("queries", queries)):
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (root / f"{name}.jsonl").write_text(text)
    (root / "qrels").mkdir()
    head = "query-id\tcorpus-id\tscore\n"
    train = "".join(f"q{i % 8}\td{i}\t1\n" for i in range(160))
    test = "".join(f"q{8 + i % 4}\td{160 + i}\t1\n" for i in range(40))
    (root / "qrels/train.tsv").write_text(head + train)
    (root / "qrels/test.tsv").write_text(head + test)
    return root


@pytest.mark.slow
@pytest.mark.nightly
def test_threads_that_add_into_one_place_do_so_in_one_order(crowded, tmp_path):
    """MiniLM's 384 dimensions and 128 pairs a step, on two threads, with one and two workers."""
    options = ["trainer.batch_size=128", "trainer.max_steps=2", "mining.num_negatives=1"]
    options += ["loss.cache=never", "evaluate.examples=0", "select=last"]
    runs = [tmp_path / name for name in "ab"]
    for workers, run in enumerate(runs, 1):
        words = ["fit", f"data={crowded}", f"output={run}", f"trainer.num_workers={workers}"]
        fit([*words, *options], WHET_CACHE=str(run) + "-cache", OMP_NUM_THREADS="2")
    for name in FILES:
        assert (runs[0] / name).read_bytes() == (runs[1] / name).read_bytes(), name


def test_a_gradient_is_added_up_in_one_order():
    """What the test above is about, alone. Without `fixed_order` it fails most times on idle cores,
    and now and then on busy ones.
    """
    generator = torch.Generator().manual_seed(0)
    rows = torch.randint(0, 40, (512,), generator=generator)
    gradient = torch.randn(512, 384, generator=generator)

    def backward():
        vectors = torch.zeros(40, 384, requires_grad=True)
        vectors[rows].backward(gradient)
        return vectors.grad

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with fixed_order(FitConfig()):
            first = backward()
            assert all(torch.equal(first, backward()) for _ in range(50))
            assert torch.are_deterministic_algorithms_enabled()
        assert not torch.are_deterministic_algorithms_enabled()
    finally:
        torch.set_num_threads(before)


def test_vectors_of_other_batches_are_not_read(run, place, tmp_path):
    """Texts that were encoded before, among others: their vectors differ in the last bits."""
    from whet.encoding.store import embeddings_folder

    config = FitConfig()
    config.trainer.deterministic = False
    assert base_store(config, "digest") == embeddings_folder()
    config.trainer.deterministic = True
    apart = base_store(config, "digest")
    assert apart.parent == embeddings_folder() and apart == base_store(config, "digest")
    assert base_store(config, "another") != apart
    config.encode.batch_tokens = 77
    assert base_store(config, "digest") != apart


def test_processes_get_the_same_share_whatever_their_speed():
    assert Pace(even=True).rates_W is not None
    assert Pace().rates_W is None


def test_what_cannot_be_promised_is_said():
    config = FitConfig()
    assert what_stands_against(config) == []
    config.refresh.policy = "continuous"
    assert len(what_stands_against(config)) == 1
    config.trainer.deterministic = False
    assert len(what_stands_against(config)) == 2


def test_a_resumed_run_names_what_changed(run, place, tmp_path, monkeypatch):
    """Interrupted with one Whet, gone on with by another."""
    from whet.run.origin import record_origin
    from whet.verbs.fit import begin

    config = FitConfig(output=str(tmp_path / "run"))
    config.data.path, config.model.name = str(place / "data"), str(place / "base")
    folder = begin(config)
    data = whet.load_dataset(str(place / "data"))
    record_origin(folder, config, data, "print")
    first = json.loads((folder / "origin.json").read_text())
    assert first["changed"] == []
    monkeypatch.setattr(whet.version, "VERSION", "9.9")
    record_origin(folder, config, data, "print")
    second = json.loads((folder / "origin.json").read_text())
    assert second["changed"] == ["code"]
    assert {**second, "changed": []} == first


def test_the_record_names_every_source_file_and_package(run):
    origin = json.loads((run / "origin.json").read_text())
    assert {"whet/api.py", "whet_kernels/__init__.py", "whet_conf/fit.yaml"} <= set(
        origin["code"]["files"]
    )
    assert any(one.startswith("torch==") for one in origin["packages"])
    assert [file["name"] for file in origin["data"]["files"]] == [
        "corpus.jsonl",
        "queries.jsonl",
        "qrels/test.tsv",
        "qrels/train.tsv",
    ]
    assert origin["machine"]["threads"] == int(os.environ["OMP_NUM_THREADS"])
    assert origin["seeds"] == {"seed": 0, "mining.seed": 0}


def test_deterministic_is_an_option_of_a_fit(capsys):
    assert main(["fit", "--cfg", "job", "data=x", "trainer.deterministic=true"]) == 0
    assert "deterministic: true" in capsys.readouterr().out
