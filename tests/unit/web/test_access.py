"""Signing in: who sees what, who may change it, and what no other site can send."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from starlette.testclient import TestClient

from meritorder.errors import ConfigError
from meritorder.gateway.app.client import GatewayClient, KeyRefusedError
from meritorder.web.access import COOKIE, Access, own_path
from meritorder.web.app import Site, create_app
from meritorder.web.gateway import Gateway

HTML = {"accept": "text/html"}
BATCH = {
    "id": "batch_1",
    "model": "m",
    "status": "in_progress",
    "created_at": 0,
    "paused_at": None,
    "output_file_id": None,
    "error_file_id": None,
    "request_counts": {"completed": 1, "failed": 0, "total": 4},
}


class Stub(Gateway):
    """A gateway that knows some keys, and remembers what it was asked to change."""

    def __init__(self) -> None:
        super().__init__("http://gateway")
        self.keys = {
            "admin": {"admin": True, "read_only": False, "tenant": "ops"},
            "tenant": {"admin": False, "read_only": False, "tenant": "<script>x</script>"},
            "reader": {"admin": True, "read_only": True, "tenant": "ops"},
        }
        self.is_up = True
        self.acted: list[tuple[str, str, str]] = []

    async def ask(self, key: str, question: Callable[[Any], Any]) -> Any:  # noqa: ANN401 - as the client answers
        if not self.is_up:
            raise ConfigError("cannot be reached", where=self.url)
        if key not in self.keys:
            raise KeyRefusedError("Incorrect API key provided", where=self.url)
        known = self.keys[key]
        if question is GatewayClient.key:
            return {"id": f"key_{key}", "name": key, **known}
        acted = self.acted

        class Client:
            def batches(self) -> tuple[list[Any], bool]:
                return [BATCH], False

            def batch(self, _: str) -> Any:  # noqa: ANN401
                return BATCH

            def act_on_batch(self, batch_id: str, action: str) -> None:
                acted.append((key, batch_id, action))

        return question(Client())


def site(stub: Stub, own_key: str | None = None, public: tuple[str, ...] = ()) -> TestClient:
    return TestClient(create_app((), Site(access=Access(gateway=stub, own_key=own_key, public=public))))


def sign_in(browser: TestClient, key: str) -> str:
    """Sign in, and return the token of the forms."""
    answer = browser.post("/sign-in", data={"key": key, "next": "/batches"})
    found = re.search(r'name="token" value="([^"]+)"', answer.text)
    return found[1] if found else ""


@pytest.mark.parametrize("path", ["/", "/data", "/plan", "/live", "/batches", "/ledger", "/proof"])
def test_every_page_asks_who_looks(path: str) -> None:
    with site(Stub()) as browser:
        answer = browser.get(path, headers=HTML, follow_redirects=False)
        assert (answer.status_code, answer.headers["location"]) == (303, f"/sign-in?next={path}")


@pytest.mark.parametrize("path", ["/api/estimate", "/api/live", "/api/ledger", "/api/plan", "/live/events"])
def test_programs_are_refused_without_session(path: str) -> None:
    with site(Stub()) as browser:
        assert browser.get(path).status_code == 401


def test_public_page_needs_no_session() -> None:
    with site(Stub(), public=("calculator",)) as browser:
        assert browser.get("/?model=gpt-4.1-mini", headers=HTML, follow_redirects=False).status_code == 200
        assert browser.get("/data", headers=HTML, follow_redirects=False).status_code == 303


def test_session_cookie_is_out_of_reach() -> None:
    with site(Stub()) as browser:
        answer = browser.post("/sign-in", data={"key": "admin", "next": "/live"}, follow_redirects=False)
        cookie = answer.headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=lax" in cookie
        assert "admin" not in cookie
        behind = browser.post(
            "/sign-in", data={"key": "admin"}, headers={"x-forwarded-proto": "https"}, follow_redirects=False
        )
        assert "secure" in behind.headers["set-cookie"].lower()


@pytest.mark.parametrize("key", ["wrong", "", "\x00", "sk\N{SNOWMAN}"])
def test_unknown_keys_begin_no_session(key: str) -> None:
    with site(Stub()) as browser:
        answer = browser.post("/sign-in", data={"key": key})
        assert (answer.status_code, COOKIE in browser.cookies) == (422, False)
        assert 'role="alert"' in answer.text


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ("/ledger?by=day", "/ledger?by=day"),
        ("//evil.example", "/"),
        ("https://evil.example", "/"),
        ("/\\evil.example", "/"),
        ("/a\nb", "/"),
        ("", "/"),
    ],
)
def test_signing_in_leads_nowhere_else(given: str, path: str) -> None:
    assert own_path(given) == path


def test_forms_need_the_token_of_their_session() -> None:
    stub = Stub()
    with site(stub) as browser, site(stub) as other:
        token, foreign = sign_in(browser, "tenant"), sign_in(other, "tenant")
        for wrong in (foreign, "", "\N{SNOWMAN}"):
            assert browser.post("/batches/batch_1/pause", data={"token": wrong}).status_code == 403
        assert stub.acted == []
        assert browser.post("/batches/batch_1/pause", data={"token": token}).status_code == 200
        assert stub.acted == [("tenant", "batch_1", "pause")]


def test_read_only_keys_change_nothing() -> None:
    stub = Stub()
    with site(stub) as browser:
        sign_in(browser, "reader")
        page = browser.get("/batches").text
        assert "A new batch" not in page
        assert "Pause" not in page
        for path in ("/batches/batch_1/cancel", "/batches", "/data"):
            answer = browser.post(path, data={"token": "any"})
            assert (answer.status_code, "read-only" in answer.text) == (403, True)
    assert stub.acted == []


def test_tenants_see_no_plan() -> None:
    with site(Stub()) as browser:
        token = sign_in(browser, "tenant")
        assert token
        assert browser.get("/plan", headers=HTML).status_code == 403
        assert "<script>x" not in browser.get("/batches").text


def test_revoked_key_ends_its_session(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("meritorder.web.access._TRUSTED_S", 0.0)
    stub = Stub()
    with site(stub) as browser:
        sign_in(browser, "admin")
        stub.is_up = False
        assert browser.get("/ledger", headers=HTML, follow_redirects=False).status_code == 200
        stub.is_up = True
        del stub.keys["admin"]
        assert browser.get("/ledger", headers=HTML, follow_redirects=False).status_code == 303


def test_signing_out_ends_the_session() -> None:
    with site(Stub()) as browser:
        sign_in(browser, "admin")
        cookie = browser.cookies[COOKIE]
        browser.post("/sign-out")
        browser.cookies[COOKIE] = cookie
        assert browser.get("/live", headers=HTML, follow_redirects=False).status_code == 303


def test_own_key_stands_for_everybody_here() -> None:
    with site(Stub(), own_key="admin") as browser:
        assert browser.get("/batches").status_code == 200
        assert "Sign out" not in browser.get("/batches").text
    with site(Stub(), own_key="") as browser:
        assert browser.get("/batches", headers=HTML, follow_redirects=False).status_code == 303


@pytest.mark.parametrize("name", ["x", "batch_%2e%2e", "batch_1%2F..%2F..", "batch_" + "a" * 200])
def test_strange_ids_are_not_sent_on(name: str) -> None:
    stub = Stub()
    with site(stub) as browser:
        token = sign_in(browser, "admin")
        assert browser.post(f"/batches/{name}/pause", data={"token": token}).status_code in {404, 405}
        assert browser.post("/batches/batch_1/destroy", data={"token": token}).status_code == 404
    assert stub.acted == []


def test_cancelling_asks_first() -> None:
    stub = Stub()
    with site(stub) as browser:
        token = sign_in(browser, "admin")
        assert "1 of 4 requests are answered" in browser.get("/batches/batch_1/cancel").text
        assert stub.acted == []
        browser.post("/batches/batch_1/cancel", data={"token": token})
    assert stub.acted == [("admin", "batch_1", "cancel")]
