"""The dev part: queries that are held out of train, or a split that nobody uses, to choose by.

Shape suffixes: Q queries with a relevant document, E edges (query, relevant document), G groups.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from whet.config import FitConfig, SelectConfig
from whet.data.joined import joined_qrels
from whet.data.load import Dataset
from whet.data.readers.rows.kinds import split_name
from whet.data.splits import eval_split_name, splits_of
from whet.data.text import hash64, told_apart_by
from whet.progress import say
from whet.types import Qrels

FEWEST = 5  # queries that can show anything: five gains and no loss are 1 chance in 32
MOST_OF_TRAIN = 0.2
FEWEST_GROUPS = 20  # fewer answers than that say nothing of other answers


@dataclass(frozen=True)
class Parts:
    """The judgments to learn from, those to choose by (None: nothing is chosen), and those to
    judge by; what `dev` is, in words.
    """

    train: Qrels
    dev: Qrels | None
    judged: Qrels
    about_dev: str = ""


def parts_of(data: Dataset, config: FitConfig) -> Parts:
    """`whet.data.splits.splits_of`, and the dev part if `select.policy` asks for one. Several data
    sets have one each.
    """
    if data.parts:
        each = [parts_of(part, config) for part in data.parts]
        train, judged = (
            joined_qrels(data, qrels)
            for qrels in ([one.train for one in each], [one.judged for one in each])
        )
        return Parts(train, dev_of_sets(data, each), judged)
    train, judged = splits_of(data, config)
    if config.select.policy == "last":
        return Parts(train, None, judged)
    spare = _spare_split(data, config)
    if spare is not None:
        dev = _some_of(data, data.split(spare), config)
        count = len(dev.query_rows)
        return Parts(
            train,
            dev,
            judged,
            f"{count:,} queries of the split {spare!r}, which nothing is judged by",
        )
    rest, held, about = hold_out_dev(data, train, config.select, config.seed)
    return Parts(rest, None if held is None else _of_documents(held, data), judged, about)


def _of_documents(qrels: Qrels, data: Dataset) -> Qrels:
    """Judgments of all passages as those of their documents, which stand at the first passage."""
    if data.home_N is None:
        return qrels
    return qrels.only(data.home_N[qrels.doc_rows_M] == qrels.doc_rows_M)


def dev_of_sets(data: Dataset, each: Sequence[Parts]) -> Qrels | None:
    """The dev parts of several data sets as one; None where none has one."""
    if all(parts.dev is None for parts in each):
        return None
    none = Qrels(*(np.empty(0, np.int64) for _ in range(3)))
    return joined_qrels(data, [none if parts.dev is None else parts.dev for parts in each])


def tell_dev_of_sets(each: Mapping[str, Parts], config: FitConfig) -> None:
    """Say what is chosen by of each of several data sets."""
    if config.select.policy == "last":
        return
    with_dev = {name: parts.about_dev for name, parts in each.items() if parts.dev is not None}
    for name, parts in each.items():
        if parts.dev is None:
            say(
                f"{name}: {parts.about_dev}, too few to hold some out. Whether tuning hurts it "
                "nobody can tell before the end."
            )
    if with_dev:
        words = "; ".join(f"{name}, {about}" for name, about in with_dev.items())
        say(f"What comes back is chosen by: {words} (select=last does without).")
    else:
        say("The last weights come back, as with select=last.")


def tell_dev(parts: Parts, config: FitConfig) -> None:
    """Say what the weights that come back are chosen by."""
    if config.select.policy == "last":
        return
    if parts.dev is None:
        say(
            f"{parts.about_dev}: too few to hold some out. Whether tuning helped nobody can tell "
            "before the end: the last weights come back, as with select=last."
        )
    else:
        say(f"What comes back is chosen by {parts.about_dev} (select=last does without).")


def _spare_split(data: Dataset, config: FitConfig) -> str | None:
    """A dev split that is neither learned from nor judged by."""
    used = {config.data.train_split, config.data.eval_split or eval_split_name(data)}
    for name in data.splits:
        if split_name(name) == "dev" and name not in used and len(data.splits[name].relevant()):
            return name
    return None


def _some_of(data: Dataset, qrels: Qrels, config: FitConfig) -> Qrels:
    """At most `select.at_most` of the queries that have a relevant document, the same for a seed
    and the set of texts.
    """
    rows_Q = qrels.relevant().query_rows
    hash_Q = _hashes(data, rows_Q, config.seed)
    chosen = rows_Q[np.argsort(hash_Q, kind="stable")[: config.select.at_most]]
    return qrels.only(np.isin(qrels.query_rows_M, chosen))


def hold_out_dev(
    data: Dataset, train: Qrels, config: SelectConfig, seed: int
) -> tuple[Qrels, Qrels | None, str]:
    """(train, dev, what dev is): whole queries, `config.share` of those with a relevant document,
    within the bounds and never over a fifth.

    Queries that share a document, or a text, are held out together, so that dev asks for documents
    nobody learned to find. Where documents answer so many queries that fewer than 20 such groups
    would be held out, single texts are, and that is in the words. A pure function of texts,
    judgments and seed, whatever their order. None where fewer than 5 queries could be held out.
    """
    relevant = train.relevant()
    rows_Q = relevant.query_rows
    many = f"{len(rows_Q):,} train queries"
    wanted = min(
        max(round(config.share * len(rows_Q)), config.at_least),
        config.at_most,
        int(MOST_OF_TRAIN * len(rows_Q)),
    )
    if wanted < FEWEST:
        return train, None, many
    hash_Q = _hashes(data, rows_Q, seed)
    text_Q = np.asarray(data.queries.group_of_N())[rows_Q]
    place_E = np.searchsorted(rows_Q, relevant.query_rows_M)
    document_E = np.asarray(data.corpus.group_of_N())[relevant.doc_rows_M]
    group_Q = _together(text_Q, place_E, document_E)
    held_Q = _drawn(group_Q, hash_Q, wanted)
    about = f"{held_Q.sum():,} of the {many}, held out"
    if held_Q.sum() < wanted // 2 or len(np.unique(group_Q[held_Q])) < min(FEWEST_GROUPS, wanted):
        held_Q = _drawn(text_Q, hash_Q, wanted)
        about = f"{held_Q.sum():,} of the {many}, held out; others ask for the same documents"
    if held_Q.sum() < FEWEST:
        return train, None, many
    held_M = np.isin(train.query_rows_M, rows_Q[held_Q])
    return train.only(~held_M), train.only(held_M), about


def _hashes(data: Dataset, rows_Q: np.ndarray, seed: int) -> np.ndarray:
    return hash64(f"{seed} {told_apart_by(item)}" for item in data.queries.items(rows_Q))


def _together(text_Q: np.ndarray, place_E: np.ndarray, document_E: np.ndarray) -> np.ndarray:
    """A number for each query, equal for those that are connected by equal texts or common
    documents: the least place of the group. Least labels travel along the edges until none changes.
    """
    label_Q = np.arange(len(text_Q))
    _, text_Q = np.unique(text_Q, return_inverse=True)
    _, document_E = np.unique(document_E, return_inverse=True)
    while True:
        least_T = np.full(text_Q.max() + 1, len(text_Q))
        np.minimum.at(least_T, text_Q, label_Q)
        label = least_T[text_Q]
        least_D = np.full(document_E.max() + 1, len(text_Q))
        np.minimum.at(least_D, document_E, label[place_E])
        np.minimum.at(label, place_E, least_D[document_E])
        label = label[label]  # the label's own label: long chains take few rounds
        if (label == label_Q).all():
            return label_Q
        label_Q = label


def _drawn(group_Q: np.ndarray, hash_Q: np.ndarray, wanted: int) -> np.ndarray:
    """Which queries are held out: whole groups by their least hash, as long as they fit, bool."""
    _, group_Q, size_G = np.unique(group_Q, return_inverse=True, return_counts=True)
    least_G = np.full(len(size_G), np.iinfo(np.uint64).max, np.uint64)
    np.minimum.at(least_G, group_Q, hash_Q)
    held_G = np.zeros(len(size_G), bool)
    left = wanted
    for group in np.argsort(least_G, kind="stable"):
        if size_G[group] <= left:
            held_G[group] = True
            left -= int(size_G[group])
        if not left:
            break
    return held_G[group_Q]
