"""The prices that an answer rests on, in a terminal."""

from typing import Final
from urllib.parse import urlsplit

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from meritorder.comparison import PriceUsed
from meritorder.report.blocks import headed, plain, section, stack
from meritorder.units import format_usd

_PRICE_TABLE_WIDTH: Final = 116


def prices_used(prices: list[PriceUsed], width: int) -> RenderableType:
    """Return the prices as a table, or as a list where there is no room for one."""
    body = _price_table(prices) if width >= _PRICE_TABLE_WIDTH else _price_list(prices)
    return section("Prices used", "--json and --html give each address in full", body)


def _price_table(prices: list[PriceUsed]) -> Table:
    table = headed("what", "provider", "pricing", "price", "", "as of", "source", "used for", numbers=0)
    table.columns[3].justify = "right"
    for column in (table.columns[0], table.columns[-1]):
        column.no_wrap = False
    for price in prices:
        before = (
            price.what,
            price.provider,
            _spaced(price.pricing_model),
            format_usd(price.usd),
            f"/ {price.unit}",
            price.as_of,
        )
        table.add_row(*map(plain, before), _source(price.source), plain(price.used_for))
    return table


def _price_list(prices: list[PriceUsed]) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(justify="right", no_wrap=True)
    table.add_column()
    for price in prices:
        what = plain(" · ".join((price.what, price.provider, _spaced(price.pricing_model))))
        origin = Text.assemble(_source(price.source), f" · {price.as_of} · for {price.used_for}", style="dim")
        table.add_row(plain(f"{format_usd(price.usd)} / {price.unit}"), stack(what, origin))
    return table


def _spaced(name: str) -> str:
    return name.replace("_", " ")


def _source(source: str) -> Text:
    address = urlsplit(source)
    if address.scheme not in {"http", "https"} or not address.hostname:
        return plain(source)
    return plain(address.hostname.removeprefix("www."), f"link {address.geturl()}")
