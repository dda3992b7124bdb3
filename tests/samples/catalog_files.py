"""A price list of AWS, and how a test writes a catalog file."""

from collections.abc import Callable
from pathlib import Path

Write = Callable[[str, str], Path]


def aws_product(instance: str, gpus: str = "8", **attributes: str) -> dict[str, object]:
    about = {
        "instanceType": instance,
        "regionCode": "us-east-1",
        "gpu": gpus,
        "operatingSystem": "Linux",
        "tenancy": "Shared",
        "preInstalledSw": "NA",
        "capacitystatus": "Used",
    }
    return {"sku": "X", "productFamily": "Compute Instance", "attributes": about | attributes}


def aws_term(hourly: str, upfront: str | None = None, **attributes: str) -> dict[str, object]:
    dimensions = {"r1": {"unit": "Hrs", "pricePerUnit": {"USD": hourly}, "description": "an hour"}}
    if upfront is not None:
        dimensions["r2"] = {
            "unit": "Quantity",
            "pricePerUnit": {"USD": upfront},
            "description": "Upfront Fee",
        }
    return {"priceDimensions": dimensions, "termAttributes": attributes}


AWS_PRICE_LIST = {
    "formatVersion": "v1.0",
    "offerCode": "AmazonEC2",
    "version": "20261101000000",
    "publicationDate": "2026-11-01T12:00:00Z",
    "products": {
        "P5": aws_product("p5.48xlarge"),
        "BLOCK": aws_product("p5.48xlarge", marketoption="CapacityBlock"),
        "WINDOWS": aws_product("p5.48xlarge", operatingSystem="Windows"),
        "DEDICATED": aws_product("p5.48xlarge", tenancy="Dedicated"),
        "SQL": aws_product("p5.48xlarge", preInstalledSw="SQL Web"),
        "RESERVATION": aws_product("p5.48xlarge", capacitystatus="UnusedCapacityReservation"),
        "CPU": aws_product("m7i.large"),
    },
    "terms": {
        "OnDemand": {
            sku: {"t": aws_term("50.0")} for sku in ("P5", "WINDOWS", "DEDICATED", "SQL", "RESERVATION", "CPU")
        }
        | {"BLOCK": {"t": aws_term("0.0000000000")}},
        "Reserved": {
            "P5": {
                "a": aws_term(
                    "0",
                    "262800",
                    LeaseContractLength="1yr",
                    PurchaseOption="All Upfront",
                    OfferingClass="standard",
                ),
                "b": aws_term(
                    "10",
                    "262800",
                    LeaseContractLength="3yr",
                    PurchaseOption="Partial Upfront",
                    OfferingClass="standard",
                ),
                "c": aws_term(
                    "31", LeaseContractLength="1yr", PurchaseOption="No Upfront", OfferingClass="convertible"
                ),
            }
        },
    },
}
