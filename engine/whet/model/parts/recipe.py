"""How texts become vectors beside the transformer: what a model's folder says of it, key by key.

Three files say it: sentence_bert_config.json (how a text is read), the pooling's config.json, and
config_sentence_transformers.json (prompts, and what is done with finished vectors).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from whet.config import ModelConfig
from whet.errors import ConfigError, UnsupportedModel
from whet.model.parts.layout import Layout, refuse_keys, refuse_values
from whet.model.tensors import AGAIN
from whet.printable import printable
from whet.progress import say
from whet.storage.readable import readable_json

# Our names of the poolings and the flags of old folders, in the order in which several are joined.
POOLING_FLAGS = {
    "cls": "pooling_mode_cls_token",
    "max": "pooling_mode_max_tokens",
    "mean": "pooling_mode_mean_tokens",
    "mean_sqrt_len": "pooling_mode_mean_sqrt_len_tokens",
    "weightedmean": "pooling_mode_weightedmean_tokens",
    "last": "pooling_mode_lasttoken",
}
POOLING_MODES = {  # their names in new folders
    "cls": "cls",
    "max": "max",
    "mean": "mean",
    "mean_sqrt_len": "mean_sqrt_len_tokens",
    "weightedmean": "weightedmean",
    "last": "lasttoken",
}
OURS = {theirs: ours for ours, theirs in POOLING_MODES.items()} | {"last": "last"}
POOLING_KEYS = {"word_embedding_dimension", "embedding_dimension", "pooling_mode", "include_prompt"}
DOCUMENT_PROMPTS = ("document", "passage", "corpus")  # the first that says something counts
LONGEST = 1 << 20  # tokens; of what has no limit of its own
LONGEST_PROMPT = 10_000  # characters; it is read again before every text

# How a text is read. Names of the file that sentence-transformers tries, one after the other.
KINDS = ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
READING = tuple(f"sentence_{kind}_config.json" for kind in KINDS)
READING_KEYS = {"max_seq_length", "do_lower_case", "unpad_inputs", "modality_config"}
ARGUMENTS = {  # of a library's calls: those that change no float32 vector
    "model": {"torch_dtype", "dtype", "attn_implementation", "add_pooling_layer", "use_cache"},
    "tokenizer": {"model_max_length", "use_fast", "padding_side"},
    "config": {"use_cache"},
}
HARMLESS = {"trust_remote_code", "local_files_only", "low_cpu_mem_usage", "use_safetensors"}
SPELLINGS = {
    "model_args": "model",
    "model_kwargs": "model",
    "tokenizer_args": "tokenizer",
    "processor_kwargs": "tokenizer",
    "config_args": "config",
    "config_kwargs": "config",
}
PLAIN_READING: dict[str, tuple[Any, ...]] = {
    "transformer_task": ("feature-extraction",),
    "module_output_name": ("token_embeddings",),
    "processing_kwargs": ({}, None),
    "query_length": (None,),
    "document_length": (None,),
    "query_expansion": (None,),
    "tokenizer_name_or_path": (None,),
}
TEXT = {"method": "forward", "method_output_name": "last_hidden_state"}

SIMILARITIES = ("cosine", "dot", "euclidean", "manhattan")
USE_KEYS = {"__version__", "prompts", "default_prompt_name", "similarity_fn_name", "truncate_dim"}
USE_KEYS |= {"model_type", "requirements"}


@dataclass(frozen=True)
class Recipe:
    """How token vectors become one vector per text. What follows `document_prompt` is rare."""

    pooling: str  # names joined by "+", as their vectors are
    normalize: bool
    max_length: int
    query_prompt: str
    document_prompt: str
    include_prompt: bool = True  # whether the pooling counts the prompt's tokens
    lower_case: bool = False  # whether texts are put in lower case before they are cut into tokens
    truncate: int | None = None  # how many of a vector's first numbers are kept
    similarity: str = "cosine"
    other_prompts: tuple[tuple[str, str], ...] = ()  # not used here: kept for other tools
    default_prompt: str | None = None

    def prompt(self, kind: str) -> str:
        """What stands before a text of that kind ("query" or "document")."""
        return self.query_prompt if kind == "query" else self.document_prompt

    def deciding(self) -> dict[str, Any]:
        """What decides a vector. Names that came later are there only where they say something: a
        model that had a fingerprint before keeps it.
        """
        first = ("pooling", "normalize", "max_length", "query_prompt", "document_prompt")
        later = {"include_prompt": True, "lower_case": False, "truncate": None}
        said = {name: getattr(self, name) for name in first}
        return said | {
            name: getattr(self, name)
            for name, usual in later.items()
            if getattr(self, name) != usual
        }

    def prompts_in_words(self) -> str | None:
        """Which prompts texts are read with, for a model that has any; else None."""
        used = {"queries": self.query_prompt, "documents": self.document_prompt}
        names = [
            name
            for name, text in self.other_prompts
            if text and not (name in DOCUMENT_PROMPTS and text == self.document_prompt)
        ]
        if not any(used.values()) and not names:
            return None
        parts = [f"{kind} behind {text!r}" for kind, text in used.items() if text]
        line = f"Prompts: {', '.join(parts) if parts else 'none is used'}."
        if names:
            line += (
                f" The model's others ({', '.join(names)}) are kept and not used; "
                "model.query_prompt and model.document_prompt choose."
            )
        return printable(line)


def read_recipe(
    layout: Layout, config: ModelConfig, *, longest: int, most: int | None = None
) -> Recipe:
    """What the folder says, with the user's options on top.

    `longest` is how many tokens transformer and tokenizer say they take, `most` how many positions
    the transformer has. A plain transformer without modules.json is pooled by mean and normalised.
    Raises UnsupportedModel for what is not understood, ConfigError for what is damaged or not in
    range.
    """
    if config.image_size is not None:
        raise ConfigError(
            f"model.image_size={config.image_size}: {printable(layout.folder)} reads texts. Leave "
            "it out."
        )
    use = json_of(layout.folder / "config_sentence_transformers.json")
    reading_file, reading = _reading(layout.backbone)
    prompts = check_use(layout, use)
    pooling, include_prompt = pooling_of(layout, config)
    similarity = similarity_of(layout, use, config)
    normalize = normalizes(layout, use, config, similarity)
    document = next((prompts[name] for name in DOCUMENT_PROMPTS if prompts.get(name)), "")
    return Recipe(
        pooling=pooling,
        normalize=normalize,
        max_length=_length(config, _stated(reading_file, reading), longest, most, reading_file),
        query_prompt=_first_given(config.query_prompt, prompts.get("query")),
        document_prompt=_first_given(config.document_prompt, document),
        include_prompt=include_prompt,
        lower_case=bool(reading.get("do_lower_case")),
        truncate=use.get("truncate_dim"),
        similarity=similarity if normalize else "dot",
        other_prompts=tuple(
            (name, text) for name, text in prompts.items() if name not in ("query", "document")
        ),
        default_prompt=use.get("default_prompt_name"),
    )


def text_reading(recipe: Recipe) -> dict[str, Any]:
    """What the file that says how a text is read has to say."""
    return {"max_seq_length": recipe.max_length, "do_lower_case": recipe.lower_case}


def normalizes(layout: Layout, use: dict[str, Any], config: ModelConfig, similarity: str) -> bool:
    """Whether finished vectors get unit length."""
    if config.normalize is not None:
        return config.normalize
    # What is compared by cosine has the same neighbours at unit length, and Whet compares by
    # inner product. Vectors that are cut and then compared by inner product stay as they are.
    last = bool(layout.after) and layout.after[-1][0] == "Normalize"
    return (last and use.get("truncate_dim") is None) or similarity == "cosine"


def json_of(path: Path) -> dict[str, Any]:
    """What a file of a folder says, nothing where it is not there."""
    return readable_json(path, remedy=AGAIN, error=ConfigError) if path.exists() else {}


def _wrong(path: Path, what: str) -> ConfigError:
    return ConfigError(f"{printable(path)} is damaged: {what}. {AGAIN}")


def _reading(folder: Path) -> tuple[Path, dict[str, Any]]:
    """The file that says how a text is read, and what it says."""
    found = [name for name in READING if (folder / name).exists()]
    path = folder / (found[0] if found else READING[0])
    said = json_of(path)
    refuse_keys(path, said, READING_KEYS | PLAIN_READING.keys() | SPELLINGS.keys())
    refuse_values(path, said, PLAIN_READING)
    if type(said.get("do_lower_case") or False) is not bool:
        raise _wrong(path, '"do_lower_case" must be true or false')
    texts = said.get("modality_config", {"text": TEXT})
    if not isinstance(texts, dict) or texts.get("text") != TEXT or "message" in texts:
        raise UnsupportedModel(
            f'{printable(path)}: "modality_config" says that texts are not read as they are (as '
            "messages of a chat, say), which is not supported. Use a model that reads plain text."
        )
    for key, kind in SPELLINGS.items():
        arguments = said.get(key) or {}
        if not isinstance(arguments, dict):
            raise _wrong(path, f'"{key}" must be an object')
        refuse_keys(path, arguments, ARGUMENTS[kind] | HARMLESS)
    return path, said


def _stated(path: Path, reading: dict[str, Any]) -> int | None:
    length = reading.get("max_seq_length")
    if length is not None and (type(length) is not int or length < 1):
        raise _wrong(path, '"max_seq_length" must be a whole number of 1 or more')
    for key in ("tokenizer_args", "processor_kwargs"):  # it goes before the other
        other = (reading.get(key) or {}).get("model_max_length")
        if other is not None and (type(other) is not int or other < 1):
            raise _wrong(path, '"model_max_length" must be a whole number of 1 or more')
        length = other or length
    return length


def _length(
    config: ModelConfig, stated: int | None, longest: int, most: int | None, named_in: Path
) -> int:
    """How many tokens are read of a text."""
    if stated and most and stated > most:
        say(
            f"{printable(named_in)} says that {stated:,} tokens are read, and the transformer has "
            f"positions for {most:,}: longer texts are cut to these."
        )
        stated = most
    limit = max(longest, stated or 0)
    length = config.max_length or stated or longest
    if not 1 <= length <= limit:
        raise ConfigError(
            f"model.max_length={length}: this model reads 1 to {limit} tokens. "
            "Choose a length in that range."
        )
    return length


def check_use(layout: Layout, use: dict[str, Any]) -> dict[str, str]:
    """Look at what is said of prompts and finished vectors; the prompts by their names."""
    path = layout.folder / "config_sentence_transformers.json"
    refuse_keys(path, use, USE_KEYS)
    if use.get("model_type") not in (None, "SentenceTransformer"):
        raise UnsupportedModel(
            f"{printable(path)}: a model of type {printable(str(use['model_type'])[:100])} has no "
            "single vector for a text. Use a SentenceTransformer model."
        )
    kept = use.get("truncate_dim")
    if kept is not None and (type(kept) is not int or kept < 1):
        raise _wrong(path, '"truncate_dim" must be a whole number of 1 or more')
    prompts = use.get("prompts") or {}
    if not isinstance(prompts, dict) or not all(isinstance(text, str) for text in prompts.values()):
        raise _wrong(path, '"prompts" must be texts, each with a name')
    for name, text in prompts.items():
        if len(text) > LONGEST_PROMPT:
            raise ConfigError(
                f"{printable(path)}: the prompt {printable(repr(name[:100]))} has {len(text):,} "
                f"characters, and {LONGEST_PROMPT:,} is the most. Shorten it."
            )
    default = use.get("default_prompt_name")
    known = {*prompts, "query", "document"}
    if default is not None and (not isinstance(default, str) or default not in known):
        raise _wrong(path, '"default_prompt_name" names none of its prompts')
    return prompts


def similarity_of(layout: Layout, use: dict[str, Any], config: ModelConfig) -> str:
    """How the model's vectors are to be compared: "cosine" or "dot"."""
    path = layout.folder / "config_sentence_transformers.json"
    said = use.get("similarity_fn_name") or "cosine"
    if said not in SIMILARITIES:
        raise _wrong(path, f'"similarity_fn_name" is none of {", ".join(SIMILARITIES)}')
    normalizes = bool(layout.after) and layout.after[-1][0] == "Normalize"
    if said == "euclidean" and normalizes and use.get("truncate_dim") is None:
        return "cosine"  # at unit length these two have one order
    if said in ("euclidean", "manhattan"):
        if config.normalize is None:
            raise UnsupportedModel(
                f'{printable(path)}: vectors that are compared by "{said}" distance are not '
                "supported. Set model.normalize=true to compare them by cosine, false by inner "
                "product."
            )
        return "cosine"
    return str(said)


