"""Events as lines of text for Slack.

Source: https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks and
https://docs.slack.dev/messaging/formatting-message-text, 2026-11: `text`, in which &, < and > are escaped.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

_MOST: Final = 3000  # characters; Slack cuts texts off after 4,000

_TEXTS: Final = {
    "alert.deadlines_at_risk": "{requests} requests for {model} are queued although they are due within {margin}.",
    "alert.deadline_missed": "{what} of {tenant} was not done before its deadline.",
    "alert.slo_missed": "Fewer than {share} of the real-time requests at {venue} meet TTFT {ttft} and TPOT {tpot}.",
    "alert.commitment_ends": "The commitment of {venue} ends in {days} days.",
    "alert.plan_refused": "The plan's file was rejected, and the previous plan stays in force: {fault}",
    "alert.prices_old": "The oldest price of the plan is {days} days old: meritorder prices update, and plan again.",
    "autopilot.decision": "Autopilot {id} {outcome}: {why}",
    "budget.soft_limit_reached": "{spent_usd} of {budget_usd} USD of the budget of {id} are spent.",
    "ledger.digest": "{text}",
}


def body(kind: str, content: Mapping[str, Any]) -> bytes:
    """Return an event as the body of a request to an incoming webhook."""
    text = _TEXTS.get(kind, kind.replace(".", " ") + ": {id}").format_map(content)
    text = text if len(text) <= _MOST else text[: _MOST - 1] + "…"
    for character, escaped in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
        text = text.replace(character, escaped)
    return msgspec.json.encode({"text": text})
