"""Tables by their column names."""

from pathlib import Path

import pytest
from tests.samples.trace_files import LENGTHS, cells, lines, real, refused, written

from meritorder.traces.read import read_trace
from meritorder.traces.trace import Kind


@pytest.mark.parametrize(
    ("name", "requests", "tenants"),
    [
        ("traces/servegen/servegen_m_large_week1.parquet", 136_570, 108),
        ("traces/vtc_arena/vtc_arena.parquet", 1_500, 27),
        ("measured/vllm_0.19_requests.csv", 600, 0),
    ],
)
def test_well_known_columns_real(name: str, requests: int, tenants: int) -> None:
    trace = read_trace([real(name)], strict=True)
    assert trace.report.format == "columns"
    assert trace.requests.height == requests
    assert trace.requests["tenant"].drop_nulls().n_unique() == tenants
    assert trace.epoch_s is None


def test_columns_are_mapped_by_the_user(tmp_path: Path) -> None:
    text = "when;ein;aus;wer;bis\n2026-01-05 10:00:00;5;6;a;2026-01-05 11:00:00\n2026-01-05 10:00:30;7;8;b;\n"
    mapping = {"arrival": "when", "input": "ein", "output": "aus", "tenant": "wer", "deadline": "bis"}
    trace = read_trace([written(tmp_path, text)], columns=mapping)
    assert cells(trace, *LENGTHS, "tenant", "deadline_s") == [
        (0.0, 5, 0, 6, "a", 3600.0),
        (30.0, 7, 0, 8, "b", None),
    ]


def test_missing_column_is_named(tmp_path: Path) -> None:
    message = refused(written(tmp_path, "arrived_s,prompt_tokens\n1,2\n"), format="columns")
    assert "column for output" in message
    assert "--columns output=NAME" in message


def test_unread_token_columns_are_stated(tmp_path: Path) -> None:
    header = "timestamp,prompt_tokens,completion_tokens,reasoning_tokens,max_tokens,audio_tokens,total_tokens\n"
    path = written(tmp_path, header + "2026-11-02T09:00:00Z,500,90,1900,4096,0,590\n")
    stated = [text for text in read_trace([path]).report.assumptions if text.startswith("not read")]
    # Limits, totals and columns of zeros are no parts.
    assert len(stated) == 1
    assert "counts: reasoning_tokens; if" in stated[0]
    added = read_trace([path], columns={"output": "completion_tokens+reasoning_tokens"})
    assert added.requests["output_tokens"].to_list() == [1990]
    assert not any(text.startswith("not read") for text in added.report.assumptions)


@pytest.mark.parametrize(("yes", "no"), [("true", "False"), ("1", "0")])
def test_unsuccessful_calls_are_failures(tmp_path: Path, yes: str, no: str) -> None:
    header = "timestamp,prompt_tokens,completion_tokens,success\n"
    path = written(tmp_path, header + f"2026-11-02T09:00:00Z,500,90,{yes}\n2026-11-02T09:00:01Z,500,90,{no}\n")
    report = read_trace([path]).report
    assert (report.requests, report.failed_rows) == (1, 1)


def test_day_and_clock_are_one_time(tmp_path: Path) -> None:
    path = written(
        tmp_path, "date,time,prompt_tokens,completion_tokens\n2026-11-02,09:00:00,5,3\n2026-11-03,09:01:30,6,3\n"
    )
    trace = read_trace([path])
    assert trace.requests["arrived_s"].to_list() == [0.0, 86_490.0]
    assert trace.epoch_s == 1_793_610_000


def test_parts_of_a_time_are_named(tmp_path: Path) -> None:
    path = written(tmp_path, "d,t,prompt_tokens,completion_tokens\n02.11.2026,09:00,5,3\n02.11.2026,09:01,6,3\n")
    trace = read_trace([path], columns={"arrival": "d+t"})
    assert trace.requests["arrived_s"].to_list() == [0.0, 60.0]


