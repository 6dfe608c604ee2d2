"""Whet from Python: one function a verb, each usable alone in a notebook.

`whet.fit("my/data", trainer={"max_steps": 100})` is `whet fit data=my/data trainer.max_steps=100`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from whet.config import EncodeConfig, EvaluateConfig, FitConfig, MiningConfig
from whet.config.given import configured

if TYPE_CHECKING:
    import numpy as np

    from whet.data.check import Check
    from whet.data.table import TextTable
    from whet.evaluation.judge import Evaluation
    from whet.mining.miner import Mined
    from whet.model.encoder import Encoder
    from whet.types import Embeddings, Positives
    from whet.verbs.fit import Run


def fit(data: str | FitConfig, *, model: str | dict[str, Any] = "minilm", **options: Any) -> Run:
    """Make a model better at searching `data`: a folder, a file, or a Hugging Face datasets name.

    `model` is a name or folder, or a dict of ModelConfig's options. `options` are the other groups
    of FitConfig as dicts, and its single values: `mining={"num_negatives": 4}`, `seed=1`. Returns
    the run: its folder, the tuned model, base against tuned.

    Raises DataError for data that cannot be used and ConfigError for an unknown option.
    """
    from whet.run.early import check_job

    if isinstance(data, FitConfig):
        config = data
    else:
        named = {"name": model} if isinstance(model, str) else model
        config = configured(FitConfig(), {"model": named, **options})
        config.data.path = data
    opened = check_job(config)
    from whet.verbs.fit import fit_job  # loads torch: what was refused before took no second

    return fit_job(config, data=opened)


def check(data: str) -> Check:
    """Look a dataset through: print the result to see counts, examples and every problem found."""
    from whet.data.check import check_dataset

    return check_dataset(data)


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


def mine(
    queries: Embeddings,
    corpus: Embeddings,
    positives: Positives,
    policy: MiningConfig | None = None,
    *,
    rescore: Callable[..., Any] | None = None,
    **options: Any,
) -> Mined:
    """Hard negatives under a policy (docs/mining.md); options are those of MiningConfig.

    Row q of `positives` belongs to row q of `queries`. Returns `negatives` and their `report`.
    """
    from whet.mining import miner

    config = configured(policy or MiningConfig(), options)
    return miner.mine(queries, corpus, positives, config, rescore=rescore)


def evaluate(
    model: str | Encoder, data: str, *, split: str | None = None, **options: Any
) -> Evaluation:
    """Search all documents of `data` for every judged query and score the result.

    `options` are those of EvaluateConfig. `result.scores.means["nDCG@10"]` is one of the numbers.
    """
    from whet.data.load import load_dataset
    from whet.data.splits import eval_qrels
    from whet.encoding.store import embeddings_folder
    from whet.evaluation.judge import judge
    from whet.model.towers import open_model

    encoder = open_model(model) if isinstance(model, str) else model
    config = configured(EvaluateConfig(), options)
    dataset = load_dataset(data)
    return judge(
        encoder, dataset, eval_qrels(dataset, split), store=embeddings_folder(), config=config
    )
