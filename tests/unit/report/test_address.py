import pytest

from meritorder.report.address import host, web_address


@pytest.mark.parametrize(
    ("source", "url", "name"),
    [
        ("https://www.runpod.io/pricing", "https://www.runpod.io/pricing", "runpod.io"),
        ("a list of 2026 (one GPU) <https://www.runpod.io/pricing>", "https://www.runpod.io/pricing", "runpod.io"),
        ("http://a.b:80/c?d=e#f", "http://a.b:80/c?d=e#f", "a.b"),
    ],
)
def test_an_address_of_the_web_is_found(source: str, url: str, name: str) -> None:
    address = web_address(source)
    assert address is not None
    assert address.geturl() == url
    assert host(address) == name


@pytest.mark.parametrize(
    "source",
    [
        "",
        "by hand",
        "javascript:alert(1)",
        "see <javascript:alert(1)>",
        "http://[",
        "<http://[>",
        "https://",
        "a <b> c",
    ],
)
def test_what_is_none_is_not_linked_to(source: str) -> None:
    assert web_address(source) is None
