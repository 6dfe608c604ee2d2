"""What `whet export` does: write a model for other runtimes, and nothing that was found wrong."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path

from whet.config import DataConfig, ExportConfig, ModelConfig
from whet.config.ranges import check_options
from whet.data.load import Dataset, open_dataset
from whet.data.splits import eval_qrels
from whet.errors import ConfigError, EnvironmentRefused, UnsupportedModel
from whet.model.folder import find_folder
from whet.model.parts.layout import ROUTER, read_layout, whole_sides
from whet.model.parts.pictures.picture_kinds import picture_type
from whet.model.parts.recipe import LONGEST, read_recipe
from whet.printable import printable
from whet.progress import say
from whet.run.output import facts_of, refuse_taken
from whet.version import install_line

NEEDS = {
    "onnx": ("onnx", ("onnx", "onnxruntime", "onnxscript")),
    "int8": ("onnx", ("onnx", "onnxruntime", "onnxscript")),
    "gguf": ("gguf", ("gguf",)),
}


def export_command(config: ExportConfig) -> None:
    """`whet export`: a new folder with the files asked for and export.json; a file that does not
    give the model's vectors is not left behind.
    """
    check_options(config)
    check_formats(config.formats)
    data = _data(config.data)
    folder = find_folder(config.model)
    if (folder / ROUTER).is_file():
        whole = whole_sides(folder)
        if whole is None:
            raise UnsupportedModel(
                f"{printable(folder)} has an encoder for queries of its own (a Router), and its "
                "two sides are no models by themselves. Export a model with one encoder."
            )
        sides = " and then ".join(f"model={side}" for side in whole.values())
        raise ConfigError(
            f"{folder} has an encoder for queries of its own. Export its two sides one by one: "
            f"{sides}."
        )
    _check_recipe(folder, config.model)
    refuse_taken(config.output, facts_of("export", config, data.digest if data else None))
    from whet.export.written import write_export  # loads torch

    table, place = write_export(config, data)
    print(table)
    say(f"Exported: {place}")


def check_formats(formats: Sequence[str]) -> None:
    """ConfigError for no format or an unknown one, EnvironmentRefused for a package not here."""
    if not formats:
        raise ConfigError("formats is empty. Name at least one of onnx, int8 and gguf.")
    for name in formats:
        if name not in NEEDS:
            near = get_close_matches(name, NEEDS, 1)
            hint = f" Did you mean {near[0]}?" if near else ""
            raise ConfigError(f"formats={name} is unknown.{hint} It takes onnx, int8 and gguf.")
        extra, packages = NEEDS[name]
        missing = [package for package in packages if find_spec(package) is None]
        if missing:
            raise EnvironmentRefused(
                f"formats={name} needs {' and '.join(missing)}. Run `{install_line(extra)}`."
            )


def _check_recipe(folder: Path, model: ModelConfig) -> None:
    """Refuse (UnsupportedModel) vectors that no exported file can say how to make."""
    layout = read_layout(folder)
    if layout.static:
        raise UnsupportedModel(
            f"{printable(folder)} is a table of word vectors, which needs no other runtime: its "
            "model.safetensors and tokenizer.json are all there is."
        )
    if picture_type(layout.backbone) is not None:
        raise UnsupportedModel(
            f"{printable(folder)} is a model of pictures, and models of texts alone are exported. "
            "transformers and sentence-transformers open it as it is."
        )
    if not read_recipe(layout, model, longest=LONGEST).include_prompt:
        raise UnsupportedModel(
            f"{printable(folder)} leaves its prompt's tokens out of the pooling (include_prompt), "
            "which neither ONNX nor GGUF files can say. Export another model."
        )


def _data(config: DataConfig) -> Dataset | None:
    """The data to measure on, if any; wrong data or a missing split are told before the work."""
    if not config.path:
        return None
    data = open_dataset(config)
    eval_qrels(data, config.eval_split)
    return data
