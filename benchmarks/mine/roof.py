"""What fraction of a GPU's matrix rate a compiled kernel can reach, from its machine code alone.

A model of one multiprocessor of an H100 or H200 (sm_90), so that a change can be judged before a
GPU is at hand. It gives bounds, not predictions of time: no stalls but those named, no power limit.

- Tensor cores: 2048 multiply-adds of 16 bits per cycle, 4096 of 8 bits (NVIDIA H100 white paper).
- Shared memory: 128 bytes per cycle; each `wgmma` reads both its operands, each copy writes.
- Four schedulers of one instruction per cycle; what runs on half a scheduler's lanes takes two.
- 64 K registers, 227 KiB of shared memory: as many blocks at a time as they hold.
- A block alone waits FILL cycles for its first tile and DRAIN for its last stores; a second block
  on the same multiprocessor works in that time.

A persistent kernel, whose blocks go from tile to tile, is judged by the same counts. Its copies of
the next tile go on while it ends this one, so FILL and DRAIN are none of its time. Where two groups
of warps take turns, one of them ends a tile while the other multiplies.
"""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import triton

SHARED_CYCLE, SCHEDULERS, REGISTERS, SHARED = 128, 4, 65536, 227 << 10
MOST_WARPS, MOST_BLOCKS, BLOCK_SHARED = 64, 32, 1024  # the last: bytes the system takes per block
OPERATIONS = 8192  # of 8 bits per cycle: a multiply-add is two
GMMA_BYTES = 32  # of depth in each instruction
FILL, DRAIN = 1500, 400  # cycles, assumed
HALF_RATE = {"SHFL", "R2UR", "S2R", "POPC", "MUFU", "F2F", "F2I", "I2F", "RED", "ATOM", "I2FP"}
LINE = re.compile(r"^\s+/\*([0-9a-f]{4,})\*/\s+(?:@!?U?P[T0-9]+\s+)?([A-Z][A-Za-z0-9_.]*)(.*?);")
GMMA = re.compile(r"[HIQB]GMMA\.(\d+)x(\d+)x(\d+)")


@dataclass(frozen=True)
class Tile:
    """How a product is cut: rows, columns and depth of a tile, the whole depth, and its warps."""

    high: int
    wide: int
    deep: int
    depth: int
    warps: int


@dataclass(frozen=True)
class Roof:
    """What holds the kernel, per multiprocessor."""

    registers: int  # per thread
    stack: int  # bytes per thread: what is spilled
    blocks: int  # at a time
    after: float  # instructions per score behind the product
    fences: int  # that wait for the whole GPU
    share: float  # of the tensor cores' rate, at most
    persistent: float  # the same share, of the same code in blocks that go from tile to tile
    in_turns: float  # and of two groups of warps that take turns

    def cells(self) -> list[str]:
        """Blocks, instructions per score, fences and share, for a table."""
        return [str(self.blocks), f"{self.after:.1f}", str(self.fences), f"{self.share:.0%}"]


@dataclass(frozen=True)
class Instruction:
    """A line of machine code."""

    address: int
    name: str
    operands: str

    @property
    def kind(self) -> str:
        """Without its variants."""
        return self.name.partition(".")[0]


def roof_of(cubin: Path, tile: Tile, shared: int) -> Roof:
    """The roof of a compiled product; `shared` is its shared memory in bytes."""
    code = instructions(cubin)
    registers, stack = usage(cubin)
    before, main, after = (Counter(part) for part in _parts(code, tile))
    shapes = [GMMA.search(line.name) for line in code]
    m, n, k = (int(size) for size in next(shape for shape in shapes if shape).groups())
    products = sum(count for line, count in main.items() if "GMMA" in line.name)
    groups = tile.warps // 4
    width = GMMA_BYTES // k  # bytes of a number
    tensor = products * groups * m * n * k * width * 2 / OPERATIONS
    copies = sum(n for part in (before, main) for line, n in part.items() if line.kind == "LDGSTS")
    moved = products * groups * (m + n) * GMMA_BYTES + copies * tile.warps * 32 * 16
    first, middle, last = (_slots(part) * tile.warps / SCHEDULERS for part in (before, main, after))
    blocks = max(
        1,
        min(
            REGISTERS // (-(-registers // 8) * 8 * tile.warps * 32),
            SHARED // (shared + BLOCK_SHARED),
            MOST_WARPS // tile.warps,
            MOST_BLOCKS,
        ),
    )
    busy = max(tensor, moved / SHARED_CYCLE)
    loop, issued = max(busy, middle), first + middle + last
    together = max(blocks * max(busy, issued), FILL + first + loop + last + DRAIN)
    goes_on = max(blocks * max(busy, middle + last), loop + last)
    return Roof(
        registers=registers,
        stack=stack,
        blocks=blocks,
        after=after.total() * tile.warps * 32 / (tile.high * tile.wide),
        fences=sum(line.name.startswith("MEMBAR") and "GPU" in line.name for line in code),
        share=tensor * blocks / together,
        persistent=tensor * blocks / goes_on,
        in_turns=tensor / max(busy, issued),
    )


def instructions(cubin: Path) -> list[Instruction]:
    """The machine code, without what does nothing."""
    lines = map(LINE.match, _cuobjdump("-sass", cubin).splitlines())
    found = [Instruction(int(line[1], 16), line[2], line[3]) for line in lines if line]
    return [line for line in found if line.name != "NOP"]


def usage(cubin: Path) -> tuple[int, int]:
    """Registers and bytes of stack per thread."""
    text = _cuobjdump("-res-usage", cubin)
    registers, stack = (re.search(rf"{name}:(\d+)", text) for name in ("REG", "STACK"))
    assert registers and stack
    return int(registers[1]), int(stack[1])


def _cuobjdump(option: str, cubin: Path) -> str:
    tool = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
    return subprocess.run([tool, option, cubin], capture_output=True, text=True, check=True).stdout


def _parts(code: list[Instruction], tile: Tile) -> list[list[Instruction]]:
    """What a warp issues before the first matrix instruction, until the last, and after it: a loop
    around them as often as it turns.
    """
    gmma = [i for i, line in enumerate(code) if "GMMA" in line.name]
    first, last = gmma[0], gmma[-1]
    shape = GMMA.search(code[first].name)
    assert shape is not None
    m, n, k = map(int, shape.groups())
    per_step = (tile.high // m) * (tile.wide // n) * (tile.deep // k) // (tile.warps // 4)
    place = {line.address: i for i, line in enumerate(code)}
    turns = [1] * len(code)
    for i, line in enumerate(code):
        target = re.search(r"0x([0-9a-f]+)", line.operands) if line.kind == "BRA" else None
        begin = place.get(int(target[1], 16), i) if target else i
        inside = sum("GMMA" in part.name for part in code[begin:i])
        if inside:
            # What stands before or behind the loop was taken out of it by the compiler.
            steps = (tile.depth // tile.deep * per_step - (len(gmma) - inside)) // inside
            turns[begin : i + 1] = [steps] * (i + 1 - begin)
            first, last = min(first, begin), max(last, i)
    spans = (range(first), range(first, last + 1), range(last + 1, len(code)))
    return [[code[i] for i in span for _ in range(turns[i])] for span in spans]


def _slots(part: Counter[Instruction]) -> int:
    """Issue slots of a warp."""
    return part.total() + sum(n for line, n in part.items() if line.kind in HALF_RATE)
