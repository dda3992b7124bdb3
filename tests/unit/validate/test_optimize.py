import numpy as np
from bench.validate.optimize import coordinate_descent


def test_coordinate_descent_minimizes_a_jumping_function() -> None:
    def jumps(x: np.ndarray) -> float:
        return float(np.sum(np.floor(np.abs(x - np.array([1.0, -2.0, 0.5])) * 50)))

    point, value = coordinate_descent(jumps, np.zeros(3), np.full(3, 0.3), 40)
    np.testing.assert_allclose(point, [1.0, -2.0, 0.5], atol=0.05)
    assert value == jumps(point) <= 3


def test_coordinate_descent_never_gets_worse() -> None:
    point, value = coordinate_descent(lambda x: float(x @ x), np.zeros(2), np.ones(2), 5)
    assert (point == 0).all()
    assert value == 0
