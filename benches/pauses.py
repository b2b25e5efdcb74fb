#!/usr/bin/env python3
"""Whether a registry that was stopped expires holders whose heartbeats wait in its sockets.

    cargo build --release && benches/pauses.py [--quick] [PROGRAM]     # target/release/service-registry by default

For each timeout, number of holders, phase and length of a pause: the holders send their heartbeats 0.6 of the timeout after
the last ones while the registry is stopped (SIGSTOP), it goes on that much later, and everybody reads the answer. With a
reader, one asks for events and for the list as soon as it goes on. After a restart, the registry was killed and started again
before. A second group of holders sends nothing: it must be gone by the timeout, the pause, its catching up (as long again,
half a second at most) and a second. PROGRAM may be service-registry-wrapper: then its embedded registry (one thread) is
stopped. Exits with 1 if a holder that wrote in time was lost, or a silent one was listed for too long. Needs Linux and Python 3.
"""
import argparse
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


class Registry:
    def __init__(self, program):
        self.program, self.folder = program, tempfile.mkdtemp()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.start()

    def start(self):
        if self.program.endswith("-wrapper"):
            self.port = 7117  # where a wrapper hosts its registry
            command = [self.program, "-q", "--id=host", "sleep", "1000"]
        else:
            command = [self.program, "serve", "-qq", "--listen", f"127.0.0.1:{self.port}", "--data-dir", self.folder]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        until = time.monotonic() + 20
        while True:
            try:
                return socket.create_connection(("127.0.0.1", self.port)).close()
            except OSError:
                if time.monotonic() > until:
                    sys.exit("the registry does not listen")
                time.sleep(0.01)

    def restart(self):
        self.process.kill()
        self.process.wait()
        self.start()

    def end(self):
        self.process.send_signal(signal.SIGCONT)
        self.process.terminate()
        self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


class Client:
    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.settimeout(60)
        self.file = self.socket.makefile("rb")

    def send(self, method, path, body=None):
        text = json.dumps(body) if body is not None else ""
        head = f"{method} /v1.0{path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(text)}\r\n\r\n"
        self.socket.sendall((head + text).encode())

    def receive(self):
        status, length = int(self.file.readline().split()[1]), 0
        while (line := self.file.readline().strip()):
            name, _, value = line.partition(b":")
            length = int(value) if name.lower() == b"content-length" else length
        body = self.file.read(length)
        return status, json.loads(body) if body else None

    def ask(self, *request):
        self.send(*request)
        return self.receive()

    def close(self):
        self.file.close()
        self.socket.close()


def ids(client):
    found, marker = set(), None
    while True:
        page = client.ask("GET", "/services?limit=1000" + (f"&marker={marker}" if marker else ""))[1]
        found.update(service["id"] for service in page["values"])
        marker = page["metadata"]["next_marker"]
        if not marker:
            return found


def trial(registry, name, timeout, holders, stop, go_on, reader, restart):
    """Stops the registry at `stop` and lets it go on at `go_on`, in seconds after the last heartbeats."""
    clients = [Client(registry.port) for _ in range(holders)]
    silent = [f"silent-{name}-{n}" for n in range(20)]
    for n, client in enumerate(clients):
        client.send("POST", "/services", {"id": f"alive-{name}-{n}", "heartbeat_timeout": timeout})
    tokens = [client.receive()[1]["token"] for client in clients]
    for id in silent:
        clients[0].ask("POST", "/services", {"id": id, "heartbeat_timeout": timeout})
    if restart:
        for client in clients:
            client.close()
        registry.restart()
        clients = [Client(registry.port) for _ in range(holders)]
    start = time.monotonic()
    for n, client in enumerate(clients):
        client.send("POST", f"/services/alive-{name}-{n}/heartbeat", {"token": tokens[n]})
    tokens = [client.receive()[1]["token"] for client in clients]
    watcher = Client(registry.port)
    time.sleep(max(0, start + stop - time.monotonic()))
    registry.process.send_signal(signal.SIGSTOP)
    time.sleep(max(0, start + max(stop, 0.6 * timeout) - time.monotonic()))
    if reader:
        watcher.send("GET", "/events?limit=1")
    for n, client in enumerate(clients):
        client.send("POST", f"/services/alive-{name}-{n}/heartbeat", {"token": tokens[n]})
    time.sleep(max(0, start + go_on - time.monotonic()))
    registry.process.send_signal(signal.SIGCONT)
    if reader:
        watcher.receive()
        ids(watcher)
    lost = sum(client.receive()[0] != 200 for client in clients)
    pause = go_on - stop
    bound = start + timeout + pause + min(pause, 0.5) + 1
    while any(id in silent for id in ids(watcher)) and time.monotonic() < bound + 2:
        time.sleep(0.02)
    late = max(0, time.monotonic() - bound)
    for client in clients + [watcher]:
        client.close()
    return lost, late


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="one trial in nine")
    parser.add_argument("program", nargs="?", default=os.path.join(ROOT, "target", "release", "service-registry"))
    options = parser.parse_args()
    is_embedded = options.program.endswith("-wrapper")
    registry, all_lost, latest, count = Registry(options.program), 0, 0, 0
    grid = []
    for timeout in (3, 6, 12):
        for stop in (0.4, 0.55, 0.598):
            for go_on in (0.65, 0.9, 0.99, 1.0 + 0.05 / timeout, 1.0 + 0.2 / timeout, 1.0 + 0.6 / timeout, 1.0 + 1.25 / timeout, 2):
                for holders in (1, 1000):
                    for reader in (False, True):
                        grid.append((timeout, holders, stop * timeout, go_on * timeout, reader, False))
    if not is_embedded:
        grid += [(3, 1000, 1.2, go_on, reader, True) for go_on in (2.9, 3.05, 3.6, 4.2) for reader in (False, True)]
    print("timeout holders  stopped  goes on  reader restart    lost  late")
    try:
        for name, case in enumerate(grid[:: 9 if options.quick else 1]):
            lost, late = trial(registry, name, *case)
            all_lost, latest, count = all_lost + lost, max(latest, late), count + 1
            timeout, holders, stop, go_on, reader, restart = case
            print(f"{timeout:5} s {holders:7} {stop:6.2f} s {go_on:6.2f} s  {reader!s:6} {restart!s:7} {lost:7} {late:4.2f} s", flush=True)
    finally:
        registry.end()
    print(f"{count} trials: {all_lost} holders lost, silent ones late by {latest:.2f} s at most")
    sys.exit(1 if all_lost or latest > 0.1 else 0)


if __name__ == "__main__":
    main()
