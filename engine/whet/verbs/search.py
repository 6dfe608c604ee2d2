"""`whet search`: the best documents for some words or a picture, with the model of a run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
from whet.storage.pictures import opened
from whet.storage.places import user_path
from whet.types import Item, Picture

if TYPE_CHECKING:
    from whet.feedback.serve.searcher import Searcher
    from whet.model.encoder import Encoder
    from whet.model.towers import Towers

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
    from whet.model.towers import open_model  # loads torch

    encoder = open_model(model)
    asked = asked_item(config.query, encoder.side("query").reads)  # before the corpus is encoded
    print(repr(best_of(searcher_of(encoder, data, config), data, asked, config.k)))


def searcher_of(encoder: Encoder | Towers, data: Dataset, config: SearchConfig) -> Searcher:
    """The model with the corpus encoded, ready to be asked."""
    from whet.feedback.serve.searcher import Searcher  # loads torch

    count_words(encoder, config.words, data.corpus)
    return Searcher(0, encoder, data, config.encode)


def asked_item(query: str, reads: Sequence[str]) -> Item:
    """What is asked: the picture of a file, of a model that reads pictures; else words.

    ConfigError for a file that is not there, DataError for one that is no picture.
    """
    path = user_path(query)
    if "pictures" not in reads or ("texts" in reads and not path.is_file()):
        return query
    try:
        payload = path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"{printable(query)}: {error.strerror}. The model reads pictures: give the file of one."
        ) from error
    opened(payload, query)  # a picture that cannot be read is told by its name
    return Picture(payload)


def best_of(searcher: Searcher, data: Dataset, query: Item, k: int) -> SearchHits:
    """The k best documents of a query."""
    words = query if isinstance(query, str) else query.text
    score_1K, row_1K = searcher.best([words], searcher.vectors([query]), k)
    rows = row_1K[0]
    ids, texts = data.corpus.ids_of(rows), data.corpus.texts(rows)
    found = zip(ids, score_1K[0].tolist(), texts, strict=True)
    return SearchHits(words, tuple(Hit(doc_id, score, text) for doc_id, score, text in found))


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
