"""A page of the report as a browser would see it, and text that would attack it."""

import json
from html.parser import HTMLParser
from typing import Any

ATTACK = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&{{ 7*7 }}"
LOADS = {
    "src", "srcset", "poster", "data", "action", "formaction", "background", "ping", "manifest",
}  # fmt: skip


def rows(chart: dict[str, Any], layer: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    """Return the data of a chart, or of one of its layers."""
    values: list[dict[str, Any]] = chart["datasets"][(layer or chart)["data"]["name"]]
    return values


class Page(HTMLParser):
    """What a browser would see: the elements, the text, and the scripts."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: dict[str, str] = {}
        self.words: list[str] = []
        self._open = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._open = tag
        if tag == "script":
            self._script = dict(attrs).get("id") or f"script-{len(self.scripts)}"

    def handle_endtag(self, tag: str) -> None:
        self._open = "" if tag == self._open else self._open

    def handle_data(self, data: str) -> None:
        if self._open == "script":
            self.scripts[self._script] = self.scripts.get(self._script, "") + data
        elif self._open != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    @property
    def charts(self) -> dict[str, dict[str, Any]]:
        charts: dict[str, dict[str, Any]] = json.loads(self.scripts["charts"])
        return charts


def assert_loads_nothing(html: str) -> None:
    for tag, attributes in Page(html).elements:
        assert tag not in {"link", "iframe", "img", "object", "embed", "base", "form"}
        assert not LOADS & attributes.keys()
        if "href" in attributes:
            assert tag == "a"
    style = html[html.index("<style>") : html.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style
    policy = next(a["content"] for t, a in Page(html).elements if t == "meta" and "http-equiv" in a)
    assert policy is not None
    assert policy.startswith("default-src 'none'")
