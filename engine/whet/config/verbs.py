"""What each verb takes: groups of options, and options of its own."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Optional

from whet.config.generating import GenerateConfig
from whet.config.groups import (
    MISSING,
    ClaimConfig,
    DataConfig,
    DataHereConfig,
    EncodeConfig,
    EvaluateConfig,
    LaunchConfig,
    LoggerConfig,
    MiningConfig,
    ModelConfig,
    ModelHereConfig,
    RefreshConfig,
    StrategyConfig,
    TrainerConfig,
    TuneConfig,
)
from whet.config.losses import DistillConfig, LossConfig
from whet.config.option import option, recorded_option
from whet.config.selecting import GuardConfig, SelectConfig

UNSTEMMED = "none"
LANGUAGES = (  # whose words BM25 can count by their stems: those of PyStemmer 3
    *("arabic", "armenian", "basque", "catalan", "czech", "danish", "dutch", "english"),
    *("esperanto", "estonian", "finnish", "french", "german", "greek", "hindi", "hungarian"),
    *("indonesian", "irish", "italian", "lithuanian", "nepali", "norwegian", "persian", "polish"),
    *("portuguese", "romanian", "russian", "serbian", "sesotho", "spanish", "swedish", "tamil"),
    *("turkish", "yiddish"),
)


@dataclass
class FitConfig:
    """One job: everything that decides its result."""

    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    encode: EncodeConfig = field(default_factory=EncodeConfig)
    mining: MiningConfig = field(default_factory=MiningConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    distill: DistillConfig = field(default_factory=DistillConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    refresh: RefreshConfig = field(default_factory=RefreshConfig)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    select: SelectConfig = field(default_factory=SelectConfig)
    guard: GuardConfig = field(default_factory=GuardConfig)
    strategy: StrategyConfig = field(default_factory=StrategyConfig)
    logger: LoggerConfig = field(default_factory=LoggerConfig)
    launch: LaunchConfig = field(default_factory=LaunchConfig)
    claim: ClaimConfig = field(default_factory=ClaimConfig)
    seed: int = recorded_option(0, "of the order of the data, dropout and LoRA", least=0)
    budget: Optional[str] = option(
        None,
        "time the fit may take, such as 45m: steps, evaluate.pool and mining.scope are chosen by "
        "what this machine is measured to take; auto: 30m",
    )
    output: Optional[str] = option(None, "run folder; null: runs/<date>_<time>_<data>", path=True)
    resume: Optional[str] = option(
        None, "run folder to go on with; auto: `output`, if it was begun", path=True
    )


@dataclass
class MineConfig:
    """Hard negatives for a data set, as files other trainers read."""

    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    encode: EncodeConfig = field(default_factory=EncodeConfig)
    mining: MiningConfig = field(default_factory=MiningConfig)
    output: Optional[str] = option(None, "folder; null: runs/<date>_<time>_<data>_mine", path=True)
    formats: list[str] = recorded_option(
        ["sentence-transformers"],
        "files: sentence-transformers, flagembedding, tevatron, nemo, ms-swift, trec",
    )


@dataclass
class AuditConfig:
    """How many mined negatives are relevant, by what people say of some (docs/losses.md)."""

    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    encode: EncodeConfig = field(default_factory=EncodeConfig)
    mining: MiningConfig = field(default_factory=MiningConfig)
    questions: int = recorded_option(50, "negatives that are asked about", least=1)
    depth: int = recorded_option(
        10, "negatives per query that may be asked about, from no margin on", least=1
    )
    queries: int = recorded_option(
        1000, "train queries looked at, drawn at random where there are more", least=1
    )
    tolerated: float = recorded_option(
        0.1, "share of false negatives that the recommended margin leaves", least=0, most=1
    )
    seed: int = recorded_option(0, "of what is drawn", least=0)
    answers: Optional[str] = option(
        None,
        "file of judgments (qrels) with the answers; null: they are asked on a page",
        path=True,
    )
    host: str = option(
        "127.0.0.1", "who can reach the page: this machine; 0.0.0.0: the whole network"
    )
    port: int = option(8765, "0: any that is free", least=0, most=65535)
    open_browser: bool = option(True, "show the page where there is a screen")
    output: Optional[str] = option(None, "folder; null: runs/audit_<data>", path=True)


@dataclass
class EncodeJobConfig:
    """Vectors of a corpus or of queries."""

    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    encode: EncodeConfig = field(default_factory=EncodeConfig)
    launch: LaunchConfig = field(default_factory=LaunchConfig)
    kind: str = recorded_option(
        "document", "which texts: document or query", choices=("document", "query")
    )
    output: Optional[str] = option(
        None, "folder; null: runs/<date>_<time>_<data>_encode", path=True
    )


@dataclass
class Bm25Config:
    """How words are counted where the model or the baseline is bm25."""

    language: Optional[str] = recorded_option(
        None,
        "whose stems and stop words; none: words as they stand; null: as the documents look",
        choices=(*LANGUAGES, UNSTEMMED),
    )


@dataclass
class EvalConfig:
    """A model's search, judged; with a baseline, compared."""

    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    encode: EncodeConfig = field(default_factory=EncodeConfig)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    bm25: Bm25Config = field(default_factory=Bm25Config)
    claim: ClaimConfig = field(default_factory=ClaimConfig)
    words: str = recorded_option(
        "auto",
        "how much words in common (BM25) count beside the model's vectors: a number; auto: as its "
        "words.json says; gate: 0.3, or 0.1 where the documents lack many of the queries' words",
    )
    baseline: Optional[str] = recorded_option(
        None, "a second model (name or folder) to compare with", path=True
    )
    output: Optional[str] = option(None, "folder; null: runs/<date>_<time>_<data>_eval", path=True)


