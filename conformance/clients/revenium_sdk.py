"""revenium-python-sdk: an OpenAI client's calls, metered by the middleware, and tools' calls.

The model is one of ours, that answers what OpenAI's would.
"""

import json
import os
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

from telling import ADDRESS, KEY, TOKEN, call, new_id

TOKENS = {"prompt_tokens": 12, "completion_tokens": 30, "total_tokens": 42}
CHAT = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": int(time.time()),
    "model": "gpt-4o",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "Good morning."},
            "finish_reason": "stop",
        }
    ],
    "usage": TOKENS,
}
EMBEDDING = {
    "object": "list",
    "model": "text-embedding-3-small",
    "data": [{"object": "embedding", "index": 0, "embedding": [0.5, 0.25]}],
    "usage": {"prompt_tokens": 7, "total_tokens": 7},
}


class Model(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        answer = json.dumps(CHAT if self.path.endswith("/completions") else EMBEDDING).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *said: object) -> None:
        """Of no interest."""


server = ThreadingHTTPServer(("127.0.0.1", 0), Model)
Thread(target=server.serve_forever, daemon=True).start()
os.environ |= {
    "REVENIUM_METERING_API_KEY": TOKEN,
    "REVENIUM_METERING_BASE_URL": ADDRESS,
    "OPENAI_API_KEY": "of-no-model",
    "OPENAI_BASE_URL": f"http://127.0.0.1:{server.server_port}/v1",
}

import revenium_middleware  # noqa: E402 - reads its settings when it is imported
import revenium_middleware.openai  # noqa: E402 - instruments the client
from openai import OpenAI  # noqa: E402

model = OpenAI()


def metadata(name: str) -> dict[str, object]:
    return {"subscriber": {"credential": {"name": "Backend", "value": KEY}}, "trace_id": name}


name = new_id()
counted = {
    "calls": 1,
    "inputTokenCount": 12,
    "outputTokenCount": 30,
    "totalTokenCount": 42,
    "cacheCreationTokenCount": 0,
    "cacheReadTokenCount": 0,
    "reasoningTokenCount": 0,
}
with call("chat.completions.create", {"metadata": {"traceId": name}}, elements=counted):
    model.chat.completions.create(
        model="gpt-4o",
        messages=[{"role": "user", "content": "Good morning"}],
        usage_metadata=metadata(name),
    )
    assert revenium_middleware.flush_metering(10) == 0

name = new_id()
with call("embeddings.create", {"metadata": {"traceId": name}}):
    model.embeddings.create(
        model="text-embedding-3-small", input="Good morning", usage_metadata=metadata(name)
    )
    assert revenium_middleware.flush_metering(10) == 0

name = new_id()
# The id it is given is that of the call of a model that called the tool.
with call("report_tool_call", {"metadata": {"traceId": name}}, elements={"calls": 1}):
    revenium_middleware.report_tool_call(
        "search",
        operation="find",
        duration_ms=120,
        usage_metadata={"pages": 5},
        subscriber_credential=KEY,
        transaction_id=name,
    )
    assert revenium_middleware.flush_metering(10) == 0


@revenium_middleware.meter_tool("lookup", subscriber_credential=KEY, trace_id=(name := new_id()))
def look_up() -> str:
    return "found"


with call("meter_tool", {"metadata": {"traceId": name}}, elements={"calls": 1}):
    look_up()
    assert revenium_middleware.flush_metering(10) == 0
