"""The mask of the loss: the cells of B x C that are no negatives, dense, or sparse and by tile.

A batch of 65,536 has 4 billion cells and a few known positives per row: only those are held.

Shape suffixes: B pairs, C documents, M listed positives, U distinct positives of the batch,
X cells.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor


@dataclass(frozen=True)
class Cells:
    """Cells of a matrix of `shape`, each once, as ascending numbers row x columns + column."""

    key_X: Tensor
    shape: tuple[int, int]

    @property
    def row_X(self) -> Tensor:
        """Each cell's row."""
        return self.key_X // self.shape[1]

    @property
    def column_X(self) -> Tensor:
        """Each cell's column."""
        return self.key_X % self.shape[1]

    def place(self, column_B: Tensor) -> Tensor:
        """Where the cells (b, column_B[b]), which must be among these, stand in `key_X`."""
        row_B = torch.arange(len(column_B), device=column_B.device)
        return torch.searchsorted(self.key_X, row_B * self.shape[1] + column_B)

    def by_document(self, column_U: Tensor) -> Cells:
        """The transpose of the ascending columns `column_U`: a matrix [U, B]."""
        pairs, column_X = self.shape[0], self.column_X
        place_X = torch.searchsorted(column_U, column_X).clamp_(max=len(column_U) - 1)
        kept_X = column_U[place_X] == column_X
        key_X = (place_X * pairs + self.row_X)[kept_X].sort().values
        return Cells(key_X, (len(column_U), pairs))


def mask_cells(column_B: Tensor, known: tuple[Tensor, Tensor], columns: int) -> Cells:
    """The listed positives (CSR: offsets [B + 1], columns [M]) and every pair's own document.

    >>> known = torch.tensor([0, 1, 1]), torch.tensor([2])  # document 2 answers query 0, too
    >>> cells = mask_cells(torch.tensor([0, 1]), known, columns=3)
    >>> cells.row_X.tolist(), cells.column_X.tolist()
    ([0, 0, 1], [0, 2, 1])
    """
    offsets_B1, columns_M = known
    row_B = torch.arange(len(column_B), device=column_B.device)
    row_M = torch.repeat_interleave(row_B, offsets_B1.diff(), output_size=len(columns_M))
    key_X = torch.cat([row_M * columns + columns_M, row_B * columns + column_B]).unique()
    return Cells(key_X, (len(column_B), columns))


def dense_mask(known: tuple[Tensor, Tensor], columns: int) -> Tensor:
    """The listed positives (offsets [B + 1], columns [M]) as a bool matrix [B, columns].

    >>> dense_mask((torch.tensor([0, 1, 1]), torch.tensor([2])), columns=3)
    tensor([[False, False,  True],
            [False, False, False]])
    """
    offsets_B1, columns_M = known
    pairs = len(offsets_B1) - 1
    row_M = torch.repeat_interleave(
        torch.arange(pairs, device=columns_M.device), offsets_B1.diff(), output_size=len(columns_M)
    )
    known_BC = torch.zeros(pairs, columns, dtype=torch.bool, device=columns_M.device)
    known_BC[row_M, columns_M] = True
    return known_BC


class TileCells(NamedTuple):
    """The cells of one tile: row and column within it, and which of all cells they are."""

    row: Tensor
    column: Tensor
    which: Tensor


@dataclass(frozen=True)
class CellsByTile:
    """All cells in the order of their tiles; tile (i, j) is number i x wide + j."""

    cells: TileCells
    starts: list[int]
    wide: int

    def of(self, i: int, j: int) -> TileCells:
        """Those of the tile in row i and column j of tiles."""
        number = i * self.wide + j
        part = slice(self.starts[number], self.starts[number + 1])
        return TileCells(self.cells.row[part], self.cells.column[part], self.cells.which[part])


def cells_by_tile(cells: Cells, tile: tuple[int, int]) -> CellsByTile:
    """Sort the cells into tiles of the given rows and columns; waits for the device once."""
    row_X, column_X = cells.row_X, cells.column_X
    high, wide = (-(-size // step) for size, step in zip(cells.shape, tile, strict=True))
    tile_X, which_X = (row_X // tile[0] * wide + column_X // tile[1]).sort(stable=True)
    numbers = torch.arange(high * wide + 1, device=tile_X.device)
    starts = torch.searchsorted(tile_X, numbers).tolist()
    sorted_cells = TileCells(row_X[which_X] % tile[0], column_X[which_X] % tile[1], which_X)
    return CellsByTile(sorted_cells, starts, wide)
