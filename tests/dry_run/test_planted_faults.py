"""Faults of a GPU, each planted into the real code, and found by what the dry run looks at anyway.

Without the fault each of these checks passes: the other tests here say so.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from device_checks import (
    TIGHT,
    check_backward_of_the_loss,
    check_cached_dropout,
    check_cross_encoder,
    check_encoding,
    check_learning,
    check_search,
    check_slabs,
    check_tuned_matrix,
    cross_encoder_of,
)
from gpu_training import Place, check_resume, check_steps
from lightning.pytorch.strategies import strategy as lightning_strategy
from pretend_cuda import DeviceError, Gpu

from whet.feedback.learn.lessons import Pool
from whet.loss import gradcache, infonce
from whet.loss.infonce import Targets
from whet.model import encoder, inference, pooling
from whet.model.encoder import Encoder
from whet.model.parts import padding, unpadded
from whet.processes import devices
from whet.training import module, trainer
from whet.training.strategies.single import Strategy
from whet_kernels.infonce import fused, mask, triton_kernels
from whet_kernels.topk.gpu import one_pass, scan, slabs

Plant = Callable[[pytest.MonkeyPatch], None]


class Fault(NamedTuple):
    """What is planted, what looks, and what it then says."""

    plant: Plant
    look: Callable[[Gpu, Place], object]
    says: str


class Torch:
    """torch for one module, but for some functions."""

    def __init__(self, **functions: Any) -> None:
        self.__dict__.update(functions)

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)


def without(where: Any, function: str, argument: str = "device") -> Plant:
    """A module's calls of a function of torch forget an argument."""
    real = getattr(torch, function)

    def forgetful(*args: Any, **options: Any) -> Any:
        options.pop(argument, None)
        return real(*args, **options)

    return lambda patch: patch.setattr(where, "torch", Torch(**{function: forgetful}))


def after(where: Any, name: str, do: Callable[[Any], Any]) -> Plant:
    """Once a function is done, do something with what it gives; what that gives is given."""
    real = getattr(where, name)

    def planted(*args: Any, **options: Any) -> Any:
        return do(real(*args, **options))

    return lambda patch: patch.setattr(where, name, planted)


