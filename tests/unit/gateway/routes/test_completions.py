from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.samples.service import call, open_service

from meritorder.gateway.app.service import Service
from meritorder.gateway.store.responses import stored_answers
from meritorder.gateway.store.responses.stored_answers import COMPLETION, StoredAnswer

PATH = "/v1/chat/completions"


def completion(number: int, metadata: str | None = None) -> StoredAnswer:
    return StoredAnswer(
        id=f"c{number}",
        kind=COMPLETION,
        tenant="default",
        model="m",
        status="completed",
        request=b'{"messages": [{"role": "user", "content": "hello"}]}',
        answer=b'{"id": "c%d"}' % number,
        metadata=metadata,
        created_s=float(number),
    )


def store(service: Service, item: StoredAnswer, request_seq: int | None = None) -> None:
    service.context.database.submit(
        lambda connection: stored_answers.add(connection, item, request_seq=request_seq)
    ).result()


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    with open_service(tmp_path) as opened:
        for number in range(5):
            store(opened, completion(number, f'{{"odd": "{number % 2}"}}'))
        yield opened


def ids(service: Service, query: str) -> tuple[list[str], bool]:
    page = call(service, "GET", f"{PATH}?{query}").json
    return [item["id"] for item in page["data"]], page["has_more"]


def test_completions_filtered_across_pages(service: Service) -> None:
    assert ids(service, "limit=2") == (["c0", "c1"], True)
    assert ids(service, "limit=2&metadata[odd]=1") == (["c1", "c3"], False)
    assert ids(service, "limit=1&metadata[odd]=0&after=c0&order=asc") == (["c2"], True)
    assert ids(service, "order=desc&limit=1") == (["c4"], True)
    assert ids(service, "model=other") == ([], False)


def test_metadata_is_replaced(service: Service) -> None:
    assert call(service, "POST", PATH + "/c1", {"metadata": {"a": "b"}}).json == {"id": "c1", "metadata": {"a": "b"}}
    assert call(service, "GET", PATH + "/c1").json["metadata"] == {"a": "b"}


def test_messages_of_request(service: Service) -> None:
    messages = call(service, "GET", PATH + "/c1/messages").json["data"]
    assert [(message["content"], message["id"]) for message in messages] == [("hello", "c1-0")]


def test_deleted_completion_is_gone(service: Service) -> None:
    assert call(service, "DELETE", PATH + "/c1").json["deleted"] is True
    assert call(service, "GET", PATH + "/c1").status == 404
