#!/usr/bin/env python3
"""What followers cost: memory, processor time while nothing happens, and the time from an event to the last of them.

    cargo build --release && benches/followers.py [FOLLOWERS [EVENTS [SECONDS]]]     # 10000, 20 and 60 by default

All follow the events of one account: first by event streams, then by long polls. The time is counted from sending the
change until the last follower has received its event, so it contains the time in which this program, one process on the
same machine, reads all of them. The memory contains the connection. Exits
with 1 if an event was lost. Needs Linux, Python 3, and a limit on open files (ulimit -Hn) above FOLLOWERS.
"""
import json
import os
import re
import resource
import select
import socket
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
PROGRAM = os.path.join(HERE, "../target/release/service-registry")
TICKS = os.sysconf("SC_CLK_TCK")
PER_ADDRESS = 250


class Registry:
    def __init__(self, followers):
        self.process = subprocess.Popen(
            [PROGRAM, "serve", "-q", "--in-memory", "--listen", f"127.0.0.1:{PORT}",
             "--max-connections", str(3 * followers + 100)],
            stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        while True:
            try:
                socket.create_connection(("127.0.0.1", PORT)).close()
                break
            except ConnectionRefusedError:
                time.sleep(0.05)

    def memory(self):
        """In kB."""
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as status:
            return int(re.search(r"VmRSS:\s+(\d+)", status.read()).group(1))

    def processor(self):
        """In seconds."""
        with open(f"/proc/{self.process.pid}/stat", encoding="ascii") as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICKS


def free_port():
    with socket.socket() as any_port:
        any_port.bind(("127.0.0.1", 0))
        return any_port.getsockname()[1]


PORT = free_port()


def request(path, headers=""):
    return f"GET /v1.0/1{path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n".encode()


def change(number):
    """Sets a value, which makes one event."""
    body = json.dumps({"value": str(number)})
    with socket.create_connection(("127.0.0.1", PORT)) as connection:
        begun = time.perf_counter()
        connection.sendall(f"PUT /v1.0/1/configuration/key HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
                           f"Content-Length: {len(body)}\r\n\r\n{body}".encode())
        answer = connection.recv(1000)
    assert b" 204 " in answer.split(b"\r\n")[0], answer
    return begun


def position():
    with socket.create_connection(("127.0.0.1", PORT)) as connection:
        connection.sendall(request("/events?wait=0", "Connection: close\r\n"))
        answer = b""
        while part := connection.recv(10000):
            answer += part
    return json.loads(answer.split(b"\r\n\r\n", 1)[1])["metadata"]["next_marker"]


class Followers:
    """Connections that follow, all read by one loop."""

    def __init__(self, count, is_stream):
        self.is_stream, self.poll, self.by_number = is_stream, select.epoll(), {}
        self.marker = position()
        for number in range(count):
            connection = socket.socket()
            connection.bind((f"127.0.2.{1 + number // PER_ADDRESS}", 0))
            connection.connect(("127.0.0.1", PORT))
            connection.setblocking(False)
            self.by_number[connection.fileno()] = connection
            self.poll.register(connection, select.EPOLLIN)
            self.ask(connection)
        if is_stream:
            self.receive(b"retry: ", 60)

    def ask(self, connection):
        if self.is_stream:
            connection.send(request(f"/events?marker={self.marker}", "Accept: text/event-stream\r\n"))
        else:
            connection.send(request(f"/events?marker={self.marker}&wait=60"))

    def receive(self, text, seconds):
        """Reads until all have received something with this text; returns when the first and the last had it."""
        missing, first, end = set(self.by_number), None, time.monotonic() + seconds
        had = {}
        while missing and time.monotonic() < end:
            for number, _ in self.poll.poll(1):
                connection = self.by_number[number]
                had[number] = had.get(number, b"") + connection.recv(1 << 16)
                if text in had[number]:
                    missing.discard(number)
                    first = first or time.perf_counter()
                    if not self.is_stream:
                        self.marker = re.search(rb'"next_marker": "([^"]*)"', had[number]).group(1).decode()
        if missing:
            sys.exit(f"{len(missing)} of {len(self.by_number)} followers have missed an event")
        return first, time.perf_counter()

    def idle(self, seconds):
        """Reads signs of life, and asks again after the end of a wait."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            for number, _ in self.poll.poll(left):
                connection = self.by_number[number]
                assert connection.recv(1 << 16), "the connection has ended"
                if not self.is_stream:
                    self.ask(connection)

    def ask_all(self):
        if not self.is_stream:
            for connection in self.by_number.values():
                self.ask(connection)
            time.sleep(2)  # until they wait


def measure(name, count, events, seconds, is_stream):
    registry = Registry(count)
    try:
        before = registry.memory()
        followers = Followers(count, is_stream)
        time.sleep(2)
        memory = (registry.memory() - before) / count
        used = registry.processor()
        followers.idle(seconds)
        idle = registry.processor() - used
        firsts, lasts, used = [], [], registry.processor()
        for number in range(events):
            begun = change(number)
            text = f'"new_value":"{number}"' if is_stream else f'"new_value": "{number}"'
            first, last = followers.receive(text.encode(), 60)
            firsts.append((first - begun) * 1000)
            lasts.append((last - begun) * 1000)
            followers.ask_all()
        busy = (registry.processor() - used) / events
        lasts.sort()
        print(f"{name:12} {memory:6.1f} kB each   idle {idle:5.2f} s of {seconds} s"
              f"   to the last: median {lasts[len(lasts) // 2]:6.0f} ms, worst {lasts[-1]:6.0f} ms"
              f"   (first {min(firsts):.1f} ms, {busy * 1000:.0f} ms of processor time each)", flush=True)
    finally:
        registry.process.kill()
        registry.process.wait()


def main():
    count, events, seconds = [int(given) for given in sys.argv[1:]] + [10_000, 20, 60][len(sys.argv) - 1:]
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    print(f"{count} followers of one account, {events} events")
    measure("streams", count, events, seconds, True)
    measure("long polls", count, events, seconds, False)


if __name__ == "__main__":
    main()
