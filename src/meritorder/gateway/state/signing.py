"""Signatures of receipts: HMAC-SHA256 with a key that only this store's gateways have."""

import contextlib
import hashlib
import hmac
import json
import os
import secrets
import stat
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from meritorder.errors import ConfigError
from meritorder.records.receipts import Signature

ALGORITHM: Final = "HMAC-SHA256"
_KEY_BYTES: Final = 32
_ID_DIGITS: Final = 16
_MAX_DIGITS: Final = 28
_MAX_EXPONENT: Final = 28


class Signer:
    """Signs receipts and checks their signatures.

    Args:
        path: The file of the key, which only its owner may read; it is created with the first signature.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def check(self) -> None:
        """Check the key, if there is one already.

        Raises:
            ConfigError: It cannot be used.
        """
        if self._path.exists():
            self._key()

    def sign(self, receipt: bytes) -> Signature:
        """Return the signature of a receipt as JSON.

        Raises:
            ConfigError: The key cannot be read or created.
        """
        key = self._key()
        value = hmac.new(key, canonical(receipt), hashlib.sha256).hexdigest()
        return Signature(algorithm=ALGORITHM, key_id=_key_id(key), value=value)

    def fault(self, receipt: bytes, signature: Signature) -> str:
        """Return what is wrong with the signature of a receipt as JSON; empty if it is valid.

        Raises:
            ConfigError: The key cannot be read or created.
        """
        if signature.algorithm != ALGORITHM:
            return f"it is signed with {signature.algorithm!r}, not {ALGORITHM}"
        expected = self.sign(receipt)
        if signature.key_id != expected.key_id:
            return f"it is signed with another key, {signature.key_id!r}"
        if not hmac.compare_digest(signature.value.encode(), expected.value.encode()):
            return "it was changed after it was signed"
        return ""

    def _key(self) -> bytes:
        try:
            if not self._path.exists():
                self._create()
            if self._path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
                self._path.chmod(stat.S_IRUSR | stat.S_IWUSR)
            key = bytes.fromhex(self._path.read_text(encoding="ascii").strip())
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "it is no key in hexadecimal"
            raise ConfigError(f"cannot be used: {reason}", where=str(self._path), fix="restore it") from error
        if len(key) < _KEY_BYTES:
            raise ConfigError("is too short for a key", where=str(self._path), fix="restore it")
        return key

    def _create(self) -> None:
        """Create the key, unless another gateway has at the same time."""
        self._path.parent.mkdir(mode=stat.S_IRWXU, parents=True, exist_ok=True)
        draft = self._path.with_name(f".{self._path.name}.{secrets.token_hex(8)}")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, stat.S_IRUSR | stat.S_IWUSR)
        try:
            with os.fdopen(descriptor, "w", encoding="ascii") as file:
                file.write(secrets.token_hex(_KEY_BYTES) + "\n")
                file.flush()
                os.fsync(file.fileno())
            with contextlib.suppress(FileExistsError):  # another gateway was first, and its key is used
                self._path.hardlink_to(draft)
        finally:
            draft.unlink()


def canonical(document: bytes) -> bytes:
    """Return JSON in the one form that is signed, however it was written: keys sorted, numbers without zeros.

    Raises:
        ValueError: It is not JSON, has a key twice, or a number that no receipt has.
    """
    try:
        parsed = json.loads(
            document, parse_float=_number, parse_int=_number, parse_constant=_refuse, object_pairs_hook=_object
        )
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    return json.dumps(parsed, sort_keys=True, separators=(",", ":")).encode()


def _number(text: str) -> Any:  # noqa: ANN401 - JSON
    number = Decimal(text)
    if abs(number.adjusted()) > _MAX_EXPONENT or len(number.as_tuple().digits) > _MAX_DIGITS:
        raise ValueError(f"{text[:_MAX_DIGITS]} is no number of a receipt")
    return {"number": format(number.normalize(), "f")}


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    whole = dict(pairs)
    if len(whole) < len(pairs):
        raise ValueError("it has a key twice")
    return whole


def _refuse(text: str) -> Any:  # noqa: ANN401 - JSON
    raise ValueError(f"{text} is no JSON")


def _key_id(key: bytes) -> str:
    return hashlib.sha256(b"meritorder receipt key\0" + key).hexdigest()[:_ID_DIGITS]
