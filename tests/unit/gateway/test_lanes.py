from meritorder.gateway import config
from meritorder.gateway.lanes.classify import LaneClassifier
from meritorder.gateway.store.keys import Key
from meritorder.gateway.wire.calls import BackgroundOptions, CallFields
from meritorder.gateway.workers.attempt import CompletionRate

NOW_S = 1_000_000.0
KEY = Key(id="key_1", name="nightly", tenant="t")


def waits_s(call: CallFields, key: Key = KEY, header: bytes | None = None, rules: str = "") -> float | None:
    settings = config.parse_settings({"rule": [{"deadline": rules, "model": "m"}]} if rules else {}, where="test")
    found = LaneClassifier(settings).classify(call, key, "/v1/chat/completions", header, NOW_S)
    return None if found is None else found.deadline_s - NOW_S


def test_a_call_is_real_time_unless_somebody_says_otherwise() -> None:
    assert waits_s(CallFields(model="m")) is None
    assert waits_s(CallFields(model="m", service_tier="default")) is None


def test_the_first_who_says_something_counts() -> None:
    patient = Key(id="key_1", name="nightly", tenant="t", deadline="8h")
    flex = CallFields(model="m", service_tier="flex")
    background = CallFields(model="m", background=True, service_tier="flex")
    window = CallFields(model="m", background=True, background_options=BackgroundOptions(completion_window="2h"))
    soonest = CallFields(model="m", background=True, background_options=BackgroundOptions(completion_window="soonest"))
    assert waits_s(background, patient, b"4h", "1h") == 4 * 3600
    assert waits_s(background, patient, None, "1h") == 24 * 3600
    assert waits_s(window) == 2 * 3600
    assert waits_s(soonest) == waits_s(flex, patient, None, "1h") == 600
    assert waits_s(CallFields(model="m"), patient, None, "1h") == 8 * 3600
    assert waits_s(CallFields(model="m"), KEY, None, "1h") == 3600
    assert waits_s(CallFields(model="other"), KEY, None, "1h") is None


def test_a_time_with_its_zone_is_a_deadline() -> None:
    for text in (b"1970-01-12T14:46:40Z", b"1970-01-12T15:46:40+01:00"):
        assert waits_s(CallFields(model="m"), header=text) == 3600


def test_the_next_time_of_day_is_a_deadline() -> None:
    assert waits_s(CallFields(model="m"), header=b"14:46") == 3600 - 40  # it is 13:46:40
    assert waits_s(CallFields(model="m"), rules="13:46") == 86_400 - 40
    assert waits_s(CallFields(model="m"), Key(id="k", name="n", tenant="t", deadline="13:47")) == 20


def test_a_rule_ends_with_its_instant() -> None:
    assert waits_s(CallFields(model="m"), rules="1970-01-12T14:46:40Z") == 3600
    assert waits_s(CallFields(model="m"), rules="1970-01-12T13:46:40Z") is None


def test_the_drain_keeps_the_last_rate_that_was_known() -> None:
    drain = CompletionRate()
    assert drain.tokens_per_s(0.0) == float("inf")
    for second in range(10):
        drain.add(float(second), 100)
    assert drain.tokens_per_s(10.0) == 100.0
    assert drain.tokens_per_s(1000.0) == 100.0
