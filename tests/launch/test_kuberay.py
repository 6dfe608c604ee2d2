"""The manifest is a RayJob as KubeRay's resource definition describes it (ray.io/v1)."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

Whet = Callable[..., tuple[int, str, str]]
SCHEMA = json.loads((Path(__file__).parent / "rayjob_schema.json").read_text(encoding="utf-8"))
WORDS = ["data=/mnt/whet/data", "output=/mnt/whet/runs/one", "launch=kuberay"]
NEEDED = ["launch.image=me/whet:1", "launch.claim=shared"]


def manifest(whet: Whet, *words: str) -> Any:
    code, out, err = whet("fit", *WORDS, *NEEDED, *words)
    assert (code, err) == (0, "")
    found = yaml.safe_load(out)
    jsonschema.validate(found, SCHEMA)
    return found


def test_it_is_valid_and_asks_for_what_the_job_needs(whet: Whet) -> None:
    found = manifest(whet, "launch.num_workers=4", "launch.min_workers=2", "launch.name=My_Run 1")
    assert found["metadata"]["name"] == "my-run-1"
    spec = found["spec"]
    assert spec["shutdownAfterJobFinishes"] is True and spec["backoffLimit"] == 3
    (group,) = spec["rayClusterSpec"]["workerGroupSpecs"]
    assert (group["minReplicas"], group["replicas"], group["maxReplicas"]) == (2, 4, 4)
    container = group["template"]["spec"]["containers"][0]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"
    head = spec["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]
    assert head["volumes"][0]["persistentVolumeClaim"]["claimName"] == "shared"
    assert "nvidia.com/gpu" not in head["containers"][0]["resources"]["limits"]
    assert spec["rayClusterSpec"]["authOptions"] == {"mode": "token"}


def test_its_command_is_the_fit_and_goes_on_when_tried_again(whet: Whet) -> None:
    found = manifest(whet, "seed=3", "model.query_prompt=a 'b'", "launch.num_workers=2")
    words = shlex.split(found["spec"]["entrypoint"])
    assert words[:4] == ["python", "-m", "whet_launch", "fit"]
    assert {"seed=3", "launch.mode=ray", "launch.num_workers=2", "resume=auto"} <= set(words)
    assert not [word for word in words if word.startswith(("launch.image", "launch.claim"))]


def test_cpus_alone(whet: Whet) -> None:
    assert "nvidia.com/gpu" not in json.dumps(manifest(whet, "launch.use_gpu=false"))


def test_a_run_folder_in_a_pod_is_refused(whet: Whet) -> None:
    code, out, err = whet("fit", "data=/d", "output=/tmp/run", "launch=kuberay", *NEEDED)
    assert (code, out) == (2, "")
    assert "output=/tmp/run would be lost with its pod" in err


@pytest.mark.parametrize("wrong", [("backoffLimit", "3"), ("entrypoint", None), ("retries", 1)])
def test_the_schema_bites(whet: Whet, wrong: tuple[str, Any]) -> None:
    found = manifest(whet)
    found["spec"][wrong[0]] = wrong[1]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(found, SCHEMA)
