import pytest

from meritorder.gateway.errors import UnavailableError, UnsupportedError, UpstreamTimeoutError
from meritorder.gateway.lanes import realtime
from meritorder.gateway.state.request import Request
from meritorder.gateway.store.keys import Key
from meritorder.gateway.wire.calls import CallFields
from meritorder.gateway.wire.usage import Usage


def request(*, status: int, ttft_s: float | None) -> Request:
    return Request(
        id="req_1",
        key=Key(id="k", name="n", tenant="t"),
        endpoint="/v1/completions",
        call=CallFields(model="m"),
        body=b"",
        arrived_s=0.0,
        started_s=0.0,
        status=status,
        ttft_s=ttft_s,
    )


def test_tpot_without_first_token() -> None:
    usage = Usage(output_tokens=11)
    assert realtime._tpot_s(request(status=200, ttft_s=1.0), usage, 3.0) == pytest.approx(0.2)
    assert realtime._tpot_s(request(status=200, ttft_s=None), usage, 3.3) == pytest.approx(0.3)
    assert realtime._tpot_s(request(status=499, ttft_s=1.0), usage, 3.0) is None
    assert realtime._tpot_s(request(status=200, ttft_s=1.0), Usage(output_tokens=1), 3.0) is None


def test_failures_by_status() -> None:
    assert realtime._as_api_error(UnsupportedError("no logprobs", venue="v", param="logprobs")).param == "logprobs"
    assert realtime._as_api_error(UpstreamTimeoutError("late", venue="v")).status == 504
    unavailable = realtime._as_api_error(UnavailableError("full", venue="v", retry_after_s=7.0))
    assert (unavailable.status, unavailable.headers) == (503, (("retry-after", "7"),))
    assert realtime._as_api_error(None).status == 503
