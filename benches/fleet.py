#!/usr/bin/env python3
"""A fleet that loses its registry: 500 wrapped processes, 20 times `kill -9` of the registry, one machine.

    benches/fleet.py [WRAPPERS [KILLS [INTERVAL_SECONDS]]]      # 500 20 10 by default

The registry keeps its data on disk and is started again two seconds after each kill. Told are: children harmed, false timeout
events (of processes whose wrapper kept beating), how long until all are heard of again (at most one interval is the rule), and
the most requests of wrappers in any second after a return. Needs Linux, Python 3 and cargo.
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

from wrapper import build

WRAPPERS, KILLS, INTERVAL = (int(word) for word in (sys.argv[1:] + ["500", "20", "10"][len(sys.argv) - 1:]))
PORT = 7300
URL = f"http://127.0.0.1:{PORT}"


def ask(path):
    with urllib.request.urlopen(URL + path, timeout=10) as answer:
        return json.load(answer)


def all_values(path):
    values, marker = [], None
    while True:
        page = ask(f"{path}{'&' if '?' in path else '?'}limit=1000" + (f"&marker={marker}" if marker else ""))
        values += page["values"]
        marker = page["metadata"]["next_marker"]
        if not marker:
            return values


def start_registry(program, data, log):
    registry = subprocess.Popen([program, "serve", "-v", f"--listen=127.0.0.1:{PORT}", f"--data-dir={data}"],
                                stdout=subprocess.PIPE, stderr=log, text=True)
    registry.stdout.readline()
    return registry


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
    folder = build("bench-default")
    slim = build("bench-slim", "--no-default-features", "--features=programs")
    with tempfile.TemporaryDirectory() as scratch:
        log_name = os.path.join(scratch, "log")
        with open(log_name, "a") as log:
            registry = start_registry(f"{folder}/service-registry", f"{scratch}/data", log)
            wrappers = [subprocess.Popen([f"{slim}/service-registry-wrapper", "-qq", f"--registry-url={URL}", f"--id=fleet-{i}",
                                          f"--interval={INTERVAL}", "sleep", "100000"]) for i in range(WRAPPERS)]
            try:
                while heard_of_since(0) < WRAPPERS:
                    time.sleep(0.1)
                print(f"{WRAPPERS} registered; killing the registry {KILLS} times", flush=True)
                waits, peaks = [], []
                for _ in range(KILLS):
                    registry.kill()
                    registry.wait()
                    time.sleep(2)
                    offset = os.path.getsize(log_name)
                    registry = start_registry(f"{folder}/service-registry", f"{scratch}/data", log)
                    back = time.time()
                    while heard_of_since(back) < WRAPPERS:
                        time.sleep(0.05)
                    waits.append(time.time() - back)
                    peaks.append(peak_rate(log_name, offset))
                harmed = sum(wrapper.poll() is not None for wrapper in wrappers)
                false = sum(len(event["payload"]) for event in all_values("/v1.0/events?type=services.timeout"))
                print(f"children harmed: {harmed}; false timeouts: {false}; all back after {max(waits):.1f} s at the worst "
                      f"(interval {INTERVAL} s); most requests in a second: {max(peaks)}")
            finally:
                for wrapper in wrappers:
                    wrapper.terminate()
                for wrapper in wrappers:
                    wrapper.wait()
                registry.terminate()
                registry.wait()


if __name__ == "__main__":
    main()
