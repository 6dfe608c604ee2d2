"""The one way in which a transformer and a tokenizer are read from a folder.

From safetensors alone, from this folder alone, without code of its own unless it is trusted, and
with every weight that decides a result.
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from logging import CRITICAL, ERROR
from pathlib import Path
from typing import Any

from whet.errors import ConfigError, UnsupportedModel, WhetError
from whet.model.contained import check_files
from whet.model.gate import CONFIG, check_tokenizer_files, check_transformer
from whet.model.tensors import AGAIN, Shapes, check_fits
from whet.printable import printable
from whet.progress import say

# Of transformers with an encoder and a decoder, those whose encoder alone gives token vectors.
ENCODERS = ("t5", "mt5", "umt5")
COMPUTED = ("position_ids", "token_type_ids", "inv_freq")  # buffers that are filled without a file
# Heads of pretraining, and the pooler: what a model is saved with and nobody uses here.
HEADS = re.compile(
    r"(cls|lm_head|mlm_head|head|decoder|predictions|pooler|vocab_(transform|layer_norm|projector)"
    r"|(discriminator|generator)_\w+)\."
)
FEWEST_WORDS = 256  # of texts, from which a share of unknown ones says something
ALMOST_ALL = 0.95  # MiniLM does not know 61 % of the words of XQuAD in Chinese, and finds some
SHOWN = 3  # names in a message
SLACK = 32_000_000  # numbers: a pooler that was not saved has this many in the largest models


def load_transformer(
    folder: Path,
    auto_class: Any,
    *,
    trust: bool = False,
    dtype: Any = "auto",
    may_lack: tuple[str, ...] = (),
) -> Any:
    """The model of a folder, by one of transformers' auto classes.

    `may_lack` are the beginnings of names of tensors that decide no result here. Raises ConfigError
    with the file that is damaged or must not be read, or the tensors that are missing or of another
    shape; EnvironmentRefused where this machine's memory is too small.
    """
    from transformers import AutoConfig

    shapes = check_transformer(folder)
    with library_errors(folder, trust=trust):
        settings = AutoConfig.from_pretrained(
            folder, trust_remote_code=trust, local_files_only=True
        )
        _check_size(folder, auto_class, settings, shapes, trust)
        model, loading = auto_class.from_pretrained(
            folder,
            config=settings,
            use_safetensors=True,
            trust_remote_code=trust,
            local_files_only=True,
            dtype=dtype,
            ignore_mismatched_sizes=True,  # told by _check_loaded, in our words
            output_loading_info=True,
        )
    _check_loaded(folder, loading, may_lack)
    return model


class TextModel:
    """transformers' AutoModel, which is asked for the encoder alone where there is a decoder."""

    @staticmethod
    def from_config(settings: Any, **options: Any) -> Any:
        """A model without weights."""
        return _auto_class(settings).from_config(settings, **options)

    @staticmethod
    def from_pretrained(folder: Path, *, config: Any, **options: Any) -> Any:
        """A model with its weights."""
        return _auto_class(config).from_pretrained(folder, config=config, **options)


def _auto_class(settings: Any) -> Any:
    from transformers import AutoModel, AutoModelForTextEncoding

    kind = settings.model_type
    if kind in ENCODERS:
        return AutoModelForTextEncoding
    if getattr(settings, "is_encoder_decoder", False):
        raise UnsupportedModel(
            f"{printable(settings.name_or_path)}: a model of type {printable(kind)} has an encoder "
            f"and a decoder, and of these only {', '.join(ENCODERS)} are supported. Give a model "
            "that is the one or the other."
        )
    return AutoModel


def load_tokenizer(folder: Path, *, trust: bool = False) -> Any:
    """The tokenizer of a folder. Raises ConfigError for one that is damaged or has no words."""
    from transformers import AutoTokenizer

    check_files(folder)
    check_tokenizer_files(folder)
    with library_errors(folder, trust=trust):
        tokenizer = AutoTokenizer.from_pretrained(
            folder, trust_remote_code=trust, local_files_only=True
        )
        words = len(tokenizer) - len(set(tokenizer.all_special_tokens))
        tokenizer("The quick brown fox 0123, \u0436\u0443\u043a \u5b57 \U0001f98a")  # may fail
    if words < 1:
        raise ConfigError(
            f"{printable(folder)}: its tokenizer knows no words; tokenizer.json or its vocabulary "
            f"is missing or empty. {AGAIN}"
        )
    return tokenizer


def check_vocabulary(tokenizer: Any, rows: int, folder: Path) -> None:
    """ConfigError for a tokenizer that does not go with an embedding matrix of so many rows.

    The matrix may have more rows than there are words: it is padded to round numbers.
    """
    numbers = tokenizer.get_vocab().values()
    if max(numbers) >= rows:
        what = f"has a word with the number {max(numbers):,}, and the weights have {rows:,} words"
    elif len(numbers) < rows / 2:
        what = f"knows {len(numbers):,} words, and the weights have {rows:,}"
    else:
        return
    raise ConfigError(
        f"{printable(folder)}: its tokenizer {what}: they do not belong together. {AGAIN}"
    )


