"""A query's own text: left out of its ranking, no negative of it; a validation split is judged on;
words of Chinese count; a training with nothing to learn from is refused before it begins.
"""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pyarrow.parquet as pq
from harness import FIT, data, done, expect, model, place, whet, write_lines

WORDS = ("data.path=twins", "model.name=model")
CHINESE = ["重置路由器的方法", "更换打印机墨盒", "预订会议室", "修改无线密码"]


def twins(folder: Path, prefix: str) -> None:
    """Each document asks for its twin, under its own id or another."""
    data(folder, 24)
    corpus = [json.loads(line) for line in (folder / "corpus.jsonl").read_text().splitlines()]
    asked = [{"_id": f"{prefix}{row['_id']}", "text": row["text"]} for row in corpus]
    write_lines(folder / "queries.jsonl", asked)
    for split, numbers in (("train", range(0, 16)), ("validation", range(16, 24))):
        judged = [f"{prefix}d{n}\td{n ^ 1}\t1" for n in numbers]
        (folder / "qrels" / f"{split}.tsv").write_text("\n".join(judged) + "\n")
    (folder / "qrels/test.tsv").unlink()


with place() as here:
    model(here / "model")
    twins(here / "twins", "")
    ended = whet("eval", *WORDS, "output=e")
    run = gzip.decompress((here / "e/trec/model.run.gz").read_bytes()).decode().split("\n")
    own = [line for line in run if line and line.split()[0] == line.split()[2]]
    judged = {line.split()[0] for line in run if line}
    expect(ended.code == 0 and not own, f"no query finds itself ({ended.state})")
    expect(judged == {f"d{n}" for n in range(16, 24)}, "it is judged on validation")

    twins(here / "others", "query-")
    words = ("data.path=others", "model.name=model")
    ended = whet("mine", *words, "mining=naive", "output=m")
    rows = pq.read_table(here / "m/sentence_transformers.parquet").to_pylist()
    same = sum(row["anchor"] == row["negative_1"] for row in rows)
    expect(ended.code == 0 and rows and not same, f"{same} of {len(rows)} negatives are the query")
    none = ("mining=off", "trainer.batch_size=1", "trainer.max_steps=3")
    ended = whet("fit", *words, *none, "output=run")
    refused = ended.code == 2 and "nothing to tell it from" in ended.err
    expect(refused and not (here / "run").exists(), f"nothing to learn from ({ended.state})")
    ended = whet("fit", *words, *FIT, "output=run")
    expect(ended.code == 0, f"with negatives it is a fit like others ({ended.state})")

    (here / "zh/qrels").mkdir(parents=True)
    corpus = [{"_id": f"d{n}", "text": f"{text}，请看说明。"} for n, text in enumerate(CHINESE)]  # noqa: RUF001
    write_lines(here / "zh/corpus.jsonl", corpus)
    asked = [{"_id": f"q{n}", "text": text[-3:]} for n, text in enumerate(CHINESE)]
    write_lines(here / "zh/queries.jsonl", asked)
    judged_lines = "".join(f"q{n}\td{n}\t1\n" for n in range(len(CHINESE)))
    (here / "zh/qrels/test.tsv").write_text(judged_lines)
    ended = whet("eval", "data.path=zh", "model.name=bm25", "output=z")
    means = json.loads((here / "z/metrics.json").read_text())["model"]
    expect(means["nDCG@10"] > 0.8, f"words of Chinese count ({means['nDCG@10']:.2f})")
done()