def but_first(action: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Give a value on, after something was done with it."""

    def do(value: Any) -> Any:
        action(value)
        return value

    return do


def stays(where: Any) -> Plant:
    """What a module sends to the device stays on the host."""
    return lambda patch: patch.setattr(where, "sent", lambda tensor, device: tensor)


def sent_as(where: Any, **options: Any) -> Plant:
    """What a module sends goes there from memory that is not pinned."""
    send = lambda tensor, device: tensor.to(device, **options)  # noqa: E731
    return lambda patch: patch.setattr(where, "sent", send)


def uncast(*_: Any, **__: Any) -> AbstractContextManager[None]:
    """In the place of autocast, on or off."""
    return nullcontext()


def old_matrix(self: Encoder, matrix_DD: torch.Tensor) -> Encoder:
    """`with_matrix`, made on the host."""
    self.matrix = torch.nn.Linear(32, 32, bias=False)
    self.matrix.weight.data.copy_(matrix_DD)
    return self


def forward_that_asks(self: Encoder, tokens: Any) -> torch.Tensor:
    """`forward_tokens`, which lets the device say whether a text is padded."""
    ids, mask = padding.padded(tokens, self.pad_id)
    found: torch.Tensor = self(
        *(devices.sent(torch.from_numpy(part), self.device) for part in (ids, mask))
    )
    return found


def limits_on_the_host(patch: pytest.MonkeyPatch) -> None:
    """The exclusions of a search, as they come."""
    real = one_pass.DeviceLimits

    def planted(ceiling: Any, floor: Any, offsets: Any, rows: Any, longest: Any) -> Any:
        return real(ceiling, floor, offsets.cpu(), rows.cpu(), longest)

    patch.setattr(one_pass, "DeviceLimits", planted)


def see_and_wait(patch: pytest.MonkeyPatch) -> None:
    """A pass that looks at a number of each slab."""
    real = one_pass.Pass._see

    def planted(self: Any, slab: Any, room: Any) -> None:
        real(self, slab, room)
        float(self.largest_N2[0, 0])

    patch.setattr(one_pass.Pass, "_see", planted)


def wide_loss(patch: pytest.MonkeyPatch) -> None:
    """The vectors of a loss in 64 bits."""
    real = module.matryoshka_info_nce

    def planted(query_BD: Any, doc_CD: Any, *args: Any, **options: Any) -> Any:
        return real(query_BD.double(), doc_CD.double(), *args, **options).float()

    patch.setattr(module, "matryoshka_info_nce", planted)


def host_generator(patch: pytest.MonkeyPatch) -> None:
    """A step seeds the random numbers of the host alone."""
    seed = torch.default_generator.manual_seed
    patch.setattr(module, "torch", Torch(manual_seed=seed))


def state_as_it_lies(patch: pytest.MonkeyPatch) -> None:
    """An optimizer's state stays where the checkpoint was read to."""
    keep = staticmethod(lambda param, value, *_, **__: value)
    patch.setattr(torch.optim.Optimizer, "_process_value_according_to_param_policy", keep)
    patch.setattr(lightning_strategy, "_optimizer_to_device", lambda optimizer, device: None)


def unrounded(patch: pytest.MonkeyPatch) -> None:
    """Texts are encoded with weights in 32 bits."""
    plain = lambda encoder, config, device: nullcontext(encoder.forward_tokens)  # noqa: E731
    patch.setattr(inference, "_as_asked", plain)


def steps(**options: Any) -> Callable[[Gpu, Place], object]:
    """Look at training steps."""
    return lambda gpu, place: check_steps(gpu, place, **options)


def rescoring(gpu: Gpu, place: Place) -> None:
    """Look at a cross-encoder."""
    folder = cross_encoder_of(place.model, place.folder / "cross")
    check_cross_encoder(gpu, folder, np.zeros(9, np.float32))


def encoding(gpu: Gpu, place: Place) -> None:
    """Look at texts becoming vectors."""
    check_encoding(gpu, place.model)


TWO_DEVICES = "same device|indices should be"
NO_POINTER = "cannot be accessed from Triton"
STEP_FAULTS = {
    "targets left on the host": Fault(
        lambda patch: patch.setattr(Targets, "to", lambda self, device: self), steps(), TWO_DEVICES
    ),
    "ids of tokens left on the host": Fault(stays(unpadded), steps(), TWO_DEVICES),
    "queries of pairs left on the host": Fault(
        stays(module), steps(), "index from host memory +whet/training/module"
    ),
    "order of texts left on the host": Fault(
        stays(gradcache), steps(), "index from host memory +whet/loss/gradcache"
    ),
    "a copy from memory that is not pinned": Fault(
        sent_as(infonce), steps(), "unpinned +whet/loss/infonce"
    ),
    "a copy that is not pinned and said not to block": Fault(
        sent_as(unpadded, non_blocking=True), steps(), "unpinned +whet/model/parts/unpadded"
    ),
    "a loss as a number": Fault(
        after(module, "matryoshka_info_nce", but_first(float)),
        steps(),
        "_local_scalar_dense +whet/training/module",
    ),
    "a norm as a number": Fault(
        after(Strategy, "gradient_norm", lambda norm: torch.tensor(float(norm))),
        steps(),
        "_local_scalar_dense +whet/training/module",
    ),
    "vectors as a list": Fault(
        after(module, "all_vectors", but_first(lambda vector_UD: vector_UD[0].tolist())),
        steps(),
        "tolist +whet/training/module",
    ),
    "the truth of a tensor": Fault(
        lambda patch: patch.setattr(Encoder, "forward_tokens", forward_that_asks),
        steps(),
        "_local_scalar_dense +whet/model/encoder",
    ),
    "nonzero": Fault(
        after(fused, "dense_mask", but_first(torch.nonzero)), steps(), "nonzero +whet_kernels"
    ),
    "a selection by a mask": Fault(
        after(fused, "dense_mask", but_first(lambda known_BC: known_BC[known_BC])),
        steps(),
        "wait: index +whet_kernels",
    ),
    "arange without a device": Fault(without(mask, "arange"), steps(), TWO_DEVICES),
    "zeros without a device": Fault(without(mask, "zeros"), steps(), TWO_DEVICES),
    "arange without a device in the tiles' mask": Fault(
        without(mask, "arange"), steps(fused="always"), TWO_DEVICES
    ),
    "room on the host for a kernel of the loss": Fault(
        without(triton_kernels, "empty"), steps(fused="always"), NO_POINTER
    ),
    "a loss in 64 bits": Fault(wide_loss, steps(), "float64: "),
    "a training without autocast": Fault(
        lambda patch: patch.setattr(trainer, "training_precision", lambda config: "32-true"),
        steps(),
        "attention float32",
    ),
    "an optimizer's state restored to the host": Fault(state_as_it_lies, check_resume, TWO_DEVICES),
    "dropout by the generator of the host": Fault(host_generator, check_resume, "losses"),
}
OTHER_FAULTS = {
    "other dropout in the second forward": Fault(
        without(gradcache, "empty"),
        lambda gpu, place: check_cached_dropout(place.model),
        "gradient",
    ),
    "autocast around the backward of the loss": Fault(
        lambda patch: patch.setattr(gradcache, "torch", Torch(autocast=uncast)),
        lambda gpu, place: check_backward_of_the_loss(),
        "rounded",
    ),
    "autocast around a tuned matrix": Fault(
        lambda patch: patch.setattr(encoder, "torch", Torch(autocast=uncast)),
        lambda gpu, place: check_tuned_matrix(place.model),
        "rounded",
    ),
    "a tuned matrix on the host": Fault(
        lambda patch: patch.setattr(Encoder, "with_matrix", old_matrix),
        lambda gpu, place: check_tuned_matrix(place.model),
        TWO_DEVICES,
    ),
    "judgments left on the host": Fault(
        lambda patch: patch.setattr(Pool, "to", lambda self, device: self),
        lambda gpu, place: check_learning(place.model),
        TWO_DEVICES,
    ),
    "arange without a device in a pooling": Fault(
        without(pooling, "arange"),
        lambda gpu, place: check_encoding(gpu, place.model, "last"),
        TWO_DEVICES,
    ),
    "each batch fetched": Fault(
        lambda patch: patch.setattr(inference, "GPU_RESULTS", 0), encoding, "device to host"
    ),
    "a wait for the device in each batch": Fault(
        after(encoder, "to_unit_length", but_first(lambda _: torch.cuda.synchronize())),
        encoding,
        "wait: synchronize",
    ),
    "texts encoded in 32 bits": Fault(unrounded, encoding, "attention float32"),
    "a pooling in 64 bits": Fault(
        lambda patch: patch.setitem(
            pooling.POOLINGS,
            "mean",
            lambda token_BLD, mask_BL: pooling.POOLINGS["cls"](token_BLD.double(), mask_BL),
        ),
        encoding,
        "float64: ",
    ),
    "a cross-encoder without autocast": Fault(
        lambda patch: patch.setattr(devices, "casting", uncast), rescoring, "attention float32"
    ),
    "exclusions of a search left on the host": Fault(
        limits_on_the_host, lambda gpu, place: check_search(), NO_POINTER
    ),
    "zeros without a device in a pass": Fault(
        without(one_pass, "zeros"),
        lambda gpu, place: check_search(),
        f"{TWO_DEVICES}|{NO_POINTER}",
    ),
    "arange without a device in a pass": Fault(
        without(one_pass, "arange"), lambda gpu, place: check_search(), TWO_DEVICES
    ),
    "full without a device in a scan": Fault(
        without(scan, "full"), lambda gpu, place: check_search(tiling=TIGHT), TWO_DEVICES
    ),
    "results as numpy before they are on the host": Fault(
        after(
            one_pass.Pass,
            "_outcome",
            lambda found: one_pass.PassResult(*(part.cuda() for part in found)),
        ),
        lambda gpu, place: check_search(),
        "can't convert cuda:0 device type tensor to numpy",
    ),
    "a wait in each slab": Fault(
        see_and_wait, lambda gpu, place: check_slabs(gpu), "_local_scalar_dense +whet_kernels"
    ),
    "a slab's buffer that is not pinned": Fault(
        without(slabs, "empty", "pin_memory"),
        lambda gpu, place: check_slabs(gpu, streamed=True),
        "copy_ from unpinned memory",
    ),
}
FAULTS = STEP_FAULTS | OTHER_FAULTS


SLOW = {  # seconds in Triton's interpreter, and those that another one here is like
    "full without a device in a scan",
    "a wait in each slab",
    "a slab's buffer that is not pinned",
    "a norm as a number",
    "vectors as a list",
    "nonzero",
    "a selection by a mask",
    "order of texts left on the host",
    "zeros without a device",
    "a pooling in 64 bits",
    "a wait for the device in each batch",
    "dropout by the generator of the host",
    "results as numpy before they are on the host",
    "arange without a device in a pass",
}
NIGHTLY = (pytest.mark.slow, pytest.mark.nightly)
PARAMETERS = [pytest.param(name, marks=NIGHTLY if name in SLOW else ()) for name in FAULTS]


@pytest.mark.parametrize("name", PARAMETERS)
@pytest.mark.usefixtures("few_steps")
def test_a_planted_fault_is_found(
    gpu: Gpu, place: Place, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    fault = FAULTS[name]
    fault.plant(monkeypatch)
    with pytest.raises((DeviceError, AssertionError, TypeError, RuntimeError)) as found:
        fault.look(gpu, place)
    assert re.search(fault.says, told(found.value)), told(found.value)


def told(error: BaseException | None) -> str:
    """What an error says, and those before it: Lightning's clearing up may fail, too."""
    return "" if error is None else f"{error}\n{told(error.__context__)}"
