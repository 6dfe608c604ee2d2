"""A device by its name: taken where it is there, else refused in a line; and what goes to one."""

from __future__ import annotations

import pytest
import torch
from pretend_cuda import Gpu

from whet.config import EncodeConfig, TrainerConfig
from whet.errors import ConfigError, EnvironmentRefused
from whet.loss.distillation import Taught
from whet.loss.guided import GuideVectors
from whet.processes.devices import choose_device
from whet.run.early import check_device


def test_a_gpu_that_is_there_is_taken_and_others_are_refused(gpu: Gpu) -> None:
    check_device(EncodeConfig(device="cuda:0"), TrainerConfig(accelerator="gpu"))
    assert choose_device(EncodeConfig(device="cuda:0")).type == "cuda"
    with pytest.raises(ConfigError, match=r"encode\.device=gpu is no device"):
        check_device(EncodeConfig(device="gpu"))
    with pytest.raises(ConfigError, match=r"encode\.device=gpu is no device"):
        choose_device(EncodeConfig(device="gpu"))
    with pytest.raises(EnvironmentRefused, match="the last GPU here is cuda:0"):
        choose_device(EncodeConfig(device="cuda:1"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_where_there_is_none_the_option_that_asks_is_named() -> None:
    with pytest.raises(EnvironmentRefused, match=r"encode\.device=cuda: torch finds no GPU"):
        check_device(EncodeConfig(device="cuda"), TrainerConfig(accelerator="gpu"))


def test_what_helps_a_loss_goes_along(gpu: Gpu) -> None:
    device = torch.device("cuda")
    guide = GuideVectors(torch.ones(2, 3), torch.ones(4, 3)).to(device)
    taught = Taught(torch.zeros(2, 3, dtype=torch.int64), torch.ones(2, 3)).to(device)
    for tensor in (guide.query_BD, guide.doc_CD, taught.column_BL, taught.score_BL):
        assert tensor.device.type == "cuda"
