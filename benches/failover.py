#!/usr/bin/env python3
"""What the clients of three nodes notice when a node is killed, and when all are restarted in turn.

    cargo build --features etcd && benches/failover.py [--kills=50] [--rolls=5] [--programs=target/debug]

Three members of etcd and three nodes run on loopback. Twelve accounts, of which each node owns some, have holders that send a
heartbeat every second, and fail over to the next node when one does not answer.

    kills   kill -9 of a node; how long until the heartbeat of each account is accepted at another node: the worst of all accounts
            is that of an account that the node owned (limit: 8 s)
    rolls   SIGTERM and a new start of each node in turn, under heartbeats, registrations, changes of values and lists: requests
            that failed at all nodes, or were answered with 5xx or not at all (limit: 0); timeouts in the feeds of holders that
            sent heartbeats (limit: 0); holders that send none, whose timeout was restarted: gone later than timeout + 1 s (0)

A client goes on at the next node if a connection is refused, and sends a request again if the kept connection was closed before
any byte of the answer, as HTTP clients do: neither is a failure. Exits with 1 if a limit is exceeded. Needs Linux, Python 3 and
etcd (Debian: etcd-server).
"""
import argparse
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
ACCOUNTS = range(1, 13)
LIMIT = 8
# An address that no other process uses: a port that is free now stays so.
HOST = f"127.77.{os.getpid() // 250 % 250}.{os.getpid() % 250 + 1}"


def free_port():
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        return listener.getsockname()[1]


def is_healthy(port):
    """Whether a member of etcd answers, and has a leader."""
    try:
        connection = http.client.HTTPConnection(HOST, port, timeout=2)
        connection.request("GET", "/health")
        return b"true" in connection.getresponse().read()
    except (OSError, http.client.HTTPException):
        return False


class Cluster:
    """Three members and three nodes. They end with the script."""

    def __init__(self, programs, folder):
        self.program, self.folder = f"{programs}/service-registry", folder
        self.ports = [free_port() for _ in range(9)]
        peers = ",".join(f"m{at}=http://{HOST}:{self.ports[3 + at]}" for at in range(3))
        self.etcd = ",".join(f"http://{HOST}:{self.ports[6 + at]}" for at in range(3))
        self.processes = []
        for at, client in enumerate(self.etcd.split(",")):
            peer = f"http://{HOST}:{self.ports[3 + at]}"
            self.processes.append(self.start(
                ["etcd", f"--name=m{at}", f"--data-dir={folder}/m{at}", f"--listen-client-urls={client}", "--logger=zap",
                 f"--advertise-client-urls={client}", f"--listen-peer-urls={peer}", f"--initial-advertise-peer-urls={peer}",
                 f"--initial-cluster={peers}", "--log-level=error"], f"m{at}"))
        while not all(is_healthy(port) for port in self.ports[6:]):
            time.sleep(0.1)
        self.nodes = [self.start_node(at) for at in range(3)]
        self.wait()

    def start(self, command, name):
        with open(f"{self.folder}/{name}.log", "a") as log:
            return subprocess.Popen(["setpriv", "--pdeathsig=KILL", *command], stdout=log, stderr=log)

    def start_node(self, at):
        return self.start([self.program, "serve", f"--listen={HOST}:{self.ports[at]}", f"--etcd={self.etcd}"], f"node{at}")

    def wait(self):
        """Until all nodes answer for all accounts, and the shards are where they belong: nothing has moved for two seconds."""
        owners, since = None, time.monotonic()
        while time.monotonic() - since < 2 or len(set(owners)) < 3:
            assert time.monotonic() - since < 60, f"the nodes do not share the work: {owners}"
            assert all(node.poll() is None for node in self.nodes), "a node has ended"
            command = [self.program, "cluster", f"--etcd={self.etcd}", "--shards", "-o", "json"]
            shown = subprocess.run(command, capture_output=True, text=True, check=False)
            now = owners_of(shown.stdout) if shown.returncode == 0 else None
            if now != owners or now is None:
                owners, since = now, time.monotonic() if now != owners else since
            time.sleep(0.2)
        clients = [Client(self.ports[:3], first) for first in range(3)]
        while not all(client.ask("GET", f"/v1.0/{account}/limits")[0] == 200 for client in clients for account in ACCOUNTS):
            time.sleep(0.2)

    def end(self):
        for process in self.nodes + self.processes:
            process.kill()
            process.wait()


