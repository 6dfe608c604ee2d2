"""Every option that verbs share, by group: typed, with its default and its meaning.

These dataclasses are the schema Hydra validates against and the keyword arguments of the Python
functions (whet.config.option says what stands at a field). `trainer` keeps Lightning's names. Units
stand in the names. `None`, null on the command line, means: decide from the model or the hardware.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Optional

from whet.config.option import option, recorded_option

MISSING: Any = "???"
BM25 = "bm25"  # the name of the baseline that counts words, where a model is only judged


@dataclass
class ModelConfig:
    """Which encoder, and how its token vectors become one vector."""

    name: str = recorded_option(
        "minilm",
        '"minilm", "lite0" (pictures), a folder, or a Hugging Face name; eval: bm25 too',
        path=True,
    )
    revision: Optional[str] = recorded_option(None, "commit or tag on the hub")
    pooling: Optional[str] = recorded_option(
        None, "mean, cls or last; null: as the model says", choices=("mean", "cls", "last")
    )
    normalize: Optional[bool] = recorded_option(None, "unit length; null: as the model says")
    max_length: Optional[int] = recorded_option(
        None, "tokens a text is cut to; null: as the model says", least=1
    )
    image_size: Optional[int] = recorded_option(
        None, "pixels of an edge of a picture; null: as the model says", least=16, most=4096
    )
    query_prompt: Optional[str] = recorded_option(
        None, "put before every query; null: as the model says"
    )
    document_prompt: Optional[str] = recorded_option(
        None, "put before every document; null: as the model says"
    )
    train: str = recorded_option(
        "both",
        "which side learns: both, or query: documents keep the base model's vectors",
        choices=("both", "query"),
    )
    dropout: Optional[float] = recorded_option(
        None, "while training; null: as the model says", least=0, most=0.99
    )
    lora_rank: int = recorded_option(
        0, '0 trains all weights, more trains a LoRA of that rank (extra "lora")', least=0
    )
    lora_alpha: float = recorded_option(32.0, "the LoRA is added times lora_alpha / lora_rank")
    trust_remote_code: bool = option(False, "run code that comes with the model")


@dataclass
class DataConfig:
    """Which data, and which of its splits."""

    path: str = recorded_option(
        MISSING, "folder, file, or Hugging Face datasets name; fit: or several, [a,b]", path=True
    )
    weights: list[float] = recorded_option(
        [], "of several sets: their shares of what is trained on; []: by their training pairs"
    )
    train_split: str = recorded_option("train", "the judgments learned from")
    eval_split: Optional[str] = recorded_option(
        None, "null: test, else dev, else a tenth of train held out"
    )
    on_problem: str = recorded_option(
        "refuse", "refuse, or drop the rows at fault", choices=("refuse", "drop")
    )
    query: Optional[str] = recorded_option(None, "column of the queries; null: known by its name")
    positive: Optional[str] = recorded_option(
        None, "column of the relevant documents; null: known by its name"
    )
    negatives: Optional[str] = recorded_option(
        None, "column of documents that are not relevant, or [a,b]; null: known by its name"
    )
    label: Optional[str] = recorded_option(
        None,
        "column of classes, whose rows answer each other; null: folders of pictures are; off: none",
    )
    relevant_from: Optional[float] = recorded_option(
        None,
        "a label or score of at least this means relevant; null: labels are whole grades, from 1",
        least=-1e9,
    )
    added: Optional[str] = recorded_option(
        None,
        "file of judgments (qrels) added to those learned from, as `whet mine audit` writes it",
        path=True,
    )
    passages: str = recorded_option(
        "off",
        "auto: long documents are cut between paragraphs, and found by their best passage",
        choices=("off", "auto"),
    )


@dataclass
class EncodeConfig:
    """How texts become vectors."""

    batch_tokens: Optional[int] = recorded_option(
        None, "tokens per batch, padding counted; null: by hardware", least=1
    )
    precision: str = recorded_option(
        "auto",
        "fp32, bf16, fp16; auto: the fastest the GPU has, fp32 on a CPU; int8 (docs/large.md)",
        choices=("auto", "fp32", "bf16", "fp16", "int8"),
    )
    device: Optional[str] = recorded_option(
        None, "cpu, cuda, cuda:1 ...; null: a GPU where there is one"
    )
    compile: bool = recorded_option(
        False, "compile the transformer first, by torch.compile: some minutes, once per process"
    )


@dataclass
class MiningConfig:
    """Which documents may be a query's hard negatives (docs/mining.md)."""

    num_negatives: int = recorded_option(
        1, "hard negatives per (query, positive) pair; 0: none", least=0
    )
    range_min: int = recorded_option(0, "skip this many of the best documents", least=0)
    range_max: Optional[int] = recorded_option(
        None, "look no deeper than this rank; null: no limit"
    )
    rank_window: str = recorded_option(
        "survivors",
        "ranks count survivors of the filters, or raw: the whole corpus",
        choices=("survivors", "raw"),
    )
    max_score: Optional[float] = recorded_option(
        None, "keep documents that score at most this", least=-math.inf
    )
    min_score: Optional[float] = recorded_option(
        None, "keep documents that score at least this", least=-math.inf
    )
    absolute_margin: Optional[float] = recorded_option(
        None, "at least this far below the positive's score", least=0
    )
    relative_margin: Optional[float] = recorded_option(
        0.05, "the same as a share of the positive's score", least=0, most=1
    )
    reference: str = recorded_option(
        "min",
        "which positive of several sets the margin: min, max or each",
        choices=("min", "max", "each"),
    )
    scope: str = recorded_option(
        "all", "documents that are encoded (docs/large.md)", choices=("all", "candidates")
    )
    candidates: int = recorded_option(64, "documents per query, for scope=candidates", least=1)
    sampling: str = recorded_option(
        "top", "top: the hardest; random: any within the ranks", choices=("top", "random")
    )
    on_short: str = recorded_option(
        "keep",
        "too few found: keep the row, drop it, or fill it by random documents",
        choices=("keep", "drop", "random"),
    )
    cross_encoder: Optional[str] = recorded_option(
        None, "folder or name; rescores candidates before the filters", path=True
    )
    backend: str = recorded_option(
        "auto",
        "auto, gpu, int8, faiss, blas; ivf for huge corpora (docs/mining.md)",
        choices=("auto", "gpu", "int8", "faiss", "blas", "ivf"),
    )
    seed: int = recorded_option(0, "of the random sampling")


