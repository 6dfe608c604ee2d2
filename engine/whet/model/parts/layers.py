"""The layers that a model may put after its pooling: sentence-transformers' Dense, LayerNorm,
Normalize and Dropout, in any order.

Their tensors bear the names that the library's files give them.

Shape suffixes: B texts, I and O numbers of a vector before and after a layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from whet.config import ModelConfig
from whet.errors import ConfigError, UnsupportedModel
from whet.model.parts.layout import Layout, refuse_keys, refuse_values
from whet.model.parts.recipe import Recipe
from whet.model.pooling import to_unit_length
from whet.model.tensors import AGAIN, WEIGHTS, shapes_in
from whet.printable import printable
from whet.storage.readable import readable_json

IDENTITY = "torch.nn.modules.linear.Identity"
ACTIVATIONS: dict[str, type[nn.Module]] = {  # those that take no options
    "Identity": nn.Identity,
    "Tanh": nn.Tanh,
    "ReLU": nn.ReLU,
    "GELU": nn.GELU,
    "SiLU": nn.SiLU,
    "Sigmoid": nn.Sigmoid,
    "ELU": nn.ELU,
    "SELU": nn.SELU,
    "LeakyReLU": nn.LeakyReLU,
    "Mish": nn.Mish,
    "Softplus": nn.Softplus,
    "Softsign": nn.Softsign,
    "Hardswish": nn.Hardswish,
}
USUAL_ACTIVATION = "torch.nn.modules.activation.Tanh"  # of a Dense that names none
INPUTS: dict[str, tuple[Any, ...]] = {
    "module_input_name": ("sentence_embedding", None),
    "module_output_name": ("sentence_embedding", None),
}


class Dense(nn.Module):
    """activation(x_BI @ weight_OI.T + bias_O), plus x_BI itself where it is residual."""

    def __init__(
        self, inputs: int, outputs: int, *, bias: bool, activation: str, residual: bool = False
    ) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, outputs, bias=bias)
        self.named = activation
        self.activation = ACTIVATIONS[activation.rpartition(".")[2]]()
        self.adds_input = residual
        if residual and inputs != outputs:
            self.residual = nn.Linear(inputs, outputs, bias=False)

    @property
    def plain(self) -> bool:
        """Whether it is the product with a square matrix and nothing else."""
        same = self.linear.in_features == self.linear.out_features
        bare = self.linear.bias is None and not self.adds_input
        return same and bare and isinstance(self.activation, nn.Identity)

    def forward(self, vector_BI: Tensor) -> Tensor:
        """Vectors [B, O]."""
        vector_BO: Tensor = self.activation(self.linear(vector_BI))
        if not self.adds_input:
            return vector_BO
        return vector_BO + (self.residual(vector_BI) if hasattr(self, "residual") else vector_BI)

    def config(self) -> dict[str, Any]:
        """What its config.json says."""
        said = {
            "in_features": self.linear.in_features,
            "out_features": self.linear.out_features,
            "bias": self.linear.bias is not None,
            "activation_function": self.named,
        }
        return {**said, "use_residual": True} if self.adds_input else said


class Norm(nn.Module):
    """LayerNorm of a vector."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(size)

    def forward(self, vector_BI: Tensor) -> Tensor:
        """Vectors [B, I]."""
        vector: Tensor = self.norm(vector_BI)
        return vector

    def config(self) -> dict[str, Any]:
        """What its config.json says."""
        return {"dimension": self.norm.normalized_shape[0]}


class Unit(nn.Module):
    """Unit length, in the middle of other layers."""

    def forward(self, vector_BI: Tensor) -> Tensor:
        """Vectors [B, I]."""
        return to_unit_length(vector_BI)

    def config(self) -> dict[str, Any]:
        """What its config.json says: nothing, as in all versions."""
        return {}


class Drop(nn.Dropout):
    """Dropout of a vector's numbers, while training."""

    def config(self) -> dict[str, Any]:
        """What its config.json says."""
        return {"dropout": self.p}


NAMES = {Dense: "Dense", Norm: "LayerNorm", Unit: "Normalize", Drop: "Dropout"}


def read_layers(parts: Sequence[tuple[str, Path]], size: int) -> list[nn.Module]:
    """The layers of these kinds and folders with their weights; the vectors before them have
    `size` numbers.

    Raises UnsupportedModel for a layer that does what is not understood, ConfigError for one that
    is damaged or does not go with the vectors it is given.
    """
    layers: list[nn.Module] = []
    for kind, folder in parts:
        path = folder / "config.json"
        there = kind in ("Dense", "LayerNorm") or path.exists()  # the others may say nothing
        said = readable_json(path, remedy=AGAIN, error=ConfigError) if there else {}
        with torch.device("meta"):  # without room for what it says, which may be any amount
            layer = _layer(kind, path, said, size)
        if layer.state_dict():
            _load(layer, folder / WEIGHTS)
        if isinstance(layer, Dense):
            size = layer.linear.out_features
        layers.append(layer)
    return layers


