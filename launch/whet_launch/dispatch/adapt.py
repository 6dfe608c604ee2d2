"""`whet adapt`: by itself, or with a language model that runs on this machine."""

from __future__ import annotations

from whet.config import AdaptConfig


def adapt(config: AdaptConfig) -> None:
    """Adapt a search; Ray and vLLM are looked for only where generate.local names a model."""
    from whet.verbs.adapt import adapt_command

    if config.generate.local is None:
        return adapt_command(config)
    from whet_launch.cluster.vllm_engine import local_writer

    return adapt_command(config, local_writer(config.generate))
