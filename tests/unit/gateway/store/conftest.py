"""Stores on real databases."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.samples.stores import migrated_store, store_urls

from meritorder.gateway.store.database import Database


@pytest.fixture(params=store_urls())
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    with migrated_store(request.param, tmp_path) as store:
        yield store
