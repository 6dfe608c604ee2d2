"""The options of queries that a language model writes, as those of groups.py are."""

from __future__ import annotations

from dataclasses import dataclass

from whet.config.option import option, recorded_option


@dataclass
class GenerateConfig:
    """Queries that a language model of yours writes, to learn from (docs/adaptation.md)."""

    url: str | None = option(
        None, "OpenAI-shaped address, such as http://localhost:8000/v1; null: none is asked"
    )
    local: str | None = option(
        None, "in its place: a folder or name that vLLM runs on this machine's GPUs", path=True
    )
    model: str | None = recorded_option(None, "the model's name at the address")
    key: str | None = option(
        None, "environment variable that holds the address's key, by its name; null: none is sent"
    )
    licence: str | None = recorded_option(
        None, "of the language model, for the card of what learned from it: Apache-2.0"
    )
    documents: int = recorded_option(
        1024,
        "from which it writes a query each: drawn alike from all topics",
        least=1,
        most=100_000,
    )
    examples: int = recorded_option(8, "queries of the log that it is shown; 0: none", least=0)
    judge: str | None = recorded_option(
        None,
        "llm: it also says whether the document answers the query; or a cross-encoder, folder or "
        "name, whose scores are then learned",
        path=True,
    )
    requests: int = option(8, "at a time", least=1, most=256)
    timeout_s: float = option(60.0, "seconds until a request is made again", least=0.1)
    price_in: float | None = option(None, "of a million tokens sent, to tell the cost", least=0)
    price_out: float | None = option(None, "of a million tokens written", least=0)
    yes: bool = option(False, "send: the cost was told and is agreed to")
