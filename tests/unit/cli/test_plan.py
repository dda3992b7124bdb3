"""The options of `plan` that depend on each other."""

from pathlib import Path

import pytest

from meritorder.cli.plan import plan
from meritorder.errors import ConfigError


@pytest.mark.parametrize("options", [{"carbon": Path("carbon.csv")}, {"carbon_price": 80.0}])
def test_carbon_options_require_each_other(options: dict[str, Path | float]) -> None:
    with pytest.raises(ConfigError, match="--carbon and --carbon-price require each other"):
        plan(["trace.csv"], **options)  # type: ignore[arg-type]


def test_days_to_come_are_not_known_in_hindsight() -> None:
    with pytest.raises(ConfigError, match="--for plans the days to come"):
        plan(["trace.csv"], coming="7d", hindsight=True)
