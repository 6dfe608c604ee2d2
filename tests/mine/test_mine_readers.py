"""Exported negatives, opened by the readers of the tools they are for, and not by ours."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from whet.config import MiningConfig
from whet.mining.exports import export_negatives
from whet.mining.miner import mine
from whet.types import Negatives

POLICY = MiningConfig(num_negatives=3, min_score=0.25)  # some rows are short
FLAG_EMBEDDING = """
import json, sys
from FlagEmbedding.abc.finetune.embedder.AbsArguments import AbsEmbedderDataArguments
from FlagEmbedding.abc.finetune.embedder.AbsDataset import (
    AbsEmbedderCollator, AbsEmbedderTrainDataset)
from transformers import AutoTokenizer

files, model, cache = sys.argv[1:]
tokenizer = AutoTokenizer.from_pretrained(model)
arguments = AbsEmbedderDataArguments(
    train_data=[files + "/flag_embedding.jsonl"], train_group_size=4, cache_path=cache,
    knowledge_distillation=True)
data = AbsEmbedderTrainDataset(arguments, tokenizer)
items = [data[row] for row in range(len(data))]
batch = AbsEmbedderCollator(tokenizer=tokenizer)(items[:3])
shapes = [list(batch[name]["input_ids"].shape[:1]) for name in ("queries", "passages")]
print(json.dumps({"items": items, "shapes": shapes, "scores": len(batch["teacher_scores"])}))
"""
TEVATRON = """
import json, sys
from tevatron.arguments import DataArguments
from tevatron.datasets import dataset
from transformers import AutoTokenizer

files, model, cache = sys.argv[1:]
tokenizer = AutoTokenizer.from_pretrained(model)
arguments = DataArguments(dataset_name="json", train_n_passages=4)
arguments.train_path = [files + "/tevatron.jsonl"]
arguments.encode_in_path = [files + "/tevatron_corpus.jsonl"]
# The name "json" is for files of tokens; those of texts are read by json, with the processors of
# any other name.
dataset.PROCESSOR_INFO["json"] = dataset.DEFAULT_PROCESSORS
rows = dataset.HFTrainDataset(tokenizer, arguments, cache).process()
items = [
    [tokenizer.decode(row["query"]), list(map(tokenizer.decode, row["positives"])),
     list(map(tokenizer.decode, row["negatives"]))]
    for row in rows
]
corpus = dataset.HFCorpusDataset(tokenizer, arguments, cache).process()
documents = [[row["text_id"], tokenizer.decode(row["text"])] for row in corpus]
print(json.dumps({"items": items, "documents": documents}))
"""


@pytest.fixture
def exported(random_data, make_table, tmp_path) -> tuple[Path, Negatives, list[list[Any]]]:
    """The folder of exports, the negatives, and per row that a format can hold: its query's text,
    its positives' texts, its negatives' texts.
    """
    queries, corpus, positives = random_data
    tables = {
        "queries": make_table("queries", queries.ids),
        "corpus": make_table("corpus", corpus.ids),
    }
    negatives = mine(*random_data, POLICY).negatives
    for name in ("sentence-transformers", "flagembedding", "tevatron"):
        export_negatives(tmp_path / "files", name, negatives, **tables, positives=positives)
    rows = [
        [
            f"text of q{query}",
            [f"text of d{doc}" for doc in positives.of(query)],
            [f"text of d{doc}" for doc in docs if doc >= 0],
        ]
        for query, docs in zip(
            negatives.query_rows_R.tolist(), negatives.doc_rows_RK.tolist(), strict=True
        )
    ]
    return tmp_path / "files", negatives, [row for row in rows if row[1] and row[2]]


@pytest.mark.slow
def test_the_trainer_of_sentence_transformers_reads_anchor_positive_and_negatives(
    exported, tiny_model, tmp_path
):
    from datasets import load_dataset
    from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
    from sentence_transformers.sentence_transformer.training_args import (
        SentenceTransformerTrainingArguments,
    )

    folder, _, rows = exported
    path = str(folder / "sentence_transformers.parquet")
    data = load_dataset("parquet", data_files=path, split="train", cache_dir=str(tmp_path / "hf"))
    wanted = [
        [query, positive, *negatives]
        for query, positives, negatives in rows
        for positive in positives
        if len(negatives) == 3
    ]
    model = SentenceTransformer(str(tiny_model), device="cpu")
    arguments = SentenceTransformerTrainingArguments(
        str(tmp_path / "st"), max_steps=2, per_device_train_batch_size=8, report_to=[], use_cpu=True
    )
    loss = MultipleNegativesRankingLoss(model)
    trainer = SentenceTransformerTrainer(model, arguments, train_dataset=data, loss=loss)
    batches = [trainer.collect_features(batch) for batch in trainer.get_train_dataloader()]
    assert {len(features) for features, _ in batches} == {5}
    assert all(labels is None for _, labels in batches)
    read = [
        tuple(tuple(x) for x in texts)
        for features, _ in batches
        for texts in zip(*(_words(feature, model) for feature in features), strict=True)
    ]
    assert sorted(read) == sorted(
        tuple(tuple(model.tokenizer.tokenize(text)) for text in texts) for texts in wanted
    )
    assert np.isfinite(trainer.train().training_loss)


def _words(feature: dict[str, Any], model: Any) -> list[list[str]]:
    """The tokens of each text of a batch, without those that are special."""
    special = set(model.tokenizer.all_special_tokens)
    return [
        [token for token in model.tokenizer.convert_ids_to_tokens(row) if token not in special]
        for row in feature["input_ids"].tolist()
    ]


def run_reader(packages: Path, script: str, folder: Path, model: Path) -> Any:
    """What a tool's own classes read, by a script that may use the packages."""
    words = [sys.executable, "-c", f"import sys; sys.path.append({str(packages)!r})\n{script}"]
    words += [str(folder), str(model), str(packages.parent / "hf")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.nightly  # fetches a package
def test_flag_embedding_reads_queries_groups_and_teacher_scores(exported, tiny_model, from_index):
    folder, negatives, rows = exported
    packages = from_index("FlagEmbedding==1.4.2", needs=False)  # what it needs is installed
    read = run_reader(packages, FLAG_EMBEDDING, folder, tiny_model)
    scores = {
        (f"text of q{negatives.query_rows_R[row]}", f"text of d{doc}"): float(score)
        for row in range(len(negatives.query_rows_R))
        for doc, score in zip(negatives.doc_rows_RK[row], negatives.scores_RK[row], strict=True)
    }
    assert [query for query, _, _ in read["items"]] == [query for query, _, _ in rows]
    for (query, passages, teacher), (_, positives, texts) in zip(read["items"], rows, strict=True):
        assert passages[0] in positives
        assert len(passages) == len(teacher) == 4  # short rows are repeated, by FlagEmbedding
        assert set(passages[1:]) <= set(texts)
        assert teacher[1:] == [scores[query, text] for text in passages[1:]]
    assert read["shapes"] == [[3], [12]]
    assert read["scores"] == 12


@pytest.mark.slow
@pytest.mark.nightly  # fetches a package
def test_tevatron_reads_passages_and_the_corpus(exported, tiny_model, from_index):
    folder, _, rows = exported
    packages = from_index("tevatron==0.1.0", needs=False)
    read = run_reader(packages, TEVATRON, folder, tiny_model)
    assert read["items"] == rows
    assert read["documents"] == [[f"d{doc}", f"text of d{doc}"] for doc in range(500)]
