"""What can be wrong with one machine. Only the standard library is imported, so that a cluster's
nodes can run this as it is, whether or not Whet is installed there.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterable
from dataclasses import astuple, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from whet.storage.places import user_path
from whet.version import NAME, install_line

OK, WARN, FAIL = "ok", "warn", "fail"
NEEDED = (NAME, "torch", "lightning", "transformers", "hydra-core", "numpy")
OPTIONAL = ("ray", "deepspeed", "faiss-cpu", "faiss-gpu", "triton", "numba", "peft")
BAD = {  # releases nobody should run: exact ones, or all below one
    "lightning": (("2.6.2", "2.6.3"), "", "were malicious"),
    "pytorch-lightning": (("2.6.2", "2.6.3"), "", "were malicious"),
    "ray": ((), "2.52", "have no token authentication"),
    "hydra-core": ((), "1.3.7", "run code named in a configuration (CVE-2026-106439)"),
}
PYTHONS = ((3, 11), (3, 13))
GIB = 1 << 30
FREE_GIB = 10  # of disk for checkpoints and vectors
RAM_GIB = 4
SHM_MIB = 64  # what a container gets by default, too little for Ray's object store
FILES = 4096  # Ray opens some thousand
DISK_MB_S = 50  # a checkpoint of a small model then takes some seconds
WRITTEN = 1 << 26
GCS_PORT, DASHBOARD_PORT = 6379, 8265


@dataclass(frozen=True)
class Finding:
    """One thing looked at: how it stands, what was found, and what to do if that is not well."""

    state: str
    what: str
    detail: str
    remedy: str = ""


def examine(folders: dict[str, str]) -> list[Finding]:
    """Everything about this machine; `folders` are those written to, by what they are for."""
    return [
        *_versions(),
        *_devices(),
        *_memory(),
        *(finding for name, path in folders.items() for finding in _disk(name, path)),
        *_ray(),
    ]


def report(folders: dict[str, str]) -> tuple[list[tuple[str, ...]], dict[str, str]]:
    """`examine` and `installed` as plain values, which travel between machines."""
    return [astuple(finding) for finding in examine(folders)], installed()


def installed() -> dict[str, str]:
    """The versions that must be the same on all nodes."""
    versions = {"python": platform.python_version()}
    for name in (*NEEDED, *OPTIONAL):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions


def _versions() -> list[Finding]:
    low, high = PYTHONS
    python = tuple(map(int, platform.python_version_tuple()[:2]))
    fine = low <= python <= high
    span = f"{low[0]}.{low[1]} to {high[0]}.{high[1]}"
    remedy = "" if fine else f"Use Python {span}."
    findings = [Finding(OK if fine else FAIL, "python", platform.python_version(), remedy)]
    there = installed()
    findings += [_package(name, there.get(name), needed=True) for name in NEEDED]
    findings += [_package(name, there.get(name), needed=False) for name in OPTIONAL]
    return findings


def _package(name: str, release: str | None, *, needed: bool) -> Finding:
    if release is None:
        remedy = f"Install Whet here: {install_line()}." if needed else ""
        return Finding(FAIL if needed else OK, name, "not installed", remedy)
    trouble = trouble_with(name, release)
    return Finding(FAIL if trouble else OK, name, release, trouble)


def trouble_with(name: str, release: str) -> str:
    """What is known against a release, and what to do; empty if nothing.

    >>> trouble_with("ray", "2.51.1")
    'Releases below 2.52 have no token authentication. Install a newer ray.'
    """
    exact, below, why = BAD.get(name, ((), "", ""))
    if release.partition("+")[0] in exact:
        return f"Releases {' and '.join(exact)} {why}. Remove it, look the machine through."
    if below and _numbers(release) < _numbers(below):
        return f"Releases below {below} {why}. Install a newer {name}."
    return ""


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", text.partition("+")[0])[:3])


def _devices() -> list[Finding]:
    """GPUs as the driver sees them: no library need be loaded."""
    fields = "name,memory.total,memory.free,driver_version"
    command = ["nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except FileNotFoundError:
        return [Finding(OK, "gpu", "none (no nvidia-smi)")]
    except (OSError, subprocess.SubprocessError) as error:
        answer = str(getattr(error, "stdout", "") or error).strip().splitlines()[:1]
        remedy = "Restart the driver: nvidia-smi must answer."
        return [Finding(FAIL, "gpu", f"nvidia-smi fails: {' '.join(answer)}", remedy)]
    findings = []
    for number, line in enumerate(done.stdout.strip().splitlines()):
        name, total, free, driver = (part.strip() for part in line.split(","))
        busy = float(free) < 0.5 * float(total)
        remedy = "Something else holds its memory: nvidia-smi shows what." if busy else ""
        memory = f"{name}, {float(free) / 1024:.0f} of {float(total) / 1024:.0f} GiB free"
        state = WARN if busy else OK
        findings.append(Finding(state, f"gpu {number}", f"{memory}, driver {driver}", remedy))
    return [*findings, _torch_sees_them()]


def _torch_sees_them() -> Finding:
    """A CPU build of torch on a GPU machine is a common mistake. Its version says which it is."""
    build = installed().get("torch", "")
    if build.endswith("+cpu"):
        remedy = "Install a CUDA build of torch, or the GPUs stay idle."
        return Finding(FAIL, "torch build", build, remedy)
    return Finding(OK, "torch build", build or "not installed")


def _memory() -> list[Finding]:
    free = _available_bytes() / GIB
    remedy = "" if free >= RAM_GIB else f"Free memory: a fit wants at least {RAM_GIB} GiB."
    findings = [Finding(OK if not remedy else WARN, "memory", f"{free:.1f} GiB free", remedy)]
    if Path("/dev/shm").is_dir():
        shm = shutil.disk_usage("/dev/shm")
        small = shm.total <= SHM_MIB << 20
        remedy = "Give the container more: docker run --shm-size=8g." if small else ""
        shm_text = f"{shm.free / GIB:.1f} of {shm.total / GIB:.1f} GiB free"
        findings.append(Finding(WARN if small else OK, "/dev/shm", shm_text, remedy))
    return [*findings, *_open_files()]


def _open_files() -> list[Finding]:
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return []
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    few = soft != resource.RLIM_INFINITY and soft < FILES
    remedy = f"Raise it before a cluster is started: ulimit -n {FILES * 16}." if few else ""
    return [Finding(WARN if few else OK, "open files", f"{soft:,} (at most {hard:,})", remedy)]


def _available_bytes() -> int:
    for line in _lines("/proc/meminfo"):
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) << 10
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _disk(name: str, path: str) -> list[Finding]:
    """Free space, and how fast 64 MiB are written and on the disk."""
    folder = _existing(user_path(path).absolute())
    try:
        free = shutil.disk_usage(folder).free / GIB
        # Measured to the disk, not to the page cache: a checkpoint waits for that.
        speed = _written_mb_s(folder)
    except OSError as error:
        remedy = f"Make {folder} writable, or choose another."
        return [Finding(FAIL, name, f"{folder}: {error.strerror}", remedy)]
    figures = f"{folder}: {free:.0f} GiB free, {speed:,.0f} MB/s written"
    if free < 1:
        return [Finding(FAIL, name, figures, "Free some: less than 1 GiB is left.")]
    if free < FREE_GIB:
        return [Finding(WARN, name, figures, f"Less than {FREE_GIB} GiB: checkpoints may fill it.")]
    if speed < DISK_MB_S:
        return [Finding(WARN, name, figures, "Slow: checkpoints will hold training up.")]
    return [Finding(OK, name, figures)]


def _existing(folder: Path) -> Path:
    while not folder.exists():
        folder = folder.parent
    return folder


def _written_mb_s(folder: Path) -> float:
    block = os.urandom(WRITTEN)
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        start = time.perf_counter()
        file.write(block)
        file.flush()
        os.fsync(file.fileno())
        return WRITTEN / 1e6 / (time.perf_counter() - start)


def _ray() -> list[Finding]:
    """Whether a cluster answers here, and whether it asks who is there (ShadowRay: a dashboard
    without authentication runs anyone's code).
    """
    mode = os.environ.get("RAY_AUTH_MODE", "not set, Ray's default")
    unsafe = mode == "disabled"
    remedy = "Clusters started here run anyone's code: set it to token." if unsafe else ""
    findings = [Finding(WARN if unsafe else OK, "RAY_AUTH_MODE", mode, remedy)]
    addresses = ["127.0.0.1", *own_addresses()]
    findings += [dashboard(address, DASHBOARD_PORT) for address in addresses]
    open_at = [address for address in addresses if answers(address, GCS_PORT)]
    if not open_at:
        return [*findings, Finding(OK, f"port {GCS_PORT}", "free (Ray's own)")]
    # What listens to this machine alone is no way in from the network.
    outside = [address for address in open_at if address != "127.0.0.1"]
    detail = f"answered on {', '.join(open_at)}"
    if outside and unsafe:
        remedy = "Start Ray with RAY_AUTH_MODE=token, or behind a firewall."
        return [*findings, Finding(WARN, f"port {GCS_PORT}", detail, remedy)]
    return [*findings, Finding(OK, f"port {GCS_PORT}", detail)]


def dashboard(host: str, port: int) -> Finding:
    """Whether a Ray dashboard answers there without a token. Failed unless only this machine can
    ask.
    """
    what = f"port {port} on {host}"
    if not answers(host, port):
        return Finding(OK, what, "nothing answers")
    try:
        # Without the proxy of the environment: it is this host that is asked.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"http://{host}:{port}/api/jobs/", timeout=5) as answer:
            open_to_all = answer.status == 200
    except urllib.error.HTTPError as error:
        if error.code in (401, 403):
            return Finding(OK, what, "a Ray dashboard that asks for a token")
        return Finding(OK, what, f"answers, but is no Ray dashboard ({error.code})")
    except OSError as error:
        return Finding(OK, what, f"answers, but is no Ray dashboard ({error})")
    if not open_to_all:
        return Finding(OK, what, "answers, but is no Ray dashboard")
    if host.startswith("127.") or host == "localhost":
        return Finding(OK, what, "a Ray dashboard without a token, asked from this machine")
    return Finding(
        FAIL,
        what,
        "a Ray dashboard that runs anyone's code: it asks for no token",
        "Stop the cluster, start it again with RAY_AUTH_MODE=token (ray get-auth-token).",
    )


def answers(host: str, port: int) -> bool:
    """Whether anything takes a connection there."""
    try:
        with socket.create_connection((host, port), timeout=1):
            return True
    except OSError:
        return False


def own_addresses() -> list[str]:
    """This machine's IPv4 addresses that others can ask."""
    addresses: list[str] = []
    last = ""
    for line in _lines("/proc/net/fib_trie"):
        if "|--" in line:
            last = line.split()[-1]
        elif "host LOCAL" in line and not last.startswith("127.") and last not in addresses:
            addresses.append(last)
    return addresses


def _lines(path: str) -> Iterable[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []
