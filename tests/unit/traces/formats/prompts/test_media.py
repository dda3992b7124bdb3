"""Tokens of images: sizes from headers, and the rules of providers."""

import base64
import struct

import pytest

from meritorder.traces.formats.prompts.media import Image, image_of, image_tokens, size_of

HEADERS = {
    "png": b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", 640, 480),
    "gif": b"GIF89a" + struct.pack("<HH", 640, 480),
    "jpeg": b"\xff\xd8\xff\xe0\x00\x10" + bytes(14) + b"\xff\xc0\x00\x11\x08" + struct.pack(">HH", 480, 640) + bytes(9),
    "webp": b"RIFF\0\0\0\0WEBPVP8X" + bytes(8) + (639).to_bytes(3, "little") + (479).to_bytes(3, "little"),
    "lossless": b"RIFF\0\0\0\0WEBPVP8L" + bytes(4) + b"\x2f" + (639 | 479 << 14).to_bytes(4, "little"),
    "lossy": b"RIFF\0\0\0\0WEBPVP8 " + bytes(10) + struct.pack("<HH", 640, 480),
}


@pytest.mark.parametrize("kind", HEADERS)
def test_size_is_read_from_the_header(kind: str) -> None:
    assert size_of(base64.b64encode(HEADERS[kind]).decode()) == (640, 480)


@pytest.mark.parametrize("data", ["", "AAAA", "****", base64.b64encode(b"\xff\xd8\xff").decode()])
def test_no_size_without_a_header(data: str) -> None:
    assert size_of(data) is None


@pytest.mark.parametrize(
    ("model", "size", "tokens"),
    [
        # The example of OpenAI's guide: 1024 x 1024 is scaled to 768 x 768, four tiles.
        ("gpt-4o", (1024, 1024), 765),
        # And 2048 x 4096 to 768 x 1536, six tiles.
        ("gpt-4o", (2048, 4096), 1105),
        # The table of Anthropic's guide: 1 megapixel is some 1,334 tokens.
        ("claude-sonnet", (1000, 1000), 1334),
        ("gemini-2.5-flash", (300, 200), 258),
        ("gemini-2.5-flash", (960, 540), 516),
        ("qwen2.5-vl-7b", (1120, 560), 800),
    ],
)
def test_rules_match_published_examples(model: str, size: tuple[int, int], tokens: int) -> None:
    assert image_tokens(Image(size=size), model) == tokens


def test_parts_of_every_api_are_images() -> None:
    assert image_of({"type": "image", "source": {"type": "base64", "data": "AAAA"}}) == Image(size=None)
    assert image_of({"type": "input_image", "image_url": "https://x/y.png", "detail": "low"}) == Image(
        size=None, low_detail=True
    )
    assert image_of({"type": "text", "text": "x"}) is None
