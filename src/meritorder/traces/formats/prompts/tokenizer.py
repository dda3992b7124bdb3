"""Token counts of text: a tokenizer that is installed and needs no download, else 4 bytes a token.

Source: 4 characters a token: the default of LangChain's count_tokens_approximately, https://reference.langchain.com,
read 2026-11.
"""

import hashlib
import importlib
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

BYTES_PER_TOKEN: Final = 4
_OPENAI: Final = ("gpt", "o1", "o3", "o4", "chatgpt")
_ENCODING: Final = "o200k_base"
_ENCODING_URL: Final = f"https://openaipublic.blob.core.windows.net/encodings/{_ENCODING}.tiktoken"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokenizer:
    """How tokens are counted.

    Args:
        name: What counts them, for an assumption.
        counts: The tokens of each of some texts.
    """

    name: str
    counts: Callable[[Sequence[str]], list[int]]


def tokenizer_for(model: str) -> Tokenizer:
    """Return the model's own tokenizer in the cache of Hugging Face, or OpenAI's in that of tiktoken, else the rule."""
    if model.lower().startswith(_OPENAI):
        return _of_tiktoken() or RULE
    return _of_hugging_face(model) or RULE


def _by_rule(texts: Sequence[str]) -> list[int]:
    return [-(-len(text.encode(errors="replace")) // BYTES_PER_TOKEN) for text in texts]


RULE: Final = Tokenizer(name=f"{BYTES_PER_TOKEN} bytes a token", counts=_by_rule)


def _of_hugging_face(model: str) -> Tokenizer | None:
    library = _installed("tokenizers")
    home = os.environ.get("HF_HOME") or str(Path.home() / ".cache" / "huggingface")
    snapshots = Path(home) / "hub" / f"models--{model.replace('/', '--')}" / "snapshots"
    files = sorted(snapshots.glob("*/tokenizer.json")) if library and model else []
    if library is None or not files:
        return None
    encode = library.Tokenizer.from_file(str(files[-1])).encode_batch
    return Tokenizer(
        name=f"the tokenizer of {model}", counts=lambda texts: [len(encoding.ids) for encoding in encode(list(texts))]
    )


def _of_tiktoken() -> Tokenizer | None:
    library = _installed("tiktoken")
    folder = os.environ.get("TIKTOKEN_CACHE_DIR") or os.environ.get("DATA_GYM_CACHE_DIR")
    cache = Path(folder) if folder else Path(tempfile.gettempdir()) / "data-gym-cache"
    if (
        library is None
        or not (cache / hashlib.sha1(_ENCODING_URL.encode(), usedforsecurity=False).hexdigest()).exists()
    ):
        return None
    encode = library.get_encoding(_ENCODING).encode_ordinary_batch
    return Tokenizer(name=f"tiktoken, {_ENCODING}", counts=lambda texts: [len(ids) for ids in encode(list(texts))])


def _installed(name: str) -> Any:  # noqa: ANN401  (an optional library)
    try:
        return importlib.import_module(name)
    except ImportError:
        return None
