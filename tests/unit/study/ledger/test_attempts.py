from pathlib import Path

import pytest
from tests.samples.ledgers import attempts

from meritorder.errors import TraceError
from meritorder.study.ledger.attempts import read_attempts

_HEADER = "request_id,lane,model,venue,arrived_s,started_s,ended_s,input_tokens,output_tokens,cost_usd"


def test_csv_dollars_become_picodollars(tmp_path: Path) -> None:
    path = tmp_path / "ledger.csv"
    path.write_text(f"{_HEADER}\nr,realtime,m,api,1.5,1.5,2.5,10,5,0.000000000001\nr,realtime,m,gpu,1,1,2,10,5,\n")
    assert read_attempts(path)["cost_picousd"].to_list() == [1, None]


def test_parquet_equals_store_rows(tmp_path: Path) -> None:
    rows = attempts({"ended_s": 2.0, "cost_picousd": 7}, {"ended_s": 3.0, "replica": "r0"})
    rows.write_parquet(tmp_path / "ledger.parquet")
    assert read_attempts(tmp_path / "ledger.parquet").equals(rows)


@pytest.mark.parametrize("ended_s", ["1790000000000", "nan", "inf", "-5", "1e300"])
def test_impossible_times_are_refused(tmp_path: Path, ended_s: str) -> None:
    path = tmp_path / "ledger.csv"
    path.write_text(f"{_HEADER}\nreq_7,realtime,m,api,1,1,{ended_s},10,5,0\n")
    with pytest.raises(TraceError, match=r"ended_s is .* for req_7, which is no time"):
        read_attempts(path)


@pytest.mark.parametrize("text", ["a,b\n1,2\n", "", f"{_HEADER}\nr,realtime,m,api,soon,1,2,10,5,\n"])
def test_other_files_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "ledger.csv"
    path.write_text(text)
    with pytest.raises(TraceError, match=r"ledger\.csv"):
        read_attempts(path)
