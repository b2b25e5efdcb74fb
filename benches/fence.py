#!/usr/bin/env python3
"""Whether --on-lost=stop holds: rounds of two wrappers with one id, the first of which cannot do its work any more.

    cargo build && benches/fence.py [--rounds=100] [--programs=target/debug] [--option=--on-lost=stop ...]

In each round the first wrapper is registered, and at a random moment of its interval (3 s) a fault happens to it:

    stop    SIGSTOP of the wrapper; SIGCONT after the second one has the place
    both    SIGSTOP of the wrapper and of its child; SIGCONT of both after that
    kill    SIGKILL of the wrapper
    cut     its network namespace loses its connection

The child and two helpers, one in a session of its own, ignore SIGTERM. A checker reads the registry's list, and /proc after
it, at least every 20 ms. An overlap is a process of the first child that runs while the second wrapper's service is listed, or
while the first one's is not listed any more. A round in which the checker looked away for longer is repeated. After SIGKILL the
helper in a session of its own is left out if the watchdog has not looked since it was started: nothing tells then that it was
the child's.
Exits with 1 after any overlap, or a round whose second wrapper is not registered. Needs root, Linux, Python 3, iproute2 and
util-linux. --option replaces the options of the first wrapper: with --option=--on-lost=keep the trial must fail.
"""
import argparse
import http.client
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
INTERVAL = 3
AT_ONCE = 8
LONGEST = 0.02  # seconds between two looks
FAULTS = ("stop", "both", "kill", "cut")
PORT = 7300

CHILD = r"""
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
pids = [os.getpid()]
for leaves in (False, True):
    pid = os.fork()
    if pid == 0:
        if leaves:
            os.setsid()
        while True:
            time.sleep(0.01)
    pids.append(pid)
print(*pids, flush=True)
while True:
    time.sleep(0.01)
"""


def runs(pid):
    """Whether a process runs, or could go on: anything but a zombie."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:
            return stat.read().rpartition(b")")[2].split()[0] not in b"ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def started(pid):
    """In seconds since the machine was started."""
    with open(f"/proc/{pid}/stat", "rb") as stat:
        return int(stat.read().rpartition(b")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")


def send(signal_number, *pids):
    for pid in pids:
        try:
            os.kill(pid, signal_number)
        except ProcessLookupError:
            pass


class Network:
    """A network namespace whose connection to this one can be cut. The process in it waits for a line."""

    def __init__(self, number, pid):
        self.name, self.address = f"fence{os.getpid() % 100000}-{number}", f"10.213.{number % 250}.1"
        inside = ["nsenter", f"--net=/proc/{pid}/ns/net", "ip"]
        for command in (
            ["ip", "link", "add", self.name, "type", "veth", "peer", "name", "eth0", "netns", str(pid)],
            ["ip", "address", "add", f"{self.address}/24", "dev", self.name],
            ["ip", "link", "set", self.name, "up"],
            [*inside, "address", "add", f"10.213.{number % 250}.2/24", "dev", "eth0"],
            [*inside, "link", "set", "eth0", "up"],
        ):
            subprocess.run(command, check=True)

    def remove(self):
        subprocess.run(["ip", "link", "delete", self.name], stderr=subprocess.DEVNULL)  # it goes with the namespace, too

    def cut(self):
        subprocess.run(["ip", "link", "set", self.name, "down"], check=True)


class Round:
    def __init__(self, number, options):
        self.number, self.fault = number, FAULTS[number % len(FAULTS)]
        self.id, self.programs, self.options = f"trial-{number}", options.programs, options.option
        self.network = self.first = self.second = self.child = self.faulted = self.given = self.unlisted = None
        self.was_listed = self.is_done = False
        self.longest = 0.0
        self.overlaps, self.pids, self.messages = [], [], tempfile.TemporaryFile()

    def wrapper(self, who, url, options, command):
        return [f"{self.programs}/service-registry-wrapper", f"--registry-url={url}", f"--id={self.id}",
                f"--interval={INTERVAL}", f"--metadata=who={who}", *options, *command]

    def start(self):
        url = f"http://127.0.0.1:{PORT}"
        start = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": self.messages, "text": True}
        child = [sys.executable, "-c", CHILD]
        if self.fault == "cut":
            waiting = ["unshare", "--net", "sh", "-c", "echo up; read go; exec \"$@\"", "sh"]
            url = f"http://10.213.{self.number % 250}.1:{PORT}"
            self.first = subprocess.Popen([*waiting, *self.wrapper("first", url, self.options, child)], **start)
            self.first.stdout.readline()
            self.network = Network(self.number, self.first.pid)
            self.first.stdin.write("go\n")
            self.first.stdin.flush()
        else:
            self.first = subprocess.Popen(self.wrapper("first", url, self.options, child), **start)
        self.pids = [int(word) for word in self.first.stdout.readline().split()]
        self.child = self.pids[0]
        while not self.was_listed:
            time.sleep(0.005)
        second = self.wrapper("second", f"http://127.0.0.1:{PORT}", ["-qq"], ["sleep", "1000"])
        self.second = subprocess.Popen(second)
        time.sleep(random.uniform(0, INTERVAL))
        if self.fault == "cut":
            self.network.cut()
        else:
            if self.fault == "kill" and not self.is_known(self.pids[2]):
                self.pids.pop()
            both = [self.child] if self.fault == "both" else []
            send(signal.SIGKILL if self.fault == "kill" else signal.SIGSTOP, self.first.pid, *both)
        self.faulted = time.monotonic()

    def is_known(self, pid):
        """Whether the watchdog has seen this process: it looks 0.05, 0.15, 0.35, 0.75 s and so on after the child's start."""
        with open("/proc/uptime") as uptime:
            now = float(uptime.read().split()[0])
        born, begun = started(pid), started(self.child)
        looks = (begun + 0.05 * (2**n - 1) for n in range(1, 16))
        return any(born + 0.1 < look < now - 0.1 for look in looks)

    def check(self, who):
        """Called after each list, with the holder in it."""
        self.was_listed |= who == "first"
        if self.faulted is None or self.is_done:
            return
        now = time.monotonic()
        if who != "first" and self.unlisted is None:
            self.unlisted = now
        if who == "second" and self.given is None:
            self.given = now
        alive = [self.pids.index(pid) for pid in self.pids if runs(pid)] if who != "first" else []
        if alive:
            self.overlaps.append((who, alive))
        # What was stopped goes on a while after the place was given away: nothing of it may run then.
        if self.given and now > self.given + 0.2:
            send(signal.SIGCONT, self.first.pid, self.child)
        self.is_done = bool(self.given and now > self.given + 0.5) or now > self.faulted + 5 * INTERVAL

    def end(self):
        for process in (self.first, self.second):
            if process:
                process.kill()
                process.wait()
        send(signal.SIGKILL, *[pid for pid in self.pids if runs(pid)])
        if self.network:
            self.network.remove()


