#!/usr/bin/env python3
"""What floods do to those who are in: a registry on loopback is flooded from several sides while holders beat.

    cargo build --release && benches/floods.py [REGISTRY]     # target/release/service-registry by default

Prints, for each flood, the slowest and the median beat of 20 holders that beat all the time from 127.0.0.1, whether one
was refused, and how much memory the registry has taken beyond what it had before the flood. The floods come from
127.0.0.2, are bounded in number, and last 15 seconds each. The holders are a process of their own, since what is
measured is the registry and not the flood. Exits with 1 if a beat was lost or took more than 250 ms, or if a flood took
more than 100 MB: on two processors that have nothing else to do. Needs Linux and Python 3.
"""
import asyncio
import json
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
WORST_MS = 250
WORST_MB = 100


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
    def __init__(self, port, root):
        self.port, self.root, self.times, self.lost = port, root, [], 0

    async def open(self):
        self.stream = await connect(self.port, "127.0.0.1")
        _, head, body = await ask(self.stream, "POST", f"{self.root}/sessions", '{"heartbeat_timeout": 30}')
        self.path = re.search(r"/v1.0/\S*/sessions/\S+", head).group(0) + "/heartbeat"
        self.token = token_in(body)

    async def beat_until(self, end):
        while time.monotonic() < end:
            start = time.perf_counter()
            try:
                status, _, body = await ask(self.stream, "POST", self.path, '{"token": "%s"}' % self.token)
                if status == 200:
                    self.token = token_in(body)
                else:
                    self.lost += 1
            except (OSError, asyncio.IncompleteReadError):
                self.lost += 1
                self.stream = await connect(self.port, "127.0.0.1")
            self.times.append((time.perf_counter() - start) * 1000)
            await asyncio.sleep(0.05)


async def hold(port, root):
    """The process of the holders: says when they are ready, and in the end how it was."""
    holders = [Holder(port, root) for _ in range(HOLDERS)]
    for holder in holders:
        await holder.open()
    print("ready", flush=True)
    end = time.monotonic() + SECONDS
    await asyncio.gather(*(holder.beat_until(end) for holder in holders))
    times = [t for holder in holders for t in holder.times]
    print(json.dumps({"times": times, "lost": sum(holder.lost for holder in holders)}))


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
                stream[1].transport.abort()  # it may have requests left that nobody takes
        except (OSError, asyncio.IncompleteReadError, asyncio.TimeoutError, AttributeError):
            pass
        gone[0] += 1
        await asyncio.sleep(0.2)


def memory(pid):
    with open(f"/proc/{pid}/status") as status:
        return int(re.search(r"VmRSS:\s+(\d+)", status.read()).group(1)) / 1024


TITLE = f"{'flood':<34}{'beats':>8}{'lost':>6}{'median ms':>10}{'worst ms':>10}{'MB':>9}{'dropped':>9}"


async def measure(name, port, pid, flood, connections, root="/v1.0"):
    """One flood; returns whether it stayed within the bounds."""
    before = peak = memory(pid)
    holding = await asyncio.create_subprocess_exec(
        sys.executable, os.path.abspath(__file__), "--hold", str(port), root, stdout=asyncio.subprocess.PIPE, limit=1 << 24)
    await holding.stdout.readline()
    end = time.monotonic() + SECONDS
    gone = [0]
    flooding = [asyncio.create_task(flooder(port, flood, end, gone)) for _ in range(connections)]
    while time.monotonic() < end:
        peak = max(peak, memory(pid))
        await asyncio.sleep(0.2)
    held = json.loads(await holding.stdout.readline())
    await holding.wait()
    for task in flooding:
        task.cancel()
    await asyncio.gather(*flooding, return_exceptions=True)
    times, lost, taken = held["times"], held["lost"], peak - before
    is_good = lost == 0 and max(times) <= WORST_MS and taken <= WORST_MB
    numbers = f"{len(times):>8}{lost:>6}{statistics.median(times):>10.2f}{max(times):>10.1f}{taken:>9.0f}{gone[0]:>9}"
    print(f"{name:<34}{numbers}{'' if is_good else '  too much'}", flush=True)
    return is_good


class Registry:
    """A registry of its own for some floods."""

    def __init__(self, *options):
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
        command = [REGISTRY, "serve", "-qq", "--listen", "127.0.0.1:0", "--max-connections", str(MOST), *options]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.pid = self.process.pid
        line = next(line for line in self.process.stdout if line.startswith("listening on"))
        self.port = int(line.rsplit(":", 1)[1])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()


async def main():
    is_good = True
    with Registry("--in-memory") as registry:
        filler = await connect(registry.port, "127.0.0.1")
        for number in range(100):
            await ask(filler, "PUT", f"/v1.0/configuration/key-{number}", '{"value": "%s"}' % ("x" * 1_000))
        filler[1].close()
        print(f"{MOST} connections allowed, {CONNECTIONS} of each flood (100 of the busy ones), {HOLDERS} holders\n")
        print(TITLE)
        for name, flood, connections in [
            ("none", silent, 0),
            ("silent connections", silent, CONNECTIONS),
            ("heads that trickle", trickle, CONNECTIONS),
            ("giant heads", giant_head, CONNECTIONS),
            ("bad bodies", bad_bodies, 100),
            ("bodies without end", large_bodies, 100),
            ("unread answers", unread_answers, 100),
        ]:
            is_good &= await measure(name, registry.port, registry.pid, flood, connections)
    return is_good


if __name__ == "__main__":
    if sys.argv[1:2] == ["--hold"]:
        asyncio.run(hold(int(sys.argv[2]), sys.argv[3]))
    elif not asyncio.run(main()):
        sys.exit(1)
