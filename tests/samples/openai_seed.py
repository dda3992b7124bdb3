"""A pytest plugin for the official client's own tests: before each, the store holds the ids that they use.

TEST_API_BASE_URL=http://127.0.0.1:8000/v1 MERITORDER_STORE=sqlite:///gateway.db MERITORDER_BLOBS=blobs \
    pytest -p tests.samples.openai_seed
"""

import json
import os
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, delete, insert, select

from meritorder.gateway.store import files, keys
from meritorder.gateway.store.database import Database
from meritorder.gateway.store.files import StoredFile
from meritorder.gateway.store.keys import Key
from meritorder.gateway.store.responses import stored_answers
from meritorder.gateway.store.responses.stored_answers import COMPLETION, RESPONSE, StoredAnswer
from meritorder.gateway.store.schema import BATCHES, FILES, KEYS, STORED_ANSWERS

KEY = "My API Key"
FILES_USED = ("after", "file_id", "input_file_id")
BATCHES_USED = ("after", "batch_id")
RESPONSES_USED = ("resp_677efb5139a88190b512bc3fef8e535d", "response_id", "resp_123", "previous_response_id")
COMPLETIONS_USED = ("after", "completion_id")


@pytest.fixture(scope="session")
def _store() -> Iterator[Database]:
    database = Database(os.environ["MERITORDER_STORE"])
    yield database
    database.close()


@pytest.fixture(autouse=True)
def _seeded(_store: Database) -> None:
    # A blob for each test: the gateway deletes that of a deleted file later, perhaps within the next test.
    blob = f"seeded-{uuid.uuid4().hex}"
    (Path(os.environ["MERITORDER_BLOBS"]) / blob).touch()
    _store.submit(lambda connection: seed(connection, blob)).result()


def seed(connection: Connection, blob: str) -> None:
    """Put what the tests use into the store, as it was before the last of them."""
    now_s = time.time()
    if connection.execute(select(KEYS.c.id).where(KEYS.c.id == "key_sdk")).first() is None:
        keys.add(connection, Key(id="key_sdk", name="sdk", tenant="sdk"), KEY, now_s=now_s)
    connection.execute(delete(FILES).where(FILES.c.id.in_(FILES_USED)))
    connection.execute(delete(BATCHES).where(BATCHES.c.id.in_(BATCHES_USED)))
    connection.execute(delete(STORED_ANSWERS).where(STORED_ANSWERS.c.tenant == "sdk"))
    for file_id in FILES_USED:
        files.add(
            connection,
            StoredFile(id=file_id, tenant="sdk", filename="f", purpose="batch", bytes=0, blob=blob, created_s=now_s),
        )
    for batch_id in BATCHES_USED:
        connection.execute(
            insert(BATCHES).values(
                id=batch_id,
                tenant="sdk",
                endpoint="/v1/chat/completions",
                completion_window="24h",
                input_file_id="input_file_id",
                status="in_progress",
                in_progress_s=now_s,
                created_s=now_s,
                expires_s=now_s + 86400,
                total=1,
            )
        )
    _add_stored_answers(connection, now_s)


def _add_stored_answers(connection: Connection, now_s: float) -> None:
    asked = {
        "input": [{"id": "after", "type": "message", "role": "user", "content": "hello"}],
        "messages": [{"id": "after", "role": "assistant", "content": "hello"}],  # as their types want it
    }
    for response_id in RESPONSES_USED:
        item = StoredAnswer(
            id=response_id,
            kind=RESPONSE,
            tenant="sdk",
            model="gpt-6-astra",
            status="queued",
            request=json.dumps(asked).encode(),
            created_s=now_s,
        )
        stored_answers.add(connection, item, request_seq=0)  # made in the background, and not begun
    answer = {
        "id": "completion_id",
        "object": "chat.completion",
        "created": 1,
        "model": "gpt-6-astra",
        "choices": [
            {
                "index": 0,
                "finish_reason": "stop",
                "logprobs": None,
                "message": {"role": "assistant", "content": "hi", "refusal": None},
            }
        ],
    }
    for completion_id in COMPLETIONS_USED:
        item = StoredAnswer(
            id=completion_id,
            kind=COMPLETION,
            tenant="sdk",
            model="gpt-6-astra",
            status="completed",
            request=json.dumps(asked).encode(),
            answer=json.dumps(answer | {"id": completion_id}).encode(),
            created_s=now_s,
        )
        stored_answers.add(connection, item)
