"""A proposal for columns of unknown names."""

from pathlib import Path

import pytest
from tests.samples.trace_files import refused, written


@pytest.mark.parametrize(
    ("header", "rows", "line"),
    [
        (
            "when,pTok,cTokOut",
            ["2026-05-04 08:00:00,120,9", "2026-05-04 08:00:05,130,8"],
            "arrival=when,input=pTok,output=cTokOut",
        ),
        (
            "answerLength,begin at,contextSize",
            ["9,4.5.2026 08:00,700", "8,4.5.2026 08:01,701"],
            'arrival="begin at",input=contextSize,output=answerLength',
        ),
        ("n,tok a,tok b,ts x", ["1,5,900,10", "2,6,800,11"], 'arrival="ts x",input="tok b",output="tok a"'),
        ("day,gen tokens", ["2026-05-04,5", "2026-05-05,6"], 'arrival=day,input=NAME,output="gen tokens"'),
    ],
)
def test_line_is_proposed_with_rows(tmp_path: Path, header: str, rows: list[str], line: str) -> None:
    message = refused(written(tmp_path, "\n".join([header, *rows, ""])))
    assert f"--columns {line}" in message
    assert "its first rows: arrival=" in message
    assert message.count("; arrival=") == 1


def test_nothing_is_proposed_without_a_sign(tmp_path: Path) -> None:
    assert "--columns arrival=…,input=…,output=…" in refused(written(tmp_path, "a,b\nx,y\n"))


def test_foreign_words_tell_the_sides(tmp_path: Path) -> None:
    rows = "02.11.2026 09:00;1.000;200\n02.11.2026 09:01;1.001;201\n"
    german = refused(written(tmp_path, "Zeitstempel;Eingabe-Länge;Ausgabe-Länge\n" + rows))
    assert "--columns arrival=Zeitstempel,input=Eingabe-Länge,output=Ausgabe-Länge" in german
    japanese = refused(written(tmp_path, "日時;出力数;入力数\n" + rows))
    assert "arrival=日時,input=入力数,output=出力数" in japanese


def test_members_of_objects_are_proposed(tmp_path: Path) -> None:
    record = '{"begun": "2026-11-02T09:00:00Z", "cost": {"gpt": {"promptToks": 7, "replyToks": 3}}}\n'
    message = refused(written(tmp_path, record, "log.jsonl"))
    assert "arrival=begun,input=cost.gpt.promptToks,output=cost.gpt.replyToks" in message
    assert "input=7 output=3" in message


def test_counts_left_out_are_named(tmp_path: Path) -> None:
    """Parts of the input beside a column that has its name: taking that one alone would lose them."""
    header = "timestamp,in_tok_fresh,in_tok_cache_read,out_tok"
    message = refused(written(tmp_path, f"{header}\n2026-05-04 08:00:00,10,1000,70\n2026-05-04 08:00:05,10,1000,70\n"))
    assert "input=in_tok_fresh,output=out_tok" in message
    assert "it leaves out in_tok_cache_read, which may belong to a sum or to cached=" in message