def owners_of(text):
    """The owner of each shard."""
    shards = json.loads(text)["shards"]
    return [shard.get("node") or shard.get("owner") for shard in shards]


class Client:
    """Asks one node after the other until one answers."""

    def __init__(self, ports, first, timeout=6):
        self.ports, self.at, self.timeout, self.connections = ports, first % len(ports), timeout, {}

    def ask(self, method, path, body=None):
        """Status and answer; None if no node has answered."""
        for _ in range(len(self.ports)):
            try:
                return self.ask_one(method, path, body)
            except ConnectionRefusedError:
                self.fail_over()
        return None, None

    def ask_one(self, method, path, body):
        for is_last in (False, True):
            kept = self.connections.pop(self.at, None)
            connection = kept or http.client.HTTPConnection(HOST, self.ports[self.at], timeout=self.timeout)
            try:
                connection.request(method, path, body and json.dumps(body), {"Content-Type": "application/json"})
                answer = connection.getresponse()
                text = answer.read()
            except ConnectionRefusedError:
                raise
            except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError) as error:
                if kept is None or is_last:
                    return 0, f"{error!r} on a {'kept' if kept else 'new'} connection to node {self.at}"
                continue
            except (OSError, http.client.HTTPException) as error:
                return 0, f"{error!r} of node {self.at}"
            if not answer.will_close:
                self.connections[self.at] = connection
            return answer.status, json.loads(text) if text else None
        return 0, "the connection was closed twice"

    def fail_over(self):
        self.connections.pop(self.at, None)
        self.at = (self.at + 1) % len(self.ports)


class Holder:
    """A service with heartbeats in an account."""

    def __init__(self, ports, account, name, first, timeout=30, limit=1.5):
        self.client, self.path, self.is_over = Client(ports, first, limit), f"/v1.0/{account}/services", False
        self.id, self.failed, self.sent, self.since, self.first = name, [], 0, None, None
        status, body = self.client.ask("POST", self.path, {"id": name, "heartbeat_timeout": timeout})
        assert status == 201, (status, body)
        self.token = body["token"]
        self.wake = threading.Event()
        self.thread = threading.Thread(target=self.beat, daemon=True)
        self.thread.start()

    def beat(self):
        while not self.is_over:
            self.sent += 1
            status, body = self.client.ask("POST", f"{self.path}/{self.id}/heartbeat", {"token": self.token})
            if status == 200:
                self.token, now = body["token"], time.monotonic()
                if self.since and not self.first and now > self.since:
                    self.first = now
                self.wake.wait(1)
                self.wake.clear()
                continue
            self.failed.append((status, body))
            self.client.fail_over()
            time.sleep(0.02)

    def end(self):
        self.is_over = True
        self.wake.set()
        self.thread.join()


def kill(cluster, kills):
    """The worst time of each kill."""
    worst = []
    for round_number in range(kills):
        at = round_number % 3
        others = [port for number, port in enumerate(cluster.ports[:3]) if number != at]
        holders = [Holder(others, account, f"kill-{round_number}", account) for account in ACCOUNTS]
        cluster.nodes[at].kill()
        cluster.nodes[at].wait()
        killed = time.monotonic()
        for holder in holders:
            # An answer that the dead node has sent may still be under way.
            holder.since = killed + 0.05
            holder.wake.set()
        deadline = killed + 60
        while not all(holder.first for holder in holders) and time.monotonic() < deadline:
            time.sleep(0.005)
        waits = [(holder.first or deadline) - killed for holder in holders]
        worst.append(max(waits))
        print(f"kill {round_number + 1}: {worst[-1]:.2f} s, {sum(wait > 1.5 for wait in waits)} of {len(waits)} accounts waited",
              flush=True)
        for holder in holders:
            holder.end()
        cluster.nodes[at] = cluster.start_node(at)
        cluster.wait()
    return worst


