"""Blocks of variables and constraints as arrays."""

import numpy as np

from meritorder.planner.model.linear_program import LinearProgram


def test_terms_of_one_variable_add_up() -> None:
    program = LinearProgram()
    x = program.add_variables((2,), cost=[1.0, 2.0], upper=5.0)
    program.add_constraints("limit", [(x[:1], 1.0), (x[:1], 2.0), (x[1:], 1.0)], upper=6.0)
    model = program.to_model()
    assert model.cost.tolist() == [1, 2]
    assert (model.matrix.column.tolist(), model.matrix.value.tolist()) == ([0, 1], [3, 1])


def test_missing_column_is_no_term() -> None:
    program = LinearProgram()
    x = program.add_variables((2,))
    program.add_constraints("change", [(x, 1.0), (np.array([-1, x[0]]), -1.0)], upper=0.0)
    matrix = program.to_model().matrix
    assert list(zip(matrix.row, matrix.column, matrix.value, strict=True)) == [(0, 0, 1), (1, 0, -1), (1, 1, 1)]


def test_rows_of_one_name_accumulate() -> None:
    program = LinearProgram()
    x = program.add_variables((3,))
    program.add_constraints("a", [(x[:1], 1.0)])
    program.add_constraints("b", [(x[:1], 1.0)])
    program.add_constraints("a", [(x[1:], 1.0)])
    assert program.rows["a"].tolist() == [0, 2, 3]


def test_fixed_columns_move_into_bounds() -> None:
    """In x + 2 y <= 10, fixing y at 3 leaves x <= 4; the other row is dropped."""
    program = LinearProgram()
    x = program.add_variables((2,), integer=[True, False])
    program.add_constraints("kept", [(x[:1], 1.0), (x[1:], 2.0)], upper=10.0)
    program.add_constraints("dropped", [(x[:1], 1.0)], upper=1.0)
    part, columns = program.to_model().restrict(
        np.array([0.0, 3.0]), free=np.array([True, False]), rows=np.array([True, False])
    )
    assert columns.tolist() == [0]
    assert part.row_upper.tolist() == [4]
    assert part.matrix.value.tolist() == [1]
    assert part.integer.tolist() == [True]
