"""Our own form of a catalog: CSV and TOML."""

from decimal import Decimal

import pytest
from tests.samples.catalog_files import Write

from meritorder.catalog import load
from meritorder.domain import PricingModel
from meritorder.errors import CatalogError
from meritorder.units import ExchangeRate

OWN_HEADER = "provider,region,instance,hardware,gpus,pricing_model,usd_per_hour,term,as_of\n"


def test_own_toml_adds_every_table(write: Write) -> None:
    text = """
[[hardware]]
id = "mi300x"
name = "AMD Instinct MI300X"
memory_bytes = 206_158_430_208
memory_bandwidth_bytes_per_s = 5.3e12
bf16_flops = 1307e12
power_w = 750

[[model]]
id = "house-7b"
hf_id = "acme/house-7b"
parameters = 7e9
precision = "bf16"
context_tokens = 8192
kv = { layers = 32, kv_heads = 8, head_dim = 128 }

[[offer]]
provider = "Acme"
instance = "rack"
hardware = "mi300x"
gpus = 8
pricing_model = "on_demand"
usd_per_hour = 16.0
"""
    catalog = load([write("mine.toml", text)])
    assert catalog.find_hardware("MI300X").fp8_flops is None
    assert catalog.find_model("acme/house-7b").kv_bytes_per_token == 131_072
    assert catalog.cheapest("mi300x", 4, [PricingModel.ON_DEMAND]).provider == "acme"


@pytest.mark.parametrize("price", ["nan", "0", "-3", "inf", "much"])
def test_bad_price_leaves_out_its_row(write: Write, price: str, caplog: pytest.LogCaptureFixture) -> None:
    text = OWN_HEADER + f"a,,x,h100,8,on_demand,20,,2026-10-01\na,,y,h100,8,on_demand,{price},,2026-10-01\n"
    path = write("mine.csv", text)
    assert [offer.instance for offer in load([path]).select_offers(provider="a")] == ["x"]
    assert f"mine.csv: 1 left out, first {path}, row 3: " in caplog.text


@pytest.mark.parametrize(
    ("hardware", "known"),
    [
        ("NVIDIA A100-SXM4-40GB", "a100-40gb"),
        ("NVIDIA A100 80GB PCIe", "a100-pcie"),
        ("NVIDIA H100 NVL", "h100-nvl"),
        ("H200_SXM", "h200"),
        ("Nvidia L4", "l4"),
        ("A100-80G", "a100"),
        ("H100 80GiB SXM5", "h100"),
        ("nvidia.com/gpu.H100", "h100"),
        ("NVIDIA GeForce RTX 4090", "rtx-4090"),
    ],
)
def test_names_of_gpus_are_understood(write: Write, hardware: str, known: str) -> None:
    catalog = load([write("mine.csv", OWN_HEADER + f"a,,x,{hardware},4,on_demand,20,,\n")])
    assert [offer.hardware for offer in catalog.select_offers(provider="a")] == [known]
    assert catalog.find_hardware(hardware).id == known


@pytest.mark.parametrize(
    ("written", "pricing_model", "term", "years"),
    [
        ("On Demand", "on_demand", "", ""),
        ("pay-as-you-go", "on_demand", "", ""),
        ("Preemptible", "spot", "", ""),
        ("Savings-Plan", "savings_plan", "36 months", "3y"),
        ("CUD", "committed_use", "1 year", "1y"),
        ("RESERVED", "reserved", "3yr", "3y"),
        ("RI", "reserved", "36m", "3y"),
        ("CUD", "committed_use", "annual", "1y"),
        ("Interruptible", "spot", "", ""),
        ("reserved", "reserved", "6 months", "6 months"),
        ("capacity block", "capacity_block", "1-182d", "1-182d"),
    ],
)
def test_names_of_payment_are_understood(write: Write, written: str, pricing_model: str, term: str, years: str) -> None:
    catalog = load([write("mine.csv", OWN_HEADER + f"a,,x,l4,4,{written},20,{term},\n")])
    assert [(o.pricing_model, o.term) for o in catalog.select_offers(provider="a")] == [(pricing_model, years)]


def test_unknown_pricing_model_lists_allowed(write: Write) -> None:
    with pytest.raises(CatalogError) as caught:
        load([write("mine.csv", OWN_HEADER + "a,,x,l4,4,borrowed,20,,\n")])
    assert all(pricing_model in str(caught.value) for pricing_model in PricingModel)
    assert "row 2: 'borrowed' is not a pricing_model" in str(caught.value)


