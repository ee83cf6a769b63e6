"""The whole URL of an RPC node, with the API key that is part of it, went into logs.

The HTTP library writes each request with its URL at INFO, and an error's text repeats it.
Source: encode/httpx#2760, percolator#614 and percolator#973.

Here whatever is logged, by whomever, at whatever level, has its secrets taken out of the finished
line, and no error of ours has more of a URL than scheme, host and port.
"""

import logging

import httpx
import pytest
import structlog

from liqctl.chain.rpc import HttpRpc
from liqctl.chain.stream import Subscriptions
from liqctl.cli.logs import start_logging
from liqctl.errors import RpcError
from liqctl.ports import SystemClock, SystemRng
from tests.chain.scripted import http_node, result

KEY, TOKEN = "TOPSECRET", "SECRETKEY"
LIBRARIES = ("httpx", "httpcore", "websockets")


@pytest.fixture
def logging_everything():
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    start_logging("trace", "json")
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    for library in LIBRARIES:
        logging.getLogger(library).setLevel(logging.NOTSET)
    structlog.reset_defaults()


async def test_at_the_lowest_level_no_line_of_anybody_shows_the_key(logging_everything, capsys):
    async def reply(request, _):
        return result(request, 5)

    async with http_node(reply) as url:
        assert KEY in url
        assert TOKEN in url
        rpc = HttpRpc(url, SystemClock(), SystemRng())
        for library in LIBRARIES:
            logging.getLogger(library).setLevel(logging.DEBUG)
        assert await rpc.call("getSlot", []) == 5
        async with httpx.AsyncClient() as client:
            await client.post(url, json={"id": 1})
        Subscriptions(url.replace("http", "ws"), SystemClock(), SystemRng())
    with pytest.raises(RpcError) as raised:
        await rpc.call("getSlot", [])
    logging.getLogger("anybody").error("no answer from %s", url)
    structlog.get_logger("ours").error("no_answer", url=url, error=str(raised.value))
    await rpc.aclose()

    out, err = capsys.readouterr()
    assert "no answer from" in err
    assert "HTTP Request" in err
    shown = [out, err, str(raised.value), repr(raised.value), repr(rpc)]
    assert not [text for text in shown if KEY in text or TOKEN in text]
