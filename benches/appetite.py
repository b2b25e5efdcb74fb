#!/usr/bin/env python3
"""What long answers do to those who ask for none: one tenant asks for all it can get while another one's holders beat.

    cargo build --release && benches/appetite.py [REGISTRY]     # target/release/service-registry by default

The floods of `floods.py` that are made of answers, measured in the same way and with the same bounds: lists of 100
sessions with 200 services each, 5 kB every one of them; the events of sessions that expire with thousands of services;
and types of events that nothing has, among 200,000 in memory and on disk. A minute of preparation, and 15 seconds each.
Exits with 1 if a beat was lost or took more than 250 ms, or if a flood took more than 100 MB beyond the data: on two
processors that have nothing else to do. Needs Linux and Python 3.
"""
import asyncio
import json
import os
import re
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from floods import TITLE, Registry, ask, connect, measure, silent, token_in  # noqa: E402

SESSIONS, SERVICES = 100, 200
METADATA = {f"key-{number:02}": "x" * 200 for number in range(20)}
DYING, MEMBERS = 10, 4_000
EVENTS = 200_000
answered = {}
GREEDY, INNOCENT = "/v1.0/1", "/v1.0/2"


def request(method, path, body):
    return f"{method} {GREEDY}{path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()


async def send_all(port, requests, at_once=100):
    """Many requests over one connection, without waiting for each answer; all must succeed."""
    reader, writer = await connect(port, "127.0.0.1")
    for start in range(0, len(requests), at_once):
        part = requests[start:start + at_once]
        writer.write(b"".join(part))
        for _ in part:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            assert head.split()[1] in ("201", "204"), head
            length = re.search(r"content-length: (\d+)", head)
            await reader.readexactly(int(length.group(1)) if length else 0)
    writer.close()


async def open_session(port, timeout):
    stream = await connect(port, "127.0.0.1")
    _, head, body = await ask(stream, "POST", f"{GREEDY}/sessions", '{"heartbeat_timeout": %d}' % timeout)
    stream[1].close()
    return re.search(r"/sessions/(\S+)", head).group(1), token_in(body)


async def keep_alive(port, sessions):
    """For the tests that take longer than a timeout may be."""
    stream = await connect(port, "127.0.0.1")
    tokens = dict(sessions)
    while True:
        for session, token in tokens.items():
            path = f"{GREEDY}/sessions/{session}/heartbeat"
            tokens[session] = token_in((await ask(stream, "POST", path, '{"token": "%s"}' % token))[2])
        await asyncio.sleep(30)


async def fill(port, sessions, services, timeout, metadata):
    """Sessions with services; returns their ids and tokens."""
    async def one(number):
        session, token = await open_session(port, timeout)
        body = {"session_id": session, "tags": ["api", "www"], "metadata": metadata}
        names = [f"service-{session}-{number:06}" for number in range(services)]
        await send_all(port, [request("POST", "/services", json.dumps({"id": name, **body})) for name in names])
        return session, token
    return await asyncio.gather(*(one(number) for number in range(sessions)))


async def make_events(port, count):
    for start in range(0, count, 10_000):
        updates = [request("PUT", "/configuration/key", '{"value": "%d"}' % (start + n)) for n in range(10_000)]
        await send_all(port, updates)


def read(path):
    """Asks for it again and again, and reads it as fast as it comes. A second after each 503, as it is told."""
    async def flood(stream, end):
        while time.monotonic() < end:
            status, _, body = await ask(stream, "GET", GREEDY + path)
            answered[status] = answered.get(status, 0) + 1
            answered["longest"] = max(answered.get("longest", 0), len(body))
            if status == 503:
                await asyncio.sleep(1)
    return flood


def unread(path):
    """Asks again and again, and reads nothing."""
    async def flood(stream, end):
        stream[0]._transport.pause_reading()
        while time.monotonic() < end:
            stream[1].write(f"GET {GREEDY}{path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode() * 100)
            await stream[1].drain()
    return flood


def slowly(path):
    """Asks once, and reads 10 kB a second, which is as slow as it may be."""
    async def flood(stream, end):
        stream[0]._limit = 4_096  # beyond twice of this the rest stays with the system
        stream[1].write(f"GET {GREEDY}{path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        while time.monotonic() < end:
            await stream[0].read(1_000)
            await asyncio.sleep(0.1)
    return flood


async def run(registry, floods):
    is_good = True
    for name, flood, connections in floods:
        answered.clear()
        is_good &= await measure(name, registry.port, registry.pid, flood, connections, INNOCENT)
        if answered:
            refused, longest = answered.get(503, 0), answered["longest"] / 1e6
            print(f"{'':<4}{answered.get(200, 0)} answers of up to {longest:.2f} MB, {refused} refused", flush=True)
    return is_good


async def lists():
    with Registry("--in-memory") as registry:
        sessions = await fill(registry.port, SESSIONS, SERVICES, 120, METADATA)
        keep = asyncio.create_task(keep_alive(registry.port, sessions))
        is_good = await run(registry, [
            ("none", silent, 0),
            ("overview, 8 clients", read("/views/overview?limit=1000"), 8),
            ("overview, 100 clients", read("/views/overview?limit=1000"), 100),
            ("overview, unread", unread("/views/overview?limit=1000"), 100),
            ("overview, read slowly", slowly("/views/overview?limit=1000"), 100),
            ("services, 100 clients", read("/services?limit=1000"), 100),
            ("services of 30 kB, 900 clients", read("/services?limit=6"), 900),
            ("events, 100 clients", read("/events?limit=1000"), 100),
        ])
        keep.cancel()
        return is_good


async def timeouts():
    with Registry("--in-memory") as registry:
        await fill(registry.port, DYING, MEMBERS, 20, {})

        async def wait_then_read(stream, end):
            while time.monotonic() < end:
                await ask(stream, "GET", f"{GREEDY}/events?type=services.timeout&limit=1000")
        return await run(registry, [
            (f"{DYING} x {MEMBERS} services expire", wait_then_read, 20),
            ("events that list them", read("/events?type=services.timeout&limit=1000"), 100),
        ])


async def types(name, *options):
    with Registry(*options) as registry:
        await make_events(registry.port, EVENTS)
        path = "/events?type=service.remove&limit=1000"
        return await run(registry, [
            (f"a type that no event has, {name}", read(path), 100),
        ])


async def main():
    print(TITLE)
    is_good = await lists()
    is_good &= await timeouts()
    is_good &= await types("memory", "--in-memory")
    with tempfile.TemporaryDirectory() as folder:
        is_good &= await types("disk", "--data-dir", folder)
    return is_good


if not asyncio.run(main()):
    sys.exit(1)
