"""How `whet fit` scales to a billion documents and 1,024 GPUs: a simulation anyone can run.

    python benchmarks/scaling.py                     # the tables of docs/scaling.md
    python benchmarks/scaling.py documents=1e8 queries=1e5 weights=303e6 dimension=1024
    python benchmarks/scaling.py --measure           # this machine's values of what is measured
    python benchmarks/scaling.py --quick             # do both run?

Every part of a job is its work over the rate of what does it, by the code as it is: what is
divided over the processes, what each does whole, what they say to each other. Lengths of texts are
drawn, so that a step waits for the process with the longest. CONSTANTS says of each rate where it
is from.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import tiny

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "nl2bash"
GPUS = (1, 8, 64, 256, 512, 1024)
STEPS_DRAWN = 20


@dataclass(frozen=True)
class Constant:
    """A rate, its unit, and where it is from: measured, data sheet, published or assumed."""

    value: float
    unit: str
    source: str


CONSTANTS = {
    "bf16_flops": Constant(790e12, "FLOP/s", "assumed for an H200 (data sheet: 989)"),
    "int8_ops": Constant(1580e12, "op/s", "data sheet: twice bf16"),
    "hbm_bytes_s": Constant(4.3e12, "B/s", "assumed for an H200 (data sheet: 4.8)"),
    "link_bytes_s": Constant(50e9, "B/s a GPU", "data sheet: 400 Gbit/s InfiniBand a GPU"),
    "tcp_bytes_s": Constant(3e9, "B/s a GPU", "assumed: gloo over a node's Ethernet, 8 GPUs each"),
    "hop_s": Constant(15e-6, "s", "assumed: one hop of a tree"),
    "store_bytes_s": Constant(20e9, "B/s in all", "assumed: a shared parallel file system"),
    "disk_bytes_s": Constant(2e9, "B/s a node", "assumed: NVMe"),
    "cores_a_gpu": Constant(12, "cores", "data sheet of an 8-GPU node"),
    "encode_share": Constant(
        0.40, "of bf16", "assumed; 0.7 to 0.8 of sgemm is measured on 2 cores"
    ),
    "train_share": Constant(0.35, "of bf16", "assumed; 0.6 to 0.7 of sgemm is measured on 2 cores"),
    "loss_share": Constant(0.60, "of bf16", "assumed; the machine code's bound is 0.77"),
    "search_share": Constant(
        0.65, "of int8", "assumed; on 2 cores it takes half of sgemm's time (README)"
    ),
    "step_fixed_s": Constant(0.010, "s", "assumed: launching some 2,000 kernels"),
    "tokenise_s": Constant(2.63e-6, "core-s a token", "measured, 2 cores"),
    "merge_s": Constant(1.37e-7, "core-s a survivor", "measured, 2 cores: numpy lexsort"),
    "shuffle_s": Constant(7.9e-8, "core-s a pair", "measured, 2 cores: numpy permutation"),
    "convert_s": Constant(2.14e-5, "core-s a text", "measured, 2 cores: load_dataset"),
    "key_s": Constant(4.6e-7, "core-s a text", "measured, 2 cores: hash of a text"),
    "length_spread": Constant(0.63, "of the mean", "measured: tokens of nl2bash's documents"),
    "failure_gpu_s": Constant(
        50_700 * 3600, "GPU-s", "published: Llama 3, 419 in 54 days of 16,384"
    ),
    "restart_s": Constant(120.0, "s", "assumed"),
}


@dataclass(frozen=True)
class Job:
    """What is to be done. The defaults: BERT-base, 128 tokens a text."""

    documents: float = 1e9
    queries: float = 1e6
    pairs: float = 1e7
    weights: float = 85e6  # that multiply: without the embeddings
    stored: float = 110e6  # all of them
    dimension: int = 768
    tokens: float = 128
    negatives: int = 8  # mined a query
    texts_a_pair: float = 3
    batch: int = 4096  # pairs a step, for strong scaling
    batch_a_gpu: int = 32  # pairs a step and GPU, for weak scaling
    steps: int = 10_000


def main() -> None:
    """Print the tables, or what is measured here."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("changed", nargs="*", help="values of the job: documents=1e8")
    parser.add_argument("--measure", action="store_true")
    tiny.add_option(parser)
    options = parser.parse_args()
    if options.quick:
        with tiny.place() as here:
            print(tables(job_of(["documents=1e6"])))
            print(measured(here.collection(), here.model, share=1e-3))
    elif options.measure:
        print(measured(EXAMPLE, "minilm"))
    else:
        print(tables(job_of(options.changed)))


def job_of(words: list[str]) -> Job:
    """The default job with some values changed: documents=1e8."""
    kinds: dict[str, type[Any]] = {field.name: type(field.default) for field in fields(Job)}
    changed = dict(word.split("=", 1) for word in words)
    return replace(Job(), **{name: kinds[name](float(text)) for name, text in changed.items()})


