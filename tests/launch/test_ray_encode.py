"""Ray Data fills the store; what is there is not encoded again, and the vectors are the same."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest


def encode(data, model, output, cache, *words):
    command = [sys.executable, "-m", "whet_launch", "encode", f"data={data}", f"model={model}"]
    done = subprocess.run(
        [*command, f"output={output}", *words],
        env=os.environ | {"WHET_CACHE": str(cache), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    return np.load(output / "vectors/vectors.npy"), done.stderr


@pytest.mark.slow
def test_ray_encodes_what_the_store_lacks(tiny_data, tiny_model, tmp_path):
    alone, _ = encode(tiny_data, tiny_model, tmp_path / "alone", tmp_path / "one")
    ray = ["launch=ray", "launch.num_workers=2"]
    both, said = encode(tiny_data, tiny_model, tmp_path / "both", tmp_path / "two", *ray)
    assert np.abs(alone - both).max() < 1e-6
    assert "Encoding on Ray: 120 of 120 texts" in said
    assert "Encoding documents" not in said  # the driver found all of it in the store
    segments = list((tmp_path / "two/embeddings").glob("*/segment-*/manifest.json"))
    assert len(segments) > 1
    assert sum(len(json.loads(path.read_text())["files"]) for path in segments) == 2 * len(segments)
    before = {path: path.stat().st_mtime_ns for path in segments}
    again, _ = encode(tiny_data, tiny_model, tmp_path / "again", tmp_path / "two", *ray)
    assert np.array_equal(again, both)
    after = list((tmp_path / "two/embeddings").glob("*/segment-*/manifest.json"))
    assert {path: path.stat().st_mtime_ns for path in after} == before
