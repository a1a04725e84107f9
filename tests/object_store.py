"""An S3 server on loopback, for tests of caches in object stores."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from cache_schema.layout import LOCK_FILE, OWNER_FILE, WORKER_LOCKS
from cache_schema.storage import open_storage

BUCKET = "fsmde-tests"
REGION = "us-east-1"


@contextmanager
def s3_server() -> Iterator[str]:
    """A server with one bucket, which the environment leads to; gives the bucket's URL."""
    import boto3  # here, so that processes of a test that need no server start at once
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # else a line for each request
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    server._server.app = _OneAtATime(server._server.app)  # type: ignore[union-attr]
    host, port = server.get_host_and_port()
    environment = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": REGION,
        "AWS_ALLOW_HTTP": "true",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        client = boto3.client("s3", endpoint_url=environment["AWS_ENDPOINT_URL"], region_name=REGION)
        client.create_bucket(Bucket=BUCKET)
        client.close()
        yield f"s3://{BUCKET}"
    server.stop()


@contextmanager
def answering(statuses: Iterator[int], body: bytes) -> Iterator[str]:
    """A server that answers whatever is asked, with one status after the other; gives its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(next(statuses))
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_PUT = do_HEAD = do_GET  # noqa: N815

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


class _OneAtATime:
    """A condition and the put it guards are one step in a real store; moto takes them in two."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self._lock = threading.Lock()

    def __call__(self, environ: Any, start_response: Any) -> Iterable[bytes]:
        with self._lock:
            return self._app(environ, start_response)


def objects(location: object) -> dict[str, bytes]:
    """All that a cache in a folder or at a URL holds, apart from locks."""
    storage = open_storage(str(location))
    keys = [key for key in storage.keys("") if key not in (LOCK_FILE, OWNER_FILE) and not key.startswith(WORKER_LOCKS)]
    return dict(zip(keys, storage.read_all(keys), strict=True))
