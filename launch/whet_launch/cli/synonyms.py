"""What other tools call what we have: a known foreign word is answered with the right name."""

from __future__ import annotations

from collections.abc import Collection

VERBS = {
    "fit": "train finetune fine-tune fine_tune learn sharpen",
    "mine": "negatives hard-negatives hard_negatives mine_hard_negatives",
    "encode": "embed vectorize vectorise vectors embeddings",
    "eval": "evaluate test score judge compare",
    "bench": "benchmark mteb",
    "export": "convert onnx gguf quantize quantise",
    "adapt": "domain unsupervised gpl",
    "label": "annotate ui page",
    "check": "validate inspect stats info describe lint",
    "plan": "estimate cost",
    "doctor": "env diagnose",
    "jobs": "ls list ps status",
    "logs": "log tail",
    "stop": "cancel kill",
    "serve": "server api deploy host",
    "search": "query find retrieve predict infer",
    "push": "upload publish share",
    "bundle": "package pack release",
    "reproduce": "rerun replay",
    "tune": "feedback",
}
OPTIONS = {
    "trainer.learning_rate": "lr learning_rate",
    "trainer.max_epochs": "epochs num_epochs n_epochs epoch num_train_epochs",
    "trainer.max_steps": "steps num_steps train_steps iterations",
    "trainer.batch_size": "bs batch per_device_train_batch_size train_batch_size",
    "trainer.warmup_ratio": "warmup warmup_steps warmup_proportion",
    "trainer.weight_decay": "wd",
    "trainer.gradient_clip_val": "max_grad_norm grad_clip clip_grad_norm",
    "trainer.precision": "fp16 bf16 amp mixed_precision",
    "trainer.num_workers": "dataloader_num_workers",
    "trainer.log_every_n_steps": "logging_steps log_every",
    "trainer.checkpoint_every_steps": "save_steps save_every",
    "loss.temperature": "temp tau scale",
    "trainer.activation_checkpointing": "gradient_checkpointing activation_checkpoint",
    "loss.cache": "gradcache grad_cache",
    "loss.chunk_tokens": "gradient_accumulation_steps mini_batch_size",
    "loss.matryoshka_dims": "matryoshka mrl",
    "mining.num_negatives": "negatives num_hard_negatives n_negatives hard_negatives",
    "mining.absolute_margin": "margin",
    "mining.cross_encoder": "reranker teacher",
    "model.max_length": "max_seq_length max_seq_len seq_length query_max_len passage_max_len",
    "model.lora_rank": "lora lora_r use_lora peft",
    "model": "model_name model_name_or_path base_model pretrained_model checkpoint_path",
    "data": "dataset dataset_name dataset_path train_file train_data corpus input data_dir",
    "data.eval_split": "split dev_split test_split",
    "output": "output_dir out outdir save_dir run_dir dir",
    "resume": "resume_from_checkpoint resume_from checkpoint continue",
    "seed": "random_seed random_state",
    "launch.num_workers": "gpus num_gpus n_gpus devices nproc nproc_per_node world_size",
    "encode.device": "cuda gpu",
    "encode.batch_tokens": "eval_batch_size per_device_eval_batch_size",
    "evaluate.measures": "metric metrics measure",
    "evaluate.depth": "k top_k topk",
    "logger": "report_to wandb tensorboard mlflow",
    "config": "config_file config_path config_name cfg yaml recipe",
}
_VERB_OF = {word: verb for verb, words in VERBS.items() for word in words.split()}
_OPTION_OF = {word: option for option, words in OPTIONS.items() for word in words.split()}


def verb_called(word: str, known: Collection[str]) -> str | None:
    """The verb that does what others call `word`; None where none of ours is known to.

    >>> verb_called("Train", ["fit"]), verb_called("train", ["eval"])
    ('fit', None)
    """
    verb = _VERB_OF.get(word.lower())
    return verb if verb in known else None


def option_called(word: str, known: Collection[str]) -> str | None:
    """The option, of those known, that others call `word`, in whatever group they have it.

    >>> option_called("num-epochs", ["trainer.max_epochs"]), option_called("trainer.lr", ["seed"])
    ('trainer.max_epochs', None)
    """
    option = _OPTION_OF.get(word.rpartition(".")[2].replace("-", "_").lower())
    return option if option in known else None
