"""How texts are counted: by a tokenizer that is there, else by the rule."""

import hashlib
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from meritorder.traces.formats.prompts.tokenizer import RULE, tokenizer_for


def test_rule_without_any_tokenizer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    assert tokenizer_for("gpt-4o") is RULE
    assert tokenizer_for("m") is RULE
    assert RULE.counts(["", "abcd", "abcde", "\u00e9\u00e9"]) == [0, 1, 2, 1]


def test_own_tokenizer_of_a_model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "hub" / "models--org--m" / "snapshots" / "abc" / "tokenizer.json"
    file.parent.mkdir(parents=True)
    file.write_text("{}")
    words = SimpleNamespace(encode_batch=lambda texts: [SimpleNamespace(ids=text.split()) for text in texts])
    library = SimpleNamespace(Tokenizer=SimpleNamespace(from_file=lambda path: words if path == str(file) else None))
    monkeypatch.setitem(sys.modules, "tokenizers", library)
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    tokenizer = tokenizer_for("org/m")
    assert tokenizer.name == "the tokenizer of org/m"
    assert tokenizer.counts(["a b c", ""]) == [3, 0]


def test_tiktoken_needs_its_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    encoding = SimpleNamespace(encode_ordinary_batch=lambda texts: [list(text) for text in texts])
    monkeypatch.setitem(sys.modules, "tiktoken", SimpleNamespace(get_encoding=lambda _: encoding))
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    assert tokenizer_for("gpt-4o") is RULE
    url = b"https://openaipublic.blob.core.windows.net/encodings/o200k_base.tiktoken"
    (tmp_path / hashlib.sha1(url, usedforsecurity=False).hexdigest()).touch()
    assert tokenizer_for("gpt-4o").counts(["abc"]) == [3]
