from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from tests.samples.charges import Row, write

from meritorder import bills
from meritorder.findings import Audit, Finding
from meritorder.study.audit.answer import audit
from meritorder.study.audit.context import AuditOptions


@pytest.fixture
def audited(tmp_path: Path) -> Callable[..., Audit]:
    """Audit a bill of these line items."""

    def run(rows: Iterable[Row], options: AuditOptions | None = None, **more: object) -> Audit:
        path = write(tmp_path / "bill.csv", rows)
        return audit(bills.read(path), options or AuditOptions(bill=("bill.csv",)), **more)  # type: ignore[arg-type]

    return run


def only(answer: Audit, kind: str) -> Finding:
    found = [finding for finding in answer.findings if finding.kind == kind]
    assert len(found) == 1, [finding.kind for finding in answer.findings]
    return found[0]
