import asyncio
import contextlib
import socket

import pytest

from liqctl.localnet.http_server import HttpServer
from liqctl.ports import SystemRng
from liqctl.sim.loop import VirtualLoop
from liqctl.sim.network import Network
from liqctl.sim.process import Process

HOST = "127.0.0.11"
PORT = 8899
REQUEST = b"POST / HTTP/1.1\r\ncontent-type: application/json\r\ncontent-length: 5\r\n\r\nhello"


@pytest.fixture
def loop():
    loop = VirtualLoop(7)
    yield loop
    loop.close()
    assert loop.unhandled == []


@pytest.fixture
def network(loop):
    return Network(loop, SystemRng(7))


class Echo(asyncio.Protocol):
    """Sends back what came, and remembers how connections ended."""

    def __init__(self, ends, *, answers=True):
        self.ends = ends
        self.answers = answers
        self.seen = b""

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.seen += data
        if self.answers:
            self.transport.write(data)

    def connection_lost(self, error):
        self.ends.append((self.seen, type(error).__name__))


@pytest.fixture
def ends(network):
    ends: list[tuple[bytes, str]] = []
    network.listen(HOST, PORT, lambda: Echo(ends))
    return ends


@contextlib.asynccontextmanager
async def connected(host=HOST, port=PORT):
    reader, writer = await asyncio.open_connection(host, port)
    try:
        yield reader, writer
    finally:
        writer.close()


def run(loop, coroutine, seconds=100.0, process=None):
    """Run a coroutine as a process, give it time, and return its result if it has one."""
    task = loop.spawn(process or Process("keeper"), coroutine)
    loop.run_until_complete(asyncio.sleep(seconds))
    return task.result() if task.done() else None


def test_bytes_arrive_in_order_however_their_latencies_are_drawn(loop, network, ends):
    link = network.link("keeper", HOST)
    link.latency_ms, link.split_rate = (1, 500), 0.5

    async def talk():
        async with connected() as (reader, writer):
            for number in range(100):
                writer.write(f"{number};".encode())
            return await reader.readexactly(290)

    assert run(loop, talk()) == b"".join(f"{number};".encode() for number in range(100))


def test_a_connection_takes_a_round_trip_and_each_direction_a_latency(loop, network, ends):
    network.link("keeper", HOST).latency_ms = (10, 10)
    network.link("keeper", HOST).split_rate = 0

    async def talk():
        async with connected() as (reader, writer):
            connected_s = loop.time()
            writer.write(b"x")
            await reader.readexactly(1)
            return connected_s, loop.time()

    assert run(loop, talk()) == (pytest.approx(0.020), pytest.approx(0.040))


@pytest.mark.parametrize(("host", "port"), [(HOST, 1), ("nowhere.invalid", PORT)])
def test_where_nobody_listens_a_connection_is_refused(loop, network, ends, host, port):
    async def connect():
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(host, port)
        return True

    assert run(loop, connect())


def test_a_name_that_no_host_has_does_not_resolve(loop, network, ends):
    async def look_up():
        with pytest.raises(socket.gaierror):
            await loop.getaddrinfo("nowhere.invalid", PORT)
        return await loop.getaddrinfo(HOST, PORT)

    assert run(loop, look_up())[0][4] == (HOST, PORT)


def test_a_refusing_link_concerns_one_process_and_one_host_alone(loop, network, ends):
    network.link("keeper", HOST).refuse = True

    async def connect():
        try:
            async with connected():
                return "connected"
        except ConnectionRefusedError:
            return "refused"

    assert run(loop, connect()) == "refused"
    assert run(loop, connect(), process=Process("other")) == "connected"


def test_a_connection_to_a_mute_host_hangs_until_the_caller_gives_up(loop, network, ends):
    network.link("keeper", HOST).mute = True

    async def connect():
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(10):
                await asyncio.open_connection(HOST, PORT)
        return loop.time()

    assert run(loop, connect()) == 10.0


def test_a_reset_link_breaks_the_connection_for_both_sides(loop, network, ends):
    async def talk():
        async with connected() as (reader, writer):
            network.link("keeper", HOST).reset_rate = 1.0
            writer.write(b"never arrives")
            with pytest.raises(ConnectionResetError):
                await reader.readexactly(1)
            return True

    assert run(loop, talk())
    assert ends == [(b"", "ConnectionResetError")]


def test_what_was_written_before_a_close_arrives_and_then_the_end(loop, network, ends):
    async def talk():
        async with connected() as (reader, writer):
            writer.write(b"last words")
            writer.close()
            await writer.wait_closed()
            return await reader.read()

    run(loop, talk())

    assert ends == [(b"last words", "NoneType")]


def test_half_a_close_leaves_the_answer_to_come(loop, network, ends):
    async def talk():
        async with connected() as (reader, writer):
            writer.write(b"question")
            writer.write_eof()
            return await reader.read()

    assert run(loop, talk()) == b"question"


def test_an_aborted_connection_is_a_reset_for_the_peer(loop, network, ends):
    async def talk():
        async with connected() as (_, writer):
            writer.transport.abort()
            await writer.wait_closed()
            return True

    assert run(loop, talk())
    assert ends == [(b"", "ConnectionResetError")]


def test_the_peer_of_a_killed_process_gets_what_was_sent_and_then_a_reset(loop, network, ends):
    process = Process("keeper")

    async def talk():
        async with connected() as (_, writer):
            writer.write(b"sent just before")
            process.kill()

    run(loop, talk(), process=process)

    assert ends == [(b"sent just before", "ConnectionResetError")]
    assert process.pipes == {}


