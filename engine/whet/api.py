"""Whet from Python: one function a verb, each usable alone in a notebook.

`whet.fit("my/data", trainer={"max_steps": 100})` is `whet fit data=my/data trainer.max_steps=100`.
Data are a path, or what a program holds: rows (a list of dicts), a pandas DataFrame, a
`datasets.Dataset` or DatasetDict, or (corpus, queries, qrels).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from whet.config import AdaptConfig, EncodeConfig, EvaluateConfig, FitConfig, MiningConfig
from whet.config.given import configured, takes_options_of
from whet.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np

    from whet.data.check import Check
    from whet.data.load import Dataset
    from whet.data.table import TextTable
    from whet.evaluation.judge import Evaluation
    from whet.mining.miner import Mined
    from whet.model.encoder import Encoder
    from whet.types import Embeddings, Positives
    from whet.verbs.adapt import Adaptation
    from whet.verbs.fit import Run


@takes_options_of(FitConfig, but=("data",))
def fit(
    data: Any,
    *,
    model: str | dict[str, Any] = "minilm",
    weights: Sequence[float] = (),
    **options: Any,
) -> Run:
    """Make a model better at searching `data`: a folder, a file, a Hugging Face datasets name, or
    rows, a table or judgments of your program (`load_dataset` says which). A list of paths names
    several data sets, and `weights` their shares of what is trained on (data.weights).

    `model` is a name or folder, or a dict of ModelConfig's options. `options` are the other groups
    of FitConfig as dicts, and its single values: `mining={"num_negatives": 4}`, `seed=1`. Returns
    the run: its folder, the tuned model, base against tuned.

    Raises DataError for data that cannot be used and ConfigError for an unknown option.
    """
    from whet.run.early import check_job
    from whet.verbs.program_data import data_path

    if isinstance(data, FitConfig):
        config = data
    else:
        named = {"name": model} if isinstance(model, str) else model
        config = configured(FitConfig(), {"model": named, **options})
        config.data.path, config.data.weights = data_path(data), list(map(float, weights))
    opened = check_job(config)
    from whet.verbs.fit import fit_job  # loads torch: what was refused before took no second

    return fit_job(config, data=opened)


def load_dataset(
    data: Any, *, on_problem: str = "refuse", cache_dir: Path | None = None, **options: Any
) -> Dataset:
    """A corpus, queries and judgments, checked, from a path or from what a program holds.

    - a folder or file of a known format, or a Hugging Face datasets name
    - rows: `[{"query": "...", "positive": "..."}, ...]`, a pandas DataFrame, a `datasets.Dataset`
    - splits: a dict or DatasetDict of them
    - `(corpus, queries, qrels)`: texts by id, and `{query id: {document id: relevance}}`

    `on_problem="refuse"` raises DataError with all problems found; "drop" leaves the rows at fault
    out. What was read is kept in `cache_dir` (by default $WHET_CACHE). `options` are others of
    DataConfig: `query="Question"` names the column of the queries.
    """
    from whet.data import load
    from whet.verbs.program_data import data_path

    return load.load_dataset(data_path(data), on_problem=on_problem, cache_dir=cache_dir, **options)


def check(data: Any) -> Check:
    """Look data through (`load_dataset` says which): print the result to see counts, examples and
    every problem found.
    """
    from whet.data.check import check_dataset
    from whet.verbs.program_data import data_path

    return check_dataset(data_path(data))


@takes_options_of(AdaptConfig, but=("data",))
def adapt(data: Any, *, model: str | dict[str, Any] = "minilm", **options: Any) -> Adaptation:
    """Adapt a search to documents that nobody judged (`load_dataset` says what `data` may be), with
    a log of queries where there is one: `queries="log.txt"`.

    `model` is a name or folder, or a dict of ModelConfig's options; `options` are those of
    AdaptConfig. Returns what was done: its folder, the model that searches, what is proved.

    Raises DataError for data that cannot be used and ConfigError for an unknown option.
    """
    from whet.verbs.adapt import adapt_job
    from whet.verbs.program_data import data_path

    named = {"name": model} if isinstance(model, str) else model
    config = configured(AdaptConfig(), {"model": named, **options})
    config.data.path = data_path(data)
    return adapt_job(config)


@takes_options_of(EncodeConfig)
def encode(
    encoder: Encoder, texts: TextTable | list[str], *, kind: str = "document", **options: Any
) -> np.ndarray:
    """Vectors float32 [N, D] of a table or list of texts; options are those of EncodeConfig.

    A table's vectors are kept in the embedding store and read from it the next time.
    """
    from whet.encoding.store import embeddings_folder
    from whet.encoding.table import encode_table

    config = configured(EncodeConfig(), options)
    if isinstance(texts, list):
        return encoder.encode(texts, kind=kind, config=config)
    return encode_table(encoder, texts, kind=kind, store=embeddings_folder(), config=config).vectors


@takes_options_of(MiningConfig)
def mine(
    queries: Any,
    corpus: Embeddings | None = None,
    positives: Positives | None = None,
    policy: MiningConfig | None = None,
    *,
    model: str | Encoder = "minilm",
    rescore: Callable[..., Any] | None = None,
    **options: Any,
) -> Mined:
    """Hard negatives under a policy (docs/mining.md); options are those of MiningConfig.

    Of vectors: `queries` and `corpus` are Embeddings, and row q of `positives` belongs to row q of
    `queries`. Of data (`load_dataset` says which): `mine("my/data", model="minilm")` encodes them,
    and rows of the result are those of the data's tables. Returns `negatives` and their `report`.
    """
    config = configured(policy or MiningConfig(), options)
    if corpus is None:
        return _mine_data(load_dataset(queries), model, config)
    if positives is None:
        raise ConfigError("mine takes positives besides: mine(queries, corpus, positives).")
    from whet.mining import miner

    return miner.mine(cast("Embeddings", queries), corpus, positives, config, rescore=rescore)


def _mine_data(data: Dataset, model: str | Encoder, policy: MiningConfig) -> Mined:
    from whet.data.splits import pairs_of
    from whet.encoding.store import embeddings_folder
    from whet.evaluation.pool.choose import mined_among
    from whet.mining.rows import mine_with
    from whet.model.encoder import Encoder

    train, store = pairs_of(data, "train"), embeddings_folder()
    encoder = Encoder.load(model) if isinstance(model, str) else model
    positives = data.positives(train)
    among = mined_among(data, train, policy)
    return mine_with(
        encoder, data, train, positives, store=store, policy=policy, encode=None, among=among
    )


@takes_options_of(EvaluateConfig)
def evaluate(
    model: str | Encoder, data: Any, *, split: str | None = None, **options: Any
) -> Evaluation:
    """Search the documents of `data` (`load_dataset` says which), all or a pool of them, for every
    judged query and score the result.

    `options` are those of EvaluateConfig. `result.scores.means["nDCG@10"]` is one of the numbers.
    """
    config = configured(EvaluateConfig(), options)
    dataset = load_dataset(data)
    from whet.data.splits import eval_qrels
    from whet.encoding.store import embeddings_folder
    from whet.evaluation.judge import judge
    from whet.evaluation.pool.choose import choose_pool
    from whet.model.towers import open_model

    encoder = open_model(model) if isinstance(model, str) else model
    qrels, store = eval_qrels(dataset, split), embeddings_folder()
    pool = choose_pool(dataset, qrels, config)
    return judge(encoder, dataset, qrels, store=store, config=config, pool=pool)
