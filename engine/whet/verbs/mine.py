"""`whet mine`: hard negatives for any trainer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from whet.config import MineConfig
from whet.config.ranges import check_options
from whet.data.load import Dataset, open_dataset
from whet.data.splits import pairs_of
from whet.encoding.lengths import tell_cut_documents
from whet.mining.exports import check_formats, export_negatives
from whet.mining.policy import check_policy
from whet.progress import say
from whet.run.early import check_encoder, check_mining, check_rescorer, check_words
from whet.run.folder import write_config
from whet.run.output import Output, facts_of, refuse_taken, whole_output
from whet.storage.commit import write_atomically
from whet.types import Positives, Qrels

if TYPE_CHECKING:
    from whet.mining.miner import Mined

NEGATIVES = "negatives.parquet"


def mine_command(config: MineConfig) -> None:
    """`whet mine`: hard negatives of the train split, in the formats asked for, and their
    report.
    """
    check_options(config)
    check_policy(config.mining)
    check_mining(config.mining)
    check_formats(config.formats)
    data = open_dataset(config.data)
    tell_cut_documents(data, config.model)
    train = pairs_of(data, config.data.train_split)
    check_encoder(config.model, config.encode)
    check_rescorer(config.mining)
    check_words(config.mining)
    refuse_taken(config.output, facts_of("mine", config, data.digest))
    _mine(config, data, train)


def _mine(config: MineConfig, data: Dataset, train: Qrels) -> None:
    """What is left when nothing is refused."""
    # torch is loaded here: what was refused before took no second
    from whet.encoding.store import embeddings_folder
    from whet.evaluation.pool.choose import mined_among
    from whet.mining.rows import mine_with
    from whet.model.encoder import Encoder, weights_unchanged
    from whet.refresh.rounded import EightBitEncoder, EightBitTrial

    positives = data.positives(train)
    encoder = Encoder.load(config.model)
    with weights_unchanged():
        facts = facts_of("mine", config, data.digest, encoder.fingerprint())
        with whole_output(config.output, f"{data.name}_mine", facts) as output:
            store, rows = embeddings_folder(), train.relevant().query_rows
            trial = EightBitTrial(data, rows, positives, config.mining, config.encode, store)
            rounded = trial.asked and trial.measured(encoder).used
            mined = mine_with(
                encoder,
                data,
                train,
                positives,
                store=store,
                policy=config.mining,
                encode=config.encode,
                among=mined_among(data, train, config.mining),
                documents_by=EightBitEncoder(encoder) if rounded else None,
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
    from whet.mining.files import write_negatives
    from whet.report.mining import write_mining_report
    from whet.report.render import write_report

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
