"""What `whet` can do: one row a verb."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any

import whet.config


@dataclass(frozen=True)
class Verb:
    """A verb, the dataclass of its options, the function that does it, examples for its help."""

    name: str
    meaning: str
    config: type
    function: str  # module:name, loaded when the configuration is known to be right
    examples: tuple[tuple[str, str], ...]
    bare: str | None = "data"  # the key of a word that stands alone; None: no such word
    then: str | None = None  # the key of a second such word

    @property
    def spelled(self) -> str:
        """As it is written after `whet`."""
        return self.name.replace("_", " ")


def run_function(verb: Verb, config: Any) -> int:
    """Do what a verb does; its exit code."""
    module, _, name = verb.function.partition(":")
    result = getattr(import_module(module), name)(config)
    return result if isinstance(result, int) else 0


VERBS = {
    verb.name: verb
    for verb in (
        Verb(
            "fit",
            "make a model better at searching your documents",
            whet.config.FitConfig,
            "whet_launch.dispatch.fit:fit",
            (
                ("whet fit data=my/data", "MiniLM, the defaults, a run folder under runs/"),
                ("whet fit data=my/data model=bge_small seed=1", "another model, another seed"),
                ("whet fit data=my/data mining.relative_margin=0.1", "one option changed"),
                ("whet fit data=[./a,./b] data.weights=[2,1]", "several data sets, by shares"),
                ("whet fit data=my/data mining=default,naive -m", "a sweep: one run folder a job"),
                ("whet fit resume=runs/RUN", "go on with an interrupted run"),
                ("whet fit data=my/data launch=ray", "on a Ray cluster (docs/cluster.md)"),
                ("whet fit experiment=demo --cfg job", "print the configuration and stop"),
            ),
        ),
        Verb(
            "mine",
            "find hard negatives and write them for any trainer",
            whet.config.MineConfig,
            "whet.verbs.mine:mine_command",
            (
                ("whet mine data=my/data mining.num_negatives=8", "eight a query"),
                ("whet mine data=my/data formats=[flagembedding,trec]", "other files"),
                ("whet mine data=my/data mining=shifted", "another policy"),
            ),
        ),
        Verb(
            "audit",
            "ask how many mined negatives are relevant, and which margin they need",
            whet.config.AuditConfig,
            "whet.verbs.audit:audit_command",
            (
                ("whet mine audit data=my/data", "fifty questions on a page, and what they say"),
                ("whet mine audit data=my/data answers=FILE", "answers from a file of judgments"),
                ("whet fit data=my/data data.added=runs/audit_DATA/added.tsv", "learn from them"),
            ),
        ),
        Verb(
            "encode",
            "turn documents or queries into vectors",
            whet.config.EncodeJobConfig,
            "whet_launch.cluster.encode:encode",
            (
                ("whet encode data=my/data", "the documents"),
                ("whet encode data=my/data kind=query output=vectors", "the queries, to vectors/"),
                ("whet encode data=my/data launch=ray launch.num_workers=8", "on a Ray cluster"),
            ),
        ),
        Verb(
            "eval",
            "judge a model's search, or compare two",
            whet.config.EvalConfig,
            "whet.verbs.evaluate:evaluate_command",
            (
                ("whet eval data=my/data", "MiniLM as it is"),
                ("whet eval data=my/data model=runs/RUN/model baseline=minilm", "before and after"),
                ("whet eval data=my/data evaluate.measures=[nDCG@10,R@1000]", "other measures"),
            ),
        ),
        Verb(
            "search",
            "find the best documents for some words, with a run's model",
            whet.config.SearchConfig,
            "whet.verbs.search:search_command",
            (
                ('whet search runs/RUN "words"', "in the documents that the run was made with"),
                ('whet search runs/RUN "words" k=3 data=my/other', "the three best, in others"),
                ('whet search minilm "words" data=my/data', "with any model"),
            ),
            bare="run",
            then="query",
        ),
        Verb(
            "serve",
            "answer over HTTP with a run's model: vectors, searches, another version",
            whet.config.ServeConfig,
            "whet.serving.command:serve_command",
            (
                ("whet serve runs/RUN", "the run's model, and its documents to search"),
                ("whet serve minilm port=8000", "any model: vectors alone"),
                ("whet serve use=runs/NEW", "the server answers with it from now on"),
                ("whet serve back=true", "and with the one before again"),
            ),
            bare="run",
        ),
        Verb(
            "bench",
            "run recipes with published figures, and say whether these come again",
            whet.config.BenchConfig,
            "whet_launch.dispatch.bench:bench",
            (
                ("whet bench zero-shot collections=DATA", "MiniLM on collections below DATA"),
                ("whet bench mining collections=DATA seeds=3", "kinds of hard negatives, compared"),
                ("whet bench zero-shot only=[scifact] model=runs/RUN", "another model"),
            ),
            bare="suite",
        ),
        Verb(
            "export",
            "write a model for other runtimes: ONNX, int8, GGUF",
            whet.config.ExportConfig,
            "whet.export.command:export_command",
            (
                ("whet export runs/RUN", "ONNX and int8, each checked against the model"),
                ("whet export runs/RUN data=my/data", "and what int8 loses in nDCG@10"),
                ("whet export runs/RUN formats=[gguf]", "for llama.cpp"),
            ),
            bare="model",
        ),
        Verb(
            "adapt",
            "adapt a search to documents that nobody judged",
            whet.config.AdaptConfig,
            "whet_launch.dispatch.adapt:adapt",
            (
                ("whet adapt data=my/documents", "a folder of texts: words beside vectors"),
                ("whet adapt data=my/documents queries=log.txt", "with what people asked"),
                ("whet adapt data=my/documents search=vectors", "for a search by vectors alone"),
                (
                    "whet adapt data=my/documents search=vectors generate.model=NAME "
                    "generate.url=http://localhost:8000/v1",
                    "with queries that a language model writes",
                ),
            ),
        ),
        Verb(
            "label",
            "judge search results on a page of your own machine",
            whet.config.LabelConfig,
            "whet.feedback.serve.label:label_command",
            (
                ("whet label data=my/data", "prints the page's address and opens it"),
                ("whet label data=my/data model=runs/RUN/model", "judge a tuned model's results"),
                ("whet label data=my/data port=0 open_browser=false", "on any port that is free"),
            ),
        ),
        Verb(
            "tune",
            "make the model better by what people said on the page of `whet label`",
            whet.config.TuneJobConfig,
            "whet.feedback.learn.job:tune_command",
            (
                ("whet tune runs/feedback_DATA", "a new version, judged on queries left out"),
                ("whet tune runs/feedback_DATA ship=true", "and used at once, if it is better"),
                ("whet tune runs/feedback_DATA use=0", "back to the model it began with"),
            ),
            bare="folder",
        ),
        Verb(
            "check",
            "say what is in a data set and what is wrong with it",
            whet.config.CheckConfig,
            "whet.verbs.check:check_command",
            (("whet check my/data", "counts, examples, and every problem with file and line"),),
        ),
        Verb(
            "plan",
            "say whether a fit would fit, how long it takes and what it costs",
            whet.config.FitConfig,
            "whet.plan.command:plan_command",
            (
                ("whet plan data=my/data", "after a quarter of a minute of measuring"),
                ("whet plan data=my/data launch.num_workers=8", "on eight machines like this"),
                ("whet plan data=my/data launch.prices=prices.yaml", "with your own prices"),
            ),
        ),
        Verb(
            "plan_adapt",
            "say what an adaptation takes: time, memory, disk, money",
            whet.config.PlanAdaptConfig,
            "whet.adaptation.planned.command:plan_adapt_command",
            (
                ("whet plan adapt data=my/documents", "after 20 seconds of measuring"),
                (
                    "whet plan adapt data=my/documents documents=[10000000,100000000]",
                    "and with so many of the kind",
                ),
                ("whet plan adapt data=my/documents prices=prices.yaml", "with your own prices"),
            ),
        ),
        Verb(
            "doctor",
            "say what is wrong with this machine or with a cluster's nodes",
            whet.config.DoctorConfig,
            "whet_launch.doctor.command:doctor_command",
            (
                ("whet doctor", "this machine"),
                ("whet doctor launch=ray", "every node of the cluster at $RAY_ADDRESS"),
            ),
            bare=None,
        ),
        Verb(
            "jobs",
            "list the jobs of a cluster",
            whet.config.JobsConfig,
            "whet_launch.remote.jobs:list_jobs",
            (("whet jobs address=http://head:8265", "name, state, when, run folder"),),
            bare=None,
        ),
        Verb(
            "logs",
            "show what a job of a cluster says, until it ends",
            whet.config.JobConfig,
            "whet_launch.remote.jobs:show_log",
            (("whet logs NAME address=http://head:8265", "Ctrl-C leaves the job alone"),),
            bare="name",
        ),
        Verb(
            "stop",
            "stop a job of a cluster",
            whet.config.JobConfig,
            "whet_launch.remote.jobs:stop_job",
            (("whet stop NAME address=http://head:8265", "its checkpoints stay"),),
            bare="name",
        ),
        Verb(
            "bundle",
            "publish a run as one folder that says what made it and what that permits",
            whet.config.BundleConfig,
            "whet.bundle.making.make:bundle_command",
            (
                ("whet bundle runs/RUN", "the model, its card and provenance in runs/RUN/bundle"),
                ("whet bundle runs/RUN data_licence=MIT include=[data,base]", "with its inputs"),
                ("whet bundle runs/RUN spread_of=[runs/A,runs/B]", "and how much seeds change"),
                ("whet bundle runs/RUN sign=KEY", "signed, so that others know whose it is"),
            ),
            bare="run",
        ),
        Verb(
            "push",
            "put a run's model or a bundle on the Hugging Face hub",
            whet.config.PushConfig,
            "whet.bundle.push:push_command",
            (
                ("whet push runs/RUN OWNER/NAME --dry-run", "what would be sent, and the card"),
                ("whet push runs/RUN OWNER/NAME language=[en]", "private, unless private=false"),
                ("whet push runs/RUN/bundle OWNER/NAME", "with what made it (whet bundle)"),
            ),
            bare="run",
            then="to",
        ),
        Verb(
            "verify",
            "say whether a bundle and its inputs are what they were",
            whet.config.VerifyConfig,
            "whet.bundle.checking.verify:verify_command",
            (
                ("whet verify BUNDLE", "every hash; names the first file that differs"),
                ("whet verify BUNDLE data=my/data", "the training data, too"),
                ("whet verify BUNDLE key=PUBLIC_KEY", "and that the key's owner signed it"),
            ),
            bare="bundle",
        ),
        Verb(
            "reproduce",
            "do a bundle's run again and compare",
            whet.config.ReproduceConfig,
            "whet_launch.dispatch.reproduce:reproduce_command",
            (
                ("whet reproduce BUNDLE", "with the data in it"),
                ("whet reproduce BUNDLE data=my/data", "with the data that it names"),
            ),
            bare="bundle",
        ),
    )
}
