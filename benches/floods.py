#!/usr/bin/env python3
"""What floods do to those who are in: a registry on loopback is flooded from several sides while holders beat.

    cargo build --release && benches/floods.py [REGISTRY]     # target/release/service-registry by default

Prints, for each flood, the slowest and the median beat of 20 holders that beat all the time from 127.0.0.1, whether one
was refused, and the registry's memory. The floods come from 127.0.0.2, are bounded in number, and last 15 seconds
each. Needs Linux and Python 3.
"""
import asyncio
import os
import re
import resource
import statistics
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
REGISTRY = sys.argv[1] if len(sys.argv) > 1 else os.path.join(ROOT, "target", "release", "service-registry")
SECONDS = 15
HOLDERS = 20
CONNECTIONS = 1500
MOST = 1000


async def connect(port, source):
    return await asyncio.open_connection("127.0.0.1", port, local_addr=(source, 0))


async def ask(stream, method, path, body="", headers=""):
    reader, writer = stream
    head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}{headers}\r\n\r\n"
    writer.write((head + body).encode())
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    length = re.search(r"content-length: (\d+)", head)
    return int(head.split()[1]), head, (await reader.readexactly(int(length.group(1)) if length else 0)).decode()


def token_in(body):
    return re.search(r'"token": "([^"]+)"', body).group(1)


class Holder:
    def __init__(self, port):
        self.port, self.times, self.lost = port, [], 0

    async def beat_until(self, end):
        stream = await connect(self.port, "127.0.0.1")
        _, head, body = await ask(stream, "POST", "/v1.0/sessions", '{"heartbeat_timeout": 30}')
        path = re.search(r"/v1.0/\S*/sessions/\S+", head).group(0) + "/heartbeat"
        token = token_in(body)
        while time.monotonic() < end():
            start = time.perf_counter()
            try:
                status, _, body = await ask(stream, "POST", path, '{"token": "%s"}' % token)
                assert status == 200, body
                token = token_in(body)
            except (OSError, asyncio.IncompleteReadError):
                self.lost += 1
                stream = await connect(self.port, "127.0.0.1")
            self.times.append((time.perf_counter() - start) * 1000)
            await asyncio.sleep(0.05)


async def silent(stream, end):
    await stream[0].read()


async def trickle(stream, end):
    stream[1].write(b"GET /v1.0/services HTTP/1.1\r\nX-Slow: ")
    while time.monotonic() < end:
        stream[1].write(b"x")
        await stream[1].drain()
        await asyncio.sleep(0.5)


async def giant_head(stream, end):
    stream[1].write(b"GET /v1.0/services HTTP/1.1\r\n" + b"X-Large: " + b"x" * 200_000)
    await stream[1].drain()
    await stream[0].read()


async def bad_bodies(stream, end):
    while time.monotonic() < end:
        await ask(stream, "POST", "/v1.0/sessions", "[" * 4_900)


async def large_bodies(stream, end):
    stream[1].write(b"PUT /v1.0/configuration/key HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000000\r\n\r\n")
    while time.monotonic() < end:
        stream[1].write(b"x" * 65_536)
        await stream[1].drain()
        await asyncio.sleep(0.05)


async def unread_answers(stream, end):
    stream[0]._transport.pause_reading()
    while time.monotonic() < end:  # each answer has 100 kB
        stream[1].write(b"GET /v1.0/configuration HTTP/1.1\r\nHost: localhost\r\n\r\n" * 100)
        await stream[1].drain()


async def flooder(port, flood, end, gone):
    while time.monotonic() < end:
        try:
            stream = await asyncio.wait_for(connect(port, "127.0.0.2"), 5)
            try:
                await asyncio.wait_for(flood(stream, end), max(0.1, end - time.monotonic()))
            finally:
                stream[1].close()
        except (OSError, asyncio.IncompleteReadError, asyncio.TimeoutError, AttributeError):
            pass
        gone[0] += 1
        await asyncio.sleep(0.2)


def memory(pid):
    with open(f"/proc/{pid}/status") as status:
        return int(re.search(r"VmRSS:\s+(\d+)", status.read()).group(1)) / 1024


async def measure(name, port, pid, flood, connections):
    end = time.monotonic() + SECONDS
    holders = [Holder(port) for _ in range(HOLDERS)]
    beating = [asyncio.create_task(holder.beat_until(lambda: end)) for holder in holders]
    gone, peak = [0], 0
    flooding = [asyncio.create_task(flooder(port, flood, end, gone)) for _ in range(connections)]
    while time.monotonic() < end:
        peak = max(peak, memory(pid))
        await asyncio.sleep(0.2)
    await asyncio.gather(*beating)
    for task in flooding:
        task.cancel()
    await asyncio.gather(*flooding, return_exceptions=True)
    times = [t for holder in holders for t in holder.times]
    lost = sum(holder.lost for holder in holders)
    print(f"{name:<28}{len(times):>8}{lost:>6}{statistics.median(times):>10.2f}{max(times):>10.1f}{peak:>9.0f}{gone[0]:>9}")


async def main():
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
    command = [REGISTRY, "serve", "-qq", "--in-memory", "--listen", "127.0.0.1:0", "--max-connections", str(MOST)]
    registry = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        line = next(line for line in registry.stdout if line.startswith("listening on"))
        port = int(line.rsplit(":", 1)[1])
        filler = await connect(port, "127.0.0.1")
        for number in range(100):
            await ask(filler, "PUT", f"/v1.0/configuration/key-{number}", '{"value": "%s"}' % ("x" * 1_000))
        filler[1].close()
        print(f"{MOST} connections allowed, {CONNECTIONS} of each flood (100 of the busy ones), {HOLDERS} holders\n")
        print(f"{'flood':<28}{'beats':>8}{'lost':>6}{'median ms':>10}{'worst ms':>10}{'MB':>9}{'dropped':>9}")
        for name, flood, connections in [
            ("none", silent, 0),
            ("silent connections", silent, CONNECTIONS),
            ("heads that trickle", trickle, CONNECTIONS),
            ("giant heads", giant_head, CONNECTIONS),
            ("bad bodies", bad_bodies, 100),
            ("bodies without end", large_bodies, 100),
            ("answers that nobody reads", unread_answers, 100),
        ]:
            await measure(name, port, registry.pid, flood, connections)
    finally:
        registry.kill()
        registry.wait()


if __name__ == "__main__":
    asyncio.run(main())
