"""Tokens of images in prompts, by the published rule of the model's provider.

    OpenAI      85 in low detail; else 85 + 170 for each tile of 512 px, scaled to 2,048 px and a short side of 768 px
    Anthropic   width x height / 750, after scaling to 1,568 px, at most 1,600
    Gemini      258 up to 384 px; else 258 for each tile of 768 px
    Qwen-VL     one for each 28 x 28 px, from 4 to 16,384

Source: https://platform.openai.com/docs/guides/images-vision; https://platform.claude.com/docs/en/build-with-claude/vision;
https://ai.google.dev/gemini-api/docs/tokens; https://huggingface.co/Qwen/Qwen2.5-VL-7B-Instruct; read 2026-11.
"""

import base64
import binascii
import math
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

ASSUMED_SIZE: Final = (1024, 1024)
"""Size of an image whose size is not in the file."""

DATA_URL: Final = re.compile(r"data:(?P<type>[\w.+-]+/[\w.+-]+);base64,(?P<data>[A-Za-z0-9+/=]+)")
_HEAD_CHARACTERS: Final = 65_536
_JPEG_SIZES: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}

Size = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """An image of a prompt; its size is None if the file does not hold it."""

    size: Size | None
    low_detail: bool = False


def image_of(part: dict[str, Any]) -> Image | None:
    """Return the image of a part of a message, None if it is no image."""
    inline = part.get("inlineData", part.get("inline_data"))
    if isinstance(inline, dict):
        kind = str(inline.get("mimeType", inline.get("mime_type", "")))
        return Image(size=size_of(str(inline.get("data", "")))) if kind.startswith("image/") else None
    kind = str(part.get("type", ""))
    if kind not in {"image_url", "input_image", "image"}:
        return None
    holder = part.get("image_url", part.get("source", part))
    fields = holder if isinstance(holder, dict) else {"url": holder}
    detail = fields.get("detail", part.get("detail"))
    found = DATA_URL.match(str(fields.get("url", "")))
    data = found["data"] if found else fields.get("data", "")
    return Image(size=size_of(data) if isinstance(data, str) else None, low_detail=detail == "low")


def image_tokens(image: Image, model: str) -> int:
    """Return the tokens of an image by the rule of the model's provider."""
    width, height = image.size or ASSUMED_SIZE
    name = model.lower()
    rule = next((rule for pattern, rule in _RULES if pattern in name), _openai)
    return rule(width, height, image.low_detail)


def size_of(data: str) -> Size | None:
    """Return width and height in the header of a PNG, GIF, WebP or JPEG in base64; None if it has none."""
    try:
        head = base64.b64decode(data[: min(_HEAD_CHARACTERS, len(data) // 4 * 4)])
    except (binascii.Error, ValueError):
        return None
    size: Size | None = None
    if head.startswith(b"\x89PNG\r\n\x1a\n") and len(head) >= 24:
        size = struct.unpack(">II", head[16:24])
    elif head[:6] in {b"GIF87a", b"GIF89a"} and len(head) >= 10:
        size = struct.unpack("<HH", head[6:10])
    elif head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        size = _webp_size(head)
    elif head.startswith(b"\xff\xd8"):
        size = _jpeg_size(head)
    return size if size and all(side > 0 for side in size) else None


def _webp_size(head: bytes) -> Size | None:
    if head[12:16] == b"VP8X" and len(head) >= 30:
        return 1 + int.from_bytes(head[24:27], "little"), 1 + int.from_bytes(head[27:30], "little")
    if head[12:16] == b"VP8L" and len(head) >= 25:
        bits = int.from_bytes(head[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if head[12:16] == b"VP8 " and len(head) >= 30:
        width, height = struct.unpack("<HH", head[26:30])
        return width & 0x3FFF, height & 0x3FFF
    return None


def _jpeg_size(head: bytes) -> Size | None:
    place = 2
    while place + 9 < len(head) and head[place] == 0xFF:
        if head[place + 1] in _JPEG_SIZES:
            height, width = struct.unpack(">HH", head[place + 5 : place + 9])
            return width, height
        place += 2 + int.from_bytes(head[place + 2 : place + 4], "big")
    return None


def _openai(width: int, height: int, low_detail: bool) -> int:  # noqa: FBT001  (a rule of three values)
    if low_detail:
        return 85
    scale = min(1.0, 2048 / max(width, height))
    scale *= min(1.0, 768 / (min(width, height) * scale))
    return 85 + 170 * math.ceil(width * scale / 512) * math.ceil(height * scale / 512)


def _anthropic(width: int, height: int, _: bool) -> int:  # noqa: FBT001
    scale = min(1.0, 1568 / max(width, height))
    return min(1600, math.ceil(width * scale * height * scale / 750))


def _gemini(width: int, height: int, _: bool) -> int:  # noqa: FBT001
    return 258 if max(width, height) <= 384 else 258 * math.ceil(width / 768) * math.ceil(height / 768)


def _qwen(width: int, height: int, _: bool) -> int:  # noqa: FBT001
    return min(16_384, max(4, round(width / 28) * round(height / 28)))


_RULES: Final[tuple[tuple[str, Callable[[int, int, bool], int]], ...]] = (
    ("claude", _anthropic),
    ("gemini", _gemini),
    ("qwen", _qwen),
)
