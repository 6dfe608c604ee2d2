"""Headers of safetensors files: sound ones are read as they are, cut or moved ones refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from whet.errors import ConfigError, EnvironmentRefused
from whet.model.tensors import check_fits, shapes_in, shapes_of_model
from whet.processes.host import host_bytes

DTYPES = (
    torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32,
    torch.int16, torch.int8, torch.uint8, torch.bool,
)  # fmt: skip
SHAPES = st.lists(st.integers(0, 4), max_size=3).map(tuple)
TENSORS = st.dictionaries(
    st.text("abc.é", min_size=1, max_size=6), st.tuples(SHAPES, st.sampled_from(DTYPES)),
    min_size=1, max_size=5,
)  # fmt: skip
often = settings(
    deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def written(path: Path, tensors: dict[str, tuple[tuple[int, ...], torch.dtype]]) -> bytes:
    """A file of zeros in these shapes, with a note, and its bytes."""
    zeros = {name: torch.zeros(shape, dtype=dtype) for name, (shape, dtype) in tensors.items()}
    save_file(zeros, path, metadata={"format": "pt"})
    return path.read_bytes()


@often
@given(TENSORS)
def test_shapes_are_those_that_were_saved(
    tmp_path: Path, tensors: dict[str, tuple[tuple[int, ...], torch.dtype]]
) -> None:
    written(tmp_path / "w.safetensors", tensors)
    assert shapes_in(tmp_path / "w.safetensors") == {n: shape for n, (shape, _) in tensors.items()}


@often
@given(TENSORS, st.data())
def test_a_file_of_another_length_is_refused(
    tmp_path: Path, tensors: dict[str, tuple[tuple[int, ...], torch.dtype]], data: st.DataObject
) -> None:
    content = written(tmp_path / "w.safetensors", tensors)
    length = data.draw(st.integers(0, len(content) - 1))
    longer = content + bytes(data.draw(st.integers(1, 9)))
    for other in (content[:length], longer):
        (tmp_path / "w.safetensors").write_bytes(other)
        with pytest.raises(ConfigError, match=r"w\.safetensors is damaged: "):
            shapes_in(tmp_path / "w.safetensors")


@often
@given(TENSORS, st.sampled_from([-1, 1, 7]), st.integers(0, 1), st.data())
def test_a_tensor_in_another_place_is_refused(
    tmp_path: Path,
    tensors: dict[str, tuple[tuple[int, ...], torch.dtype]],
    by: int,
    end: int,
    data: st.DataObject,
) -> None:
    content = written(tmp_path / "w.safetensors", tensors)
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    header[data.draw(st.sampled_from(sorted(tensors)))]["data_offsets"][end] += by
    spelled = json.dumps(header).encode()
    parts = len(spelled).to_bytes(8, "little"), spelled, content[8 + size :]
    (tmp_path / "w.safetensors").write_bytes(b"".join(parts))
    with pytest.raises(ConfigError, match="its header is wrong about the tensor"):
        shapes_in(tmp_path / "w.safetensors")


def test_an_index_adds_up_its_files(tmp_path: Path) -> None:
    placed = {}
    for number, name in enumerate(("a.safetensors", "b.safetensors")):
        written(tmp_path / name, {f"w{number}": ((2, number + 1), torch.float32)})
        placed[f"w{number}"] = name
    said = {"metadata": {}, "weight_map": placed}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(said))
    assert shapes_of_model(tmp_path) == {"w0": (2, 1), "w1": (2, 2)}
    (tmp_path / "b.safetensors").unlink()
    with pytest.raises(ConfigError, match=r"b\.safetensors is missing"):
        shapes_of_model(tmp_path)


def test_a_model_as_large_as_the_memory_is_the_largest(tmp_path: Path) -> None:
    most = host_bytes() // 4
    check_fits(most, tmp_path)
    with pytest.raises(EnvironmentRefused, match=f"a model of {most + 1:,} numbers needs"):
        check_fits(most + 1, tmp_path)
