"""The fault matrix: where in a fit something happens, and what.

A phase is a function and which of its calls: a process that enters it sends itself the signal, or
raises. Calls are counted in a fit of 6 steps with checkpoints every 2, mining at 0 and 3.
"""

from __future__ import annotations

import signal
from dataclasses import dataclass

EXCEPTION = 0
MINING = "whet.refresh.scopes:All.find"
BATCH = "whet.training.module:Contrastive.training_step"


@dataclass(frozen=True)
class Phase:
    """`call` counts the calls of `entry`. `graceful`: SIGINT and SIGTERM save and stop there."""

    name: str
    entry: str
    call: int
    graceful: bool = False
    all_ranks: bool = True  # whether a process that is not the leader comes here, too
    cold: bool = False  # with nothing in the cache
    after: str = ""  # calls are counted from when this function is entered


PHASES = (
    Phase("read and check", "whet.data.joined:read_dataset", 1),
    Phase("encode, second shard", "whet.encoding.store:EmbeddingStore.add", 2, cold=True),
    Phase("before mining", MINING, 1),
    Phase("search", "whet.mining.propose:windowed_search", 1, after=MINING),
    Phase("write negatives", "pyarrow.parquet:write_table", 1, all_ranks=False),
    Phase("batch", BATCH, 4, graceful=True),
    Phase("forward", "whet.loss.gradcache:chunked_vectors", 4, graceful=True),
    Phase("backward", "whet.loss.gradcache:backward_of", 4, graceful=True),
    Phase("optimizer step", "torch.optim:AdamW.step", 4, graceful=True),
    Phase("mine again", MINING, 2, graceful=True),
    Phase("write negatives again", "pyarrow.parquet:write_table", 2, True, all_ranks=False),
    Phase("checkpoint, before", "whet.training.callbacks:commit_together", 2, graceful=True),
    Phase("checkpoint, state", "lightning:Trainer.save_checkpoint", 2, graceful=True),
    Phase("checkpoint, sealing", "whet.storage.commit:sealed", 4, graceful=True),
    Phase("checkpoint, manifest", "whet.storage.commit:_publish", 4, True, all_ranks=False),
    Phase("checkpoint, old ones", "whet.training.callbacks:keep_newest", 2, True, all_ranks=False),
    Phase("last checkpoint", "whet.training.callbacks:commit_together", 3, graceful=True),
    Phase("evaluation", "whet.verbs.judging:judge", 2),
    Phase("report", "whet.verbs.fit:write_report", 1, all_ranks=False),
    Phase("model", "whet.model.encoder:Encoder.save", 1, all_ranks=False),
)
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGSTOP)
FAULTS = {sent.name: int(sent) for sent in SIGNALS} | {"exception": EXCEPTION}


def expected(phase: Phase, sent: int) -> int:
    """The exit code of one process: SIGSTOP is followed by SIGCONT."""
    if sent == EXCEPTION:
        return 1
    if sent == signal.SIGSTOP:
        return 0
    if sent == signal.SIGINT or (sent == signal.SIGTERM and phase.graceful):
        return 130
    return -sent
