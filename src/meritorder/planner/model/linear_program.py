"""A mixed-integer linear program as sparse arrays, built from blocks of variables and constraints."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Columns = NDArray[np.int64]
Bools = NDArray[np.bool_]

Term = tuple[Columns, ArrayLike]
"""Columns with their coefficients, shapes (rows,) or (rows, terms); column -1 stands for no term."""

TIMELESS = -1
"""Slot of variables and constraints that belong to no slot."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SparseMatrix:
    """A matrix in compressed row format: row i has the entries `start[i]:start[i + 1]`."""

    start: NDArray[np.int32]
    column: NDArray[np.int32]
    value: Floats

    @property
    def row(self) -> Columns:
        """Row of each entry."""
        return np.repeat(np.arange(len(self.start) - 1), np.diff(self.start))


@dataclass(frozen=True, slots=True, kw_only=True)
class SparseModel:
    """A program as arrays: minimize cost x subject to row_lower <= A x <= row_upper and lower <= x <= upper.

    Columns have shape (columns,), rows have shape (rows,).

    Args:
        cost: Objective coefficient of each column.
        lower: Lower bound of each column.
        upper: Upper bound of each column.
        integer: Whether a column must be a whole number.
        slot: Slot of a column, -1 if none.
        row_lower: Lower bound of each row.
        row_upper: Upper bound of each row.
        row_slot: Slot of a row, -1 if none.
        matrix: A.
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

    def restrict(self, values: Floats, free: Bools, rows: Bools) -> tuple["SparseModel", Columns]:
        """Return the program of some columns and rows, with all other columns fixed.

        Args:
            values: Values at which the other columns are fixed, shape (columns,).
            free: Columns to keep.
            rows: Rows to keep.

        Returns:
            The smaller program, and the columns of the larger one that it keeps.
        """
        matrix, row = self.matrix, self.matrix.row
        kept = rows[row]
        inside = kept & free[matrix.column]
        outside = kept & ~free[matrix.column]
        fixed = np.bincount(
            row[outside], weights=matrix.value[outside] * values[matrix.column[outside]], minlength=len(self.row_lower)
        )
        columns, new_row = np.flatnonzero(free), np.cumsum(rows) - 1
        new_column: Columns = np.cumsum(free) - 1
        start = np.searchsorted(new_row[row[inside]], np.arange(int(rows.sum()) + 1)).astype(np.int32)
        restricted = dataclasses.replace(
            self,
            cost=self.cost[free],
            lower=self.lower[free],
            upper=self.upper[free],
            integer=self.integer[free],
            slot=self.slot[free],
            row_lower=(self.row_lower - fixed)[rows],
            row_upper=(self.row_upper - fixed)[rows],
            row_slot=self.row_slot[rows],
            matrix=SparseMatrix(
                start=start, column=new_column[matrix.column[inside]].astype(np.int32), value=matrix.value[inside]
            ),
        )
        return restricted, columns


@dataclass(slots=True)
class LinearProgram:
    """A program under construction; `rows` has the rows of each constraint by name."""

    rows: dict[str, Columns] = field(default_factory=dict)
    _columns: list[tuple[Floats, Floats, Floats, Bools, Columns]] = field(default_factory=list)
    _bounds: list[tuple[Floats, Floats, Columns]] = field(default_factory=list)
    _entries: list[tuple[Columns, Columns, Floats]] = field(default_factory=list)
    _width: int = 0
    _height: int = 0

    def add_variables(
        self,
        shape: tuple[int, ...],
        *,
        cost: ArrayLike = 0.0,
        lower: ArrayLike = 0.0,
        upper: ArrayLike = np.inf,
        integer: ArrayLike = False,
        slot: ArrayLike = TIMELESS,
    ) -> Columns:
        """Add a block of variables and return its columns, of that shape; all arguments broadcast to it."""
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
        return columns

    def add_constraints(
        self,
        name: str,
        terms: Sequence[Term],
        *,
        lower: ArrayLike = -np.inf,
        upper: ArrayLike = np.inf,
        slot: ArrayLike = TIMELESS,
    ) -> Columns:
        """Add rows lower <= sum of terms <= upper and return their indices; rows of one name accumulate."""
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
            row = np.repeat(rows, wide.shape[1])
            self._entries.append((row[used], wide.ravel()[used], flat[used]))
        self._bounds.append(
            (
                np.broadcast_to(np.asarray(lower, float), (count,)),
                np.broadcast_to(np.asarray(upper, float), (count,)),
                np.broadcast_to(np.asarray(slot, np.int64), (count,)),
            )
        )
        self.rows[name] = np.concatenate((self.rows.get(name, np.zeros(0, np.int64)), rows))
        return rows

    def to_model(self) -> SparseModel:
        """Return the program as arrays."""
        no_index, no_value = np.zeros(0, np.int64), np.zeros(0)
        entries = [(no_index, no_index, no_value), *self._entries]
        bounds = [(no_value, no_value, no_index), *self._bounds]
        row, column, value = (np.concatenate(part) for part in zip(*entries, strict=True))
        # Coefficients of one variable in one row are summed.
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
