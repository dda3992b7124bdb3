"""Every error reads as one line: where, what, and what to do."""

import pickle

from meritorder.errors import BillError, MeritorderError


def test_error_is_one_line() -> None:
    assert str(MeritorderError("is empty")) == "is empty"
    assert str(MeritorderError("is empty", where="a.csv")) == "a.csv: is empty"
    assert str(BillError("is empty", where="a.csv", fix="name another")) == "a.csv: is empty; name another"
    assert str(BillError("no column a\nb\r", where="a.csv")) == "a.csv: no column a b"


def test_error_survives_pickling() -> None:
    error = pickle.loads(pickle.dumps(BillError("is empty")))  # noqa: S301 - our own bytes
    assert (type(error), error.what) == (BillError, "is empty")
