import msgspec
import pytest
from tests.samples.comparison import week

from meritorder.report.compare.rows import metrics, per_request


@pytest.mark.parametrize(("usd", "count"), [(0.02, 1), (0.0009, 1_000), (0.000002, 1_000_000), (0.0, 1)])
def test_tiny_prices_quote_more_requests(usd: float, count: int) -> None:
    arrangements = [msgspec.structs.replace(a, usd_per_request=usd) for a in week().arrangements]
    assert per_request(msgspec.structs.replace(week(), arrangements=arrangements)).count == count


def test_columns_have_all_cells() -> None:
    columns = metrics(week())
    assert {len(column.cells) for column in columns} == {7}
    assert len({column.importance for column in columns}) == len(columns)
