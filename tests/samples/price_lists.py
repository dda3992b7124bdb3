"""Public price lists as their publishers form them, and a web server that hands them out or misbehaves."""

import http.server
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

SKYPILOT_HEADER = (
    "InstanceType,AcceleratorName,AcceleratorCount,vCPUs,MemoryGiB,Region,SpotPrice,Price,AvailabilityZone,GpuInfo"
)


def skypilot(*machines: tuple[str, str, int, str, float | str, float | str]) -> bytes:
    """Return a `vms.csv` of machines: instance, GPU, count, region, on demand and spot dollars an hour."""
    rows = [
        f"{instance},{gpu},{count}.0,8.0,64.0,{region},{spot},{price},{region}-a,"
        for instance, gpu, count, region, price, spot in machines
    ]
    return "\n".join([SKYPILOT_HEADER, *rows, ""]).encode()


def genai(date: str = "2027-01-05", usd: float = 1.5) -> bytes:
    """Return a list in the form of genai-prices: one model at one provider, and the entry that dates it."""
    prices = {"input_mtok": usd, "output_mtok": 4 * usd}
    dated = [{"prices": prices}, {"constraint": {"type": "start_date", "start_date": date}, "prices": prices}]
    providers = [
        {
            "id": "openrouter",
            "name": "OpenRouter",
            "api_pattern": "https://openrouter",
            "models": [{"id": "acme/chat", "match": {"equals": "acme/chat"}, "prices": dated}],
        },
        {
            "id": "acme",
            "name": "Acme",
            "api_pattern": "https://acme",
            "model_match": {"contains": "acme"},
            "models": [{"id": "acme-chat", "match": {"equals": "acme-chat"}, "prices": prices}],
        },
    ]
    return json.dumps(providers).encode()


@dataclass
class Answer:
    """What the server says: headers and body, cut after some bytes, in parts with a pause between them."""

    body: bytes
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    sent_bytes: int | None = None
    pause_s: float = 0.0


@contextmanager
def web_server(answers: Mapping[str, Answer | bytes]) -> Iterator[str]:
    """Serve answers by path on this machine; yield the address."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer = answers.get(self.path, Answer(b"none such", 404))
            answer = Answer(answer) if isinstance(answer, bytes) else answer
            self.send_response(answer.status)
            for name, value in {"Content-Length": str(len(answer.body)), **answer.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            body = answer.body[: answer.sent_bytes]
            try:
                for start in range(0, len(body), 16 if answer.pause_s else len(body)):
                    self.wfile.write(body[start : start + (16 if answer.pause_s else len(body))])
                    self.wfile.flush()
                    if stopping.wait(answer.pause_s):
                        break
            except OSError:
                pass  # the client has had enough
            self.close_connection = True

        def log_message(self, *_: object) -> None:
            pass

    stopping = threading.Event()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        stopping.set()
        server.shutdown()
        thread.join()
        server.server_close()
