import stat
from dataclasses import replace
from pathlib import Path

import pytest

from meritorder.client.calls import Answer, Call, Promise, make_call
from meritorder.client.journal import Batch, Journal, default_path
from meritorder.errors import ConfigError

PROMISE = Promise(endpoint="/chat/completions", model="m", deadline="4h")
BATCH = Batch(id="one", promise=PROMISE, window_s=60, input=b"")


def calls(*keys: str) -> list[Call]:
    return [make_call(f'{{"n": "{key}"}}'.encode(), PROMISE, key) for key in keys]


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "deep" / "client.db")


def test_call_belongs_to_one_batch(journal: Journal) -> None:
    assert {entry.batch_id for entry in journal.open("me", BATCH, calls("a", "b")).values()} == {"one"}
    entries = journal.open("me", replace(BATCH, id="two"), calls("b", "c"))
    assert (entries["key:b"].batch_id, entries["key:c"].batch_id) == ("one", "two")
    batch = journal.batch("two")
    assert batch is not None
    assert batch.input == calls("c")[0].line


def test_batch_without_new_calls_is_not_added(journal: Journal) -> None:
    journal.open("me", BATCH, calls("a"))
    journal.open("me", replace(BATCH, id="two"), calls("a"))
    assert journal.batch("two") is None


def test_first_recorded_file_counts(journal: Journal) -> None:
    journal.open("me", BATCH, calls("a"))
    assert journal.record("one", "file_id", "file-1") == "file-1"
    assert journal.record("one", "file_id", "file-2") == "file-1"


def test_results_outlive_the_journal(journal: Journal, tmp_path: Path) -> None:
    journal.open("me", BATCH, calls("a", "b"))
    journal.settle("one", {"key:a": Answer(200, b"{}"), "key:b": Answer(500, b"{}")})
    journal.close()
    again = Journal(tmp_path / "deep" / "client.db")
    found = again.find("me", "key:a")
    assert found is not None
    assert found.answer == Answer(200, b"{}")
    assert again.find("me", "key:b") is None
    assert again.batch("one") is None


def test_other_caller_finds_nothing(journal: Journal) -> None:
    journal.open("me", BATCH, calls("a"))
    assert journal.find("you", "key:a") is None


def test_old_answers_are_forgotten(journal: Journal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal.open("me", BATCH, calls("a"))
    journal.settle("one", {"key:a": Answer(200, b"{}")})
    journal.open("me", replace(BATCH, id="two", window_s=10**7), calls("running"))
    now_s = __import__("time").time()
    monkeypatch.setattr("meritorder.client.journal.time.time", lambda: now_s + 8 * 86400)
    later = Journal(tmp_path / "deep" / "client.db")
    assert later.find("me", "key:a") is None
    assert later.find("me", "key:running") is not None


def test_journal_is_readable_by_its_owner_only(journal: Journal, tmp_path: Path) -> None:
    del journal
    assert stat.S_IMODE((tmp_path / "deep" / "client.db").stat().st_mode) == 0o600


def test_unusable_journal_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a database, but long enough to be taken for one" * 9)
    with pytest.raises(ConfigError, match="the journal cannot be used"):
        Journal(tmp_path / "file")
    with pytest.raises(ConfigError, match="the journal cannot be used"):
        Journal(tmp_path / "file" / "below")


def test_default_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/somewhere")
    assert default_path() == Path("/somewhere/meritorder/client.db")
