"""What a command is refused for before torch is loaded and before a run folder exists.

A wrong path, split, model, cross-encoder, dimension or device costs a second. What only the loaded
model shows is refused later, by whoever loads it.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from whet.config import EncodeConfig, FitConfig, MiningConfig, ModelConfig, TrainerConfig
from whet.config.losses import START
from whet.config.ranges import (
    budget_seconds,
    check_logger,
    check_loss,
    check_options,
    uses_info_nce,
)
from whet.config.sets import check_sets
from whet.data.joined import read_data
from whet.data.load import Dataset
from whet.data.splits import check_splits, judged_of, pairs_of
from whet.errors import ConfigError, DataError, EnvironmentRefused
from whet.evaluation.lexical import check_installed
from whet.evaluation.measures import check_measures
from whet.evaluation.pool.size import check_pool
from whet.mining.policy import check_policy
from whet.model.folder import find_folder, is_cross_encoder
from whet.model.parts.layout import read_layout
from whet.model.parts.pictures.picture_recipe import recipe_in
from whet.model.tensors import AGAIN
from whet.printable import printable
from whet.processes.torch_build import no_gpu
from whet.run.folder import check_free
from whet.storage.readable import readable_json
from whet.types import Qrels

DEVICE = re.compile(r"(cpu|mps|xpu|cuda)(:\d+)?")


def check_job(config: FitConfig) -> Dataset:
    """Refuse what can be told of a fit on this machine without loading a model; its data.

    Raises ConfigError, DataError or EnvironmentRefused.
    """
    check_options(config)
    if config.budget is not None:
        budget_seconds(config.budget)
    check_logger(config.logger)
    check_measures(config.evaluate.measures, config.evaluate.depth)
    check_mining(config.mining)
    if config.resume is None:
        check_free(config.output, f"add resume={config.output} if it is an interrupted run")
    check_device(config.encode, config.trainer)
    check_sets(config)
    data = read_data(config.data)  # what is found is told where the job is done
    check_splits(data, config)
    if config.guard.data is not None:
        from whet.evaluation.selection.guard import guard_data  # loads torch

        guard_data(config)
    folder = check_encoder(config.model, config.encode)
    check_dims(config.loss.matryoshka_dims, _dimension(folder))
    check_rescorer(config.mining)
    check_words(config.mining)
    for part in data.each:
        check_teacher(part, config)
        check_pool(config.evaluate, judged_of(part, config), len(part.corpus))
    return data


def check_mining(policy: MiningConfig) -> None:
    """Refuse a policy that cannot be, and a named backend that cannot run here."""
    if policy.num_negatives == 0:
        return
    check_policy(policy)
    if policy.backend != "auto":
        from whet.mining.search import check_backend  # loads torch

        check_backend(policy.backend)


def check_encoder(
    model: ModelConfig, encode: EncodeConfig | None = None, option: str = "model.name"
) -> Path:
    """The folder of an encoder that can be trained and mined with; ConfigError or
    EnvironmentRefused where there is none, it is none, or its device is not here.
    """
    check_device(encode or EncodeConfig())
    folder = find_folder(model, option)
    recipe_in(read_layout(folder), model)
    return folder


def check_rescorer(policy: MiningConfig) -> None:
    """Refuse a cross-encoder that is not there, or has not one output or two."""
    if policy.num_negatives == 0 or policy.cross_encoder is None:
        return
    _check_cross_encoder(policy.cross_encoder, "mining.cross_encoder")


def check_teacher(data: Dataset, config: FitConfig) -> None:
    """Refuse options of the loss that contradict each other, a teacher or guide that is not there
    (ConfigError), and a loss that learns from a teacher where nothing is scored (DataError).
    """
    loss, distill = config.loss, config.distill
    check_loss(loss, distill)
    if loss.guide not in (None, START):
        check_encoder(ModelConfig(name=str(loss.guide)), option="loss.guide")
    if loss.name == "infonce":
        return
    train = pairs_of(data, config.data.train_split)
    judged = bool((train.relevance_M < 1).any())
    if distill.teacher is None:
        _check_scores(data, train.relevant(), config)
        return
    if not judged and config.mining.num_negatives == 0:
        raise ConfigError(
            f"loss={loss.name} compares a positive with negatives, and there are none: "
            "mining.num_negatives=0, and no document is judged not relevant. Raise it."
        )
    folder = find_folder(ModelConfig(name=distill.teacher), "distill.teacher")
    if is_cross_encoder(folder):
        _check_cross_encoder(distill.teacher, "distill.teacher")
    else:
        check_encoder(ModelConfig(name=distill.teacher), option="distill.teacher")


def _check_scores(data: Dataset, relevant: Qrels, config: FitConfig) -> None:
    rows = relevant.query_rows_M, relevant.doc_rows_M
    scored = None if data.scores is None else data.scores.of(*rows, rows[1])
    if scored is None or not np.isfinite(scored).any():
        raise DataError(
            f"loss={config.loss.name} learns from a teacher's scores, and {printable(data.path)} "
            "has none of its training pairs. Name a model: distill.teacher=NAME; or give columns "
            "pos_scores and neg_scores."
        )
    if config.mining.num_negatives and not uses_info_nce(config.loss, config.distill):
        raise ConfigError(
            f"loss={config.loss.name} learns from the scores in the data, which mined negatives "
            "lack. Add mining=off, or a teacher that scores them: distill.teacher=NAME"
        )


def _check_cross_encoder(name: str, option: str) -> None:
    folder = find_folder(ModelConfig(name=name), option)
    config = _model_config(folder)
    kinds = config.get("architectures") or []
    if (
        isinstance(kinds, list)
        and kinds
        and not any("Classification" in str(kind) for kind in kinds)
    ):
        raise ConfigError(
            f"{option}={printable(name)} is no cross-encoder: its config.json "
            f"names {printable(kinds[0])}, which gives no scores of pairs. Give a reranker."
        )
    labels = config.get("id2label")  # transformers leaves it out where it is two
    outputs = len(labels) if isinstance(labels, dict) else 2
    if outputs not in (1, 2):
        raise ConfigError(
            f"{option}={printable(name)} has {outputs} outputs, a reranker has 1 "
            "or 2. Give another."
        )


def check_words(policy: MiningConfig) -> None:
    """Refuse mining.scope=candidates without the packages that count words."""
    if policy.num_negatives and policy.scope == "candidates":
        check_installed()


def check_dims(dims: list[int], full: int | None) -> None:
    """ConfigError for a prefix that vectors of `full` dimensions do not have; None: not known."""
    if any(dim < 1 or (full is not None and dim > full) for dim in dims):
        has = f": this model's vectors have {full} dimensions" if full is not None else ""
        upper = f"to {full}" if full is not None else "on"
        raise ConfigError(f"loss.matryoshka_dims={dims}{has}. Give lengths from 1 {upper}.")


def check_device(encode: EncodeConfig, trainer: TrainerConfig | None = None) -> None:
    """Refuse the name of no device (ConfigError), and a GPU where there is none
    (EnvironmentRefused).
    """
    device = encode.device
    if device is not None and not DEVICE.fullmatch(device):
        raise ConfigError(
            f"encode.device={printable(device)} is no device. It takes cpu, cuda, or cuda:1 for "
            "the second GPU."
        )
    asked = [f"encode.device={device}"] if device is not None and device.startswith("cuda") else []
    if trainer is not None and trainer.accelerator == "gpu":
        asked.append("trainer.accelerator=gpu")
    if asked and no_gpu():
        raise EnvironmentRefused(
            f"{asked[0]}: torch finds no GPU here. Leave the option out, or install a CUDA build "
            "of torch."
        )


def _dimension(folder: Path) -> int | None:
    """The dimensions of a model's vectors as its files say; None where they do not say."""
    layout = read_layout(folder)
    if layout.static or any(kind == "Dense" for kind, _ in layout.after):
        return None
    recipe = recipe_in(layout, ModelConfig(str(folder)))
    size = _model_config(layout.backbone).get("hidden_size")
    if not isinstance(size, int):
        return None
    whole = size * len(recipe.pooling.split("+"))
    return min(whole, recipe.truncate or whole)


def _model_config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    config: dict[str, Any] = (
        readable_json(path, remedy=AGAIN, error=ConfigError) if path.exists() else {}
    )
    return config
