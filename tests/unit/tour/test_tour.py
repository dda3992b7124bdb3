from pathlib import Path

import pytest
from bench.tour.__main__ import Tour

from meritorder.errors import MeritorderError


def test_folder_of_others_is_kept(tmp_path: Path) -> None:
    (tmp_path / "thesis.md").write_text("years of work")
    with pytest.raises(MeritorderError, match="has other files"):
        Tour(tmp_path, "modelled").take()
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.md"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"engine": ', "begin anew"),
        (
            '{"engine": "local", "day": {"chats": 1, "tokens": 1, "request_s": 1.0}, "keys": {}, "realtime_s": 1}',
            "of the local engine",
        ),
    ],
)
def test_other_tour_is_not_continued(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "tour.json").write_text(text)
    with pytest.raises(MeritorderError, match=says):
        Tour(tmp_path, "modelled").take()
