"""The answer of an estimate in sentences."""

from collections.abc import Sequence

from meritorder.records.estimation import PatiencePoint, Way
from meritorder.traces.generated.synthetic import Traffic
from meritorder.units import format_change, format_count, format_duration, format_share, format_usd


def traffic_sentence(traffic: Traffic, ways: Sequence[Way], patience: Sequence[PatiencePoint], no_machine: str) -> str:
    """Return what the traffic costs a month, the cheapest way first.

    Args:
        traffic: The traffic.
        ways: The ways to serve it.
        patience: What waiting is worth.
        no_machine: Why no machine serves it; empty if one does.
    """
    parts = [f"No machine of your own serves it: {no_machine}." if no_machine else ""]
    named = {way.name: way for way in ways if way.in_time is not False}
    realtime = [named[name] for name in ("realtime_fixed", "realtime_autoscaled") if name in named]
    count = format_count(round(traffic.requests_per_day), "request")
    parts.append(f"{count} a day {'costs' if traffic.requests_per_day == 1 else 'cost'}")
    costs = []
    if realtime:
        cheapest = min(realtime, key=_usd)
        costs.append(f"{_a_month(cheapest)} on machines of your own in real time ({cheapest.where})")
        batch = next((way for way in ways if way.name == "batch"), None)
        if batch:
            costs.append(f"{_a_month(batch)} there in batch ({format_change(cheapest.usd, batch.usd)})")
    tokens = [way for way in ways if way.name == "tokens_standard"]
    if tokens:
        bought = min(tokens, key=_usd)
        costs.append(f"{_a_month(bought)} as tokens ({bought.where})")
    parts.append(", ".join(costs) + ".")
    mix = named.get("mix")
    parts.append(
        _waiting_as_stated(realtime, mix, patience[0].share) if realtime and mix and patience else _waiting(patience)
    )
    return " ".join(part for part in parts if part)


def job_sentence(requests: int, ways: Sequence[Way], by_s: float, *, no_machine: str, unpriced: str) -> str:
    """Return the cheapest way for a job that is in time, and the next other kind.

    Args:
        requests: Their number.
        ways: The ways, the cheapest in time first.
        by_s: When the job must be done.
        no_machine: Why no machine serves it; empty if one does.
        unpriced: Which part of the requests is not priced, if any.
    """
    parts = [unpriced, f"No machine of your own serves it: {no_machine}." if no_machine else ""]
    first = ways[0]
    count = format_count(requests, "request")
    if first.in_time is False:
        parts.append(f"Nothing is known that does {count} within {format_duration(by_s)}.")
        return " ".join(part for part in parts if part)
    when = "within" if first.name.startswith("tokens") else "after"
    done = f", done {when} {format_duration(first.finished_s)}" if first.finished_s else ""
    unknown = ", if your rate limit allows it in time" if first.in_time is None else ""
    cost = f"{format_usd(first.usd)} ({format_usd(1000 * first.usd_per_request)} per 1,000)"
    parts.append(
        f"The cheapest way for {count} within {format_duration(by_s)}: {_way(first)} for {cost}{done}{unknown}."
    )
    kind = first.name.partition("_")[0]
    other = next((way for way in ways if way.name.partition("_")[0] != kind and way.in_time is not False), None)
    if other:
        parts.append(f"The cheapest other kind is {_way(other)} for {format_usd(other.usd)}.")
    return " ".join(part for part in parts if part)


def _way(way: Way) -> str:
    return f"{way.title[:1].lower()}{way.title[1:]} ({way.where})"


def _usd(way: Way) -> float:
    return way.usd


def _a_month(way: Way) -> str:
    return f"{format_usd(way.usd)} a month"


def _waiting_as_stated(realtime: Sequence[Way], mix: Way, share: float) -> str:
    """Return what waiting as long as was stated saves on machines."""
    before_usd = min(way.usd for way in realtime)
    saved_usd = before_usd - mix.usd
    waiting = f"On machines of your own, letting {format_share(share)} wait as stated saves"
    if saved_usd <= 0:
        return f"{waiting} nothing."
    return f"{waiting} {format_usd(saved_usd)} a month, {format_share(saved_usd / before_usd)}."


def _waiting(patience: Sequence[PatiencePoint]) -> str:
    """Return what the longest patience saves against the cheapest way without any."""
    if not patience:
        return "Nothing is said to be able to wait; add --can-wait 30%@4h to see what waiting saves."
    costs = [min(usd for usd in (point.machines_usd, point.tokens_usd) if usd is not None) for point in patience]
    best = min(range(len(costs)), key=lambda place: (round(costs[place], 9), patience[place].patience_s))
    share = format_share(patience[0].share)
    if not best or costs[best] >= costs[0]:
        return f"Letting {share} wait, even a day, saves nothing."
    saved = costs[0] - costs[best]
    return (
        f"Letting {share} wait {format_duration(patience[best].patience_s)} saves {format_usd(saved)} a month, "
        f"{format_share(saved / costs[0])} of the cheapest way without waiting."
    )