@pytest.mark.parametrize(
    ("usage", "cached"),
    [
        (
            {"usage_metadata": {"input_tokens": 500, "output_tokens": 90, "input_token_details": {"cache_read": 400}}},
            400,
        ),
        (
            {
                "meta": {
                    "billed_units": {"input_tokens": 7, "output_tokens": 9},
                    "tokens": {"input_tokens": 500, "output_tokens": 90},
                }
            },
            0,
        ),
    ],
)
def test_usage_of_libraries_is_known(tmp_path: Path, usage: dict[str, object], cached: int) -> None:
    """LangChain's input includes the cache; Cohere bills less than it reads."""
    path = written(tmp_path, lines({"time": "2026-11-02T09:00:00Z", **usage}), "log.jsonl")
    assert cells(read_trace([path]), *LENGTHS) == [(0.0, 500, cached, 90)]


def test_named_lengths_need_no_times(tmp_path: Path) -> None:
    path = written(tmp_path, "name,prompt_tokens,completion_tokens\na,5,3\nb,6,3\n")
    trace = read_trace([path], columns={"input": "prompt_tokens", "output": "completion_tokens"})
    assert cells(trace, *LENGTHS) == [(0.0, 5, 0, 3), (0.0, 6, 0, 3)]
    assert "the file has no arrival times: all requests arrive at once" in trace.report.assumptions
    assert "arrival=NAME" in refused(path)


@pytest.mark.parametrize(
    "path",
    ["result.prompt_tokens", "_source.llm.usage.prompt_tokens", "out.meta_info.prompt_tokens", "llm_prompt_tokens"],
)
def test_known_counts_have_any_prefix(tmp_path: Path, path: str) -> None:
    """Splunk, Elasticsearch, SGLang and APISIX: the answer counts of the same place go with those of the prompt."""
    record: dict[str, object] = {"@timestamp": "2026-11-02T09:00:00Z"}
    *around, name = path.split(".")
    inner = record
    for key in around:
        inner = inner.setdefault(key, {})  # type: ignore[assignment]
    inner |= {name: "500", name.replace("prompt", "completion"): "90"}
    assert cells(read_trace([written(tmp_path, lines(record), "log.jsonl")]), *LENGTHS) == [(0.0, 500, 0, 90)]


def test_two_pairs_of_counts_are_open(tmp_path: Path) -> None:
    record = {f"{place}_{side}_tokens": 5 for place in ("draft", "target") for side in ("prompt", "completion")}
    path = written(tmp_path, lines({"timestamp": "2026-11-02T09:00:00Z"} | record), "log.jsonl")
    assert "match no known format" in refused(path)


@pytest.mark.parametrize("word", ["total", "cumulative", "avg", "session", "max"])
def test_sums_and_means_are_no_request(tmp_path: Path, word: str) -> None:
    record = {"created_at": "2026-11-02T09:00:00Z", f"{word}_input_tokens": 500, f"{word}_output_tokens": 90}
    assert "match no known format" in refused(written(tmp_path, lines(record), "log.jsonl"))


@pytest.mark.parametrize(
    ("header", "day"),
    [
        ("Zeitstempel;Modell;Eingabe-Token;Ausgabe-Token", "02.11.2026 09:00:00"),
        ("horodatage;modèle;jetons d'entrée;jetons de sortie", "02/11/2026 09:00:00"),
        ("Fecha y hora\tmodelo\tTokens de entrada\tTokens de salida", "02/11/2026 09:00:00"),
        ("Data i godzina;Model;Tokeny wejściowe;Tokeny wyjściowe", "02.11.2026 09:00:00"),
        ("日時;モデル;入力トークン;出力トークン", "2026-11-02 09:00:00"),
        ("data;ora;token in ingresso;token in uscita", "02/11/2026;09:00:00"),
        ("Datum;Uhrzeit;Eingabetoken;Ausgabetoken", "02.11.2026;09:00:00"),
    ],
)
def test_foreign_names_are_known(tmp_path: Path, header: str, day: str) -> None:
    model = "" if ";" in day else "m;"
    rows = f"{day};{model}1.000;50\n{day[:-2]}30;{model}1.200;60\n".replace(";", "\t" if "\t" in header else ";")
    trace = read_trace([written(tmp_path, f"{header}\n{rows}")])
    assert cells(trace, *LENGTHS) == [(0.0, 1000, 0, 50), (30.0, 1200, 0, 60)]
    assert trace.epoch_s == 1_793_610_000


