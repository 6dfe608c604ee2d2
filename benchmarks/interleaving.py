"""How many searches with a click does it take until the better of two versions is found?

    python benchmarks/interleaving.py                        # cacm of --data, MiniLM
    python benchmarks/interleaving.py --data ../shared/data/nl2bash
    python benchmarks/interleaving.py --table                # the table alone
    python benchmarks/interleaving.py --quick                # does it run?

Two versions: the model, and the same with noise on the documents' vectors, as much as costs about
--drop of nDCG@10. A person searches for a judged query by chance, looks at place r (from 1) with a
chance of 1 / r, and then clicks a relevant document with 0.9, another with 0.05. Lists are
interleaved by team draft, and the test looks after each. A repetition ends when it decides, or
after --sessions lists with a click. Three cases: the better one is beside, the worse one is, and
none is better: which ranking is whose is drawn anew for each list.
"""

from __future__ import annotations

import argparse
import os
from collections import Counter
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import tiny
from kept import Records

RECORDS = Records("interleaving")
K = 10
RIGHT, WRONG = 0.9, 0.05  # chances of a click on what was looked at


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data/cacm"))
    parser.add_argument("--model", default="minilm")
    parser.add_argument("--drop", type=float, default=0.03, help="of nDCG@10, by noise")
    parser.add_argument("--sessions", type=int, default=300, help="lists with a click, at most")
    parser.add_argument("--repetitions", type=int, default=200)
    parser.add_argument("--work", type=Path, default=Path("runs/interleaving"))
    parser.add_argument("--table", action="store_true")
    tiny.add_option(parser)
    options = parser.parse_args()
    if options.quick:
        with tiny.place(RECORDS) as here:
            options.data, options.model = here.collection(), here.model
            options.sessions, options.repetitions = 20, 3
            measure(options)
            print(table())
        return
    if not options.table:
        os.environ.setdefault("WHET_CACHE", str(options.work.resolve() / "cache"))
        measure(options)
    print(table())


class Rankings:
    """The lists of both versions for each judged query, and what is relevant."""

    def __init__(self, options: Any) -> None:
        import whet
        from whet.config import EncodeConfig
        from whet.data.splits import eval_qrels
        from whet.encoding.store import embeddings_folder
        from whet.encoding.table import encode_table
        from whet.model.encoder import Encoder

        data, encoder = whet.load_dataset(str(options.data)), Encoder.load(options.model)
        judged = eval_qrels(data, None).relevant()
        rows = judged.query_rows
        self.ids = data.queries.ids_of(rows)
        self._names = data.corpus.ids_of(np.arange(len(data.corpus)))
        self._query_QD = encoder.encode(data.queries.texts(rows), kind="query")
        self._doc_ND = encode_table(
            encoder, data.corpus, kind="document", store=embeddings_folder(), config=EncodeConfig()
        ).vectors
        self.relevant: list[dict[str, int]] = [
            dict.fromkeys(data.corpus.ids_of(judged.doc_rows_M[judged.query_rows_M == row]), 1)
            for row in rows
        ]
        self.good = self._lists(0.0)
        self.noise = self._noise_of(options.drop)
        self.bad = self._lists(self.noise)

    def _lists(self, noise: float) -> list[list[str]]:
        from whet.mining.search import search

        random = np.random.default_rng(0)
        noisy_ND = self._doc_ND + noise * random.standard_normal(
            self._doc_ND.shape, dtype=np.float32
        ) / np.sqrt(self._doc_ND.shape[1], dtype=np.float32)
        _, row_QK = search(self._query_QD, noisy_ND.astype(np.float32), K, backend="blas")
        return [[self._names[row] for row in row_K] for row_K in row_QK.tolist()]

    def ndcg(self, lists: list[list[str]]) -> float:
        """Mean nDCG@10."""
        from whet.evaluation.measures import score

        run = {
            query: {doc: float(K - place) for place, doc in enumerate(found)}
            for query, found in zip(self.ids, lists, strict=True)
        }
        judgments = dict(zip(self.ids, self.relevant, strict=True))
        return score(run, judgments, ["nDCG@10"]).means["nDCG@10"]

    def _noise_of(self, drop: float) -> float:
        """By halving: the noise that costs so much."""
        wanted, low, high = self.ndcg(self.good) - drop, 0.0, 2.0
        for _ in range(14):
            middle = (low + high) / 2
            low, high = (middle, high) if self.ndcg(self._lists(middle)) > wanted else (low, middle)
        return low


