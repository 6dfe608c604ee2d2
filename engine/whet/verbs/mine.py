"""`whet mine`: hard negatives for any trainer."""

from __future__ import annotations

from typing import Any

from whet.config import (
    MineConfig,
)
from whet.config.ranges import check_options
from whet.data.load import Dataset, load_dataset
from whet.data.positives import positives_of
from whet.data.splits import training_qrels
from whet.encoding.store import embeddings_folder
from whet.mining.exports import export_negatives
from whet.mining.files import write_negatives
from whet.mining.miner import Mined
from whet.mining.policy import check_policy
from whet.mining.rows import mine_with
from whet.mining.search import check_backend
from whet.model.encoder import Encoder, weights_unchanged
from whet.progress import say
from whet.report.mining import write_mining_report
from whet.report.render import write_report
from whet.run.folder import write_config
from whet.run.output import Output, facts_of, whole_output
from whet.storage.commit import write_atomically
from whet.types import Positives

NEGATIVES = "negatives.parquet"


@weights_unchanged()
def mine_command(config: MineConfig) -> None:
    """`whet mine`: hard negatives of the train split, in the formats asked for, and their
    report.
    """
    check_options(config)
    check_policy(config.mining)
    check_backend(config.mining.backend)
    data = load_dataset(config.data.path, on_problem=config.data.on_problem)
    train = training_qrels(data, config.data.train_split)
    positives = positives_of(train, data.queries, data.corpus)
    encoder = Encoder.load(config.model)
    facts = facts_of("mine", config, data.digest, encoder.fingerprint())
    with whole_output(config.output, f"{data.name}_mine", facts) as output:
        mined = mine_with(
            encoder,
            data,
            train,
            positives,
            store=embeddings_folder(),
            policy=config.mining,
            encode=config.encode,
        )
        _write_mined(config, output, data, positives, mined, model=encoder.fingerprint())
    print(mined.report)
    say(f"Negatives: {output.folder / NEGATIVES}\nReport: {output.folder / 'report.html'}")


def _write_mined(
    config: MineConfig,
    output: Output,
    data: Dataset,
    positives: Positives,
    mined: Mined,
    *,
    model: str,
) -> None:
    draft = output.draft
    write_config(draft, config)
    tables: dict[str, Any] = {
        "queries": data.queries,
        "corpus": data.corpus,
        "positives": positives,
    }
    write_negatives(draft / NEGATIVES, mined, **tables, model=model, data=data.digest)
    for name in config.formats:
        written = export_negatives(draft, name, mined.negatives, **tables)
        say(f"{name}: {', '.join(str(output.final(path)) for path in written)}")
    write_mining_report(draft / "mining_report.json", mined, data)
    write_atomically(draft / "mining_report.txt", f"{mined.report}\n")
    write_report(draft)
