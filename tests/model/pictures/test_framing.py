"""What a preprocessor_config.json says of pixels is done as transformers does it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from drawn import drawn

from whet.errors import ConfigError
from whet.model.parts.pictures.framing import read_framing

SIZES = ((50, 40), (33, 90), (32, 32), (20, 25), (301, 41), (7, 5))
SAID: list[dict[str, Any]] = [
    {"image_processor_type": "ViTImageProcessor"},
    {"image_processor_type": "ViTImageProcessor", "size": 30, "resample": 3},
    {"feature_extractor_type": "ViTFeatureExtractor", "size": 24, "do_normalize": False},
    {"image_processor_type": "ViTImageProcessor", "do_rescale": False, "resample": 0},
    {"image_processor_type": "DeiTImageProcessor"},
    {"image_processor_type": "BitImageProcessor", "size": {"shortest_edge": 37}, "crop_size": 31},
    {
        "image_processor_type": "BitImageProcessor",
        "do_resize": False,
        "crop_size": {"height": 33, "width": 60},
    },
    {"image_processor_type": "CLIPImageProcessor", "size": 48, "crop_size": 32},
    {"image_processor_type": "SiglipImageProcessor", "size": {"height": 20, "width": 30}},
    {"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 224}},
    {"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 384}},
    {"image_processor_type": "MobileNetV2ImageProcessor"},
    {"image_processor_type": "EfficientNetImageProcessor"},
    {
        "image_processor_type": "EfficientNetImageProcessor",
        "rescale_factor": 1 / 127.5,
        "rescale_offset": True,
        "include_top": False,
        "do_center_crop": True,
    },
]


def framing_file(folder: Path, said: dict[str, Any]) -> Path:
    (folder / "preprocessor_config.json").write_text(json.dumps(said))
    return folder


@pytest.mark.parametrize("said", SAID, ids=[str(number) for number in range(len(SAID))])
def test_pixels_are_those_of_transformers(said: dict[str, Any], tmp_path: Path) -> None:
    from transformers import AutoImageProcessor

    framing = read_framing(framing_file(tmp_path, said))
    theirs = AutoImageProcessor.from_pretrained(tmp_path)
    for seed, size in enumerate(SIZES):
        image = drawn(seed, *size)
        wanted_3HW = theirs(image, return_tensors="np").pixel_values[0]
        pixels_3HW = framing.framed(image)
        assert pixels_3HW.dtype == np.uint8
        assert pixels_3HW.shape == (3, *framing.size)
        ours_13HW = framing.scaled(torch.from_numpy(pixels_3HW)[None])
        np.testing.assert_allclose(ours_13HW[0].numpy(), wanted_3HW, atol=2e-5, rtol=1e-5)


def test_what_is_written_is_read_back_alike(tmp_path: Path) -> None:
    for said in SAID:
        framing = read_framing(framing_file(tmp_path, said))
        again = read_framing(framing_file(tmp_path, framing.said))
        assert again == framing
        assert again.deciding() == framing.deciding()


@pytest.mark.parametrize("said", SAID[:-8], ids=[str(number) for number in range(len(SAID) - 8)])
def test_another_size_is_a_square_of_that_edge(said: dict[str, Any], tmp_path: Path) -> None:
    framing = read_framing(framing_file(tmp_path, said), 48)
    assert framing.size == (48, 48)
    assert read_framing(framing_file(tmp_path, framing.said)) == framing


@pytest.mark.parametrize("size", [(20_000, 1), (1, 20_000)])
def test_a_very_long_picture_needs_little_memory(size: tuple[int, int], tmp_path: Path) -> None:
    framing = read_framing(
        framing_file(tmp_path, {"image_processor_type": "CLIPImageProcessor", "size": 224})
    )
    assert framing.framed(drawn(1, *size)).shape == (3, 224, 224)


@pytest.mark.parametrize("text", ["[]", "{", "{}", '{"image_processor_type": 3}', "[" * 100_000])
def test_a_damaged_file_is_one_line(text: str, tmp_path: Path) -> None:
    (tmp_path / "preprocessor_config.json").write_text(text)
    with pytest.raises(ConfigError) as refusal:
        read_framing(tmp_path)
    assert "\n" not in str(refusal.value)