def measure(options: Any) -> None:
    """A row of each case."""
    rankings = Rankings(options)
    about = {
        "data": options.data.name,
        "queries": len(rankings.ids),
        "good": round(rankings.ndcg(rankings.good), 4),
        "bad": round(rankings.ndcg(rankings.bad), 4),
        "noise": round(rankings.noise, 4),
        "sessions": options.sessions,
        "repetitions": options.repetitions,
    }
    for case in ("better", "worse", "equal"):
        RECORDS.keep({"case": case, **about, **outcomes(rankings, case, options)})


def outcomes(rankings: Rankings, case: str, options: Any) -> dict[str, Any]:
    """How often each decision came, and after how many lists with a click."""
    random = np.random.default_rng(7)
    ended = [trial(rankings, case, options.sessions, random) for _ in range(options.repetitions)]
    counts = Counter(said for said, _, _ in ended)
    taken = [lists for said, lists, _ in ended if said != "not decided yet"]
    won, lost = (sum(wins[at] for _, _, wins in ended) for at in (0, 1))
    return {
        "ship": counts["ship"],
        "keep": counts["keep"],
        "median_sessions": median(taken) if taken else None,
        "beside_wins": round(won / max(1, won + lost), 3),
    }


def trial(
    rankings: Rankings, case: str, most: int, random: np.random.Generator
) -> tuple[str, int, tuple[int, int]]:
    """The decision, after how many lists with a click, and the lists won by each."""
    from whet.serving.beside.draft import team_draft, winner
    from whet.serving.beside.evidence import Wins, decision

    told = cache(decision)
    won, lists, said = Counter[str | None](), 0, "not decided yet"
    look_K = 1 / (1 + np.arange(K))
    while lists < most and said == "not decided yet":
        query = int(random.integers(len(rankings.ids)))
        pair = [rankings.bad[query], rankings.good[query]]
        if case == "worse" or (case == "equal" and random.random() < 0.5):
            pair.reverse()
        drafted = team_draft(pair[0], pair[1], K, int(random.integers(2**62)))
        relevant = rankings.relevant[query]
        chance_K = [RIGHT if doc in relevant else WRONG for doc, _ in drafted]
        click_K = random.random(len(drafted)) < look_K[: len(drafted)] * chance_K
        if not click_K.any():
            continue
        lists += 1
        clicked = {doc for (doc, _), click in zip(drafted, click_K, strict=True) if click}
        won[winner(drafted, clicked)] += 1
        said = told(Wins(now=won["now"], beside=won["beside"], ties=won[None]))
    return said, lists, (won["beside"], won["now"])


def table() -> str:
    """Markdown, a line per row."""
    lines = [
        "| data | beside | nDCG@10 now and beside | shipped | kept | undecided | lists, median |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in RECORDS.rows():
        pair = {"better": ("bad", "good"), "worse": ("good", "bad"), "equal": ("good", "good")}
        now, beside = (f"{row[name]:.3f}" for name in pair[row["case"]])
        open_ = row["repetitions"] - row["ship"] - row["keep"]
        lines.append(
            f"| {row['data']} | {row['case']} | {now}, {beside} | {row['ship']} of "
            f"{row['repetitions']} | {row['keep']} | {open_} after {row['sessions']} | "
            f"{row['median_sessions'] or 'none'} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
