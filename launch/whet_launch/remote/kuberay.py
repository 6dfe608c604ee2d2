"""`launch=kuberay`: a RayJob manifest for `kubectl apply`, on standard output."""

from __future__ import annotations

import re
import shlex
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from whet.config import FitConfig
from whet.errors import ConfigError
from whet_launch.remote.jobs import job_name, words_for_cluster

MOUNT = "/mnt/whet"
LONGEST_NAME = 47  # characters; KubeRay appends its own
HEAD = {"cpu": "2", "memory": "8Gi"}
WORKER = {"cpu": "4", "memory": "16Gi"}


def show(config: FitConfig) -> None:
    """Print the manifest."""
    import yaml

    print(yaml.safe_dump(manifest(config), sort_keys=False), end="")


def manifest(config: FitConfig) -> dict[str, Any]:
    """The RayJob: a head that drives, and a pod for each process. A retry goes on with the run.

    Raises ConfigError without an image and a volume that all pods see.
    """
    launch = config.launch
    if launch.image is None or launch.claim is None:
        raise ConfigError(
            "launch=kuberay needs launch.image=IMAGE, which holds Whet with the extra ray, and "
            f"launch.claim=NAME, a PersistentVolumeClaim that the pods see as {MOUNT}."
        )
    words = words_for_cluster(config)
    if not str(config.output).startswith(f"{MOUNT}/"):
        raise ConfigError(
            f"output={config.output} would be lost with its pod. Choose a folder under {MOUNT}, "
            f"where the claim {launch.claim} is mounted."
        )
    spec: dict[str, Any] = {
        "entrypoint": shlex.join(["python", "-m", "whet_launch", "fit", *words]),
        "shutdownAfterJobFinishes": True,
        "ttlSecondsAfterFinished": 60,
        "backoffLimit": max(0, launch.max_failures),
        "submissionMode": "K8sJobMode",
        "rayClusterSpec": _cluster(config),
    }
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayJob",
        "metadata": {"name": _kubernetes_name(job_name(config))},
        "spec": spec,
    }


def _cluster(config: FitConfig) -> dict[str, Any]:
    launch = config.launch
    gpu = launch.use_gpu if launch.use_gpu is not None else config.trainer.accelerator != "cpu"
    worker = WORKER | ({"nvidia.com/gpu": "1"} if gpu else {})
    cluster: dict[str, Any] = {
        "authOptions": {"mode": "token"},
        "headGroupSpec": {
            "rayStartParams": {"num-cpus": "0"},  # it drives, and computes nothing
            "template": _pod(launch.image, launch.claim, "ray-head", HEAD),
        },
        "workerGroupSpecs": [
            {
                "groupName": "workers",
                "replicas": launch.num_workers,
                "minReplicas": launch.min_workers or launch.num_workers,
                "maxReplicas": launch.num_workers,
                "rayStartParams": {},
                "template": _pod(launch.image, launch.claim, "ray-worker", worker),
            }
        ],
    }
    try:
        return {"rayVersion": version("ray"), **cluster}
    except PackageNotFoundError:
        return cluster


def _pod(image: str | None, claim: str | None, name: str, resources: dict[str, str]) -> Any:
    container = {
        "name": name,
        "image": image,
        "resources": {"requests": dict(resources), "limits": dict(resources)},
        "volumeMounts": [{"name": "whet", "mountPath": MOUNT}],
    }
    volume = {"name": "whet", "persistentVolumeClaim": {"claimName": claim}}
    return {"spec": {"containers": [container], "volumes": [volume]}}


def _kubernetes_name(name: str) -> str:
    """Lower-case letters, digits and dashes, a letter first."""
    plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    return (plain if plain[:1].isalpha() else f"whet-{plain}")[:LONGEST_NAME].rstrip("-")
