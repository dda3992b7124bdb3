"""What a venue pays by time: the price of its machine, as configured or as the catalog has it."""

import datetime as dt
import math
from dataclasses import dataclass

from meritorder import catalog
from meritorder.catalog.machines import find_machine
from meritorder.domain import PricingModel
from meritorder.errors import CatalogError, ConfigError
from meritorder.gateway.config import VenueTable, duration_s
from meritorder.units import PICOUSD_PER_USD

_COMMITMENTS = frozenset(PricingModel) - {PricingModel.ON_DEMAND, PricingModel.SPOT}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rented:
    """A machine and its price.

    Args:
        machine: Its name.
        pricing_model: How it is paid for.
        picousd_per_hour: Its price.
        minimum_billing_s: Shortest time that is billed for each start.
        ends_s: When the commitment ends, epoch seconds; infinite if that is not stated or there is none.
    """

    machine: str
    pricing_model: PricingModel
    picousd_per_hour: int
    minimum_billing_s: float
    ends_s: float = math.inf

    def is_committed(self, now_s: float) -> bool:
        """Return whether it is paid now whether or not it runs."""
        return self.pricing_model in _COMMITMENTS and now_s < self.ends_s

    @classmethod
    def from_table(cls, table: VenueTable) -> "Rented | None":
        """Return what a venue rents; None if it is not paid by time.

        Raises:
            ConfigError: The catalog has no price of its machine, or the end of its commitment is no date.
        """
        if not table.is_machine:
            return None
        pricing_model = PricingModel(table.pricing_model)
        usd_per_hour, minimum_s = table.usd_per_hour, 0.0
        if usd_per_hour is None:
            try:
                offer = find_machine(catalog.load(()), table.machine, pricing_model)
            except CatalogError as error:
                raise ConfigError(error.what, where=f"venue {table.name}: machine", fix=error.fix) from None
            picousd_per_hour, minimum_s = round(offer.usd_per_hour * PICOUSD_PER_USD), offer.minimum_billing_s
        else:
            picousd_per_hour = round(usd_per_hour * PICOUSD_PER_USD)
        return cls(
            machine=table.machine,
            pricing_model=pricing_model,
            picousd_per_hour=picousd_per_hour,
            minimum_billing_s=duration_s(table.minimum_billing) if table.minimum_billing else minimum_s,
            ends_s=_ends_s(table, pricing_model),
        )


def _ends_s(table: VenueTable, pricing_model: PricingModel) -> float:
    if not table.committed_until:
        return math.inf
    where = f"venue {table.name}: committed_until"
    if pricing_model not in _COMMITMENTS:
        fix = "write the pricing_model of the commitment, such as reserved"
        raise ConfigError(f"{pricing_model} is no commitment", where=where, fix=fix)
    try:
        moment = dt.datetime.fromisoformat(table.committed_until)
    except ValueError:
        raise ConfigError(
            f"{table.committed_until!r} is no date", where=where, fix="write it as 2027-01-31, or 2027-01-31T12:00"
        ) from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)).timestamp()
