"""A calibration as one page."""

import re
from html import unescape

import msgspec
from tests.samples.fleets import profile
from tests.samples.page import assert_loads_nothing

from meritorder.perf.profile import Calibration, Errors, Profile
from meritorder.report.inputs.calibration_html import render


def fitted(**changes: object) -> Profile:
    calibration = Calibration(
        log="requests.csv",
        replicas=2,
        fitted_on=1200,
        judged_on=800,
        unseen=True,
        assumed=["max_num_seqs"],
        parameters={"decode_scale": 1.25, "request_overhead_s": 0.012},
        ttft=Errors(of_mean=0.021, median=0.04, p90=0.09),
        tpot=Errors(of_mean=-0.013, median=0.02, p90=0.05),
        e2e=Errors(of_mean=-0.034, median=0.025, p90=0.06),
        pace_ratios=[1.0, 1.5, 0.75],
    )
    return msgspec.structs.replace(profile(), calibration=msgspec.structs.replace(calibration, **changes))


def words(calibrated: Profile) -> str:
    body = re.sub(r"(?s)<style>.*?</style>|<[^>]+>", " ", render([calibrated]))
    return " ".join(unescape(body).split())


def test_errors_on_unseen_requests_come_first() -> None:
    text = words(fitted())
    assert "On 800 requests that it was not fitted to, this profile is 3.4 % too fast on average" in text
    assert "Mean TTFT, error +2.1 %" in text
    assert "Mean TPOT, error \N{MINUS SIGN}1.3 %" in text
    assert "the first 1,200 requests of requests.csv, on 2 replicas" in text


def test_short_log_is_said() -> None:
    assert "800 requests that it was fitted to: the log is short" in words(fitted(unseen=False))


def test_stretches_lie_around_one() -> None:
    """A ratio of 1 lies in the middle, and the one furthest from it within the figure."""
    page = render([fitted()])
    heights = [float(y) for y in re.findall(r'<circle cx="[^"]+" cy="([^"]+)%"', page)]
    assert heights[0] == 50
    assert 0 < heights[1] < 50 < heights[2] < 100


def test_text_of_the_user_is_escaped() -> None:
    page = render([fitted(log="<script>alert(1)</script>", notes=["<img src=x>"])])
    assert "<script>" not in page
    assert "<img" not in page
    assert_loads_nothing(page)