class Load:
    """Registrations, changes and lists of all accounts, until told to end."""

    def __init__(self, ports, number):
        self.client, self.number, self.sent, self.failed, self.is_over = Client(ports, number), number, 0, [], False
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def ask(self, method, path, body, expected):
        self.sent += 1
        status, answer = self.client.ask(method, path, body)
        if status != expected:
            self.failed.append((round(time.monotonic(), 2), method, path, status, answer))

    def run(self):
        while not self.is_over:
            for account in ACCOUNTS:
                root, name = f"/v1.0/{account}", f"load-{self.number}-{self.sent}"
                self.ask("POST", f"{root}/services", {"id": name, "heartbeat_timeout": 60}, 201)
                self.ask("PUT", f"{root}/configuration/{name}", {"value": name}, 204)
                self.ask("GET", f"{root}/services?limit=10", None, 200)
                self.ask("DELETE", f"{root}/services/{name}", None, 204)
                time.sleep(0.02)
            self.client.fail_over()

    def end(self):
        self.is_over = True
        self.thread.join()


def watch_silent(cluster, account, name, late, is_over):
    """Holders of ten seconds that send no heartbeat: each must be gone one second after that."""
    client, round_number = Client(cluster.ports[:3], account % 3), 0
    while not is_over.is_set():
        round_number += 1
        status, _ = client.ask("POST", f"/v1.0/{account}/services", {"id": f"{name}-{round_number}", "heartbeat_timeout": 10})
        due = time.monotonic() + 11
        if status != 201:
            continue
        time.sleep(max(0, due - time.monotonic()))
        status, _ = client.ask("GET", f"/v1.0/{account}/services/{name}-{round_number}")
        if status != 404:
            late.append((account, round_number, status))


def roll(cluster, rolls):
    """Failed requests, false timeouts and restarted timeouts, and how many requests were sent."""
    ports, late, is_over = cluster.ports[:3], [], threading.Event()
    holders = [Holder(ports, account, f"roll-{number}", number, 10, 2.5) for account in ACCOUNTS for number in range(3)]
    loads = [Load(ports, number) for number in range(3)]
    silent = [threading.Thread(target=watch_silent, args=(cluster, account, "silent", late, is_over), daemon=True)
              for account in ACCOUNTS]
    for thread in silent:
        thread.start()
    for number in range(rolls):
        for at in range(3):
            cluster.nodes[at].send_signal(signal.SIGTERM)
            status = cluster.nodes[at].wait(60)
            assert status == 0, f"node {at} ended with {status}"
            cluster.nodes[at] = cluster.start_node(at)
            cluster.wait()
        print(f"roll {number + 1}: {sum(len(client.failed) for client in holders + loads)} failed requests so far", flush=True)
    is_over.set()
    for client in holders + loads + silent:
        client.end() if hasattr(client, "end") else client.join()
    false = 0
    for account in ACCOUNTS:
        _, page = Client(ports, 0).ask("GET", f"/v1.0/{account}/events?type=service.timeout&limit=1000")
        false += sum(event["payload"]["id"].startswith("roll") for event in page["values"])
    failed = [failure for client in holders + loads for failure in client.failed]
    return failed, false, late, sum(client.sent for client in holders + loads)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--rolls", type=int, default=5)
    parser.add_argument("--programs", default=os.path.join(ROOT, "target", "debug"))
    options = parser.parse_args()
    is_bad = False
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as folder:
        cluster = Cluster(options.programs, folder)
        try:
            if options.kills:
                worst = sorted(kill(cluster, options.kills))
                print(f"failover after kill -9, {options.kills} times: median {worst[len(worst) // 2]:.2f} s, "
                      f"worst {worst[-1]:.2f} s (limit {LIMIT} s)", flush=True)
                is_bad |= worst[-1] > LIMIT
            if options.rolls:
                failed, false, late, sent = roll(cluster, options.rolls)
                print(f"{options.rolls} rolling restarts: {len(failed)} of {sent} requests failed, {false} false timeouts, "
                      f"{len(late)} restarted timeouts (limits 0)")
                for failure in failed[:10] + late[:10]:
                    print(f"  {failure}")
                is_bad |= bool(failed or false or late)
        finally:
            cluster.end()
    return 1 if is_bad else 0


if __name__ == "__main__":
    sys.exit(main())