@dataclass
class SearchConfig:
    """The best documents for some words."""

    run: str = option(MISSING, "folder of a fit or an adaptation; with data= any model", path=True)
    query: str = option(MISSING, "what to look for")
    k: int = option(10, "documents shown", least=1)
    words: str = recorded_option(
        "auto",
        "how much words in common (BM25) count beside the model's vectors: a number; auto: as its "
        "words.json says",
    )
    data: DataHereConfig = field(default_factory=DataHereConfig)
    encode: EncodeConfig = field(default_factory=EncodeConfig)


@dataclass
class BenchConfig:
    """Recipes with published figures, run again (docs/benchmarks.md)."""

    model: ModelConfig = field(default_factory=ModelConfig)
    suite: str = option(MISSING, "zero-shot, bm25, fine-tuning, mining, refresh, mteb")
    collections: str = option("data", "the folder with the data sets that recipes name", path=True)
    only: list[str] = option([], "recipes, or tasks of mteb; empty: all")
    seeds: int = option(1, "runs of a recipe that trains, with the seeds 0, 1, ...", least=1)
    change: str = option(
        "", 'options changed in every recipe: "trainer.max_steps=20 mining.seed=1"'
    )
    launch: LaunchConfig = field(default_factory=LaunchConfig)
    output: Optional[str] = option(
        None, "folder, gone on with if begun; null: runs/bench_<suite>", path=True
    )


@dataclass
class ExportConfig:
    """A model in the formats of other runtimes."""

    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(  # what is lost is measured on it; none: cosines of 100 texts only
        default_factory=lambda: DataConfig(path="")
    )
    formats: list[str] = recorded_option(
        ["onnx", "int8"], "files: onnx, int8 (made of the ONNX file), gguf (for llama.cpp)"
    )
    output: Optional[str] = option(
        None, "folder; null: runs/<date>_<time>_<model>_export", path=True
    )


@dataclass
class AdaptConfig:
    """A search adapted to documents that nobody judged (docs/adaptation.md)."""

    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    encode: EncodeConfig = field(default_factory=EncodeConfig)
    queries: Optional[str] = recorded_option(
        None,
        "log of queries that people asked: txt, csv, tsv or jsonl; null: those of the data that "
        "nobody judged",
        path=True,
    )
    search: str = recorded_option(
        "hybrid",
        "hybrid: words count beside vectors, and nothing is trained without judgments; vectors: a "
        "matrix on the query vectors is trained, where that is safe",
        choices=("hybrid", "vectors"),
    )
    generate: GenerateConfig = field(default_factory=GenerateConfig)
    seed: int = recorded_option(
        0, "of the queries that are made, and of the order of training", least=0
    )
    budget: Optional[str] = option(
        None,
        "time the adaptation may take, such as 30m; where it has none for all documents, those "
        "nearest by words to the queries are encoded first; auto: 30m",
    )
    output: Optional[str] = option(None, "folder; null: runs/<date>_<time>_<data>_adapt", path=True)


@dataclass
class PlanAdaptConfig(AdaptConfig):
    """What an adaptation would take; the options are those of `whet adapt`."""

    documents: list[int] = option(
        [], "plan for so many documents of the same kind, too: [10000000,100000000]"
    )
    prices: Optional[str] = option(
        None, "YAML file of what a machine costs an hour; null: Whet's examples", path=True
    )


