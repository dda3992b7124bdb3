import msgspec
import pytest
from tests.samples.comparison import week

from meritorder.report.compare.rows import metrics, per_request, ratio_text


@pytest.mark.parametrize(("usd", "count"), [(0.02, 1), (0.0009, 1_000), (0.000002, 1_000_000), (0.0, 1)])
def test_tiny_prices_quote_more_requests(usd: float, count: int) -> None:
    arrangements = [msgspec.structs.replace(a, usd_per_request=usd) for a in week().arrangements]
    assert per_request(msgspec.structs.replace(week(), arrangements=arrangements)).count == count


def test_columns_have_all_cells() -> None:
    columns = metrics(week())
    assert {len(column.cells) for column in columns} == {7}
    assert len({column.importance for column in columns}) == len(columns)


@pytest.mark.parametrize(
    ("ratio", "sentence"),
    [
        (3.44, "Real time costs 3.4 times what batch costs."),
        (0.1, "Batch costs 10 times what real time costs."),
        (1.02, "Real time costs about what batch costs."),
        (0.0, ""),
    ],
)
def test_ratio_names_the_dearer_first(ratio: float, sentence: str) -> None:
    assert ratio_text(msgspec.structs.replace(week(), ratio_realtime_to_batch=ratio, ratio_note="")) == sentence
