"""Newer prices from public lists: read whole or not at all, compared, kept, and used by all."""

import json
import stat
from dataclasses import replace
from pathlib import Path

import pytest
from tests.samples.catalog_files import AWS_PRICE_LIST
from tests.samples.price_lists import Answer, genai, skypilot, web_server

from meritorder.catalog import load, updates
from meritorder.catalog.sources import SOURCES, choose_sources
from meritorder.catalog.tokens import api_prices
from meritorder.domain import PricingModel
from meritorder.errors import CatalogError, MeritorderError
from meritorder.study.prices.update import reset_prices, update_prices

RUNPOD = skypilot(
    ("1x_H100_SECURE", "H100-SXM", 1, "US", 4.25, ""),
    ("2x_H100_SECURE", "H100-SXM", 2, "US", 8.5, ""),
    ("1x_NEW_SECURE", "H200", 1, "US", 5.0, ""),
)
NAMES = ("skypilot/runpod",)


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    return tmp_path / "data"


def kept(data: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in data.rglob("*") if path.is_file()}


def mirror(tmp_path: Path, **lists: bytes) -> str:
    """Write lists into a folder as `--from` reads it; `_` stands for `/`."""
    for name, content in lists.items():
        path = tmp_path / "mirror" / next(s.mirror_path for s in SOURCES if s.name.replace("/", "_") == name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return str(tmp_path / "mirror")


def test_fetched_prices_are_used_by_all(tmp_path: Path) -> None:
    before = {
        offer.usd_per_hour for offer in load().select_offers("h100", "runpod", pricing_model=PricingModel.ON_DEMAND)
    }
    update = update_prices(names=NAMES, mirror=mirror(tmp_path, skypilot_runpod=RUNPOD))
    (offer,) = load().select_offers("h100", "runpod", pricing_model=PricingModel.ON_DEMAND)
    assert before == {2.69, 3.99}
    assert (offer.usd_per_hour, offer.sizes, offer.as_of) == (4.25, (1, 2), "2026-11-30")
    kinds = {change.what: change.kind for change in update.changes}
    assert kinds["runpod 1x_H100_SECURE US (on demand)"] == "added"
    assert kinds["runpod H100 SXM Secure (on demand)"] == "removed"
    assert not any("lambda" in what for what in kinds)


def test_second_update_compares_with_first(tmp_path: Path, data: Path) -> None:
    place = mirror(tmp_path, skypilot_runpod=RUNPOD)
    update_prices(names=NAMES, mirror=place)
    mirror(tmp_path, skypilot_runpod=RUNPOD.replace(b"4.25", b"3.75").replace(b"8.5", b"7.5").replace(b"5.0,", b"6.0,"))
    update = update_prices(names=NAMES, mirror=place)
    assert {change.what: change.kind for change in update.changes} == {
        "runpod 1x_H100_SECURE US (on demand)": "reduced",
        "runpod 1x_NEW_SECURE US (on demand)": "increased",
    }
    assert b"4.25" in kept(data)["skypilot-runpod.csv.old"]
    assert b"3.75" in kept(data)["skypilot-runpod.csv"]


def test_dry_run_writes_nothing(tmp_path: Path, data: Path) -> None:
    update = update_prices(names=NAMES, mirror=mirror(tmp_path, skypilot_runpod=RUNPOD), dry_run=True)
    assert update.changes
    assert kept(data) == {}


def test_reset_goes_back_to_shipped(tmp_path: Path, data: Path) -> None:
    shipped = load().offers
    update_prices(names=NAMES, mirror=mirror(tmp_path, skypilot_runpod=RUNPOD))
    assert load().offers != shipped
    assert [path.name for path in reset_prices()] == ["skypilot-runpod.csv"]
    assert load().offers == shipped
    assert set(kept(data)) == {"skypilot-runpod.csv.old"}
    assert reset_prices() == ()


def test_token_prices_are_fetched(tmp_path: Path) -> None:
    with pytest.raises(CatalogError):
        api_prices("acme-chat")
    update = update_prices(mirror=mirror(tmp_path, **{"genai-prices": genai(usd=1.5)}))
    assert api_prices("acme-chat")[0].input_usd_per_mtok == 1.5
    added = next(change for change in update.changes if change.what == "acme acme-chat, tokens, standard")
    assert (added.kind, added.after_usd) == ("added", (1.5, 6.0))


def test_older_token_list_is_not_used(tmp_path: Path) -> None:
    update_prices(mirror=mirror(tmp_path, **{"genai-prices": genai(date="2026-01-05")}))
    with pytest.raises(CatalogError):
        api_prices("acme-chat")


def test_aws_list_gives_reservations(tmp_path: Path) -> None:
    """On demand $50 an hour; one year all upfront is $262,800 over 8,760 hours, $30."""
    update_prices(names=("aws",), mirror=mirror(tmp_path, aws=json.dumps(AWS_PRICE_LIST).encode()))
    prices = {
        (offer.pricing_model.value, offer.term): offer.usd_per_hour
        for offer in load().select_offers("h100", "aws", "us-east-1")
        if offer.instance == "p5.48xlarge"
    }
    assert prices["reserved", "1y"] == pytest.approx(30.0)


def test_shipped_prices_newer_than_fetched_stay(tmp_path: Path) -> None:
    """The AWS list is of 2026-11-01; a list of 2025 must not replace the shipped one of 2026-07-28."""
    old = AWS_PRICE_LIST | {"publicationDate": "2025-01-01T00:00:00Z"}
    update_prices(names=("aws",), mirror=mirror(tmp_path, aws=json.dumps(old).encode()))
    (offer,) = (
        offer
        for offer in load().select_offers("h100", "aws", "us-east-1")
        if (offer.instance, offer.pricing_model) == ("p5.48xlarge", "on_demand")
    )
    assert offer.usd_per_hour == 55.04


def test_spot_keeps_known_interruptions(tmp_path: Path) -> None:
    listed = skypilot(("p5.48xlarge", "H100", 8, "us-west-2", 60.0, 25.0))
    (before,) = load().select_offers("h100", "aws", "us-west-2", PricingModel.SPOT)
    update_prices(names=("skypilot/aws",), mirror=mirror(tmp_path, skypilot_aws=listed))
    (after,) = load().select_offers("h100", "aws", "us-west-2", PricingModel.SPOT)
    assert after.usd_per_hour == 25.0
    assert after.interruptions_per_month == before.interruptions_per_month == 0.075


PATH = "/skypilot/runpod/vms.csv"
HOSTILE = {
    "truncated": (Answer(RUNPOD, sent_bytes=len(RUNPOD) // 2), "ended early"),
    "cut off before it was sent": (Answer(RUNPOD[:-9]), "is cut off"),
    "missing": (Answer(b"gone", 404), "404"),
    "failing": (Answer(b"oops", 500), "500"),
    "a web page": (Answer(b"\n<!doctype html><html>Sign in</html>", headers={"Content-Type": "text/csv"}), "web page"),
    "empty": (Answer(b""), "its columns are others"),
    "binary": (Answer(b"\xff\xfe\x00binary"), "is no text"),
    "other columns": (Answer(b"name,price\nh100,2\n"), "its columns are others"),
    "no machine with a GPU": (Answer(skypilot(("cpu", "", 0, "US", 1.0, ""))), "no machine with a GPU"),
    "no valid price": (Answer(skypilot(("1x_H100", "H100", 1, "US", "free", ""))), "most rows"),
    "no finite price": (Answer(skypilot(("1x_H100", "H100", 1, "US", "nan", ""))), "most rows"),
    "another host": (Answer(b"", 302, {"Location": "http://192.0.2.1/vms.csv"}), "another host"),
    "another scheme": (Answer(b"", 302, {"Location": "file:///etc/passwd"}), "another host"),
    "endless redirects": (Answer(b"", 302, {"Location": PATH}), "redirects more than"),
    "slow": (Answer(RUNPOD, pause_s=0.2), "did not answer in full"),
}  # fmt: skip


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_answer_changes_nothing(tmp_path: Path, data: Path, kind: str) -> None:
    update_prices(names=NAMES, mirror=mirror(tmp_path, skypilot_runpod=RUNPOD))
    before, offers = kept(data), load().offers
    answer, reason = HOSTILE[kind]
    with web_server({PATH: answer}) as address, pytest.raises(MeritorderError, match=reason) as caught:
        update_prices(names=NAMES, mirror=address, timeout_s=1.0)
    assert str(caught.value).count("\n") == 0
    assert PATH in str(caught.value)
    assert kept(data) == before
    assert load().offers == offers


def test_huge_answer_is_not_read_whole(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A body larger than the list may be; the limit is lowered so that the test need not send 64 MiB."""
    small = tuple(replace(source, max_bytes=1 << 20) for source in choose_sources(NAMES))
    monkeypatch.setattr("meritorder.study.prices.update.choose_sources", lambda _: small)
    body = RUNPOD + b"x" * (4 << 20)
    with web_server({PATH: body}) as address, pytest.raises(MeritorderError, match="larger than 1 MiB"):
        update_prices(names=NAMES, mirror=address)
    assert kept(data) == {}


@pytest.mark.parametrize("content", [b"{}", b"[1]", b"nonsense", b"[" * 100_000, genai()[:-9]])
def test_broken_token_list_is_refused(tmp_path: Path, data: Path, content: bytes) -> None:
    with pytest.raises(MeritorderError, match=r"genai-prices") as caught:
        update_prices(mirror=mirror(tmp_path, **{"genai-prices": content}))
    assert "\n" not in str(caught.value)
    assert kept(data) == {}


@pytest.mark.parametrize("price", ['"a lot"', "null", "{}"])
def test_broken_aws_price_is_refused(tmp_path: Path, data: Path, price: str) -> None:
    text = json.dumps(AWS_PRICE_LIST).replace('"50.0"', price)
    with pytest.raises(MeritorderError, match="price list"):
        update_prices(names=("aws",), mirror=mirror(tmp_path, aws=text.encode()))
    assert kept(data) == {}


def test_one_bad_list_keeps_all_old(tmp_path: Path, data: Path) -> None:
    place = mirror(tmp_path, skypilot_runpod=RUNPOD, skypilot_verda=b"<html>")
    with pytest.raises(MeritorderError):
        update_prices(mirror=place)
    assert kept(data) == {}


def test_redirect_on_same_host_is_followed(data: Path) -> None:
    answers = {PATH: Answer(b"", 301, {"Location": "/moved.csv"}), "/moved.csv": Answer(RUNPOD)}
    with web_server(answers) as address:
        update_prices(names=NAMES, mirror=address)
    assert "skypilot-runpod.csv" in kept(data)


def test_unknown_sources_and_places_are_refused(tmp_path: Path) -> None:
    for names, place, reason in (
        (("nonsense",), "", "unknown source"),
        ((), str(tmp_path / "none"), "is no folder"),
        ((), str(tmp_path), "has no price list"),
        (NAMES, "ftp://host/x", "no address of http"),
    ):
        with pytest.raises(MeritorderError, match=reason):
            update_prices(names=names, mirror=place)


def test_folder_without_permission_is_named(tmp_path: Path, data: Path) -> None:
    data.write_text("a file where the folder should be")
    with pytest.raises(MeritorderError, match="XDG_DATA_HOME"):
        update_prices(names=NAMES, mirror=mirror(tmp_path, skypilot_runpod=RUNPOD))
    assert stat.S_ISREG(data.stat().st_mode)


def test_kill_between_writes_leaves_whole_files(tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped at each rename in turn, the list in use is the old one or the new one, whole."""
    update_prices(names=NAMES, mirror=mirror(tmp_path, skypilot_runpod=RUNPOD))
    old = kept(data)["skypilot-runpod.csv"]
    place = mirror(tmp_path, skypilot_runpod=RUNPOD.replace(b"4.25", b"3.75"))
    rename = Path.replace
    for survived in (0, 1):
        left = survived

        def stops(path: Path, target: Path) -> Path:
            nonlocal left
            if not left:
                raise KeyboardInterrupt
            left -= 1
            return rename(path, target)

        monkeypatch.setattr(Path, "replace", stops)
        with pytest.raises(KeyboardInterrupt):
            update_prices(names=NAMES, mirror=place)
        monkeypatch.setattr(Path, "replace", rename)
        assert kept(data)["skypilot-runpod.csv"] == old
        assert not any(name.endswith(".part") for name in kept(data))


def test_implausible_price_leaves_shipped_one(tmp_path: Path) -> None:
    """A thousand times the usual price is rejected, and does not take the place of the shipped one."""
    before = load().select_offers("h100", "runpod", pricing_model=PricingModel.ON_DEMAND)
    listed = skypilot(("1x_H100_SECURE", "H100", 1, "US", 3990.0, ""))
    update = update_prices(names=NAMES, mirror=mirror(tmp_path, skypilot_runpod=listed))
    assert load().select_offers("h100", "runpod", pricing_model=PricingModel.ON_DEMAND) == before
    assert any("1x_H100_SECURE" in rejection.what for rejection in load().rejected)
    assert update.changes == ()


@pytest.mark.parametrize("content", [b"provider,instance\n", b"", b"\xff\xfe", b'"'])
def test_damaged_kept_list_names_the_way_out(content: bytes) -> None:
    updates.save("skypilot-runpod.csv", content)
    with pytest.raises(CatalogError, match="prices reset"):
        load()
    reset_prices()
    assert load().offers


def test_every_source_is_declared_once() -> None:
    names, files = [source.name for source in SOURCES], [source.file for source in SOURCES]
    assert len(set(names)) == len(set(files)) == len(SOURCES)
    assert {source.url.partition(":")[0] for source in SOURCES} == {"https"}
    assert [source.name for source in choose_sources(("skypilot",))] == [n for n in names if n.startswith("skypilot/")]
    assert "aws" not in [source.name for source in choose_sources(())]
