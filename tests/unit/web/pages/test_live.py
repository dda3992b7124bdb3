"""Live: what the page says of a gateway, and how often it asks."""

import asyncio
import time
from typing import Any

import pytest
from starlette.testclient import TestClient

from meritorder.errors import ConfigError
from meritorder.web.access import Viewer
from meritorder.web.app import Site, create_app
from meritorder.web.pages.live import LiveGateway, LiveViews, Moment

VENUE = {"name": "own", "models": ["m"], "up": True, "engine": None, "seats": 8, "realtime": 2, "deferrable": 5}
BATCH = {
    "id": "batch_1",
    "tenant": "<script>x</script>",
    "status": "in_progress",
    "done": 90,
    "failed": 10,
    "total": 300,
}
SPENT = {"lane": "deferrable", "model": "m", "venue": "own", "requests": 7, "input_tokens": 1, "output_tokens": 2}


def status(**changes: object) -> dict[str, Any]:
    return {
        "plan": None,
        "venues": [VENUE | {"allowed": 6, "alert": None}],
        "queued": {"m": 190},
        "batches": [BATCH | {"expires_at": time.time() + 3600}],
        "ledger": [SPENT | {"cost_usd": 1.5}, SPENT | {"lane": "realtime", "cost_usd": None}],
        **changes,
    }


def gateway(**changes: object) -> LiveGateway:
    return LiveGateway("http://gateway", lambda: status(**changes))


def client(shown: LiveGateway | None) -> TestClient:
    return TestClient(create_app((), Site(watch=(lambda _: shown) if shown else None)))


def test_page_shows_state_of_gateway() -> None:
    with client(gateway()) as browser:
        page = browser.get("/live").text
    assert "190 requests wait for idle capacity." in page
    assert '<span class="figure">7</span> of 8 sequences: 2 real-time, 5 deferrable' in page
    assert "90 of 300" in page
    assert "10 failed" in page
    assert "$1.50" in page
    assert "7 requests have no price" in page


def test_page_holds_ttft_against_slo() -> None:
    latency = {"streams_last_minute": 40, "ttft_s": 2.5, "slo_ttft_s": 2.0, "slo_attainment": 0.99}
    shown = gateway(realtime=latency)
    with client(shown) as browser:
        assert "Real-time TTFT against its SLO" not in browser.get("/live").text  # one moment is no curve
        page = browser.get("/live").text
    assert '<span class="figure added">2.5 s</span> or less for 99 % of 40 streams of the last minute; SLO 2 s' in page
    assert "Real-time TTFT against its SLO" in page
    assert "TTFT, last 2.5 s" in page


def test_names_of_tenants_are_text() -> None:
    with client(gateway()) as browser:
        page = browser.get("/live").text
    assert "<script>x" not in page
    assert "&lt;script&gt;x" in page


def test_page_without_gateway_says_how() -> None:
    with client(None) as browser:
        assert "meritorder ui --gateway" in browser.get("/live").text
        assert browser.get("/api/live").status_code == 404


def test_silent_gateway_is_said() -> None:
    def refuse() -> dict[str, Any]:
        raise ConfigError("cannot be reached", where="http://gateway")

    with client(LiveGateway("http://gateway", refuse)) as browser:
        page = browser.get("/live")
        assert (page.status_code, "http://gateway: cannot be reached" in page.text) == (200, True)
        assert browser.get("/api/live").json() == {"error": "http://gateway: cannot be reached"}


@pytest.mark.parametrize("answer", [{"status": "ok"}, [], {"venues": None, "queued": {}, "batches": []}])
def test_other_server_is_no_gateway(answer: Any) -> None:  # noqa: ANN401 - any JSON
    with client(LiveGateway("http://other", lambda: answer)) as browser:
        page = browser.get("/live")
    assert (page.status_code, "http://other: does not answer as a gateway" in page.text) == (200, True)


def test_api_gives_the_status_itself() -> None:
    with client(gateway(batches=[])) as browser:
        assert browser.get("/api/live").json() == status(batches=[])


@pytest.mark.parametrize(("due_in_s", "is_late"), [(500.0, False), (300.0, True)])
def test_pace_tells_late_batches(due_in_s: float, *, is_late: bool) -> None:
    shown = gateway()
    shown.status = status(batches=[BATCH | {"expires_at": 1000.0 + due_in_s}])
    for at_s, done in ((950.0, 75), (1000.0, 100)):  # one in two seconds: the other 200 take 400 seconds
        shown.moments.append(Moment(at_s=at_s, realtime=0, deferrable=1, queued=1, done={"batch_1": done}))
    (batch,) = shown.batches(1000.0)
    assert (batch.ends_in_s, batch.is_at_risk) == (400.0, is_late)


def test_one_question_serves_all_viewers() -> None:
    asked = []

    def answer() -> dict[str, Any]:
        asked.append(time.monotonic())
        return status()

    async def watch() -> None:
        shown = LiveGateway("http://gateway", answer)
        viewers = [shown.events() for _ in range(20)]
        sent = await asyncio.wait_for(asyncio.gather(*(anext(viewer) for viewer in viewers)), 10)
        assert all(event is sent[0] for event in sent)  # written once
        assert "190 requests wait" in sent[0]
        for viewer in viewers:
            await viewer.aclose()  # type: ignore[attr-defined] # an asynchronous generator

    asyncio.run(watch())
    assert len(asked) == 1


@pytest.mark.parametrize("is_admin", [True, False])
def test_saving_is_shown_to_admins_alone(*, is_admin: bool) -> None:
    async def find_saving() -> tuple[str, str]:
        return "$3.20", "against real time alone"

    async def shown() -> str:
        views = LiveViews(lambda _: gateway(), find_saving)
        view = views.of(Viewer(token="t", is_admin=is_admin))  # noqa: S106 - of a form
        assert view is not None
        return await anext(view.events())

    assert ('Saved today</dt><dd><span class="figure">$3.20</span>' in asyncio.run(shown())) is is_admin


@pytest.mark.parametrize(
    ("prices", "text"),
    [
        ({}, "\N{EN DASH}"),
        ({"usd_per_hour": 0.86, "input_usd_per_mtok": None}, "$0.86 an hour"),
        (
            {"usd_per_hour": None, "input_usd_per_mtok": 0.1, "output_usd_per_mtok": 0.32},
            "$0.10 in, $0.32 out per million tokens",
        ),
    ],
)
def test_venue_states_its_price(prices: dict[str, float | None], text: str) -> None:
    with client(gateway(venues=[VENUE | {"allowed": 6, "alert": None} | prices])) as browser:
        assert f"<td>{text}</td>" in browser.get("/live").text
