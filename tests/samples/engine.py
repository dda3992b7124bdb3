"""A small engine as a command: python tests/samples/engine.py PORT [MODE]. It answers with its process id."""

import json
import os
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

PORT, MODE = int(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else ""
BEGAN_S = time.monotonic()
METRICS = b"vllm:num_requests_running 0\nvllm:num_requests_waiting 0\nvllm:kv_cache_usage_perc 0\n"


class Engine(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def say(self, status: int, body: bytes, kind: str = "application/json") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        if self.path == "/metrics":
            self.say(200, METRICS, "text/plain")
        elif MODE == "goes silent" and time.monotonic() - BEGAN_S > 0.8:
            time.sleep(60)
        else:
            self.say(200 if time.monotonic() - BEGAN_S > 0.2 else 503, b"{}")

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        time.sleep(body.get("takes_s", 0))
        self.say(200, json.dumps({"pid": os.getpid()}).encode())

    def log_message(self, *_: object) -> None:
        pass


if MODE == "fails":
    sys.stdout.write("CUDA out of memory\n")
    sys.exit(3)
if MODE == "never ready":
    time.sleep(600)
if MODE.startswith("has a child:"):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    Path(MODE.partition(":")[2]).write_text(str(child.pid))
ThreadingHTTPServer.allow_reuse_address = MODE != "shares no port"
ThreadingHTTPServer(("127.0.0.1", PORT), Engine).serve_forever()
