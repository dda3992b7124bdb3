"""Spans and metrics as a collector receives them: over HTTP, decoded with OpenTelemetry's own messages."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import openai
import pytest
import urllib3
from openai import OpenAI
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from tests.e2e.gateway.conftest import ROOT, configuration, environment, start
from tests.e2e.gateway.test_batches import create, ended, line, upload

PROMPT = "the quick brown fox"
CLIENTS_TRACE, CLIENTS_SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
_KINDS = {"server": Span.SPAN_KIND_SERVER, "client": Span.SPAN_KIND_CLIENT, "run": Span.SPAN_KIND_CONSUMER}


def value(of: AnyValue) -> Any:  # noqa: ANN401
    kind = of.WhichOneof("value")
    return [value(item) for item in of.array_value.values] if kind == "array_value" else getattr(of, str(kind))


def attributes(span: Span) -> dict[str, Any]:
    return {attribute.key: value(attribute.value) for attribute in span.attributes}


@dataclass
class Collector:
    url: str = ""
    bodies: dict[str, list[bytes]] = field(default_factory=lambda: {"/v1/traces": [], "/v1/metrics": []})

    def spans(self) -> list[Span]:
        read = (ExportTraceServiceRequest.FromString(body) for body in self.bodies["/v1/traces"])
        return [
            span
            for request in read
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    def services(self) -> set[str]:
        read = (ExportTraceServiceRequest.FromString(body) for body in self.bodies["/v1/traces"])
        named = (
            attribute for request in read for part in request.resource_spans for attribute in part.resource.attributes
        )
        return {value(attribute.value) for attribute in named if attribute.key == "service.name"}

    def metrics(self) -> dict[str, list[dict[str, Any]]]:
        found: dict[str, list[dict[str, Any]]] = {}
        for body in self.bodies["/v1/metrics"]:
            for resource in ExportMetricsServiceRequest.FromString(body).resource_metrics:
                for metric in (metric for scope in resource.scope_metrics for metric in scope.metrics):
                    points = metric.histogram.data_points
                    found[metric.name] = [
                        {attribute.key: value(attribute.value) for attribute in point.attributes} for point in points
                    ]
        return found

    def wait_for(self, kind: str, where: dict[str, Any], count: int = 1) -> list[Span]:
        """Wait for a number of spans of a kind with these attributes, and return them."""
        ends_s = time.monotonic() + 15
        while True:
            those = [span for span in self.spans() if span.kind == _KINDS[kind]]
            found = [span for span in those if where.items() <= attributes(span).items()]
            if len(found) >= count:
                return found
            assert time.monotonic() < ends_s, [attributes(span) for span in those]
            time.sleep(0.1)


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    found = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            found.bodies[self.path].append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found.url = f"http://127.0.0.1:{server.server_port}"
    serving = threading.Thread(target=server.serve_forever, daemon=True)
    serving.start()
    yield found
    server.shutdown()
    server.server_close()
    serving.join()


@pytest.fixture(scope="module")
def traced(collector: Collector, engine: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenAI]:
    folder = tmp_path_factory.mktemp("telemetry")
    config = configuration(folder, engine, f'[telemetry]\notlp_endpoint = "{collector.url}"\n')
    config.write_text(config.read_text().replace("port = 0", "port = 0\nrequire_keys = false"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
        patch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "300")
        there = start(["-m", "meritorder", "serve", "--config", str(config)], folder / "log")
    with OpenAI(base_url=f"{there.url}/v1", api_key="none", max_retries=0, timeout=30) as client:
        yield client
    there.stop()
    assert PROMPT not in (folder / "log").read_text()


def ask(client: OpenAI, text: str, **more: Any) -> Any:  # noqa: ANN401
    asked = [{"role": "user", "content": text}]
    return client.chat.completions.create(model="stub", messages=asked, max_tokens=4, **more)  # type: ignore[arg-type]


def test_trace_continues_to_engine(traced: OpenAI, collector: Collector, engine: str) -> None:
    headers = {"traceparent": f"00-{CLIENTS_TRACE}-{CLIENTS_SPAN}-01"}
    list(ask(traced, PROMPT, stream=True, stream_options={"include_usage": True}, extra_headers=headers))
    (server,) = collector.wait_for("server", {"gen_ai.request.stream": True})
    (client,) = collector.wait_for("client", {"gen_ai.request.stream": True})
    assert (server.trace_id.hex(), server.parent_span_id.hex()) == (CLIENTS_TRACE, CLIENTS_SPAN)
    assert (client.trace_id.hex(), client.parent_span_id) == (CLIENTS_TRACE, server.span_id)
    assert (server.name, client.name) == ("POST /v1/chat/completions", "chat stub")
    seen = json.loads(urllib3.request("GET", f"{engine}/seen").data)["traces"]
    assert f"00-{CLIENTS_TRACE}-{client.span_id.hex()}-01" in seen
    sent = attributes(client)
    wanted = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "vllm",
        "gen_ai.request.model": "stub",
        "gen_ai.response.model": "stub",
        "gen_ai.response.id": "cmpl-1",
        "gen_ai.response.finish_reasons": ["stop"],
        "gen_ai.usage.input_tokens": 7,
        "gen_ai.usage.output_tokens": 4,
        "server.address": "127.0.0.1",
        "meritorder.venue": "stub",
        "http.response.status_code": 200,
    }
    assert wanted.items() <= sent.items()
    assert 0 < sent["gen_ai.response.time_to_first_chunk"] < 10
    wanted = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "meritorder",
        "gen_ai.request.max_tokens": 4,
        "gen_ai.usage.output_tokens": 4,
        "meritorder.lane": "realtime",
        "meritorder.tenant": "default",
        "meritorder.venue": "stub",
        "http.response.status_code": 200,
    }
    assert wanted.items() <= attributes(server).items()
    assert server.start_time_unix_nano <= client.start_time_unix_nano <= client.end_time_unix_nano


def test_streamed_response_span_has_id(traced: OpenAI, collector: Collector) -> None:
    list(traced.responses.create(model="stub", input=PROMPT, max_output_tokens=3, stream=True))
    (client,) = collector.wait_for("client", {"gen_ai.response.id": "resp_1"})
    sent = attributes(client)
    assert (sent["gen_ai.operation.name"], sent["gen_ai.usage.output_tokens"]) == ("chat", 3)


def test_unsampled_trace_is_forwarded(traced: OpenAI, collector: Collector, engine: str) -> None:
    ask(traced, PROMPT, extra_headers={"traceparent": f"00-{'3' * 32}-{'4' * 16}-00"})
    ask(traced, PROMPT, extra_headers={"traceparent": f"00-{'5' * 32}-{'6' * 16}-01"})
    seen = json.loads(urllib3.request("GET", f"{engine}/seen").data)["traces"]
    assert [trace for trace in seen if trace.startswith(f"00-{'3' * 32}-") and trace.endswith("-00")]
    ends_s = time.monotonic() + 15
    while "5" * 32 not in {span.trace_id.hex() for span in collector.spans()}:
        assert time.monotonic() < ends_s
        time.sleep(0.1)
    assert "3" * 32 not in {span.trace_id.hex() for span in collector.spans()}


def test_attempts_have_spans(traced: OpenAI, collector: Collector) -> None:
    with pytest.raises(openai.InternalServerError):
        ask(traced, "fault:500 here", extra_headers={"traceparent": f"00-{'1' * 32}-{'2' * 16}-01"})
    attempts = [
        span for span in collector.wait_for("client", {"error.type": "500"}, count=2) if span.trace_id.hex() == "1" * 32
    ]
    assert len(attempts) >= 2
    assert all(span.status.code == Status.STATUS_CODE_ERROR for span in attempts)
    (server,) = collector.wait_for("server", {"error.type": "500"})
    assert server.status.code == Status.STATUS_CODE_ERROR


def test_dispatched_request_links_submission(traced: OpenAI, collector: Collector) -> None:
    ask(traced, PROMPT, extra_headers={"Meritorder-Deadline": "1h"})
    (server,) = collector.wait_for("server", {"meritorder.lane": "deferrable"})
    (run,) = collector.wait_for("run", {"meritorder.workload": "header"})
    (link,) = run.links
    assert (link.trace_id, link.span_id) == (server.trace_id, server.span_id)
    assert run.trace_id != server.trace_id
    sent = attributes(run)
    assert sent["meritorder.deadline"] == attributes(server)["meritorder.deadline"]
    assert 0 <= sent["meritorder.queue_time"] < 10
    assert (sent["meritorder.venue"], sent["gen_ai.usage.output_tokens"]) == ("stub", 4)
    assert [span for span in collector.spans() if span.parent_span_id == run.span_id]


def test_batch_lines_link_creation(traced: OpenAI, collector: Collector) -> None:
    done = ended(traced, create(traced, upload(traced, [line(0), line(1)])))
    assert done.status == "completed"
    (server,) = collector.wait_for("server", {"http.route": "/v1/batches"})
    runs = [run for run in collector.wait_for("run", {}, count=3) if run.links[0].span_id == server.span_id]
    assert len(runs) == 2


def test_conventional_metrics_without_content(traced: OpenAI, collector: Collector) -> None:
    list(ask(traced, PROMPT, stream=True))
    ends_s = time.monotonic() + 10
    names = {
        "gen_ai.server.request.duration",
        "gen_ai.server.time_to_first_token",
        "gen_ai.server.time_per_output_token",
    }
    while not names <= set(collector.metrics()):
        assert time.monotonic() < ends_s
        time.sleep(0.1)
    (point,) = collector.metrics()["gen_ai.server.time_to_first_token"]
    assert (point["gen_ai.operation.name"], point["gen_ai.request.model"]) == ("chat", "stub")
    assert collector.services() == {"meritorder"}
    everything = b"".join(body for bodies in collector.bodies.values() for body in bodies)
    assert everything
    assert PROMPT.encode() not in everything
    assert b"merit order is" not in everything, "nor an answer"


def test_telemetry_off_loads_nothing(tmp_path: Path) -> None:
    asked = (
        "import sys; from meritorder.gateway.app import server; from pathlib import Path\n"
        f"server.build_service(server.load_settings(Path({str(configuration(tmp_path, 'http://x'))!r})))\n"
        "assert not [name for name in sys.modules if name.startswith('opentelemetry')], sorted(sys.modules)\n"
    )
    there = {name: found for name, found in environment().items() if not name.startswith("OTEL_")}
    done = subprocess.run(
        [sys.executable, "-c", asked], cwd=ROOT, env=there, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