def _first_given(*prompts: str | None) -> str:
    return next((prompt for prompt in prompts if prompt is not None), "")


def pooling_of(layout: Layout, config: ModelConfig) -> tuple[str, bool]:
    """The pooling, and whether it counts the prompt's tokens."""
    if layout.static:
        if config.pooling not in (None, "mean"):
            raise ConfigError(
                f"model.pooling={config.pooling}: word vectors without a transformer are pooled by "
                "mean alone. Leave it out."
            )
        return "mean", True
    if layout.pooling is None:
        if layout.listed and not config.pooling:
            raise ConfigError(
                f"{printable(layout.folder / 'modules.json')} lists no Pooling. Set model.pooling "
                "to say which to use."
            )
        return config.pooling or "mean", True
    path = layout.pooling / "config.json"
    said = readable_json(path, remedy=AGAIN, error=ConfigError)
    refuse_keys(path, said, POOLING_KEYS | set(POOLING_FLAGS.values()))
    include = said.get("include_prompt", True)
    if not isinstance(include, bool):
        raise _wrong(path, '"include_prompt" must be true or false')
    return config.pooling or _read_pooling(path, said), include


def _read_pooling(path: Path, said: dict[str, Any]) -> str:
    modes = said.get("pooling_mode")
    if modes is not None:
        modes = [modes] if isinstance(modes, str) else modes
        if not isinstance(modes, list) or not modes:
            raise _wrong(path, '"pooling_mode" must be a name or a list of names')
        unknown = [m for m in modes if not isinstance(m, str) or m not in OURS]
        if unknown:
            raise UnsupportedModel(
                f"{printable(path)}: the pooling {printable(repr(unknown[0])[:60])} is not "
                "supported. Set model.pooling to say which to use."
            )
        return "+".join(OURS[mode] for mode in modes)
    flags = {name: said[flag] for name, flag in POOLING_FLAGS.items() if flag in said}
    if not all(isinstance(value, bool) for value in flags.values()):
        raise _wrong(path, "its flags must be true or false")
    chosen = [name for name, flag in flags.items() if flag]
    if flags and not chosen:
        raise ConfigError(
            f"{printable(path)}: all poolings are switched off. Set model.pooling to say which to "
            "use."
        )
    return "+".join(chosen) or "mean"
