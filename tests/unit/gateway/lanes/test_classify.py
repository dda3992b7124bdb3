import pytest

from meritorder.gateway import config_file
from meritorder.gateway.lanes.classify import LaneClassifier
from meritorder.gateway.state.request import Deferral
from meritorder.gateway.store.keys import Key
from meritorder.gateway.wire.calls import BackgroundOptions, CallFields
from meritorder.gateway.wire.errors import ApiError

NOW_S = 1_000_000.0
KEY = Key(id="key_1", name="nightly", tenant="t")


def waits_s(call: CallFields, key: Key = KEY, header: bytes | None = None, rules: str = "") -> float | None:
    settings = config_file.parse_settings({"rule": [{"deadline": rules, "model": "m"}]} if rules else {}, where="test")
    deferral = LaneClassifier(settings).classify(call, key, "/v1/chat/completions", header, NOW_S)
    return None if deferral is None else deferral.deadline_s - NOW_S


def test_calls_are_realtime_by_default() -> None:
    assert waits_s(CallFields(model="m")) is None
    assert waits_s(CallFields(model="m", service_tier="default")) is None


def test_header_to_rule_precedence() -> None:
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


def test_instant_is_a_deadline() -> None:
    for text in (b"1970-01-12T14:46:40Z", b"1970-01-12T15:46:40+01:00"):
        assert waits_s(CallFields(model="m"), header=text) == 3600


def test_time_of_day_is_a_deadline() -> None:
    assert waits_s(CallFields(model="m"), header=b"14:46") == 3600 - 40  # it is 13:46:40
    assert waits_s(CallFields(model="m"), rules="13:46") == 86_400 - 40
    assert waits_s(CallFields(model="m"), Key(id="k", name="n", tenant="t", deadline="13:47")) == 20


def test_rule_ends_with_its_instant() -> None:
    assert waits_s(CallFields(model="m"), rules="1970-01-12T14:46:40Z") == 3600
    assert waits_s(CallFields(model="m"), rules="1970-01-12T13:46:40Z") is None


@pytest.mark.parametrize("header", [b"soon", b"31d", b"1970-01-12T13:46:39Z", b"1970-01-12T14:46:40", b"0s"])
def test_unusable_header_is_refused(header: bytes) -> None:
    with pytest.raises(ApiError) as caught:
        waits_s(CallFields(model="m"), header=header)
    assert (caught.value.status, caught.value.param) == (400, "Meritorder-Deadline")


def test_plan_is_asked_last() -> None:
    planned = Deferral(deadline_s=NOW_S + 5, workload="nightly")
    settings = config_file.parse_settings({"rule": [{"deadline": "1h", "model": "m"}]}, where="test")
    classifier = LaneClassifier(settings, lambda *_: planned)
    assert classifier.classify(CallFields(model="other"), KEY, "/v1/embeddings", None, NOW_S) is planned
    deferral = classifier.classify(CallFields(model="m"), KEY, "/v1/embeddings", None, NOW_S)
    assert deferral is not None
    assert deferral.deadline_s == NOW_S + 3600


def test_rule_matches_every_field() -> None:
    rule = {"deadline": "1h", "tenant": "t", "key": "nightly", "endpoint": "/v1/embeddings", "workload": "w"}
    classifier = LaneClassifier(config_file.parse_settings({"rule": [rule]}, where="test"))
    call = CallFields(model="m")
    deferral = classifier.classify(call, KEY, "/v1/embeddings", None, NOW_S)
    assert deferral == Deferral(deadline_s=NOW_S + 3600, workload="w")
    assert classifier.classify(call, KEY, "/v1/responses", None, NOW_S) is None
    assert classifier.classify(call, Key(id="k", name="n", tenant="t"), "/v1/embeddings", None, NOW_S) is None
