"""`whet encode launch=ray`: Ray Data streams the corpus through encoders on every node.

They write into the embedding store, segment by segment. What a killed job has written stays; Ray
gives the blocks of a lost worker to another. In the end the vectors are gathered from the store as
without Ray, where nothing is left to encode.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import numpy as np

from whet.config import EncodeJobConfig
from whet.progress import track
from whet_launch.cluster.cluster import check_nodes, connected, wants_gpu

BLOCK = 8192  # texts a segment at most: what a lost worker can cost
BLOCKS_EACH = 4  # at least, so that the faster take more


def encode(config: EncodeJobConfig) -> None:
    """Encode where `config.launch` says, and write the vectors.

    Raises ConfigError for a launch that is neither local nor ray.
    """
    from whet.errors import ConfigError
    from whet.verbs.encode import encode_command

    if config.launch.mode == "ray":
        encode_command(config, lambda: _fill_store(config))
        return
    if config.launch.mode != "local" or config.launch.num_workers > 1:
        raise ConfigError(
            f"whet encode runs in one process or with launch=ray, not launch={config.launch.mode} "
            f"launch.num_workers={config.launch.num_workers}."
        )
    encode_command(config)


def _fill_store(config: EncodeJobConfig) -> None:
    """Encode on the cluster whatever the store lacks."""
    from whet.storage.places import cache_folder
    from whet.verbs.encode import table_to_encode

    count = len(table_to_encode(config))
    with connected(config.launch) as ray:
        cache = cache_folder().resolve()
        cache.mkdir(parents=True, exist_ok=True)
        check_nodes(ray, cache)
        workers = config.launch.num_workers
        size = max(1, min(BLOCK, -(-count // (workers * BLOCKS_EACH))))
        blocks = [
            {"start": start, "stop": min(start + size, count)} for start in range(0, count, size)
        ]
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False  # ours is enough
        encoded = ray.data.from_items(blocks, override_num_blocks=len(blocks)).map_batches(
            Encoders,
            fn_constructor_args=(config, str(cache), os.getcwd()),
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(
                min_size=config.launch.min_workers or workers, max_size=workers
            ),
            num_cpus=1,
            num_gpus=int(wants_gpu(ray, config)),
        )
        logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # Ray sets it when first used
        with track("Encoding on Ray", count, "texts") as advance:
            for row in encoded.iter_rows():
                advance(int(row["texts"]))


class Encoders:
    """One of the workers: it holds the model and the data, and encodes block after block."""

    def __init__(self, config: EncodeJobConfig, cache: str, directory: str) -> None:
        if Path(directory).is_dir():
            os.chdir(directory)
        os.environ["WHET_CACHE"] = cache
        from whet.encoding.store import embeddings_folder
        from whet.encoding.table import open_store
        from whet.model.encoder import Encoder
        from whet.verbs.encode import table_to_encode

        self.config = config
        self.table = table_to_encode(config)
        self.encoder = Encoder.load(config.model)
        self.vectors = open_store(
            self.encoder, kind=config.kind, store=embeddings_folder(), config=config.encode
        )

    def __call__(self, blocks: dict[str, np.ndarray]) -> dict[str, Any]:
        """Encode the texts of the blocks; how many they were."""
        from whet.encoding.table import fill_store

        for start, stop in zip(blocks["start"], blocks["stop"], strict=True):
            fill_store(
                self.encoder,
                self.table,
                np.arange(start, stop),
                kind=self.config.kind,
                vectors=self.vectors,
                config=self.config.encode,
            )
        return {"texts": blocks["stop"] - blocks["start"]}
