from pathlib import Path

import pytest

from meritorder.errors import ConfigError
from meritorder.gateway.state.signing import Signer, canonical


def test_form_of_json_does_not_matter() -> None:
    assert canonical(b'{"b": 1.50, "a": [20, 2e1]}') == canonical(b'{ "a":[2E+1,20.0],\n"b":1.5 }')
    assert canonical(b'{"a": 1}') != canonical(b'{"a": "1"}')
    assert canonical(b'{"a": 0.1}') != canonical(b'{"a": 0.10000000000000001}')


@pytest.mark.parametrize("text", [b"1e99999999", b"0e99999999", b"NaN", b'{"a":1,"a":1}', b"[" * 100_000, b"9" * 99])
def test_what_no_receipt_has_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        canonical(text)


def test_key_of_another_store_does_not_sign(tmp_path: Path) -> None:
    ours, theirs = Signer(tmp_path / "a" / "receipt.key"), Signer(tmp_path / "b" / "receipt.key")
    signature = ours.sign(b"{}")
    assert Signer(tmp_path / "a" / "receipt.key").fault(b"{}", signature) == "", "a restart keeps the key"
    assert "another key" in theirs.fault(b"{}", signature)


def test_readable_key_becomes_private(tmp_path: Path) -> None:
    path = tmp_path / "receipt.key"
    Signer(path).sign(b"{}")
    path.chmod(0o644)
    Signer(path).sign(b"{}")
    assert path.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("text", ["", "no key", "ab"])
def test_broken_key_is_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "receipt.key").write_text(text)
    with pytest.raises(ConfigError, match=r"receipt\.key: (cannot be used|is too short)"):
        Signer(tmp_path / "receipt.key").sign(b"{}")
