"""Colors by meaning, the same in every figure, and distinct for color-blind readers.

Source: blue, orange, green and vermilion after Okabe and Ito, https://jfly.uni-koeln.de/color/ (2008).
"""

from dataclasses import asdict, dataclass
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Palette:
    """The color of each kind of element."""

    paper: str
    panel: str
    ink: str
    muted: str
    line: str
    realtime: str
    deferrable: str
    startup: str
    idle: str
    lost: str
    total: str
    saving: str
    extra: str
    link: str
    owned: str
    committed: str
    savings: str
    block: str
    on_demand: str
    spot: str
    tokens: str


LIGHT: Final = Palette(
    paper="#fdfdfb",
    panel="#f4f4f0",
    ink="#1b1d21",
    muted="#5f646d",
    line="#dedfd9",
    realtime="#0072b2",
    deferrable="#e69f00",
    startup="#8b8f98",
    idle="#d3d5d2",
    lost="#c24a00",
    total="#565b66",
    saving="#00805d",
    extra="#c24a00",
    link="#005a8d",
    owned="#767b86",
    committed="#6651a3",
    savings="#a99bd0",
    block="#8a5a2b",
    on_demand="#bd5b90",
    spot="#2b9b77",
    tokens="#a39700",
)
DARK: Final = Palette(
    paper="#14161a",
    panel="#1c1f25",
    ink="#eceae4",
    muted="#a2a6ae",
    line="#31353d",
    realtime="#4ba6e0",
    deferrable="#f0b23c",
    startup="#7d828c",
    idle="#3d424b",
    lost="#ef7f45",
    total="#9da2ad",
    saving="#2cc197",
    extra="#ef7f45",
    link="#7cc0ee",
    owned="#8b909b",
    committed="#8a70cc",
    savings="#5f4f94",
    block="#b98b5c",
    on_demand="#d083ab",
    spot="#41b98f",
    tokens="#c4b93a",
)
THEMED: Final = Palette(**{name: f"var(--{name})" for name in asdict(LIGHT)})
"""Colors as CSS variables, so that figures follow the page between light and dark mode."""


_OF_PRICING: Final = {
    "owned": "owned",
    "reserved": "committed",
    "committed_use": "committed",
    "capacity_block": "block",
    "savings_plan": "savings",
    "on_demand": "on_demand",
    "spot": "spot",
    "provisioned_throughput": "tokens",
}
PRICING: Final = tuple(dict.fromkeys(_OF_PRICING.values()))
"""The kinds that pricing models are drawn as, in stacking order from the bottom."""


def pricing_kind(pricing_model: str) -> str:
    """Return the kind that a pricing model is drawn as."""
    if pricing_model.startswith("tokens"):
        return "tokens"
    return _OF_PRICING.get(pricing_model, "idle")


def css(palette: Palette) -> str:
    """Return a palette as CSS declarations."""
    return " ".join(f"--{name}: {color};" for name, color in asdict(palette).items())
