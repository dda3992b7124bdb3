"""The pages and the API, as a browser asks for them."""

import asyncio
from typing import Any
from urllib.parse import quote

import msgspec
import pytest
from starlette.testclient import TestClient

from meritorder.records.estimation import Estimate
from meritorder.web import security
from meritorder.web.app import create_app
from meritorder.web.pages import calculator
from meritorder.web.pages.form import CalculatorForm

# Sold as tokens only, so that no fleet is searched.
TOKENS = "model=gpt-4.1-mini&requests_per_day=1000"


def _get(path: str, query: str = "", method: str = "GET", **headers: str) -> tuple[int, dict[str, str], str]:
    """Return status, headers and body of a request."""

    async def ask() -> list[dict[str, Any]]:
        sent: list[dict[str, Any]] = []
        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "root_path": "",
            "query_string": query.encode(),
            "headers": [(name.encode(), value.encode()) for name, value in {"host": "127.0.0.1:1", **headers}.items()],
            "http_version": "1.1",
            "scheme": "http",
            "server": ("127.0.0.1", 80),
            "client": ("127.0.0.1", 1),
        }

        requests = [{"type": "http.request", "body": b"", "more_body": False}]

        async def receive() -> dict[str, Any]:
            return requests.pop() if requests else await asyncio.get_running_loop().create_future()  # never disconnects

        async def send(message: Any) -> None:  # noqa: ANN401 - ASGI's
            sent.append(message)

        await create_app()(scope, receive, send)
        return sent

    start, *parts = asyncio.run(ask())
    answered = {name.decode(): value.decode() for name, value in start["headers"]}
    return start["status"], answered, b"".join(part.get("body", b"") for part in parts).decode()


def test_first_page_has_form_and_answer() -> None:
    status, _, page = _get("/", TOKENS)
    assert status == 200
    assert 'value="gpt-4.1-mini"' in page
    assert calculator.answer(CalculatorForm(model="gpt-4.1-mini", requests_per_day=1000.0)).sentence in page.replace(
        "&#39;", "'"
    )


def test_answer_sets_the_address() -> None:
    status, headers, part = _get("/calculator/answer", TOKENS)
    assert (status, headers["hx-replace-url"]) == (200, f"/?{TOKENS}")
    assert "<html" not in part


def test_api_answers_what_the_page_shows() -> None:
    status, _, body = _get("/api/estimate", TOKENS)
    estimate = msgspec.json.decode(body, type=Estimate)
    assert status == 200
    assert estimate == calculator.answer(CalculatorForm(model="gpt-4.1-mini", requests_per_day=1000.0))


@pytest.mark.parametrize("path", ["/", "/calculator/answer", "/api/estimate"])
def test_unusable_settings_are_refused_in_words(path: str) -> None:
    status, headers, body = _get(path, "peak=often")
    assert status == 422
    assert "peak" in body
    assert "hx-replace-url" not in headers


@pytest.mark.parametrize("path", ["/", "/calculator/answer"])
def test_hostile_names_stay_text(path: str) -> None:
    _, _, page = _get(path, f"model={quote('<script>alert(1)</script>')}")
    assert "<script>alert" not in page


@pytest.mark.parametrize("path", ["/", "/nothing", "/app.css", "/static/app.js", "/api/estimate"])
def test_every_response_forbids_foreign_content(path: str) -> None:
    _, headers, _ = _get(path, TOKENS)
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "", "[::2]:80"])
def test_other_names_of_this_machine_are_refused(host: str) -> None:
    assert _get("/app.css", host=host)[0] == 403


@pytest.mark.parametrize("host", ["127.0.0.1:8090", "localhost", "[::1]:8090", "LOCALHOST:1"])
def test_own_names_are_answered(host: str) -> None:
    assert _get("/app.css", host=host)[0] == 200


@pytest.mark.parametrize(("site", "status"), [("cross-site", 403), ("same-site", 403), ("same-origin", 405)])
def test_pages_of_other_sites_start_nothing(site: str, status: int) -> None:
    assert _get("/app.css", method="POST", **{"sec-fetch-site": site})[0] == status


def test_unknown_page_is_named() -> None:
    status, _, page = _get("/nothing")
    assert status == 404
    assert "There is no such page." in page


def test_announced_upload_has_a_limit() -> None:
    status, _, text = _get("/data", method="POST", **{"content-length": str(security.MAX_BODY_BYTES + 1)})
    assert status == 413
    assert "4 GiB" in text


def test_unannounced_upload_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(security, "MAX_BODY_BYTES", 100)
    opening = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.csv"\r\n\r\n'
    headers = {"content-type": "multipart/form-data; boundary=b"}
    with TestClient(create_app(())) as browser:
        answer = browser.post("/data", content=iter([opening, b"1," * 50]), headers=headers)
    assert (answer.status_code, "too large" in answer.text) == (413, True)
