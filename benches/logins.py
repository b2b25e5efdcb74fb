#!/usr/bin/env python3
"""What floods of wrong logins do to those who are in, and to those who log in rightly.

    cargo build --release && benches/logins.py [REGISTRY]     # target/release/service-registry by default

A registry on loopback, with 40 users whose keys are hashed, gets wrong logins without end while 20 holders beat and one
user logs in rightly. Prints, for each flood: how many beats there were, how many were lost, the median and the slowest; how
many right logins, how many of them were refused, the slowest; the first login of another user at the same address, how often
it was put off, and when it was let in; the most memory over that of the registry before any login; and how many wrong logins
were answered in a second. Each flood lasts 15 seconds. Exits with 1 if the memory was more than 60 MB. Needs Linux and Python 3.
"""
import asyncio
import itertools
import json
import multiprocessing
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time

from floods import HOLDERS, REGISTRY, SECONDS, ask, connect, memory, token_in

# as many connections as the registry allows by default, and more of a flood than may be open without a right login
MOST = 10_000
CONNECTIONS = 4_000
WORST_MB = 60

USERS = 40
FILE = "/dev/shm" if os.path.isdir("/dev/shm") else None


def credentials(name, key):
    return json.dumps({"auth": {"RAX-KSKEY:apiKeyCredentials": {"username": name, "apiKey": key}}})


async def log_in(port, source, name, key):
    stream = await connect(port, source)
    try:
        status, _, body = await ask(stream, "POST", "/v2.0/tokens", credentials(name, key))
        return status, json.loads(body)
    finally:
        stream[1].close()


class Holder:
    def __init__(self, port):
        self.port, self.times, self.lost = port, [], 0

    async def beat_until(self, end, name, key):
        status, answer = await log_in(self.port, "127.0.0.1", name, key)
        assert status == 200, answer
        token = answer["access"]["token"]
        head = f"\r\nX-Auth-Token: {token['id']}"
        root = f"/v1.0/{token['tenant']['id']}/sessions"
        stream = await connect(self.port, "127.0.0.1")
        _, created, body = await ask(stream, "POST", root, '{"heartbeat_timeout": 30}', head)
        session = created.split("/sessions/")[1].split()[0]
        beat = token_in(body)
        while time.monotonic() < end:
            start = time.perf_counter()
            try:
                status, _, body = await ask(stream, "POST", f"{root}/{session}/heartbeat", '{"token": "%s"}' % beat, head)
                assert status == 200, body
                beat = token_in(body)
            except (OSError, asyncio.IncompleteReadError):
                self.lost += 1
                stream = await connect(self.port, "127.0.0.1")
            self.times.append((time.perf_counter() - start) * 1000)
            await asyncio.sleep(0.05)


async def log_in_rightly(port, end, name, key):
    """A user who has logged in from here before: the time of each login, and how many were refused."""
    times, refused = [], 0
    while time.monotonic() < end:
        start = time.perf_counter()
        status, _ = await log_in(port, "127.0.0.1", name, key)
        refused += status != 200
        times.append((time.perf_counter() - start) * 1000)
        await asyncio.sleep(0.2)
    return times, refused


async def log_in_anew(port, name, key):
    """One that never was right here before: how often it was put off, and how long it took until it was in."""
    await asyncio.sleep(SECONDS / 3)
    start = time.perf_counter()
    for tries in itertools.count():
        status, _ = await log_in(port, "127.0.0.1", name, key)
        if status == 200:
            return tries, time.perf_counter() - start
        await asyncio.sleep(1)


