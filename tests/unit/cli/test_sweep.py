"""`sweep` takes every option of a comparison."""

import inspect

from meritorder.cli.compare import compare
from meritorder.cli.sweep import sweep


def test_sweep_takes_every_comparison_option() -> None:
    of_compare, of_sweep = (inspect.signature(command).parameters for command in (compare, sweep))
    assert set(of_compare) - set(of_sweep) == {"json"}


def test_shared_options_have_one_declaration() -> None:
    of_compare, of_sweep = (inspect.signature(command).parameters for command in (compare, sweep))
    for name in set(of_compare) & set(of_sweep):
        assert of_compare[name].annotation is of_sweep[name].annotation
        assert of_compare[name].default == of_sweep[name].default
