import pytest

from meritorder.errors import ConfigError
from meritorder.perf.shipped import shipped_profiles
from meritorder.perf.versions import Engine, middle_version, releases_between


@pytest.mark.parametrize(
    ("engine", "older", "newer", "releases"),
    [
        ("vllm", "0.10.2", "0.24.0", 14),
        ("vllm", "v0.24.0", "0.31", 7),
        ("vllm", "0.31", "0.24", -7),
        ("vllm", "0.24", "0.24.3", 0),
        ("vllm", "0.24", "1.0", 1),
        ("sglang", "0.5.9.post1", "0.5.14", 5),
        ("sglang", "0.5.14", "0.5.20", 6),
        ("sglang", "0.5.14", "0.6", 1),
        ("trtllm", "1.0.0rc3", "1.3.0rc20", 3),
        ("trtllm", "0.21", "1.0", 1),
        ("vllm", "0.2", "0.6", 0),
        ("vllm", "nightly", "0.24", 0),
        ("abacus", "1.0", "2.0", 0),
    ],
)
def test_releases_are_counted(engine: str, older: str, newer: str, releases: int) -> None:
    assert releases_between(engine, older, newer) == releases
    assert releases_between(engine, newer, older) == -releases


def test_engine_is_read_with_its_version() -> None:
    assert Engine.parse("vllm") == Engine("vllm")
    assert Engine.parse(" vLLM@v0.10.2 ") == Engine("vllm", "0.10.2")
    assert Engine.parse("TensorRT-LLM@1.2.0rc6").label == "TensorRT-LLM 1.2.0rc6"
    assert Engine.parse(Engine("sglang", "0.5.9").option) == Engine("sglang", "0.5.9")


@pytest.mark.parametrize("text", ["vllm@", "vllm@latest", "vllm@0.10 {x}", "vllm@0.1@2"])
def test_no_version_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="is no version"):
        Engine.parse(text)


def test_version_far_beyond_the_newest_is_refused() -> None:
    assert Engine.parse("vllm@0.40").version == "0.40"
    assert Engine.parse("abacus@99.1").version == "99.1"
    for text in ("vllm@99.1", "sglang@0.5.99", "tensorrt-llm@2026.11"):
        with pytest.raises(ConfigError, match=r"has no version .* the newest that is known here"):
            Engine.parse(text)


def test_middle_version_is_by_release_not_by_text() -> None:
    assert middle_version("vllm", ["0.9.0", "0.19.0", "0.12.1", "nightly-dev", ""]) == "0.12.1"
    assert middle_version("vllm", ["nightly-dev"]) == ""


def test_shipped_profiles_state_their_engine() -> None:
    for profile in shipped_profiles():
        assert releases_between(profile.engine, profile.engine_version, "99.0") > 0
