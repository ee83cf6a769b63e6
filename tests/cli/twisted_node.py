"""A node between a command and a chain that answers some methods itself."""

import json
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from tests.cli.chain_fixture import Chain


class Twisted(BaseHTTPRequestHandler):
    """Passes requests on to a node, but answers some methods itself."""

    protocol_version = "HTTP/1.1"
    node = ""
    answers: dict[str, Any]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        asked = json.loads(body)
        if asked["method"] in self.answers:
            own = {"jsonrpc": "2.0", "id": asked["id"], **self.answers[asked["method"]]}
            reply = json.dumps(own).encode()
        else:
            with closing(HTTPConnection(self.node)) as node:
                node.request("POST", "/", body, {"content-type": "application/json"})
                reply = node.getresponse().read()
        with suppress(ConnectionError):  # the command may have gone on without it
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(reply)))
            self.end_headers()
            self.wfile.write(reply)

    def log_message(self, *arguments: object) -> None:
        pass


@contextmanager
def twisted(node: Chain, **answers: Any) -> Iterator[list[str]]:
    """Return the options that lead to a node with some answers replaced."""
    handler = type(
        "Node", (Twisted,), {"node": urlsplit(node.ready["rpc_url"]).netloc, "answers": answers}
    )
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        url = f"http://127.0.0.1:{server.server_address[1]}"
        yield ["-u", url, "--ws", node.ready["ws_url"]]
        server.shutdown()
        thread.join(5)


def refusing(code: int) -> dict[str, Any]:
    return {"error": {"code": code, "message": "not here"}}