def _layer(kind: str, path: Path, said: dict[str, Any], size: int) -> nn.Module:
    """The layer that a config.json describes, without weights."""
    if kind == "Dense":
        return _dense(path, said, size)
    if kind == "LayerNorm":
        refuse_keys(path, said, {"dimension"})
        return Norm(_width(path, said, "dimension", size))
    if kind == "Dropout":
        return _dropout(path, said)
    refuse_keys(path, said, set(INPUTS))
    refuse_values(path, said, INPUTS)
    return Unit()


def write_layer(layer: nn.Module, folder: Path) -> dict[str, Any]:
    """Write a layer's weights into its folder, which is made; what its config.json is to say."""
    from safetensors.torch import save_file

    folder.mkdir(exist_ok=True)
    weights = {name: part.detach().contiguous() for name, part in layer.state_dict().items()}
    if weights:
        save_file(weights, folder / WEIGHTS)
    config: dict[str, Any] = layer.config()  # type: ignore[operator]
    return config


def _dense(path: Path, said: dict[str, Any], size: int) -> Dense:
    known = {"in_features", "out_features", "bias", "activation_function", "use_residual"}
    refuse_keys(path, said, known | set(INPUTS))
    refuse_values(path, said, INPUTS)
    activation = said.get("activation_function", USUAL_ACTIVATION)
    library, _, name = str(activation).rpartition(".")
    if not f"{library}.".startswith("torch.nn.") or name not in ACTIVATIONS:
        raise UnsupportedModel(
            f"{printable(path)}: a dense layer with the activation "
            f"{printable(repr(activation)[:100])} is not supported. Use a model with one of "
            f"{', '.join(ACTIVATIONS)}."
        )
    flags = {"bias": said.get("bias", True), "use_residual": said.get("use_residual", False)}
    if not all(isinstance(flag, bool) for flag in flags.values()):
        raise _wrong(path, '"bias" and "use_residual" must be true or false')
    inputs = _width(path, said, "in_features", size)
    outputs = said.get("out_features")
    if type(outputs) is not int or not 1 <= outputs < 1 << 31:
        raise _wrong(path, '"out_features" must be a whole number of 1 or more')
    return Dense(
        inputs,
        outputs,
        bias=flags["bias"],
        activation=str(activation),
        residual=flags["use_residual"],
    )


def _width(path: Path, said: dict[str, Any], key: str, size: int) -> int:
    if type(said.get(key)) is not int or said[key] != size:
        raise _wrong(
            path,
            f'"{key}" is {printable(repr(said.get(key))[:60])}, and the vectors before this layer '
            f"have {size} numbers",
        )
    return size


def _dropout(path: Path, said: dict[str, Any]) -> Drop:
    refuse_keys(path, said, {"dropout"})
    share = said.get("dropout", 0.2)
    if type(share) not in (int, float) or not 0 <= share < 1:
        raise _wrong(path, '"dropout" must be a share from 0 to 1')
    return Drop(share)


def _load(layer: nn.Module, path: Path) -> None:
    """Read a layer's weights, as float32. The header is checked before the file is loaded: it may
    ask for any amount of memory.
    """
    from safetensors.torch import load_file

    shapes = shapes_in(path)
    wanted = {name: tuple(part.shape) for name, part in layer.state_dict().items()}
    for name in {**wanted, **shapes}:
        if wanted.get(name) != shapes.get(name):
            raise _wrong(
                path,
                f'"{printable(name[:100])}" must be {_shape(wanted.get(name))}, is '
                f"{_shape(shapes.get(name))}",
            )
    tensors = {name: part.float().clone() for name, part in load_file(path).items()}
    layer.load_state_dict(tensors, assign=True)


def _shape(shape: tuple[int, ...] | None) -> str:
    """A tensor's shape in words.

    >>> _shape((2, 3)), _shape(None)
    ('2 x 3', 'absent')
    """
    return "absent" if shape is None else " x ".join(map(str, shape))


def _wrong(path: Path, what: str) -> ConfigError:
    return ConfigError(f"{printable(path)} is damaged: {what}. {AGAIN}")


def layers_after_pooling(
    layout: Layout, recipe: Recipe, config: ModelConfig, size: int
) -> tuple[list[nn.Module], Tensor | None]:
    """The layers after the pooling, and the matrix [D, D] that is the last of them, if it is one;
    a token's vector has `size` numbers. That the finished vector has unit length the recipe says.
    """
    layers = read_layers(layout.after, size * len(recipe.pooling.split("+")))
    cut_as_it_is = recipe.truncate and not recipe.normalize and config.normalize is None
    if layers and isinstance(layers[-1], Unit) and not cut_as_it_is:
        del layers[-1]
    last = layers[-1] if layers else None
    if isinstance(last, Dense) and last.plain:
        return layers[:-1], last.linear.weight.detach()
    return layers, None


def width_of(hidden: int, recipe: Recipe, layers: Sequence[nn.Module]) -> int:
    """How many numbers a vector has before it is cut."""
    dense = [layer for layer in layers if isinstance(layer, Dense)]
    if dense:
        return dense[-1].linear.out_features
    return hidden * len(recipe.pooling.split("+"))
