"""A stand-in for revcred, which notes what an agent posts and answers as it is told to."""

import gzip
import json
import threading
from collections import deque
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TOKEN = "hak_rvg_the-token-of-this-test"


class RevcredDouble(ThreadingHTTPServer):
    """Counts each line once, by its file and offset."""

    daemon_threads = True

    def __init__(self, port=0):
        super().__init__(("127.0.0.1", port), _Handler)
        self.lines = {}  # (file, at) → line
        self.posts = []  # (path, headers, body)
        self.answers = deque()  # of the next posts: (status, headers, body); None: as usual
        self.judge = lambda _: None  # the reason why a line is rejected
        self.valid_keys = {}  # digest → public id, or public id and end
        self.snapshot_reads = []  # addresses
        self.judge_key = lambda _: ""  # the same of a key that a gateway lets in
        self.max_bytes = 1_000_000
        self.lock = threading.Lock()
        self._told = {}  # by cursor
        self.is_away = False

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}"

    @property
    def texts(self):
        return sorted(self.lines.values())

    @property
    def posted_lines(self):
        """How many lines came, also those that came again."""
        return sum(len(body.splitlines()) for path, _, body in self.posts if path == "/v1/lines")

    def answer(self, path, headers, body):
        with self.lock:
            if self.is_away:
                raise ConnectionError
            if self.answers and (told := self.answers.popleft()):
                return told
            if headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            if len(body) > self.max_bytes:
                return 413, {}, {"code": "too_large", "message": "At most so many bytes."}
            self.posts.append((path, headers, body))
            if path == "/v1/keys/inventory":
                return self._take_step(json.loads(body))
            if path != "/v1/lines":
                return 202, {}, {}
            return self._take([json.loads(line) for line in body.splitlines()])

    def handle_error(self, *_):
        pass

    def read_snapshot(self, path):
        """Return the keys that changed since the cursor, which is the number of the reading."""
        with self.lock:
            if self.answers and (told := self.answers.popleft()):
                return told
            known = self._told.get(path.partition("since=")[2], {})
            valid = {
                digest: {"state": "active", "until": None, **fields}
                for digest, fields in self.valid_keys.items()
            }
            changed = {d: valid.get(d) for d in valid | known if valid.get(d) != known.get(d)}
            lines = [
                {"digest": digest, **(fields or {"state": "revoked", "credential": ""})}
                for digest, fields in changed.items()
            ]
            self.snapshot_reads.append(path)
            cursor = str(len(self.snapshot_reads))
            self._told[cursor] = valid
            end = {"cursor": cursor, "more": False, "complete": "since=" not in path}
            return 200, {}, "".join(f"{json.dumps(line)}\n" for line in [*lines, end])

    def _take_step(self, step):
        rejected = [
            {"index": index, "code": "invalid", "message": reason}
            for index, key in enumerate(step.get("keys", []))
            if (reason := self.judge_key(key.get("key")))
        ]
        return 200, {}, {"inventory": "inventory-1", "rejected": rejected}

    def _take(self, items):
        rejected = []
        for index, item in enumerate(items):
            assert item.keys() == {"file", "at", "line"}
            if reason := self.judge(item["line"]):
                rejected.append({"index": index, **reason})
            else:
                self.lines[item["file"], item["at"]] = item["line"]
        accepted = len(items) - len(rejected)
        answer = {"accepted": accepted, "rejected": rejected}
        return (202 if accepted else 400), {}, answer


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self._send(*self.server.read_snapshot(self.path))

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self._send(*self.server.answer(self.path, self.headers, body))

    def _send(self, status, headers, answer):
        text = (answer if isinstance(answer, str) else json.dumps(answer)).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_):
        pass


@contextmanager
def serving(port=0, tls=None):
    server = RevcredDouble(port)
    if tls:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