def measured(data: Path, model: str, share: float = 1.0) -> str:
    """This machine's values of the constants that are measured, beside those used."""
    from rates import rates

    used = {name: f"{one.value:.3g}" for name, one in CONSTANTS.items()}
    found = rates(data, model, share)
    rows = [(name, f"{value:.3g}", used.get(name, "")) for name, value in found.items()]
    return markdown(("constant", "here", "used"), rows)


def rate(name: str) -> float:
    """The value of a constant."""
    return CONSTANTS[name].value


# encoding


def encode_s(texts: float, gpus: int, job: Job) -> dict[str, float]:
    """A block's tokens are found first, then computed; every vector goes to the shared store."""
    tokens = texts * job.tokens / gpus
    return {
        "tokenise": tokens * rate("tokenise_s") / rate("cores_a_gpu"),
        "compute": 2 * job.weights * tokens / (rate("bf16_flops") * rate("encode_share")),
        "hash": texts / gpus * rate("key_s"),
        "store": texts * (4 * job.dimension + 16) / rate("store_bytes_s"),
    }


# mining: the corpus is divided, every process has all queries, the k best of each part are merged


def mine_s(gpus: int, job: Job, *, merge_by_all: bool = False) -> dict[str, float]:
    """As the code does it: each merges its share of the queries; `merge_by_all`: each, all."""
    products = 2 * job.queries * job.documents * job.dimension / gpus
    survivors = job.queries * job.negatives
    sent = 2 * 12 * survivors
    if merge_by_all:
        survivors, sent = survivors * gpus, 12 * survivors * gpus
    alone = gpus == 1
    return {
        "search": products / (rate("int8_ops") * rate("search_share")),
        "queries travel": 0 if alone else 4 * job.queries * job.dimension / rate("tcp_bytes_s"),
        "survivors travel": 0 if alone else sent / rate("tcp_bytes_s"),
        "merge": 0 if alone else survivors * rate("merge_s"),
    }


# a training step: texts are divided, the loss is computed whole by each, gradients averaged once


def step_s(gpus: int, batch: int, job: Job, *, loss_divided: bool = False) -> dict[str, float]:
    """Seconds of the parts of one step."""
    texts = batch * job.texts_a_pair
    own_tokens = texts * job.tokens / gpus
    compute = 6 * job.weights * own_tokens / (rate("bf16_flops") * rate("train_share"))
    slowest = longest(texts, gpus, job) - 1
    flops = 6 * batch * (job.texts_a_pair - 1) * batch * job.dimension
    loss = flops / (rate("bf16_flops") * rate("loss_share"))
    share = (gpus - 1) / gpus
    hops = 2 * np.ceil(np.log2(gpus)) * rate("hop_s")
    return {
        "compute": compute + rate("step_fixed_s"),
        "slowest": compute * slowest,
        "tokenise": own_tokens * rate("tokenise_s") / rate("cores_a_gpu"),
        "loss": loss / gpus if loss_divided else loss,
        "vectors travel": share * texts * job.dimension * 4 / rate("link_bytes_s") + hops,
        "gradients travel": 2 * share * 4 * job.stored / rate("link_bytes_s") + hops,
        "optimizer": 28 * job.stored / rate("hbm_bytes_s"),
    }


def longest(texts: float, gpus: int, job: Job, seed: int = 0) -> float:
    """Tokens of the process with most over the mean, texts dealt out one by one; drawn."""
    own = max(1, round(texts / gpus))
    random = np.random.default_rng(seed)
    spread = np.sqrt(np.log(1 + rate("length_spread") ** 2))
    most = []
    for _ in range(STEPS_DRAWN):
        lengths = random.lognormal(0, spread, (gpus, own)).clip(0.05, 4)
        tokens = lengths.sum(1)
        most.append(tokens.max() / tokens.mean())
    return float(np.mean(most))


# checkpoints and failures


def lost_share(gpus: int, job: Job, every_s: float = 300.0) -> tuple[float, float]:
    """Share of the time that goes into checkpoints, and into failures: half an interval each, and a
    restart.
    """
    saved = 12 * job.stored / rate("disk_bytes_s") / every_s
    failures = gpus / rate("failure_gpu_s") * (every_s / 2 + rate("restart_s"))
    return saved, failures


# what is printed


def tables(job: Job) -> str:
    """All tables, as Markdown."""
    parts = [
        constants(),
        _encode(job),
        _mine(job),
        _strong(job),
        _weak(job),
        _refresh(job),
        _rest(job),
    ]
    return "\n\n".join(parts)


def constants() -> str:
    """What every figure rests on."""
    rows = [(name, f"{one.value:.3g}", one.unit, one.source) for name, one in CONSTANTS.items()]
    return "### Constants\n\n" + markdown(("constant", "value", "unit", "from"), rows)


