"""The records of a fleet."""

import pytest

from meritorder.sim.pools import Autoscaled, Interruptions


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"lifetimes_s": (5.0, 0.0)}, "lifetime"),
        ({"ceiling": (1,)}, "one for each"),
        ({"ceiling_from_s": (2.0, 2.0), "ceiling": (1, 2)}, "increase"),
    ],
)
def test_invalid_interruptions_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Interruptions(**fields)


def test_floor_needs_length_of_slots() -> None:
    with pytest.raises(ValueError, match="slots with a length"):
        Autoscaled(target_in_flight=4.0, minimum=0, maximum=2, initial=0, floor=(1, 2))
