"""Which columns of an unknown table could hold arrivals and token counts: a proposal for a person to correct."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final
from unicodedata import normalize

from meritorder.traces.formats.shape import Shape

_SHOWN_ROWS: Final = 3
_MOST: Final = 0.8
_DEPTH: Final = 6
_WORD: Final = re.compile(r"[a-z]+|[A-Z][a-z]*|[A-Z]+(?![a-z])")
_DATE: Final = re.compile(r"\d{4}[-/.]\d\d?[-/.]\d\d?|\d\d?[./-]\d\d?[./-]\d{2,4}|\d\d?/[A-Z][a-z]{2}/\d{4}")
_NUMBER: Final = re.compile(r"[\d.,\s]*\d")
# Words of languages that put no spaces between them.
_SIGNS: Final = ("入力", "出力", "输入", "输出", "トークン", "令牌", "日時", "时间", "時刻")
_ACCENTS: Final = re.compile(r"[\u0300-\u036f]")
_TIME_WORDS: Final = frozenset(
    {"time", "ts", "date", "at", "start", "started", "created", "when", "arrival", "arrived", "timestamp", "datetime"}
    | {"zeit", "zeitpunkt", "zeitstempel", "datum", "heure", "horodatage", "fecha", "hora", "data", "ora"}
    | {"日時", "时间", "時刻"}
)
_TOKEN_WORDS: Final = frozenset({"tokens", "token", "tok", "toks", "cache", "cached"})
_COUNT_WORDS: Final = frozenset({"tokens", "token", "tok", "toks", "len", "length", "count", "num", "size", "usage"})
# Words of columns that count neither side of one call.
_NO_SIDE: Final = frozenset({"total", "sum", "both", "avg", "average", "mean", "median", "max", "min", "limit"})
_WORDS: Final[Mapping[str, frozenset[str]]] = {
    "input": frozenset(
        {"input", "inputs", "in", "prompt", "prompts", "context", "request", "query", "prefill", "ctx"}
        | {"eingabe", "eingang", "anfrage", "entree", "requete", "entrada", "ingresso"}
        | {"入力", "输入"}
    ),
    "output": frozenset(
        {"output", "outputs", "out", "completion", "completions", "generated", "generation", "gen", "response"}
        | {"answer", "reply", "decode", "ausgabe", "antwort", "sortie", "reponse", "salida", "saida", "uscita"}
        | {"出力", "输出"}
    ),
}


def guess(shape: Shape) -> dict[str, str]:
    """Return the columns that could hold arrival, input and output; a field without one is left out."""
    values = _values(shape)
    times = {name: _time_score(name, column) for name, column in values.items()}
    taken = {"arrival": _best(times)}
    counts = [name for name in _counts(values) if name != taken["arrival"]]
    for field in _WORDS:
        free = [name for name in counts if name not in taken.values()]
        taken[field] = _best({name: _count_score(name, field) for name in free})
    nameless = [name for name in counts if name not in taken.values() and _words(name) & _COUNT_WORDS]
    # Prompts are usually longer than answers.
    nameless.sort(key=lambda name: -sum(map(_size, values[name])))
    taken |= zip([field for field in _WORDS if not taken[field]], nameless, strict=False)
    return {field: name for field, name in taken.items() if name}


def proposal(shape: Shape) -> str:
    """Return the `--columns` line that could be meant, with the first rows as evidence."""
    found = guess(shape)
    if not found:
        return "name the columns with --columns arrival=…,input=…,output=…"
    named = {field: _quoted(name) if name in shape.source.columns else name for field, name in found.items()}
    line = ",".join(f"{field}={named.get(field, 'NAME')}" for field in ("arrival", *_WORDS))
    values = _values(shape)
    rows = [
        " ".join(f"{field}={values[name][place]}" for field, name in found.items())
        for place in range(min(_SHOWN_ROWS, len(shape.records)))
    ]
    unused = [name for name in _counts(values) if name not in found.values() and _words(name) & _TOKEN_WORDS]
    left_out = f"; it leaves out {', '.join(unused)}, which may belong to a sum or to cached=" if unused else ""
    return f"if this is right, add --columns {line} (its first rows: {'; '.join(rows)}{left_out}); else correct it"


def _counts(values: Mapping[str, Sequence[Any]]) -> list[str]:
    """Return the columns of counts of one side of a call."""
    return [name for name, column in values.items() if not _words(name) & _NO_SIDE and _are_counts(column)]


def _values(shape: Shape) -> dict[str, list[Any]]:
    """Return the values of the columns, and of the members of objects under their dotted paths."""
    rows = [dict(_leaves(record, "", 0)) for record in shape.records]
    names = dict.fromkeys((*shape.source.columns, *(name for row in rows for name in row)))
    return {name: [row.get(name) for row in rows] for name in names}


def _leaves(value: Mapping[str, Any], prefix: str, depth: int) -> Iterator[tuple[str, Any]]:
    for name, member in value.items():
        if not isinstance(member, dict):
            yield f"{prefix}{name}", member
        elif depth < _DEPTH:
            yield from _leaves(member, f"{prefix}{name}.", depth + 1)


def _quoted(name: str) -> str:
    return f'"{name}"' if re.search(r"[.+,\s]", name) else name


def _words(name: str) -> set[str]:
    plain = _ACCENTS.sub("", normalize("NFKD", name))
    return {word.lower() for word in _WORD.findall(plain)} | {
        sign for sign in _SIGNS if sign in normalize("NFKC", name)
    }


def _best(scores: Mapping[str, float]) -> str:
    return max(scores, key=lambda name: scores[name]) if scores and max(scores.values()) > 0 else ""


def _time_score(name: str, column: Sequence[Any]) -> float:
    present = [value for value in column if value not in {None, ""}] if _hashable(column) else []
    if not present:
        return 0
    named = len(_words(name) & _TIME_WORDS)
    dates = sum(bool(_DATE.search(str(value))) for value in present) / len(present)
    if dates >= _MOST:
        return 2 + named
    rising = all(map(_NUMBER.fullmatch, map(str, present))) and present == sorted(present, key=_size)
    return named if rising and named else 0


def _count_score(name: str, field: str) -> float:
    words = _words(name)
    return 2 + len(words & _COUNT_WORDS) if words & _WORDS[field] else 0


def _are_counts(column: Sequence[Any]) -> bool:
    """Whether most values are whole numbers, and not all of them zero."""
    present = [str(value).strip() for value in column if value is not None and str(value).strip()]
    whole = [text for text in present if re.fullmatch(r"\d{1,3}([.,\s]?\d{3})*(\.0*)?|\d+(\.0*)?", text)]
    return bool(whole) and len(whole) >= _MOST * len(present) and any(_size(text) for text in whole)


def _hashable(column: Sequence[Any]) -> bool:
    return not any(isinstance(value, dict | list) for value in column)


def _size(value: Any) -> float:  # noqa: ANN401  (any cell)
    digits = re.sub(r"[,\s]", "", str(value))
    try:
        return float(digits)
    except ValueError:
        return 0.0