def _encode(job: Job) -> str:
    rows = []
    alone = sum(encode_s(job.documents, 1, job).values())
    for gpus in GPUS:
        parts = encode_s(job.documents, gpus, job)
        own = parts["tokenise"] + parts["compute"] + parts["hash"]
        whole = max(own, parts["store"])  # written while the next block is computed
        rows.append((
            f"{gpus:,}", f"{own / 3600:,.2f}", f"{parts['store'] / 3600:,.2f}",
            f"{whole / 3600:,.2f}", f"{alone / gpus / whole:.0%}",
        ))  # fmt: skip
    head = ("GPUs", "tokenise + compute, h", "store, h", "encode, h", "efficiency")
    return f"### Encode {job.documents:,.0f} documents\n\n" + markdown(head, rows)


def _mine(job: Job) -> str:
    rows = []
    alone = sum(mine_s(1, job).values())
    for gpus in GPUS:
        now, then = mine_s(gpus, job), mine_s(gpus, job, merge_by_all=True)
        whole, other = sum(now.values()), sum(then.values())
        rows.append((
            f"{gpus:,}", *(f"{seconds:,.1f}" for seconds in now.values()), f"{whole:,.1f}",
            f"{alone / gpus / whole:.0%}", f"{other:,.1f}", f"{alone / gpus / other:.0%}",
        ))  # fmt: skip
    head = ("GPUs", *mine_s(1, job), "mine, s", "efficiency", "merged by all, s", "efficiency")
    return (
        f"### Mine {job.negatives} of {job.documents:,.0f} for {job.queries:,.0f} queries\n\n"
        + markdown(head, rows)
    )


def _strong(job: Job) -> str:
    title = f"### A step of {job.batch:,} pairs on more GPUs"
    return _steps(job, title, lambda gpus: job.batch)


def _weak(job: Job) -> str:
    title = f"### A step of {job.batch_a_gpu} pairs a GPU"
    return _steps(job, title, lambda gpus: job.batch_a_gpu * gpus)


def _steps(job: Job, title: str, batch_of: Callable[[int], int]) -> str:
    rows = []
    alone = sum(step_s(1, batch_of(1), job).values()) / batch_of(1)
    for gpus in GPUS:
        batch = batch_of(gpus)
        now, then = step_s(gpus, batch, job), step_s(gpus, batch, job, loss_divided=True)
        whole, better = sum(now.values()), sum(then.values())
        ideal = alone * batch / gpus
        rows.append((
            f"{gpus:,}", f"{batch:,}", *(f"{1e3 * seconds:,.1f}" for seconds in now.values()),
            f"{1e3 * whole:,.1f}", f"{ideal / whole:.0%}",
            f"{1e3 * better:,.1f}", f"{ideal / better:.0%}",
        ))  # fmt: skip
    parts = [f"{name}, ms" for name in step_s(1, 1, job)]
    head = ("GPUs", "pairs", *parts, "step, ms", "efficiency", "loss divided, ms", "efficiency")
    return f"{title}\n\n" + markdown(head, rows)


def _refresh(job: Job) -> str:
    """A refresh beside the training of 64 GPUs: how old negatives are when they arrive."""
    step = sum(step_s(64, job.batch, job).values())
    rows = []
    for gpus in (8, 64, 256):
        parts = encode_s(job.documents + job.queries, gpus, job)
        every_s = max(sum(parts.values()) - parts["store"], parts["store"])
        every_s += sum(mine_s(gpus, job).values())
        few = encode_s(0.2 * job.documents + job.queries, gpus, job)
        few_s = max(sum(few.values()) - few["store"], few["store"])
        few_s += sum(mine_s(gpus, job).values())
        rows.append((
            f"{gpus:,}", f"{every_s / 3600:,.2f}", f"{every_s / step:,.0f}",
            f"{few_s / 3600:,.2f}", f"{few_s / step:,.0f}",
        ))  # fmt: skip
    head = ("GPUs that mine", "refresh, h", "age, steps", "a fifth of the corpus, h", "age, steps")
    return f"### Refresh beside 64 GPUs that train, {1e3 * step:,.0f} ms a step\n\n" + markdown(
        head, rows
    )


def _rest(job: Job) -> str:
    rows = []
    for gpus in GPUS:
        saved, failed = lost_share(gpus, job)
        held = job.documents / gpus * job.dimension * 4 / (1 << 30)
        rows.append((f"{gpus:,}", f"{saved:.2%}", f"{failed:.2%}", f"{held:,.1f}"))
    head = ("GPUs", "checkpoints every 300 s", "failures", "vectors a process, GiB")
    convert = (job.documents + job.queries) * rate("convert_s") / 3600
    shuffle = job.pairs * rate("shuffle_s")
    return (
        "### What is lost, what is held\n\n"
        + markdown(head, rows)
        + f"\n\nConverting the data is done once, by one process: {convert:,.1f} h. Shuffling an "
        f"epoch of {job.pairs:,.0f} pairs is done by each: {shuffle:,.2f} s."
    )


def markdown(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """A table."""
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    main()