async def guess(port, flood, end, count):
    while time.monotonic() < end:
        try:
            stream = await asyncio.wait_for(connect(port, flood["from"]()), 5)
            if flood.get("bodiless"):
                stream[1].write(b"POST /v2.0/tokens HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n")
                await asyncio.wait_for(stream[0].read(), max(0.1, end - time.monotonic()))
                stream[1].close()
                continue
            body = credentials(flood["name"](), str(random.random()))
            if flood.get("impatient"):
                stream[1].write(f"POST /v2.0/tokens HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
                await stream[1].drain()
            else:
                await asyncio.wait_for(ask(stream, "POST", "/v2.0/tokens", body), max(0.1, end - time.monotonic()))
            count[0] += 1
            stream[1].close()
        except (OSError, asyncio.IncompleteReadError, asyncio.TimeoutError, AttributeError):
            pass
        await asyncio.sleep(0.1)


def guess_all(port, flood, end, told):
    """In a process of its own, so that the holders are measured and not this."""

    async def all_of_them():
        count = [0]
        await asyncio.gather(*(guess(port, flood, end, count) for _ in range(flood["connections"])))
        told.send(count[0])

    asyncio.run(all_of_them())


async def measure(title, port, pid, idle, keys, flood):
    end = time.monotonic() + SECONDS
    holders = [Holder(port) for _ in range(HOLDERS)]
    beating = [asyncio.create_task(holder.beat_until(end, "user0", keys["user0"])) for holder in holders]
    assert (await log_in(port, "127.0.0.1", "user0", keys["user0"]))[0] == 200
    right = asyncio.create_task(log_in_rightly(port, end, "user0", keys["user0"]))
    anew = asyncio.create_task(log_in_anew(port, flood["new"], keys[flood["new"]]))
    peak = 0
    counted, told = multiprocessing.Pipe(duplex=False)
    guessing = multiprocessing.get_context("fork").Process(target=guess_all, args=(port, flood, end, told))
    guessing.start()
    while time.monotonic() < end:
        peak = max(peak, memory(pid))
        await asyncio.sleep(0.1)
    await asyncio.gather(*beating)
    times, refused = await right
    tries, seconds = await asyncio.wait_for(anew, 60)
    count = counted.recv()
    guessing.join()
    beats = [t for holder in holders for t in holder.times]
    print(
        f"{title:<36}{len(beats):>7}{sum(h.lost for h in holders):>5}{statistics.median(beats):>8.2f}{max(beats):>8.1f}"
        f"{len(times):>8}{refused:>8}{max(times):>8.1f}{tries:>8}{seconds:>7.1f}{peak - idle:>6.0f}{count / SECONDS:>10.0f}",
        flush=True,
    )
    return peak - idle <= WORST_MB


async def main():
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 2 * MOST), hard))
    keys, users = {}, []
    for number in range(USERS):
        name, key = f"user{number}", f"key-{random.random()}"
        hashed = subprocess.run([REGISTRY, "hash-key"], input=key, capture_output=True, text=True, check=True)
        users.append(f"[[user]]\nname = '{name}'\ntenant = {number + 1}\napi_key_hash = '{hashed.stdout.strip()}'\n")
        keys[name] = key
    with tempfile.NamedTemporaryFile("w", suffix=".toml", dir=FILE) as file:
        file.write("".join(users))
        file.flush()
        command = [REGISTRY, "serve", "-qq", "--in-memory", "--listen", "127.0.0.1:0", "--max-connections", str(MOST)]
        registry = subprocess.Popen([*command, "--users", file.name], stdout=subprocess.PIPE, text=True)
        try:
            line = next(line for line in registry.stdout if line.startswith("listening on"))
            port = int(line.rsplit(":", 1)[1])
            idle = memory(registry.pid)
            here, beside = lambda: "127.0.0.1", lambda: "127.0.0.2"
            everywhere = lambda: f"127.0.{random.randrange(1, 250)}.{random.randrange(1, 250)}"
            joe, anybody = lambda: "user0", lambda: f"nobody{random.random()}"
            known = lambda: f"user{random.randrange(USERS)}"
            new = (f"user{number}" for number in itertools.count(1))
            print(f"{MOST} connections allowed, {HOLDERS} holders, idle: {idle:.0f} MB\n")
            print(
                f"{'flood':<36}{'beats':>7}{'lost':>5}{'median':>8}{'worst':>8}{'right':>8}{'refused':>8}{'worst':>8}"
                f"{'put off':>8}{'in, s':>7}{'MB':>6}{'guesses/s':>10}"
            )
            is_good = True
            for title, flood in [
                ("none", {"from": here, "name": joe, "connections": 0}),
                ("25 at the right user's name, here", {"from": here, "name": joe, "connections": 25}),
                ("100 at the right user's name, here", {"from": here, "name": joe, "connections": 100}),
                ("100 at many names, here", {"from": here, "name": anybody, "connections": 100}),
                ("100 at all users' names, here", {"from": here, "name": known, "connections": 100}),
                ("500 at many names, here", {"from": here, "name": anybody, "connections": 500}),
                (f"{CONNECTIONS} at many names, from another", {"from": beside, "name": anybody, "connections": CONNECTIONS}),
                ("500 at one name, from many", {"from": everywhere, "name": joe, "connections": 500}),
                ("500 at many names, from many", {"from": everywhere, "name": anybody, "connections": 500}),
                (f"{CONNECTIONS} at many names, from many", {"from": everywhere, "name": anybody, "connections": CONNECTIONS}),
                ("200 that wait for no answer, here", {"from": here, "name": joe, "connections": 200, "impatient": True}),
                (f"{CONNECTIONS} that send no body, from many", {"from": everywhere, "connections": CONNECTIONS, "name": joe, "bodiless": True}),
            ]:
                is_good &= await measure(title, port, registry.pid, idle, keys, {**flood, "new": next(new)})
        finally:
            registry.kill()
            registry.wait()
    sys.exit(0 if is_good else 1)


if __name__ == "__main__":
    asyncio.run(main())