def test_a_muted_connection_stays_silent_after_the_link_heals_and_others_work(loop, network, ends):
    link = network.link("keeper", HOST)

    async def answer_of(reader, writer):
        writer.write(b"x")
        try:
            async with asyncio.timeout(5):
                return await reader.readexactly(1)
        except TimeoutError:
            return None

    async def talk():
        async with connected() as first, connected() as second:
            answers = [await answer_of(*first)]
            link.mute = True
            answers.append(await answer_of(*first))
            link.mute = False
            return [*answers, await answer_of(*first), await answer_of(*second)]

    assert run(loop, talk()) == [b"x", None, None, b"x"]


def test_single_connections_can_be_broken_and_muted(loop, network, ends):
    network.listen(HOST, PORT + 1, lambda: Echo(ends))

    async def talk():
        async with connected() as (_, first), connected(port=PORT + 1) as (_, second):
            await asyncio.sleep(1)
            broken, muted = network.connections("keeper", HOST)
            assert network.connections("keeper", HOST, PORT + 1) == [muted]
            broken.reset()
            muted.mute()
            second.write(b"x")
            await asyncio.sleep(1)
            return first.is_closing(), second.is_closing()

    assert run(loop, talk()) == (True, False)
    assert ends == [(b"", "ConnectionResetError"), (b"", "TimeoutError")]
    assert network.connections("keeper", HOST) == []
    assert network.connections("other", HOST) == []


def test_a_host_forgets_a_half_open_connection_in_the_end(loop, network, ends):
    async def talk():
        async with connected() as (_, writer):
            network.link("keeper", HOST).mute = True
            writer.transport.abort()

    run(loop, talk(), seconds=30)
    assert ends == []
    loop.run_until_complete(asyncio.sleep(60))
    assert ends == [(b"", "TimeoutError")]


def test_a_reader_that_pauses_gets_everything_later_and_in_order(loop, network, ends):
    seen = []

    class Slow(asyncio.Protocol):
        def connection_made(self, transport):
            transport.pause_reading()
            for number in range(5):
                transport.write(b"%d" % number)
            loop.call_later(5, transport.resume_reading)

        def data_received(self, data):
            seen.append((data, loop.time()))

    run(loop, loop.create_connection(Slow, HOST, PORT))

    assert b"".join(data for data, _ in seen) == b"01234"
    moments = {at for _, at in seen}
    assert len(moments) == 1
    assert moments.pop() > 5.0


def test_what_arrives_while_earlier_bytes_still_wait_does_not_overtake_them(loop, network, ends):
    seen = []

    class Slow(asyncio.Protocol):
        def data_received(self, data):
            seen.append(data)

    async def talk():
        transport, _ = await loop.create_connection(Slow, HOST, PORT)
        transport.pause_reading()
        transport.receive(b"first")
        transport.resume_reading()
        transport.receive(b"second")

    run(loop, talk())

    assert seen == [b"first", b"second"]


def test_a_connection_given_up_in_the_moment_it_is_made_is_closed(loop, network, ends):
    network.link("keeper", HOST).latency_ms = (500, 500)

    async def connect():
        loop.call_later(0.99, lambda: loop.call_later(0.01, task.cancel))
        await loop.create_connection(asyncio.Protocol, HOST, PORT)

    task = loop.spawn(Process("keeper"), connect())
    loop.run_until_complete(asyncio.sleep(10))

    assert task.cancelled()
    assert ends == [(b"", "ConnectionResetError")]


def test_a_stopped_process_reads_after_it_goes_on(loop, network, ends):
    process = Process("keeper")
    network.link("keeper", HOST).latency_ms = (10, 10)

    async def talk():
        async with connected() as (reader, writer):
            writer.write(b"x")
            process.pause(60)
            await reader.readexactly(1)
            return loop.time()

    assert run(loop, talk(), process=process) == pytest.approx(60.02)


def test_an_idle_socket_polls_as_readable_exactly_when_something_came(loop, network, ends):
    async def talk():
        transport, _ = await loop.create_connection(asyncio.Protocol, HOST, PORT)
        transport.pause_reading()
        quiet = transport.get_extra_info("socket").fileno()
        transport.write(b"x")
        await asyncio.sleep(1)
        return quiet, transport.get_extra_info("socket").fileno()

    quiet, noisy = run(loop, talk())
    assert quiet >= 0
    assert noisy == -1


def test_the_servers_of_a_killed_process_listen_no_more(loop, network):
    server = Process("server")

    async def serve():
        await loop.create_server(lambda: Echo([]), HOST, PORT)

    async def connect():
        async with connected():
            return True

    run(loop, serve(), process=server)
    assert run(loop, connect())
    server.kill()
    with pytest.raises(ConnectionRefusedError):
        run(loop, connect())


def test_an_asyncio_server_of_the_product_runs_on_the_simulated_network(loop, network):
    async def serve():
        server = HttpServer(bytes.upper, lambda: "ok", body_bytes_max=1000)
        await server.start(HOST, 0)
        return server.port

    port = run(loop, serve(), process=Process("server"))

    async def ask():
        async with connected(HOST, port) as (reader, writer):
            writer.write(REQUEST)
            await reader.readuntil(b"\r\n\r\n")
            return await reader.readexactly(5)

    assert run(loop, ask()) == b"HELLO"


def test_an_address_is_listened_to_once(loop, network, ends):
    with pytest.raises(OSError, match="in use"):
        network.listen(HOST, PORT, lambda: Echo([]))
