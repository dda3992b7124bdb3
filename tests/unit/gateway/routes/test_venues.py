"""Draining by an operator or a spot notice, and the replicas that a plan wants, as KEDA asks for them."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.samples import nightly
from tests.samples.service import call, open_service

from meritorder.gateway.app.service import Service
from meritorder.records.planfile import write_plan

DRAIN = "/v1/venues/v/drain"
CHAT = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with open_service(tmp_path_factory.mktemp("venues")) as opened:
        yield opened


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("planned")
    write_plan(nightly.plan(), folder / "plan.json")
    served = [
        {"name": name, "url": "http://127.0.0.1:1/v1", "kind": "vllm", "models": ["stub"], "pool": pool}
        for name, pool in (("a b", nightly.LIVE), ("night", nightly.NIGHT))
    ]
    with open_service(folder, venue=served, plan=str(folder / "plan.json")) as opened:  # type: ignore[arg-type]
        yield opened


def test_drained_venue_takes_no_call(service: Service) -> None:
    reply = call(service, "POST", DRAIN, {"notice_s": 30})
    assert (reply.status, reply.json) == (200, {"name": "v", "draining": True, "realtime": 0, "deferrable": 0})
    (venue,) = call(service, "GET", "/meritorder/status").json["venues"]
    assert (venue["up"], venue["draining"]) == (False, True)
    refused = call(service, "POST", "/v1/chat/completions", CHAT)
    assert (refused.status, refused.json["error"]["code"]) == (503, "no_venue")
    assert call(service, "DELETE", DRAIN).json["draining"] is False


def test_notice_has_a_default(service: Service) -> None:
    assert call(service, "POST", DRAIN).status == 200
    call(service, "DELETE", DRAIN)


@pytest.mark.parametrize("notice", [-1, 86_401, "2m", True, None, [1]])
def test_invalid_notice_is_refused(service: Service, notice: object) -> None:
    assert call(service, "POST", DRAIN, {"notice_s": notice}).status == 400
    assert not service.venues.all[0].is_draining


def test_unknown_venue_is_404(service: Service) -> None:
    for method in ("POST", "DELETE"):
        assert call(service, method, "/v1/venues/w/drain").status == 404


def test_draining_needs_an_admin_key(tmp_path: Path) -> None:
    with open_service(tmp_path, server={"require_keys": True}) as service:
        assert call(service, "POST", DRAIN).status == 401
        assert call(service, "GET", "/v1/scale/v").status == 401


def test_scale_without_a_plan_is_404(service: Service) -> None:
    reply = call(service, "GET", "/v1/scale/v")
    assert (reply.status, reply.json["error"]["code"]) == (404, "pool_not_found")


def test_scale_is_what_the_plan_wants(planned: Service) -> None:
    by_pool, by_venue = (call(planned, "GET", f"/v1/scale/{name}").json for name in (nightly.LIVE, "a b"))
    (row,) = [
        row for row in call(planned, "GET", "/meritorder/status").json["plan"]["pools"] if row["pool"] == nightly.LIVE
    ]
    assert by_pool == {"pool": nightly.LIVE} | {
        name: row[name] for name in ("machines", "machines_next", "replicas", "replicas_next")
    }
    assert by_venue == by_pool | {"pool": "a b"}


def test_scale_of_an_unknown_pool_is_404(planned: Service) -> None:
    assert call(planned, "GET", "/v1/scale/nowhere/at all").status == 404