def check_known(tokenizer: Any, tokens: Sequence[Sequence[int]], folder: Path) -> None:
    """ConfigError where almost all tokens of many texts are the one for unknown words; where over
    half of them are, it is told: English models know that little of Thai or Chinese, and are
    judged on them all the same.
    """
    unknown = _unknown_token(tokenizer)
    words = sum(map(len, tokens)) - len(tokens) * tokenizer.num_special_tokens_to_add()
    if unknown is None or words < FEWEST_WORDS:
        return
    share = sum(ids.count(unknown) for ids in map(list, tokens)) / words
    if share > ALMOST_ALL:
        raise ConfigError(
            f"{printable(folder)}: its tokenizer does not know {share:.0%} of the words of these "
            f"{len(tokens):,} texts, so their vectors would say nothing. Check its tokenizer.json "
            "and vocabulary, or give a model for these texts' language."
        )
    if share > 1 / 2:
        _tell_unknown(folder)


@cache
def _tell_unknown(folder: Path) -> None:
    """Once for a model, however many texts come."""
    say(
        f"{printable(folder)}: its tokenizer does not know over half of the words of these texts. "
        "A model for their language would find more."
    )


def odd_tensor(model: Any) -> str | None:
    """The first of the weights with NaN or infinity in it, None where all are finite.

    Without padding the attention of torch on a CPU makes zeros of NaN, and the result looks like
    any other. A row of the word embeddings that no text asks for may be anything: one that is asked
    for shows in the vector.
    """
    words = None
    with suppress(NotImplementedError):  # of some models of pictures
        words = model.get_input_embeddings()
    name: str
    for name, part in model.named_parameters():
        if part is not getattr(words, "weight", None) and not name.startswith("pooler."):
            low, high = part.detach().aminmax() if part.numel() else (0.0, 0.0)
            if not (math.isfinite(low) and math.isfinite(high)):
                return name
    return None


def _unknown_token(tokenizer: Any) -> int | None:
    known: int | None = tokenizer.unk_token_id
    if known is not None or not tokenizer.is_fast:
        return known
    model = tokenizer.backend_tokenizer.model  # which may have one that its folder does not name
    token = getattr(model, "unk_token", None)
    known = model.token_to_id(token) if token else getattr(model, "unk_id", None)
    return known


@contextmanager
def library_errors(folder: Path, *, trust: bool = False) -> Iterator[None]:
    """Make whatever a library raises over a damaged folder one ConfigError that names it, without
    the library's own log lines before it.
    """
    from transformers.utils import logging

    logging.disable_progress_bar()
    before = logging.get_verbosity()
    logging.set_verbosity(CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except WhetError:
        raise
    except Exception as error:
        raise _refusal(folder, error, trust) from error
    except BaseException as error:  # a panic in the tokenizers library is no Exception
        if type(error).__name__ != "PanicException":
            raise
        raise _refusal(folder, error, trust) from error
    finally:
        logging.set_verbosity(max(before, ERROR))


def _refusal(folder: Path, error: BaseException, trust: bool) -> ConfigError:
    text = str(error)
    if "custom code" in text and not trust:
        return ConfigError(
            f"{printable(folder)} needs code of its own, which is not run unasked. Give "
            "model.trust_remote_code=true if you know its author, or another model."
        )
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    what = printable(lines[0][:300]) if lines else "no reason given"
    return ConfigError(
        f"{printable(folder)} cannot be loaded ({type(error).__name__}: {what}). {AGAIN}"
    )


def _check_size(folder: Path, auto_class: Any, settings: Any, shapes: Shapes, trust: bool) -> None:
    """Build the model without its numbers, and refuse one that is larger than its weights: the
    rest would be allocated and filled before anybody says that it is missing.
    """
    import torch
    from transformers.initialization import no_init_weights

    with torch.device("meta"), no_init_weights():
        empty = auto_class.from_config(settings, trust_remote_code=trust)
    wanted = sum(part.numel() for part in empty.parameters())
    check_fits(wanted + sum(part.numel() for part in empty.buffers()), folder)
    there = sum(math.prod(shape) for shape in shapes.values())
    if wanted > 2 * there + SLACK:
        raise ConfigError(
            f"{printable(folder / CONFIG)} describes a model of {wanted:,} numbers, and the "
            f"weights have {there:,}. {AGAIN}"
        )


def _check_loaded(folder: Path, loading: dict[str, Any], may_lack: tuple[str, ...]) -> None:
    place = printable(folder)
    other = sorted(f"{name} is {had}, not {want}" for name, had, want in loading["mismatched_keys"])
    if other:
        raise ConfigError(
            f"{place}: the weights hold {_first(other)} of another shape than {CONFIG} says. "
            f"{AGAIN}"
        )
    missing = sorted(
        name
        for name in loading["missing_keys"]
        # A pooler decides no vector; COMPUTED are buffers that the model makes by itself.
        if not name.startswith(may_lack) and not name.endswith(COMPUTED)
    )
    if missing:
        raise ConfigError(
            f"{place}: the weights lack {_first(missing)}; random numbers in their place would "
            f"decide every result. {AGAIN}"
        )
    unused = sorted(
        name
        for name in loading["unexpected_keys"]
        if not HEADS.match(name) and not name.endswith(COMPUTED)
    )
    if unused:
        say(f"{place}: the weights hold {_first(unused)} that this model does not use.")


def _first(names: list[str]) -> str:
    """How many tensors there are, and the first of them."""
    shown = ", ".join(printable(name) for name in names[:SHOWN])
    more = ", ..." if len(names) > SHOWN else ""
    return f"{len(names):,} tensor{'s' if len(names) > 1 else ''} ({shown}{more})"
