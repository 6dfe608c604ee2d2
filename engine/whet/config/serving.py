"""Options of `whet serve`."""

from __future__ import annotations

from dataclasses import dataclass, field

from whet.config.groups import DataHereConfig, EncodeConfig
from whet.config.option import option, recorded_option


@dataclass
class ServeConfig:
    """A model over HTTP, and another one in its place while it is asked."""

    run: str | None = option(
        None, "folder of a fit or an adaptation, or any model; with its data", path=True
    )
    data: DataHereConfig = field(default_factory=DataHereConfig)
    encode: EncodeConfig = field(default_factory=EncodeConfig)
    words: str = recorded_option(
        "auto",
        "how much words in common (BM25) count beside the model's vectors: a number; auto: as its "
        "words.json says",
    )
    reranker: str | None = option(None, "cross-encoder for /v1/rerank; null: none", path=True)
    events: str | None = option(
        None, "folder where clicks on results are kept; null: none are taken", path=True
    )
    click_seconds: float = option(
        1800, "how long a list takes clicks; then it counts in a comparison", least=0
    )
    host: str = option(
        "127.0.0.1", "who can reach the server: this machine; 0.0.0.0: the whole network"
    )
    port: int = option(8766, "0: any that is free", least=0, most=65535)
    queue: int = option(4096, "texts that may wait; who sends more is told to come again", least=1)
    use: str | None = option(
        None, "model or run that the server at `port` is to answer with from now on", path=True
    )
    beside: str | None = option(
        None, "model or run that the server at `port` is to try beside its own", path=True
    )
    mode: str = option(
        "shadow",
        "with beside=: shadow answers the same searches unseen; interleave shows both in one list, "
        "and clicks decide",
        choices=("shadow", "interleave"),
    )
    decide: str = option(
        "ask",
        "with beside= and mode=interleave: auto lets the version answer that clicks prefer",
        choices=("ask", "auto"),
    )
    alone: bool = option(False, "end the trial of the server at `port`")
    back: bool = option(False, "let the server at `port` answer with the version before")
