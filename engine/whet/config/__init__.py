"""The options: what they are, which values they take, what a recorded one may set."""

from whet.config.schema import (
    BM25 as BM25,
)
from whet.config.schema import (
    MISSING as MISSING,
)
from whet.config.schema import (
    BenchConfig as BenchConfig,
)
from whet.config.schema import (
    BundleConfig as BundleConfig,
)
from whet.config.schema import (
    CheckConfig as CheckConfig,
)
from whet.config.schema import (
    ClaimConfig as ClaimConfig,
)
from whet.config.schema import (
    DataConfig as DataConfig,
)
from whet.config.schema import (
    DataHereConfig as DataHereConfig,
)
from whet.config.schema import (
    DoctorConfig as DoctorConfig,
)
from whet.config.schema import (
    EncodeConfig as EncodeConfig,
)
from whet.config.schema import (
    EncodeJobConfig as EncodeJobConfig,
)
from whet.config.schema import (
    EvalConfig as EvalConfig,
)
from whet.config.schema import (
    EvaluateConfig as EvaluateConfig,
)
from whet.config.schema import (
    ExportConfig as ExportConfig,
)
from whet.config.schema import (
    FitConfig as FitConfig,
)
from whet.config.schema import (
    JobConfig as JobConfig,
)
from whet.config.schema import (
    JobsConfig as JobsConfig,
)
from whet.config.schema import (
    LabelConfig as LabelConfig,
)
from whet.config.schema import (
    LaunchConfig as LaunchConfig,
)
from whet.config.schema import (
    LossConfig as LossConfig,
)
from whet.config.schema import (
    MineConfig as MineConfig,
)
from whet.config.schema import (
    MiningConfig as MiningConfig,
)
from whet.config.schema import (
    ModelConfig as ModelConfig,
)
from whet.config.schema import (
    ModelHereConfig as ModelHereConfig,
)
from whet.config.schema import (
    RefreshConfig as RefreshConfig,
)
from whet.config.schema import (
    ReproduceConfig as ReproduceConfig,
)
from whet.config.schema import (
    StrategyConfig as StrategyConfig,
)
from whet.config.schema import (
    TrainerConfig as TrainerConfig,
)
from whet.config.schema import (
    TuneConfig as TuneConfig,
)
from whet.config.schema import (
    TuneJobConfig as TuneJobConfig,
)
from whet.config.schema import (
    VerifyConfig as VerifyConfig,
)
