"""A linear programme as sparse arrays: columns and rows are added as blocks, and each remembers its name and slot."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Columns = NDArray[np.int64]
Bools = NDArray[np.bool_]

Term = tuple[Columns, ArrayLike]
"""Columns with their coefficients, shapes (rows,) or (rows, terms); a column of -1 stands for nothing."""

TIMELESS = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class SparseMatrix:
    """Rows of a sparse matrix, one after the other: row i has entries `start[i]:start[i + 1]`."""

    start: NDArray[np.int32]
    column: NDArray[np.int32]
    value: Floats

    @property
    def row(self) -> Columns:
        """Row of each entry."""
        return np.repeat(np.arange(len(self.start) - 1), np.diff(self.start))

    def times(self, x: Floats) -> Floats:
        """Return the product with a column, shape (rows,)."""
        return np.bincount(self.row, weights=self.value * x[self.column], minlength=len(self.start) - 1).astype(float)


@dataclass(slots=True)
class LinearProgram:
    """Minimise cost * x subject to row_lower <= A x <= row_upper and lower <= x <= upper, some x whole.

    Blocks of columns and of rows are kept by name; `blocks["on"]` has the shape that the variable has in the equations.
    """

    blocks: dict[str, Columns] = field(default_factory=dict)
    rows: dict[str, Columns] = field(default_factory=dict)
    _columns: list[tuple[Floats, Floats, Floats, Bools, Columns]] = field(default_factory=list)
    _bounds: list[tuple[Floats, Floats, Columns]] = field(default_factory=list)
    _entries: list[tuple[Columns, Columns, Floats]] = field(default_factory=list)
    _width: int = 0
    _height: int = 0

    def variables(
        self,
        name: str,
        shape: tuple[int, ...],
        *,
        cost: ArrayLike = 0.0,
        lower: ArrayLike = 0.0,
        upper: ArrayLike = np.inf,
        integer: ArrayLike = False,
        slot: ArrayLike = TIMELESS,
    ) -> Columns:
        """Add a block of variables and return their columns in its shape; all arguments broadcast to it."""
        size = int(np.prod(shape))
        columns = self._width + np.arange(size).reshape(shape)
        self._width += size
        self._columns.append(
            (
                np.broadcast_to(np.asarray(cost, float), shape).ravel(),
                np.broadcast_to(np.asarray(lower, float), shape).ravel(),
                np.broadcast_to(np.asarray(upper, float), shape).ravel(),
                np.broadcast_to(np.asarray(integer, np.bool_), shape).ravel(),
                np.broadcast_to(np.asarray(slot, np.int64), shape).ravel(),
            )
        )
        self.blocks[name] = columns
        return columns

    def constrain(
        self,
        name: str,
        terms: Sequence[Term],
        *,
        lower: ArrayLike = -np.inf,
        upper: ArrayLike = np.inf,
        slot: ArrayLike = TIMELESS,
    ) -> Columns:
        """Add rows lower <= sum of terms <= upper, and return their numbers; calls with one name add to one another."""
        count = max(len(columns) for columns, _ in terms)
        rows = self._height + np.arange(count)
        self._height += count
        for columns, values in terms:
            wide = columns.reshape(len(columns), -1)
            coefficients = np.asarray(values, float)
            if coefficients.ndim == 1:
                coefficients = coefficients[:, None]
            flat = np.broadcast_to(coefficients, wide.shape).ravel()
            used = (wide.ravel() >= 0) & (flat != 0)
            of_row = np.repeat(rows, wide.shape[1])
            self._entries.append((of_row[used], wide.ravel()[used], flat[used]))
        self._bounds.append(
            (
                np.broadcast_to(np.asarray(lower, float), (count,)),
                np.broadcast_to(np.asarray(upper, float), (count,)),
                np.broadcast_to(np.asarray(slot, np.int64), (count,)),
            )
        )
        self.rows[name] = np.concatenate((self.rows.get(name, np.zeros(0, np.int64)), rows))
        return rows

    def model(self) -> "SparseModel":
        """Return the whole programme as arrays."""
        none, nothing = np.zeros(0, np.int64), np.zeros(0)
        entries = [(none, none, nothing), *self._entries]
        bounds = [(nothing, nothing, none), *self._bounds]
        row, column, value = (np.concatenate(part) for part in zip(*entries, strict=True))
        # Entries that meet are added up, as terms of a sum are.
        key, inverse = np.unique(row * max(self._width, 1) + column, return_inverse=True)
        row, column = np.divmod(key, max(self._width, 1))
        value = np.bincount(inverse, weights=value, minlength=len(key)).astype(float)
        start = np.searchsorted(row, np.arange(self._height + 1)).astype(np.int32)
        cost, lower, upper, integer, slot = (np.concatenate(part) for part in zip(*self._columns, strict=True))
        row_lower, row_upper, row_slot = (np.concatenate(part) for part in zip(*bounds, strict=True))
        return SparseModel(
            cost=cost,
            lower=lower,
            upper=upper,
            integer=integer,
            slot=slot,
            row_lower=row_lower,
            row_upper=row_upper,
            row_slot=row_slot,
            matrix=SparseMatrix(start=start, column=column.astype(np.int32), value=value),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SparseModel:
    """A programme as arrays, as a solver takes it. Columns have shape (columns,), rows shape (rows,).

    Args:
        cost: Of each column.
        lower: Bound of each column.
        upper: Bound of each column.
        integer: Whether a column must be a whole number.
        slot: Slot that a column belongs to, -1 if none.
        row_lower: Bound of each row.
        row_upper: Bound of each row.
        row_slot: Slot that a row belongs to, -1 if none.
        matrix: Coefficients.
    """

    cost: Floats
    lower: Floats
    upper: Floats
    integer: Bools
    slot: Columns
    row_lower: Floats
    row_upper: Floats
    row_slot: Columns
    matrix: SparseMatrix


def restrict(model: SparseModel, x: Floats, free: Bools, rows: Bools) -> tuple[SparseModel, Columns]:
    """Return the programme of some columns and rows alone, all other columns held at their values in x.

    Args:
        model: The whole programme.
        x: Values, shape (columns,).
        free: Columns to keep.
        rows: Rows to keep.

    Returns:
        The smaller programme, and the columns it has in the whole one.
    """
    matrix, row = model.matrix, model.matrix.row
    kept = rows[row]
    inside = kept & free[matrix.column]
    outside = kept & ~free[matrix.column]
    held = np.bincount(
        row[outside], weights=matrix.value[outside] * x[matrix.column[outside]], minlength=len(model.row_lower)
    )
    columns, new_row = np.flatnonzero(free), np.cumsum(rows) - 1
    new_column: NDArray[np.int64] = np.cumsum(free) - 1
    start = np.searchsorted(new_row[row[inside]], np.arange(int(rows.sum()) + 1)).astype(np.int32)
    return (
        SparseModel(
            cost=model.cost[free],
            lower=model.lower[free],
            upper=model.upper[free],
            integer=model.integer[free],
            slot=model.slot[free],
            row_lower=(model.row_lower - held)[rows],
            row_upper=(model.row_upper - held)[rows],
            row_slot=model.row_slot[rows],
            matrix=type(matrix)(
                start=start, column=new_column[matrix.column[inside]].astype(np.int32), value=matrix.value[inside]
            ),
        ),
        columns,
    )
