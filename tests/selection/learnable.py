"""Data on which a tiny model learns, or is ruined, in seconds."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

from whet.config import FitConfig

Fit = Callable[..., FitConfig]
SYLLABLES = "ba ce di fo gu ka le mi no pu ra se ti vo zu".split()
WORDS = [first + second for first in SYLLABLES for second in SYLLABLES]  # the tiny model's


def write_set(folder: Path, queries: int, *, wrong: float = 0.0) -> Path:
    """A BEIR folder: a document a query, which asks with two of its words; `wrong` of the train
    judgments name another query's document. A fifth of the queries is the test split.
    """
    random_ = random.Random(3)
    docs = [random_.sample(WORDS, 6) for _ in range(queries)]
    asked = [random_.sample(words, 2) for words in docs]
    folder.mkdir(parents=True)
    lines = [{"_id": f"d{row}", "title": "", "text": " ".join(d)} for row, d in enumerate(docs)]
    (folder / "corpus.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    lines = [{"_id": f"q{row}", "text": " ".join(words)} for row, words in enumerate(asked)]
    (folder / "queries.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "qrels").mkdir()
    train = range(queries // 5, queries)
    answers = {row: row for row in range(queries)}
    answers |= {row: random_.choice(train) for row in train if random_.random() < wrong}
    for split, rows in {"test": range(queries // 5), "train": train}.items():
        judged = [f"q{row}\td{answers[row]}\t1" for row in rows]
        text = "\n".join(["query-id\tcorpus-id\tscore", *judged])
        (folder / "qrels" / f"{split}.tsv").write_text(text + "\n")
    return folder
