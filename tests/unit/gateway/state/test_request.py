from meritorder.gateway.state.request import Deferral, Request
from meritorder.gateway.store.keys import Key
from meritorder.gateway.store.schema import REQUESTS
from meritorder.gateway.wire.calls import parse_call


def test_row_has_columns_of_requests() -> None:
    body = b'{"model": "m", "max_tokens": 9, "input": "%s"}' % (b"x" * 360)
    request = Request(
        id="req_1",
        key=Key(id="k", name="n", tenant="t"),
        endpoint="/v1/responses",
        call=parse_call(body),
        body=body,
        arrived_s=5.0,
        started_s=0.0,
    )
    row = request.queue_row(Deferral(deadline_s=65.0, workload="w"), "trace")
    assert row.keys() <= set(REQUESTS.c.keys())
    assert (row["tenant"], row["model"], row["output_tokens"], row["deadline_s"]) == ("t", "m", 9, 65.0)
    assert row["input_tokens"] == len(body) // 4
    assert (row["workload"], row["trace"]) == ("w", "trace")
