"""A language model on this machine's GPUs, by vLLM through Ray Data.

The way of Ray's own documentation for offline inference (ray.data.llm). One job per shard, since an
engine that dies ends its job; and large shards, since each job starts the engines anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from whet.adaptation.generate.address import MOST_WRITTEN
from whet.adaptation.generate.generated import NOT_TOLD
from whet.adaptation.generate.prompt import Messages
from whet.adaptation.generate.shards import ModelAnswer, Writer
from whet.config import GenerateConfig
from whet.errors import EnvironmentRefused
from whet.version import install_line

AT_ONCE = 8_192  # requests of a job
BATCH = 32  # requests that an engine takes at a time
LONGEST = 4_096  # tokens of a request and its answer: a document is cut far below
HERE = "this machine, by vLLM"


def local_writer(config: GenerateConfig) -> Writer:
    """The model of generate.local; EnvironmentRefused where Ray, vLLM or a GPU is not here."""
    _check_here()
    name = str(config.local)
    known_as = Path(name).resolve().name if Path(name).is_dir() else name
    licence = " ".join((config.licence or NOT_TOLD).split())
    return Writer(known_as, HERE, licence, VllmEngine(name), AT_ONCE)


def _check_here() -> None:
    if find_spec("ray") is None:
        raise EnvironmentRefused(
            f"generate.local runs a model through Ray, which is not installed: "
            f"{install_line('ray')}."
        )
    if find_spec("vllm") is None:
        raise EnvironmentRefused(
            "generate.local runs a model by vLLM, which is not installed: pip install vllm. A "
            "server elsewhere does as well: generate.url=http://HOST:8000/v1."
        )
    import torch

    if not torch.cuda.is_available():
        raise EnvironmentRefused(
            "generate.local runs a model by vLLM on a GPU, and PyTorch sees none here. Give the "
            "address of a server instead: generate.url=http://HOST:8000/v1."
        )


class VllmEngine:
    """Asks a model that Ray Data runs on every GPU here."""

    def __init__(self, name: str) -> None:
        """`name` is a folder, or a name of the hub."""
        self._name = name

    def __call__(self, prompts: Sequence[Messages]) -> list[ModelAnswer]:
        """An answer for each prompt, in order."""
        import ray
        import torch

        asked = [{"place": place, "messages": one} for place, one in enumerate(prompts)]
        rows = ray.data.from_items(asked)
        answers = [ModelAnswer(None, "the engine gave none")] * len(prompts)
        for row in self.processor(torch.cuda.device_count())(rows).take_all():
            answers[row["place"]] = _answer(row)
        return answers

    def processor(self, engines: int) -> Any:
        """Ray Data's stages: the chat template, tokens, so many engines, text."""
        from ray.data.llm import build_processor, vLLMEngineProcessorConfig

        config = vLLMEngineProcessorConfig(
            model_source=self._name,
            engine_kwargs={"max_model_len": LONGEST, "enable_prefix_caching": True},
            concurrency=engines,
            batch_size=BATCH,
            should_continue_on_error=True,  # a row fails, not the shard
        )
        return build_processor(config, preprocess=_asked, postprocess=_kept)


def _asked(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "sampling_params": {"max_tokens": MOST_WRITTEN}}


def _kept(row: dict[str, Any]) -> dict[str, Any]:
    return {"place": row["place"], "generated_text": row["generated_text"]}


def _answer(row: dict[str, Any]) -> ModelAnswer:
    """Of a row as Ray Data gives it back: one that failed says why."""
    problem = row.get("__inference_error__")
    return ModelAnswer(None, str(problem)[:200]) if problem else ModelAnswer(row["generated_text"])