@dataclass
class LabelConfig:
    """A search page on this machine, to judge results by hand."""

    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    encode: EncodeConfig = field(default_factory=EncodeConfig)
    tune: TuneConfig = field(default_factory=TuneConfig)
    queries: Optional[str] = recorded_option(
        None,
        "file of queries to judge first, as `whet adapt` writes it; null: those of the data",
        path=True,
    )
    host: str = option(
        "127.0.0.1",
        "who can reach the page: this machine; 0.0.0.0: the whole network",
    )
    port: int = option(8765, "0: any that is free", least=0, most=65535)
    output: Optional[str] = option(
        None, "folder of the feedback; null: runs/feedback_<data>", path=True
    )
    open_browser: bool = option(True, "show the page where there is a screen")


@dataclass
class TuneJobConfig:
    """Learn from the feedback of `whet label`."""

    folder: str = option(MISSING, "of the feedback", path=True)
    tune: TuneConfig = field(default_factory=TuneConfig)
    ship: bool = option(False, "use the new version at once, if it is better")
    use: Optional[int] = option(
        None, "go back or forth to this version instead of tuning; 0: the base"
    )
    trust_remote_code: bool = option(False, "run code that comes with the folder's model")


@dataclass
class CheckConfig:
    """Whether data can be used, and what is wrong with them if not."""

    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)  # its tokenizer counts what is cut


@dataclass
class DoctorConfig:
    """Whether this machine can do the work; with launch=ray, every node of the cluster."""

    launch: LaunchConfig = field(default_factory=LaunchConfig)
    output: Optional[str] = option(None, "where run folders will be; null: runs", path=True)


@dataclass
class JobsConfig:
    """The jobs of a Ray cluster."""

    address: Optional[str] = option(None, "http://HEAD:8265; null: $RAY_API_SERVER_ADDRESS")
    insecure: bool = option(False, "talk to a remote cluster that asks for no token")


@dataclass
class JobConfig:
    """A job of a Ray cluster."""

    name: str = option(MISSING, "as it was submitted; `whet jobs` lists them")
    address: Optional[str] = option(None, "http://HEAD:8265; null: $RAY_API_SERVER_ADDRESS")
    insecure: bool = option(False, "talk to a remote cluster that asks for no token")


@dataclass
class BundleConfig:
    """A folder to publish: a run's model, what made it, and what that permits (docs/bundles.md)."""

    run: str = option(MISSING, "folder of a fit that is done", path=True)
    output: Optional[str] = option(None, "folder; null: RUN/bundle", path=True)
    include: list[str] = option([], "goes in besides: data, base, code")
    data_licence: Optional[str] = option(None, "SPDX expression; null: as the data's files say")
    base_licence: Optional[str] = option(None, "of the base model, the same")
    language: list[str] = option([], "of the texts, by two or three letters: [en,de]")
    data_source: Optional[str] = option(None, "where others get the data, as a URL or in words")
    spread_of: list[str] = option([], "runs of the recipe with other seeds")
    sign: Optional[str] = option(None, "private key file (elliptic curve, PEM): writes model.sig")


@dataclass
class PushConfig:
    """A run's model, or a bundle, on the Hugging Face hub (docs/hub.md)."""

    run: str = option(MISSING, "folder of a fit that is done, or a bundle", path=True)
    to: str = option(MISSING, "where: OWNER/NAME")
    private: bool = option(True, "only for you and your organisation to see")
    replace: bool = option(False, "in place of the files there; its history keeps them")
    dry_run: bool = option(False, "list what would be sent, and send nothing; also --dry-run")
    language: list[str] = option([], "of the texts, by two or three letters: [en,de]")
    data_licence: Optional[str] = option(None, "SPDX expression; null: as the data's files say")
    base_licence: Optional[str] = option(None, "of the base model, the same")


@dataclass
class VerifyConfig:
    """Whether a bundle, and what it was made from, is what it says."""

    bundle: str = option(MISSING, "its folder", path=True)
    data: DataHereConfig = field(default_factory=DataHereConfig)
    model: ModelHereConfig = field(default_factory=ModelHereConfig)
    key: Optional[str] = option(None, "public key file: model.sig must be of its private half")


@dataclass
class ReproduceConfig:
    """A bundle's run, done again and compared."""

    bundle: str = option(MISSING, "its folder", path=True)
    data: DataHereConfig = field(default_factory=DataHereConfig)
    model: ModelHereConfig = field(default_factory=ModelHereConfig)
    output: Optional[str] = option(
        None, "run folder; null: runs/<date>_<time>_<data>_reproduced", path=True
    )
