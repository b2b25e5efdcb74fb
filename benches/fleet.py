#!/usr/bin/env python3
"""A fleet that loses its registry: 500 wrapped processes, 20 times `kill -9` of the registry, one machine.

    benches/fleet.py [WRAPPERS [KILLS [INTERVAL_SECONDS]]]      # 500 20 10 by default
    benches/fleet.py --cluster [...]                            # three nodes, one of which is killed

The registry keeps its data on disk and is started again two seconds after each kill; in a cluster it is each node in turn. Told
are: children harmed, false timeout events (of processes whose wrapper kept beating), how long until all are heard of again (at
most one interval is the rule), and the most requests of wrappers in any second after a return (of the registry alone). Needs
Linux, Python 3 and cargo, and etcd for a cluster.
"""
import collections
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.request

import failover
from wrapper import build

IS_CLUSTER = "--cluster" in sys.argv
GIVEN = [word for word in sys.argv[1:] if word != "--cluster"]
WRAPPERS, KILLS, INTERVAL = (int(word) for word in (GIVEN + ["500", "20", "10"][len(GIVEN):]))
PORT = 7300


class Alone:
    """One registry with a data directory."""

    def __init__(self, programs, scratch):
        self.program, self.scratch, self.log = f"{programs}/service-registry", scratch, f"{scratch}/log"
        self.url = self.urls = f"http://127.0.0.1:{PORT}"
        self.start()

    def start(self):
        with open(self.log, "a") as log:
            self.process = subprocess.Popen(
                [self.program, "serve", "-v", f"--listen=127.0.0.1:{PORT}", f"--data-dir={self.scratch}/data"],
                stdout=subprocess.PIPE, stderr=log, text=True)
        self.process.stdout.readline()

    def kill(self, number):
        """Kills it, and starts it again after a while. Returns when that was, and the size of the log."""
        self.process.kill()
        self.process.wait()
        time.sleep(2)
        offset = os.path.getsize(self.log)
        self.start()
        return time.time(), offset

    def end(self):
        self.process.terminate()
        self.process.wait()


class Three:
    """Three nodes on three members of etcd."""

    def __init__(self, programs, scratch):
        self.cluster, self.log = failover.Cluster(programs, scratch), os.devnull
        self.nodes = [f"http://{failover.HOST}:{port}" for port in self.cluster.ports[:3]]
        self.urls, self.url = ",".join(self.nodes), self.nodes[0]

    def kill(self, number):
        at = number % 3
        self.url = self.nodes[(at + 1) % 3]
        self.cluster.nodes[at].kill()
        self.cluster.nodes[at].wait()
        killed = time.time()
        time.sleep(2)
        self.cluster.nodes[at] = self.cluster.start_node(at)
        return killed, 0

    def end(self):
        self.cluster.end()


REGISTRY = None


def ask(path):
    for _ in range(20):  # for about five seconds after a kill, some accounts have no owner
        try:
            with urllib.request.urlopen(REGISTRY.url + path, timeout=10) as answer:
                return json.load(answer)
        except OSError:
            time.sleep(0.5)
    raise SystemExit(f"{REGISTRY.url} does not answer")


def all_values(path):
    values, marker = [], None
    while True:
        page = ask(f"{path}{'&' if '?' in path else '?'}limit=1000" + (f"&marker={marker}" if marker else ""))
        values += page["values"]
        marker = page["metadata"]["next_marker"]
        if not marker:
            return values


def heard_of_since(moment):
    """How many services live in a session that was heard of after this moment."""
    sessions = {session["id"]: session for session in all_values("/v1.0/sessions")}
    lives = lambda service: (sessions.get(service["session_id"], {}).get("last_seen") or 0) >= moment * 1000
    return sum(lives(service) for service in all_values("/v1.0/services"))


def peak_rate(log, offset):
    """The most requests of wrappers in one second, by the response ids' own times. The lists are what this script asks for."""
    own = re.compile(r'method=GET path="/v1\.0/(sessions|services|events)" ')
    seconds = collections.Counter()
    with open(log) as lines:
        lines.seek(offset)
        for line in lines:
            if "ts-" in line and not own.search(line):
                seconds[line.split("ts-")[1].split(".")[0][:-3]] += 1
    return max(seconds.values(), default=0)


def main():
    global REGISTRY
    folder = build("bench-default", *(["--features=etcd"] if IS_CLUSTER else []))
    slim = build("bench-slim", "--no-default-features", "--features=programs")
    with tempfile.TemporaryDirectory() as scratch:
        REGISTRY = (Three if IS_CLUSTER else Alone)(folder, scratch)
        wrappers = [subprocess.Popen([f"{slim}/service-registry-wrapper", "-qq", f"--registry-url={REGISTRY.urls}",
                                      f"--id=fleet-{i}", f"--interval={INTERVAL}", "sleep", "100000"]) for i in range(WRAPPERS)]
        try:
            while heard_of_since(0) < WRAPPERS:
                time.sleep(0.1)
            print(f"{WRAPPERS} registered; killing the registry {KILLS} times", flush=True)
            waits, peaks = [], []
            for number in range(KILLS):
                back, offset = REGISTRY.kill(number)
                while heard_of_since(back) < WRAPPERS:
                    time.sleep(0.05)
                waits.append(time.time() - back)
                peaks.append(peak_rate(REGISTRY.log, offset))
            harmed = sum(wrapper.poll() is not None for wrapper in wrappers)
            false = sum(len(event["payload"]) for event in all_values("/v1.0/events?type=services.timeout"))
            print(f"children harmed: {harmed}; false timeouts: {false}; all back after {max(waits):.1f} s at the worst "
                  f"(interval {INTERVAL} s); most requests in a second: {max(peaks)}")
        finally:
            for wrapper in wrappers:
                wrapper.terminate()
            for wrapper in wrappers:
                wrapper.wait()
            REGISTRY.end()


if __name__ == "__main__":
    main()
