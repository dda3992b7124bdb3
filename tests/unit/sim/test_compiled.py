"""Binary heaps over indices, against sorting."""

import subprocess
import sys

import numba as nb
import numpy as np

from meritorder.sim.compiled import pop, push, remove


@nb.njit
def drained(keys: np.ndarray, removed: np.ndarray) -> list[int]:
    """Push all items, remove some from anywhere, and pop the rest."""
    heap = np.zeros(len(keys), np.int32)
    size = 0
    for item in range(len(keys)):
        size = push(heap, size, item, keys)
    for item in removed:
        size = remove(heap, size, item, keys)
    order = []
    while size > 0:
        order.append(int(heap[0]))
        size = pop(heap, size, keys)
    return order


def test_heap_pops_in_order_of_keys() -> None:
    generator = np.random.default_rng(2)
    for _ in range(50):
        keys = generator.integers(0, 10, generator.integers(1, 40)).astype(float)
        removed = generator.choice(len(keys), generator.integers(0, len(keys)), replace=False)
        expected = [item for item in np.argsort(keys, kind="stable").tolist() if item not in removed]
        assert drained(keys, removed) == expected


def test_kernels_from_the_cache_need_no_compiler() -> None:
    """Numba loads the types of NumPy's functions to compile; a process that finds its kernels does without."""
    script = (
        "import sys, numpy as np\n"
        "from meritorder.sim.compiled import entry\n"
        "from tests.unit.sim.test_compiled import total\n"
        "assert entry(total)(np.arange(5.0)) == 10.0\n"
        "print('numba.core.typing.arraydecl' in sys.modules)\n"
    )
    said = [
        subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout.strip()
        for _ in range(2)
    ]
    assert said[1] == "False"


def total(values: np.ndarray) -> float:
    """Return the sum of an array, which is allocated again as kernels do."""
    return values.copy().sum()
