"""Signing in: who sees what, who may change it, and what no other site can send."""

import re

import pytest
from starlette.testclient import TestClient
from tests.samples.site import HOSTILE, KnownKeys

from meritorder.web.access import COOKIE, Access, own_path
from meritorder.web.app import Site, create_app

HTML = {"accept": "text/html"}


def site(gateway: KnownKeys, own_key: str | None = None, public: tuple[str, ...] = ()) -> TestClient:
    return TestClient(create_app((), Site(access=Access(gateway=gateway, own_key=own_key, public=public))))


def sign_in(browser: TestClient, key: str) -> str:
    """Sign in, and return the token of the forms."""
    answer = browser.post("/sign-in", data={"key": key, "next": "/batches"})
    found = re.search(r'name="token" value="([^"]+)"', answer.text)
    return found[1] if found else ""


@pytest.mark.parametrize("path", ["/", "/data", "/plan", "/live", "/batches", "/ledger", "/proof"])
def test_every_page_asks_who_looks(path: str) -> None:
    with site(KnownKeys()) as browser:
        answer = browser.get(path, headers=HTML, follow_redirects=False)
        assert (answer.status_code, answer.headers["location"]) == (303, f"/sign-in?next={path}")


@pytest.mark.parametrize("path", ["/api/estimate", "/api/live", "/api/ledger", "/api/plan", "/live/events"])
def test_programs_are_refused_without_session(path: str) -> None:
    with site(KnownKeys()) as browser:
        assert browser.get(path).status_code == 401


def test_public_page_needs_no_session() -> None:
    with site(KnownKeys(), public=("calculator",)) as browser:
        assert browser.get("/?model=gpt-4.1-mini", headers=HTML, follow_redirects=False).status_code == 200
        assert browser.get("/data", headers=HTML, follow_redirects=False).status_code == 303


def test_session_cookie_is_out_of_reach() -> None:
    with site(KnownKeys()) as browser:
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
    with site(KnownKeys()) as browser:
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
    gateway = KnownKeys()
    with site(gateway) as browser, site(gateway) as other:
        token, foreign = sign_in(browser, "tenant"), sign_in(other, "tenant")
        for wrong in (foreign, "", "\N{SNOWMAN}"):
            assert browser.post("/batches/batch_1/pause", data={"token": wrong}).status_code == 403
        assert gateway.acted == []
        assert browser.post("/batches/batch_1/pause", data={"token": token}).status_code == 200
        assert gateway.acted == [("tenant", "batch_1", "pause")]


def test_read_only_keys_change_nothing() -> None:
    gateway = KnownKeys()
    with site(gateway) as browser:
        sign_in(browser, "reader")
        page = browser.get("/batches").text
        assert "A new batch" not in page
        assert "Pause" not in page
        for path in ("/batches/batch_1/cancel", "/batches", "/data"):
            answer = browser.post(path, data={"token": "any"})
            assert (answer.status_code, "read-only" in answer.text) == (403, True)
    assert gateway.acted == []


def test_tenants_see_no_plan() -> None:
    with site(KnownKeys()) as browser:
        token = sign_in(browser, "tenant")
        assert token
        assert browser.get("/plan", headers=HTML).status_code == 403
        assert HOSTILE not in browser.get("/batches").text


def test_revoked_key_ends_its_session(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("meritorder.web.access._TRUSTED_S", 0.0)
    gateway = KnownKeys()
    with site(gateway) as browser:
        sign_in(browser, "admin")
        gateway.is_up = False
        assert browser.get("/ledger", headers=HTML, follow_redirects=False).status_code == 200
        gateway.is_up = True
        del gateway.keys["admin"]
        assert browser.get("/ledger", headers=HTML, follow_redirects=False).status_code == 303


def test_signing_out_ends_the_session() -> None:
    with site(KnownKeys()) as browser:
        sign_in(browser, "admin")
        cookie = browser.cookies[COOKIE]
        browser.post("/sign-out")
        browser.cookies[COOKIE] = cookie
        assert browser.get("/live", headers=HTML, follow_redirects=False).status_code == 303


def test_own_key_stands_for_everybody_here() -> None:
    with site(KnownKeys(), own_key="admin") as browser:
        assert browser.get("/batches").status_code == 200
        assert "Sign out" not in browser.get("/batches").text
    with site(KnownKeys(), own_key="") as browser:
        assert browser.get("/batches", headers=HTML, follow_redirects=False).status_code == 303


@pytest.mark.parametrize("name", ["x", "batch_%2e%2e", "batch_1%2F..%2F..", "batch_" + "a" * 200])
def test_strange_ids_are_not_sent_on(name: str) -> None:
    gateway = KnownKeys()
    with site(gateway) as browser:
        token = sign_in(browser, "admin")
        assert browser.post(f"/batches/{name}/pause", data={"token": token}).status_code in {404, 405}
        assert browser.post("/batches/batch_1/destroy", data={"token": token}).status_code == 404
    assert gateway.acted == []


def test_cancelling_asks_first() -> None:
    gateway = KnownKeys()
    with site(gateway) as browser:
        token = sign_in(browser, "admin")
        assert "1 of 4 requests are answered" in browser.get("/batches/batch_1/cancel").text
        assert gateway.acted == []
        browser.post("/batches/batch_1/cancel", data={"token": token})
    assert gateway.acted == [("admin", "batch_1", "cancel")]