def test_prices_of_spreadsheets_are_read(write: Write) -> None:
    """Semicolons and decimal commas, dollar signs, thousands, and a term within the pricing model."""
    semicolons = "Provider;Instance;Hardware;GPUs;Pricing Model;USD per hour\nacme;a;H100;8;on demand;24,50\n"
    commas = OWN_HEADER + 'acme,,b,8x NVIDIA HGX H100,8,1 year reserved,"$1,234.50/hr",,\n'
    catalog = load([write("a.csv", semicolons), write("b.csv", commas)])
    mine = [offer for offer in catalog.offers if offer.provider == "acme"]
    assert {
        (offer.instance, offer.hardware, offer.pricing_model, offer.term, offer.usd_per_hour) for offer in mine
    } == {
        ("a", "h100", PricingModel.ON_DEMAND, "", 24.5),
        ("b", "h100", PricingModel.RESERVED, "1y", 1234.5),
    }


@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        ("acme,,a,h100,eight,on demand,24,,", "gpus must be a whole number of GPUs, not 'eight'"),
        ("acme,,a,h100,8,on demand,24 EUR,,", "usd_per_hour must be a number of dollars, not '24 EUR'"),
    ],
)
def test_cell_that_is_no_number_is_quoted(write: Write, cells: str, reason: str) -> None:
    with pytest.raises(CatalogError, match=reason):
        load([write("mine.csv", OWN_HEADER + cells + "\n")])


def test_missing_column_is_named(write: Write) -> None:
    header = "provider,instance,hardware,gpus,pricing_model,eur_per_hour\n"
    with pytest.raises(CatalogError, match="has no column usd_per_hour"):
        load([write("mine.csv", header + "acme,a,h100,8,on demand,24\n")])


def test_other_currency_leaves_out_its_row(write: Write, caplog: pytest.LogCaptureFixture) -> None:
    """Euros are not taken as dollars; the row beside them counts."""
    header = "currency,provider,instance,hardware,gpus,pricing_model,usd_per_hour\n"
    rows = "eur,a,b,h100,8,spot,9\nUSD,a,c,h100,8,spot,8\n"
    offers = load([write("mine.csv", header + rows)]).select_offers("h100", "a")
    assert [(offer.instance, offer.usd_per_hour) for offer in offers] == [("c", 8.0)]
    assert "row 2: is priced in eur, not in USD; give its rate, in dollars for one EUR: --rate EUR=RATE" in caplog.text


def test_rate_converts_other_currency(write: Write) -> None:
    """9 euros at 1.10 dollars are $9.90, in a CSV after the file with the rate and in that file itself."""
    table = '[[offer]]\nprovider = "a"\ninstance = "c"\nhardware = "h100"\ngpus = 8\npricing_model = "spot"\n'
    rates = write("rates.toml", f'{table}usd_per_hour = 10.0\ncurrency = "EUR"\n[rates]\neur = 1.10\n')
    header = "currency,provider,instance,hardware,gpus,pricing_model,usd_per_hour\n"
    prices = write("mine.csv", f"{header}EUR,a,b,h100,8,spot,9\n")
    offers = load([rates, prices]).select_offers("h100", "a")
    assert {offer.instance: round(offer.usd_per_hour, 9) for offer in offers} == {"b": 9.9, "c": 11.0}
    assert all("one EUR is 1.1 dollars" in offer.source for offer in offers)


def test_rate_of_a_file_wins(write: Write) -> None:
    """A rate of the command line converts all files, but those after one that states its own."""
    table = '[[offer]]\nprovider = "a"\ninstance = "{}"\nhardware = "h100"\ngpus = 8\npricing_model = "spot"\n'
    priced = f'{table}usd_per_hour = 10.0\ncurrency = "EUR"\n'
    files = [write("one.toml", priced.format("b")), write("two.toml", f"{priced.format('c')}[rates]\nEUR = 1.10\n")]
    offers = load([ExchangeRate(currency="EUR", usd=Decimal("1.2")), *files]).select_offers("h100", "a")
    assert {offer.instance: round(offer.usd_per_hour, 9) for offer in offers} == {"b": 12.0, "c": 11.0}


@pytest.mark.parametrize("rate", ["0", "-1.0", "inf", "nan", '"1.08"'])
def test_rate_is_a_positive_number(write: Write, rate: str) -> None:
    with pytest.raises(CatalogError, match="rates"):
        load([write("rates.toml", f"[rates]\nEUR = {rate}\n")])


@pytest.mark.parametrize("bad", ["gpus = 0.125", 'gpus = 8\ncurrency = "EUR"', "gpus = 8\ncolor = 1"])
def test_bad_table_leaves_out_itself(write: Write, bad: str, caplog: pytest.LogCaptureFixture) -> None:
    table = '[[offer]]\nprovider = "a"\nhardware = "h100"\npricing_model = "spot"\nusd_per_hour = 8.0\n'
    text = f'{table}instance = "b"\n{bad}\n{table}instance = "c"\ngpus = 8\n'
    assert [offer.instance for offer in load([write("mine.toml", text)]).select_offers("h100", "a")] == ["c"]
    assert "mine.toml, offer 1:" in caplog.text