class Checker(threading.Thread):
    """Reads the list, and /proc after it."""

    def __init__(self):
        super().__init__(daemon=True)
        self.rounds, self.looks, self.goes_on = [], 0, True

    def run(self):
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(2))  # this thread: other load must not make it look away
        connection, last = http.client.HTTPConnection("127.0.0.1", PORT), time.monotonic()
        while self.goes_on:
            connection.request("GET", "/v1.0/services?limit=1000")
            values = json.load(connection.getresponse())["values"]
            holders = {service["id"]: service["metadata"].get("who") for service in values}
            for one in self.rounds:
                one.check(holders.get(one.id))
            now = time.monotonic()
            for one in self.rounds:
                if one.faulted and not one.is_done:
                    one.longest = max(one.longest, now - last)
            self.looks, last = self.looks + 1, now
            time.sleep(0.002)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--programs", default=os.path.join(ROOT, "target", "debug"))
    parser.add_argument("--option", action="append")
    options = parser.parse_args()
    options.option = options.option or ["--on-lost=stop"]
    registry = subprocess.Popen([f"{options.programs}/service-registry", "serve", "-qq", "--in-memory", "--open",
                                 f"--listen=0.0.0.0:{PORT}"], stdout=subprocess.PIPE)
    registry.stdout.readline()
    for thread in os.listdir(f"/proc/{registry.pid}/task"):
        os.sched_setscheduler(int(thread), os.SCHED_RR, os.sched_param(1))
    sys.setswitchinterval(0.001)
    checker, failed, done = Checker(), 0, []
    checker.start()
    try:
        left = list(range(options.rounds))
        while left:
            rounds, left = [Round(number, options) for number in left[:AT_ONCE]], left[AT_ONCE:]
            checker.rounds = rounds
            threads = [threading.Thread(target=one.start, daemon=True) for one in rounds]
            [thread.start() for thread in threads]
            while not all(one.is_done for one in rounds):
                time.sleep(0.02)
            checker.rounds = []
            for one in rounds:
                one.end()
                if one.longest > LONGEST and not one.overlaps:
                    left.append(one.number)
                    continue
                done.append(one)
                bad = one.overlaps or not one.given
                failed += bool(bad)
                if bad:
                    one.messages.seek(0)
                    print(f"round {one.number} ({one.fault}): given {one.given}, {len(one.overlaps)} overlaps",
                          one.overlaps[:3], one.messages.read().decode(), flush=True)
    finally:
        checker.goes_on = False
        checker.join()
        registry.kill()
        registry.wait()
    gaps = sorted(one.unlisted - one.faulted for one in done if one.unlisted)
    print(f"{len(done)} rounds, {failed} with an overlap; {checker.looks} looks, the longest pause "
          f"{max(one.longest for one in done) * 1000:.1f} ms; "
          f"from the fault to the end of the listing {gaps[0]:.2f} to {gaps[-1]:.2f} s")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
