"""Twenty requests, their times and lengths, and how exports are written."""

import csv
import datetime as dt
import io
import json
from collections.abc import Iterable, Sequence
from typing import Any, Final

REQUESTS: Final = 20
INPUT: Final = [1000 + 10 * place for place in range(REQUESTS)]

OUTPUT: Final = [50 + place for place in range(REQUESTS)]
CALLS_A_ROW: Final = 10
"""In exports that sum up calls."""

TOTALS: Final = (REQUESTS, sum(INPUT), sum(OUTPUT))
PLACES: Final = range(REQUESTS)

TIMES: Final = [dt.datetime(2026, 11, 2, 9, tzinfo=dt.UTC) + dt.timedelta(minutes=place) for place in PLACES]
ISO: Final = [f"{time:%Y-%m-%dT%H:%M:%S}.000Z" for time in TIMES]

EPOCH_S: Final = [int(time.timestamp()) for time in TIMES]
EPOCH_NS: Final = [second * 10**9 for second in EPOCH_S]

Record = dict[str, Any]


def lines(records: Iterable[Record]) -> bytes:
    return "".join(json.dumps(record) + "\n" for record in records).encode()


def table(header: str, rows: Iterable[Sequence[object]]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerows([header.split(","), *rows])
    return text.getvalue().encode()


def document(record: object) -> bytes:
    return json.dumps(record, indent=1).encode()


def counted(first: str, second: str, **others: object) -> list[Record]:
    return [{first: INPUT[place], second: OUTPUT[place], **others} for place in PLACES]


OPENAI: Final = counted("prompt_tokens", "completion_tokens")
TOTAL: Final = [counts | {"total_tokens": sum(counts.values())} for counts in OPENAI]

GEMINI: Final = [
    {"promptTokenCount": count, "candidatesTokenCount": out - 10, "thoughtsTokenCount": 10}
    for count, out in zip(INPUT, OUTPUT, strict=True)
]

SPANS: Final = [
    {
        "name": "chat",
        "start_time_unix_nano": str(EPOCH_NS[place]),
        "attributes": {
            "gen_ai.request.model": "m",
            "gen_ai.usage.input_tokens": INPUT[place],
            "gen_ai.usage.output_tokens": OUTPUT[place],
        },
    }
    for place in PLACES
]


def rows(*columns: Sequence[object]) -> Iterable[tuple[object, ...]]:
    return zip(*columns, strict=True)


CHAT: Final = [{"role": "user", "content": "Tell me about the weather"}]
