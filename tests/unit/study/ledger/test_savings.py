from decimal import Decimal

import pytest
from tests.samples.ledgers import attempts, replica

from meritorder.study.ledger.answer import account, cost_all
from meritorder.study.ledger.costing import Period
from meritorder.study.ledger.savings import share_saving

_ENDS = {"started_s": 0.0, "ended_s": 1800.0}


def test_saving_is_shared_by_tokens() -> None:
    """An hour at $3.60 is half idle; real time alone would cost $6.00, of which the tokens of a take two thirds."""
    rows = attempts(
        {"tenant": "a", "input_tokens": 80, "output_tokens": 30, **_ENDS},
        {"tenant": "b", "input_tokens": 60, "output_tokens": 10, **_ENDS},
        {"tenant": "b", "input_tokens": 9, "venue": "api", "cost_picousd": 10**12, **_ENDS},
    )
    costed = cost_all(rows, [replica(0, 3600)], Period(from_s=0, to_s=3600))
    report = account(costed, ("tenant",))
    shared = {row.by["tenant"]: row.saved_usd for row in share_saving(report, costed, Decimal("2.40"))}
    # Of the busy $1.80, a paid two thirds for its tokens too; the $1.80 of idle time is nobody's.
    assert shared == {"a": Decimal("2.80"), "b": Decimal("1.40"), "(idle)": Decimal("-1.80")}


@pytest.mark.parametrize("by", [("tenant",), ("hour",), ("tenant", "use"), ("request",)])
def test_shares_sum_to_the_saving(by: tuple[str, ...]) -> None:
    rows = attempts(
        *({"tenant": f"t{n % 3}", "input_tokens": n, "started_s": n, "ended_s": n * 7.0} for n in range(99))
    )
    costed = cost_all(rows, [replica(0, 700)], Period(from_s=0, to_s=700))
    saved_usd = Decimal("0.123456789012")
    shared = share_saving(account(costed, by), costed, saved_usd)
    assert sum(row.saved_usd or 0 for row in shared) == saved_usd
