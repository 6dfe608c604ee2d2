"""`whet search`: the best documents for some words, with the model of a run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

from whet.config import ModelConfig, SearchConfig
from whet.config.ranges import check_options
from whet.data.load import Dataset
from whet.errors import ConfigError
from whet.evaluation.lexical.weight import check_words, count_words
from whet.model.folder import find_folder
from whet.printable import printable
from whet.run.early import check_device
from whet.run.folder import data_of, model_of

if TYPE_CHECKING:
    from whet.feedback.serve.searcher import Searcher

EXCERPT = 100  # characters of a document on a line


@dataclass(frozen=True)
class Hit:
    """A document that was found."""

    doc_id: str
    score: float
    text: str


@dataclass(frozen=True, repr=False)
class SearchHits:
    """The best documents of a query, best first."""

    query: str
    hits: tuple[Hit, ...]

    def __iter__(self) -> Iterator[Hit]:
        return iter(self.hits)

    def __len__(self) -> int:
        return len(self.hits)

    def __getitem__(self, place: int) -> Hit:
        return self.hits[place]

    def __repr__(self) -> str:
        """A line per document."""
        names = [printable(hit.doc_id) for hit in self.hits]
        width = max(map(len, names), default=0)
        return "\n".join(
            f"{place:>3}  {hit.score:7.4f}  {name:<{width}}  {_excerpt(hit.text)}"
            for place, (hit, name) in enumerate(zip(self.hits, names, strict=True), 1)
        )

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{place}</td><td>{hit.score:.4f}</td><td>{escape(hit.doc_id)}</td>"
            f'<td style="text-align:left">{escape(_excerpt(hit.text))}</td></tr>'
            for place, hit in enumerate(self.hits, 1)
        )
        return f"<table><tr><th></th><th>score</th><th>id</th><th>document</th></tr>{rows}</table>"


def search_command(config: SearchConfig) -> None:
    """`whet search`: print the best documents of the run's data, or of those given."""
    check_options(config)
    check_device(config.encode)
    if not config.query.strip():
        raise ConfigError("The query is empty. Write what you look for.")
    check_words(config.words, config.run, ("auto",))
    model, data = _model_and_data(config)
    find_folder(model)
    print(repr(best_of(searcher_of(model, data, config), data, config.query, config.k)))


def searcher_of(model: ModelConfig, data: Dataset, config: SearchConfig) -> Searcher:
    """The model with the corpus encoded, ready to be asked."""
    from whet.feedback.serve.searcher import Searcher  # loads torch
    from whet.model.towers import open_model

    opened = open_model(model)
    count_words(opened, config.words, data.corpus)
    return Searcher(0, opened, data, config.encode)


def best_of(searcher: Searcher, data: Dataset, query: str, k: int) -> SearchHits:
    """The k best documents of a query."""
    score_1K, row_1K = searcher.best([query], searcher.vectors([query]), k)
    rows = row_1K[0]
    ids, texts = data.corpus.ids_of(rows), data.corpus.texts(rows)
    found = zip(ids, score_1K[0].tolist(), texts, strict=True)
    return SearchHits(query, tuple(Hit(doc_id, score, text) for doc_id, score, text in found))


def _model_and_data(config: SearchConfig) -> tuple[ModelConfig, Dataset]:
    """The run's model and data; a model that is no run's needs data."""
    model = model_of(config.run)
    data = data_of(config.run, config.data.path)
    if data is None:
        raise ConfigError(
            f"run={printable(config.run)} is no run folder, and names no documents. Add data=PATH."
        )
    return model, data


def _excerpt(text: str) -> str:
    words = printable(" ".join(text[: 4 * EXCERPT].split()))
    return words if len(words) <= EXCERPT else words[: EXCERPT - 3] + "..."
