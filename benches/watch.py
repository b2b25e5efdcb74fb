#!/usr/bin/env python3
"""The time from a change in the registry to the start of the command of `service-registry watch`.

    benches/watch.py [--changes=1000] [--polls=60] [--programs=DIR]     # built if no folder with the program is given

A service is changed again and again, each time after a random pause. Told is the time from the request that changes it
until the command of `watch --quiet-time=0` has written a line: median, 99 of 100, and worst. Beside it stands what a
script does that asks for the list once a second, and starts the command if it is another one. Needs Linux, Python 3 and
cargo.
"""
import json
import os
import random
import statistics
import subprocess
import sys
import threading
import time
import urllib.request

PORT = 7398
URL = f"http://127.0.0.1:{PORT}/v1.0"
COMMAND = ["/bin/echo", "started"]


def send(method, path, body):
    request = urllib.request.Request(URL + path, json.dumps(body).encode(), {"Content-Type": "application/json"}, method=method)
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.loads(answer.read() or b"null")


def keep_alive(token):
    while True:
        time.sleep(30)
        token = send("POST", "/services/api-0/heartbeat", {"token": token})["token"]


def listed():
    with urllib.request.urlopen(URL + "/services?tag=api", timeout=10) as answer:
        return [service | {"last_seen": None} for service in json.load(answer)["values"]]


def poll(stop, output):
    """A script that polls: what it starts writes to the same pipe."""
    known = None
    while not stop.is_set():
        found = listed()
        if found != known:
            known = found
            subprocess.run(COMMAND, stdout=output, check=True)
        time.sleep(1)


def measure(output, changes, pause):
    """The times from a change to the line that follows it, in milliseconds."""
    times = []
    output.readline()  # the start
    for number in range(changes):
        time.sleep(random.uniform(*pause))
        begun = time.monotonic()
        send("PUT", "/services/api-0", {"metadata": {"number": f"{pause}-{number}"}})
        output.readline()
        times.append((time.monotonic() - begun) * 1000)
    return sorted(times)


def tell(name, times):
    late = times[min(len(times) - 1, len(times) * 99 // 100)]
    print(f"{name:<28} {len(times):>5} changes: median {statistics.median(times):8.1f} ms, "
          f"99 of 100 {late:8.1f} ms, worst {times[-1]:8.1f} ms", flush=True)


def main():
    options = dict(word.removeprefix("--").split("=", 1) for word in sys.argv[1:])
    programs = options.get("programs")
    if programs is None:
        subprocess.run(["cargo", "build", "--release", "--locked"], check=True)
        programs = "target/release"
    program = programs + "/service-registry"
    registry = subprocess.Popen([program, "serve", "-qq", "--in-memory", f"--listen=127.0.0.1:{PORT}"], stdout=subprocess.PIPE)
    registry.stdout.readline()
    try:
        token = send("POST", "/services", {"id": "api-0", "heartbeat_timeout": 120, "tags": ["api"]})["token"]
        threading.Thread(target=keep_alive, args=(token,), daemon=True).start()
        watch = [program, "watch", f"--registry-url=http://127.0.0.1:{PORT}", "--tag=api", "--quiet-time=0", "--"]
        watching = subprocess.Popen(watch + COMMAND, stdout=subprocess.PIPE)
        tell("service-registry watch", measure(watching.stdout, int(options.get("changes", 1000)), (0.02, 0.2)))
        watching.terminate()
        watching.wait()
        reading, writing = os.pipe()
        stop = threading.Event()
        polling = threading.Thread(target=poll, args=(stop, writing))
        polling.start()
        tell("a script, once a second", measure(os.fdopen(reading), int(options.get("polls", 60)), (0.5, 1.5)))
        stop.set()
        polling.join()
    finally:
        registry.kill()
        registry.wait()


if __name__ == "__main__":
    main()