@pytest.mark.parametrize("other", ["time_iso8601", "date", "logged"])
@pytest.mark.parametrize("taken", ["request_time", "time"])
def test_durations_are_no_arrivals(tmp_path: Path, taken: str, other: str) -> None:
    """nginx calls the duration of a request its request_time; the column of dates says when it was."""
    rows = [f"2026-11-02T09:0{minute}:00Z,{1.3 - minute % 2 / 10},500,90" for minute in range(4)]
    text = "\n".join([f"{other},{taken},prompt_tokens,completion_tokens", *rows])
    assert read_trace([written(tmp_path, text)]).requests["arrived_s"].to_list() == [0.0, 60.0, 120.0, 180.0]


def test_arrivals_in_no_order_are_stated(tmp_path: Path) -> None:
    text = "time,prompt_tokens,completion_tokens\n1.3,5,3\n1.1,5,3\n1.2,5,3\n"
    stated = read_trace([written(tmp_path, text)]).report.assumptions
    assert any("if it is a duration, name another" in line for line in stated)


@pytest.mark.parametrize(("column", "value"), [("cached", "true"), ("cache_hit", "True"), ("cache_status", "HIT")])
def test_answers_of_a_cache_are_set_aside(tmp_path: Path, column: str, value: str) -> None:
    text = f"timestamp,prompt_tokens,completion_tokens,{column}\n1e9,500,90,{value}\n1000000001,400,80,false\n"
    trace = read_trace([written(tmp_path, text)])
    assert trace.requests["input_tokens"].to_list() == [400]
    assert trace.report.set_aside == {Kind.RESPONSE_CACHE: 1}


def test_texts_beside_counts_are_no_counts(tmp_path: Path) -> None:
    record = {"timestamp": "2026-11-02T09:00:00Z", "input": "hello", "output": "hi"}
    usage = {"usage": {"prompt_tokens": 500, "completion_tokens": 90}}
    path = written(tmp_path, lines(record | usage), "log.jsonl")
    assert cells(read_trace([path]), *LENGTHS) == [(0.0, 500, 0, 90)]


def test_parts_beside_nested_counts_are_stated(tmp_path: Path) -> None:
    usage = {"prompt_tokens": 500, "completion_tokens": 90, "thinking_tokens": 700}
    path = written(tmp_path, lines({"timestamp": "2026-11-02T09:00:00Z", "usage": usage}), "log.jsonl")
    assert any("counts: usage.thinking_tokens; if" in text for text in read_trace([path]).report.assumptions)


@pytest.mark.parametrize("name", ["prompt_cache_hit_tokens", "cached_tokens"])
def test_cached_tokens_lie_beside_the_input(tmp_path: Path, name: str) -> None:
    counts = {"prompt_tokens": 500, "completion_tokens": 90, name: 400}
    path = written(tmp_path, lines({"timestamp": "2026-11-02T09:00:00Z", "answer": {"meta": counts}}), "log.jsonl")
    assert cells(read_trace([path]), *LENGTHS) == [(0.0, 500, 400, 90)]


def test_spaces_around_names_and_numbers(tmp_path: Path) -> None:
    text = " timestamp , prompt_tokens , completion_tokens \n 2026-11-02T09:00:00Z , 500 , 90 \n"
    assert cells(read_trace([written(tmp_path, text)]), *LENGTHS) == [(0.0, 500, 0, 90)]