@dataclass
class TrainerConfig:
    """The training run; names are Lightning's where it has one."""

    max_epochs: int = recorded_option(3, "times through the training pairs", least=1)
    max_steps: int = recorded_option(100, "stop here if sooner; -1: no limit", least=-1)
    batch_size: int = recorded_option(64, "(query, positive) pairs per step", least=1)
    learning_rate: float = recorded_option(1e-4, "at its peak", least=0)
    warmup_ratio: float = recorded_option(
        0.1, "share of the steps in which the rate rises; then it falls to 0", least=0, most=1
    )
    weight_decay: float = recorded_option(0.01, "of AdamW", least=0)
    gradient_clip_val: float = recorded_option(1.0, "norm a gradient is cut to; 0: never", least=0)
    precision: str = recorded_option(
        "auto",
        "32-true or bf16-mixed; auto: bf16-mixed on GPUs that have it",
        choices=("auto", "32-true", "bf16-mixed"),
    )
    accelerator: str = recorded_option(
        "auto", "cpu, gpu; auto: a GPU where there is one", choices=("auto", "cpu", "gpu")
    )
    deterministic: Optional[bool] = recorded_option(
        None, "same recipe, same bits; null: where a CPU trains"
    )
    activation_checkpointing: str = recorded_option(
        "auto",
        "layers computed again in the backward, for less memory and a third more work: auto (where "
        "one text would not fit), always, never",
        choices=("auto", "always", "never"),
    )
    num_workers: Optional[int] = option(
        None,
        "threads that make the next steps' batches; 0: each step makes its own; null: 2 where a "
        "GPU trains, else 0",
        least=0,
    )
    checkpoint_every_steps: int = recorded_option(0, "0: by time alone", least=0)
    checkpoint_every_s: float = recorded_option(300.0, "seconds", least=0)
    log_every_n_steps: int = recorded_option(10, "loss and learning rate", least=1)


@dataclass
class RefreshConfig:
    """When negatives are mined again with the model as it has become."""

    policy: str = recorded_option(
        "off",
        "off, steps, epoch, overlap; continuous: mined beside the training",
        choices=("off", "steps", "epoch", "overlap", "continuous"),
    )
    every_n_steps: int = recorded_option(100, "for policy=steps and overlap", least=1)
    min_overlap: float = recorded_option(
        0.7, "policy=overlap mines when a probe shares less with those in use", least=0, most=1
    )
    scope: str = recorded_option(
        "all",
        "what is encoded again: all, candidates, mapped (docs/mining.md)",
        choices=("all", "candidates", "mapped"),
    )
    max_share: float = recorded_option(
        0.2, "of the corpus encoded again, for scope=candidates and mapped", least=0.01, most=1
    )
    candidates: int = recorded_option(
        256, "documents kept per query from the first mining, for scope=candidates", least=1
    )
    miners: int = option(
        1,
        "for policy=continuous with launch=ray: Ray actors that mine together",
        least=1,
    )


