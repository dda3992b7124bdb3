"""Multiples of one machine are sizes of it, whatever price list they come from."""

from pathlib import Path

from meritorder.catalog import load
from meritorder.catalog.machines import fold_multiples
from meritorder.domain import PricingModel
from meritorder.offers import Offer


def offer(instance: str, gpus: int, usd_per_hour: float, **fields: object) -> Offer:
    named: dict[str, object] = {
        "provider": "acme",
        "region": "",
        "hardware": "h100",
        "as_of": "2026-11-01",
        "source": "s",
    }
    named |= {"pricing_model": PricingModel.ON_DEMAND, "usd_per_hour": usd_per_hour, "gpus": gpus, "instance": instance}
    return Offer(**(named | fields))  # type: ignore[arg-type]


def test_multiples_of_one_name_become_sizes() -> None:
    (folded,) = fold_multiples([offer("2x H100", 2, 5.001), offer("H100", 1, 2.5), offer("8x H100", 8, 20.0)])
    assert (folded.instance, folded.gpus, folded.usd_per_hour, folded.sizes) == ("H100", 1, 2.5, (1, 2, 8))


def test_discount_for_size_stays_an_offer() -> None:
    offers = fold_multiples([offer("1x_H100", 1, 4.29), offer("8x_H100", 8, 8 * 3.99)])
    assert [(kept.instance, kept.sizes) for kept in offers] == [("1x_H100", ()), ("8x_H100", ())]


def test_other_names_regions_and_models_stay_apart() -> None:
    """AWS sells one H100 as p5.4xlarge and eight as p5.48xlarge at the same price per GPU: two machines."""
    offers = [
        offer("p5.4xlarge", 1, 6.88),
        offer("p5.48xlarge", 8, 55.04),
        offer("H100", 1, 2.0),
        offer("2x H100", 2, 4.0, region="east"),
        offer("2x H100", 2, 4.0, pricing_model=PricingModel.SPOT),
    ]
    assert set(fold_multiples(offers)) == set(offers)


def test_sizes_of_file_can_be_rented(tmp_path: Path) -> None:
    """A file may state sizes, or list every size: both rent two GPUs for twice the price of one."""
    header = "provider,instance,hardware,gpus,sizes,pricing_model,usd_per_hour\n"
    for rows in (
        "acme,H100,h100,1,1/2,on_demand,2.5\n",
        "acme,H100,h100,1,,on_demand,2.5\nacme,2x H100,h100,2,,on_demand,5\n",
    ):
        path = tmp_path / "prices.csv"
        path.write_text(header + rows)
        catalog = load((path,))
        assert len(catalog.select_offers("h100", "acme")) == 1
        two = catalog.cheapest("h100", 2, [PricingModel.ON_DEMAND], ("acme",))
        assert (two.instance, two.gpus, two.usd_per_hour) == ("2x H100", 2, 5.0)


def test_sizes_must_hold_the_listed_one(tmp_path: Path) -> None:
    path = tmp_path / "prices.csv"
    path.write_text(
        "provider,instance,hardware,gpus,sizes,pricing_model,usd_per_hour\n"
        "acme,H100,h100,1,2/4,on_demand,2.5\n"
        "acme,H200,h200,1,one,on_demand,2.5\n"
        "acme,L4,l4,1,,on_demand,0.5\n"
    )
    reasons = [rejection.reason for rejection in load((path,)).rejected if "prices.csv" in rejection.what]
    assert len(reasons) == 2
    assert "sizes must be numbers of GPUs" in reasons[0]