@pytest.mark.parametrize(
    ("column", "counted", "other", "kind"),
    [
        ("request", "POST /v1/chat/completions", "GET /health", Kind.EVENT),
        ("type", "llm", "tool", Kind.EVENT),
        ("event", "request.finished", "request.received", Kind.EVENT),
        ("type", "sync", "stream", Kind.UNCOUNTED),
        ("path", "/v1/chat/completions", "/v1/completions", Kind.UNCOUNTED),
        ("model", "a", "b", Kind.UNCOUNTED),
    ],
)
def test_kinds_that_never_have_counts(tmp_path: Path, column: str, counted: str, other: str, kind: Kind) -> None:
    """Health checks and tools are no traffic; streams that lost their counts are."""
    text = f"timestamp,prompt_tokens,completion_tokens,{column}\n1000000000,500,90,{counted}\n1000000001,,,{other}\n"
    trace = read_trace([written(tmp_path, text)])
    assert trace.requests["input_tokens"].to_list() == [500]
    assert trace.report.set_aside == {kind: 1}


@pytest.mark.parametrize("name", ["bucket_start", "window_start", "hour"])
def test_rows_of_intervals_are_sums(tmp_path: Path, name: str) -> None:
    text = f"{name},prompt_tokens,completion_tokens\n2026-11-02T09:00:00Z,500,90\n2026-11-02T09:05:00Z,500,90\n"
    assert "sums of several requests: 2 rows, 1,000 input and 180 output" in refused(written(tmp_path, text))


def test_total_shows_that_thoughts_are_apart(tmp_path: Path) -> None:
    """100 + 20 + 80 are the total of 200, so 100 tokens were generated; in the last row they are inside."""
    rows = [{"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 200}] * 2
    rows.append({"prompt_tokens": 100, "completion_tokens": 90, "total_tokens": 190})
    usage = [row | {"completion_tokens_details": {"reasoning_tokens": 80}} for row in rows]
    log = lines(*({"ts": f"2026-11-02T09:00:0{place}Z", "usage": counts} for place, counts in enumerate(usage)))
    trace = read_trace([written(tmp_path, log, "log.jsonl")])
    assert trace.requests["output_tokens"].to_list() == [100, 100, 90]
    assert any("in 2 of 3 rows with thought tokens" in text for text in trace.report.assumptions)


@pytest.mark.parametrize(
    ("start", "end"),
    [("2026-11-0{} 00:00:00", "2026-11-0{} 23:59:59"), ("2026-11-02T0{}:00:00Z", "2026-11-02T1{}:00:00Z")],
)
def test_rows_of_whole_hours_are_sums(tmp_path: Path, start: str, end: str) -> None:
    rows = "".join(f"{start.format(hour)},{end.format(hour)},900,90\n" for hour in range(1, 5))
    text = f"start_time,end_time,prompt_tokens,completion_tokens\n{rows}"
    assert "4 rows, 3,600 input and 360 output tokens; they do not say of how many" in refused(written(tmp_path, text))


@pytest.mark.parametrize(
    "record",
    [
        {"at": {"$date": "2026-11-02T09:00:00Z"}, "promptTokens": {"$numberInt": "5"}, "completionTokens": 3},
        {"Item": {"ts": {"S": "2026-11-02T09:00:00Z"}, "prompt_tokens": {"N": "5"}, "completion_tokens": {"N": "3"}}},
    ],
)
def test_values_within_their_type(tmp_path: Path, record: dict[str, object]) -> None:
    trace = read_trace([written(tmp_path, lines(record), "export.jsonl")])
    assert (trace.epoch_s, cells(trace, *LENGTHS)) == (1793610000.0, [(0.0, 5, 0, 3)])


def test_sums_reach_into_text_of_json(tmp_path: Path) -> None:
    log = lines({"ts": 1_791_187_200, "text": '{"tokensIn": 5, "cacheReads": 480, "tokensOut": 90}'})
    columns = {"arrival": "ts", "input": "text.tokensIn+text.cacheReads", "output": "text.tokensOut"}
    trace = read_trace([written(tmp_path, log, "log.jsonl")], columns=columns | {"cached": "text.cacheReads"})
    assert cells(trace, *LENGTHS) == [(0.0, 485, 480, 90)]