@dataclass
class StrategyConfig:
    """How the processes of a job share the model (docs/cluster.md); names are Lightning's."""

    name: str = recorded_option(
        "auto",
        "single, ddp, fsdp, deepspeed; auto: single, or ddp for several processes",
        choices=("auto", "single", "ddp", "fsdp", "deepspeed"),
    )
    stage: int = recorded_option(
        2,
        "of DeepSpeed's ZeRO: 1 splits optimizer state, 2 gradients too, 3 weights too",
        least=1,
        most=3,
    )
    offload: str = recorded_option(
        "none",
        "of DeepSpeed: where what is split is kept; none (the GPU), cpu, nvme",
        choices=("none", "cpu", "nvme"),
    )
    nvme_path: Optional[str] = option(
        None, "a folder on a fast disk of each node, for offload=nvme"
    )


@dataclass
class LoggerConfig:
    """Where the figures of a training go, besides train_log.jsonl (docs/loggers.md)."""

    name: str = option(
        "tensorboard",
        "tensorboard (tb/ of the run folder), wandb, mlflow, none",
        choices=("tensorboard", "wandb", "mlflow", "none"),
    )
    project: Optional[str] = option(
        None, "W&B's project or MLflow's experiment; null: as a resumed run has it, or whet"
    )
    address: Optional[str] = option(
        None, "of MLflow's server; null: $MLFLOW_TRACKING_URI, or MLflow's own default"
    )


@dataclass
class LaunchConfig:
    """Where the job runs, and how many processes do it (docs/cluster.md)."""

    mode: str = option(
        "local",
        "local, ray, job, kuberay",
        choices=("local", "ray", "job", "kuberay"),
    )
    num_workers: int = option(
        1, "processes that encode, mine and train together; one per GPU", least=1
    )
    min_workers: Optional[int] = option(
        None, "go on with so few when nodes are lost; null: num_workers", least=1
    )
    use_gpu: Optional[bool] = option(None, "a GPU for each process; null: where there are GPUs")
    max_failures: int = option(
        3,
        "times a job goes on by itself after a process or node died; -1: always",
        least=-1,
    )
    hang_timeout_s: float = option(
        45.0, "a process silent for so long counts as dead; 0: never", least=0
    )
    address: Optional[str] = option(None, "of the cluster; null: $RAY_ADDRESS, or one started here")
    name: Optional[str] = option(None, "of a submitted job; null: from the data and the date")
    prices: Optional[str] = option(
        None, "YAML file for `whet plan`; null: Whet's examples", path=True
    )
    insecure: bool = option(False, "send a job to a remote cluster that asks for no token")
    dry_run: bool = option(
        False, "list what launch=job would send, and send nothing; also --dry-run"
    )
    image: Optional[str] = option(None, 'of the pods of launch=kuberay: Whet with the extra "ray"')
    claim: Optional[str] = option(None, "PersistentVolumeClaim that all pods see as /mnt/whet")


@dataclass
class EvaluateConfig:
    """How a model is judged."""

    measures: list[str] = recorded_option(
        ["nDCG@10", "RR@10", "R@100", "AP@100"],
        "by the names of ir-measures; the first is the one compared",
    )
    depth: int = recorded_option(100, "documents per query in the TREC run", least=1)
    pool: str = recorded_option(
        "auto", "documents searched: all, a number, or auto (docs/large.md)", before="all"
    )
    examples: int = recorded_option(10, "queries won and lost shown in the report", least=0)


@dataclass
class ClaimConfig:
    """A published figure that a recipe is to give again (docs/benchmarks.md)."""

    value: Optional[float] = recorded_option(None, "the figure; null: none was published")
    measure: str = recorded_option("nDCG@10", "of which measure")
    model: str = recorded_option("minilm", "of which model; another one is not compared with it")
    tolerance: float = recorded_option(0.005, "a difference up to this is none")
    source: Optional[str] = recorded_option(None, "who published it, and where")
    reason: Optional[str] = recorded_option(None, "why ours differs, where it is known to")
    digest: Optional[str] = recorded_option(None, "of the data; others are refused")


@dataclass
class TuneConfig:
    """How a model learns from feedback."""

    method: str = recorded_option(
        "auto",
        "words, matrix (on query vectors), encoder; auto: tries, and says",
        choices=("auto", "words", "matrix", "encoder"),
    )
    words: bool = recorded_option(
        True, "words in common count beside vectors, as much as the feedback says"
    )
    guard: Optional[str] = recorded_option(
        None, "data that must not get worse; null: from the same data", path=True
    )
    unmarked_negative: bool = recorded_option(
        False, "documents passed over without a mark count as not relevant"
    )
    seed: int = recorded_option(0, "of the halves held out, and the order of the queries")


@dataclass
class DataHereConfig:
    """Where the data of a run or a bundle are on this machine."""

    path: Optional[str] = recorded_option(
        None, "folder or file; null: as the run says, or those in the bundle", path=True
    )


@dataclass
class ModelHereConfig:
    """Where a bundle's base model is on this machine."""

    name: Optional[str] = recorded_option(
        None, "folder or name; null: as the bundle names it", path=True
    )
