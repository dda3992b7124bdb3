"""Stores on real databases."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.samples.stores import empty_store, store_urls

from meritorder.gateway.store import migrations
from meritorder.gateway.store.database import Database


@pytest.fixture(params=store_urls())
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    with empty_store(request.param, tmp_path) as store:
        migrations.upgrade(store)
        yield store
