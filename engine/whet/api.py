"""Whet from Python: one function a verb, each usable alone in a notebook.

`whet.fit("my/data", trainer={"max_steps": 100})` is `whet fit data=my/data trainer.max_steps=100`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, TypeVar

from whet.config import (
    CheckConfig,
    EncodeConfig,
    EvaluateConfig,
    FitConfig,
    MiningConfig,
)
from whet.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np

    from whet.data.check import Check
    from whet.data.table import TextTable
    from whet.evaluate import Evaluation
    from whet.fitting import Run
    from whet.mine import Mined
    from whet.model.encoder import Encoder
    from whet.types import Embeddings, Positives

Config = TypeVar("Config")


def fit(data: str | FitConfig, *, model: str | dict[str, Any] = "minilm", **options: Any) -> Run:
    """Make a model better at searching `data`: a folder, a file, or a Hugging Face datasets name.

    `model` is a name or folder, or a dict of ModelConfig's options. `options` are the other groups
    of FitConfig as dicts, and its single values: `mining={"num_negatives": 4}`, `seed=1`. Returns
    the run: its folder, the tuned model, base against tuned.

    Raises DataError for data that cannot be used and ConfigError for an unknown option.
    """
    from whet.fitting import fit_job

    if isinstance(data, FitConfig):
        return fit_job(data)
    named = {"name": model} if isinstance(model, str) else model
    config = configured(FitConfig(), {"model": named, **options})
    config.data.path = data
    return fit_job(config)


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
    from whet.encode import encode_table
    from whet.store import embeddings_folder

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
    from whet.mine import miner

    config = configured(policy or MiningConfig(), options)
    return miner.mine(queries, corpus, positives, config, rescore=rescore)


def evaluate(
    model: str | Encoder, data: str, *, split: str | None = None, **options: Any
) -> Evaluation:
    """Search all documents of `data` for every judged query and score the result.

    `options` are those of EvaluateConfig. `result.scores.means["nDCG@10"]` is one of the numbers.
    """
    from whet.data.load import load_dataset
    from whet.model.towers import open_model
    from whet.stages import eval_qrels, judge
    from whet.store import embeddings_folder

    encoder = open_model(model) if isinstance(model, str) else model
    config = configured(EvaluateConfig(), options)
    found = load_dataset(data)
    return judge(encoder, found, eval_qrels(found, split), store=embeddings_folder(), config=config)


def check_command(config: CheckConfig) -> int:
    """`whet check`: print the findings; 3 if there are problems, else 0."""
    found = check(config.data.path)
    print(found)
    return 3 if found.findings.problems else 0


def configured(config: Config, options: dict[str, Any]) -> Config:
    """Set the named options, groups given as dicts. ConfigError names the nearest right name of a
    wrong one.
    """
    assert is_dataclass(config)
    names = [field.name for field in fields(config)]
    for name, value in options.items():
        if name not in names:
            near = get_close_matches(name, names, 1)
            hint = f"Did you mean {near[0]}?" if near else f"Choose from {', '.join(names)}."
            raise ConfigError(f"{type(config).__name__} has no option {name!r}. {hint}")
        current = getattr(config, name)
        setattr(
            config,
            name,
            configured(current, value)
            if is_dataclass(current) and isinstance(value, dict)
            else value,
        )
    return config
