#!/usr/bin/env python3
"""What the wrapper costs: time to wrap /bin/true, memory while a child sleeps, CPU per heartbeat, size of the binary.

    benches/wrapper.py [RUNS]        # 300 by default

Builds the default and the slim release build, starts a registry on loopback in a process of its own, and measures bare,
under `tini -s` (if installed) and under both builds, in turns in one run, with login, session and registration each time.
Needs Linux, Python 3, cargo and nothing else; compare ratios within one run only.
"""
import contextlib
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
RUNS = int(sys.argv[1]) if len(sys.argv) > 1 else 300
BEATING_SECONDS = 30


def build(target, *options):
    """The programs of one build, in a target folder of its own so that both stay."""
    folder = os.path.join(ROOT, "target", target)
    subprocess.run(["cargo", "build", "--release", "--locked", "--target-dir", folder, *options], cwd=ROOT, check=True)
    return os.path.join(folder, "release")


def seconds(argv, environment):
    """Wall time from spawn to the end."""
    start = time.perf_counter()
    pid = os.posix_spawn(argv[0], argv, environment)
    _, status = os.waitpid(pid, 0)
    end = time.perf_counter()
    assert status == 0, f"{argv} ended with wait status {status}"
    return end - start


def unshared_memory(pid):
    """USS in kB."""
    with open(f"/proc/{pid}/smaps_rollup") as rollup:
        return sum(int(kb) for kb in re.findall(r"Private_\w+:\s+(\d+) kB", rollup.read()))


def cpu_seconds(pid):
    """Time on a CPU, all threads."""
    total = 0
    for thread in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{thread}/schedstat") as stat:
            total += int(stat.read().split()[0])
    return total / 1e9


def wrap(wrapper, url, name, interval=30):
    return [wrapper, "-q", f"--registry-url={url}", f"--id={name}", "--username=bench", "--tags=bench",
            "--metadata=port=8000,host=localhost", "--abort-on-failure", f"--interval={interval}"]


def measure_start(builds, url, environment):
    true = shutil.which("true")
    commands = {"bare": lambda _: [true]}
    if tini := shutil.which("tini"):
        commands["tini -s"] = lambda _: [tini, "-s", "--", true]
    for build_name, wrapper in builds.items():
        commands[build_name] = lambda run, w=wrapper, b=build_name: wrap(w, url, f"{b}-{run}") + [true]
    times = {name: [] for name in commands}
    for run in range(RUNS + 10):
        for name, command in commands.items():
            taken = seconds(command(run), environment)
            if run >= 10:  # the first ones warm the caches
                times[name].append(taken)
    bare = statistics.median(times["bare"])
    print(f"\nWrapping /bin/true, {RUNS} runs in turns (median)")
    for name, taken in times.items():
        median = statistics.median(taken)
        print(f"  {name:10} {median * 1e3:6.2f} ms  {median / bare:5.2f} x bare")


def measure_idle(builds, url, environment, log):
    print(f"\nWhile a child sleeps ({BEATING_SECONDS} s of heartbeats at an interval of 3 s)")
    for name, wrapper in builds.items():
        process = subprocess.Popen(wrap(wrapper, url, f"idle-{name}", 3) + ["sleep", "1000"], env=environment)
        time.sleep(2)  # registered, and the first heartbeats sent
        beats, cpu = beats_in(log), cpu_seconds(process.pid)
        time.sleep(BEATING_SECONDS)
        beats, cpu = beats_in(log) - beats, cpu_seconds(process.pid) - cpu
        memory = unshared_memory(process.pid)
        threads = len(os.listdir(f"/proc/{process.pid}/task"))
        process.terminate()
        process.wait()
        time.sleep(4)  # its session expires, so that the next one beats alone
        print(f"  {name:10} USS {memory} kB, {threads} thread(s), {cpu / beats * 1e3:.2f} ms CPU per heartbeat ({beats} beats)")


@contextlib.contextmanager
def serving(folder, loudness, log):
    """The URL of a registry in a process of its own."""
    with open(log, "w") as errors:
        registry = subprocess.Popen([f"{folder}/service-registry", "serve", loudness, "--in-memory", "--listen=127.0.0.1:0"],
                                    stdout=subprocess.PIPE, stderr=errors, text=True)
    try:
        yield registry.stdout.readline().split()[-1]
    finally:
        registry.terminate()
        registry.wait()


def beats_in(log):
    with open(log) as lines:
        return sum("/heartbeat" in line for line in lines)


def main():
    default, slim = build("bench-default"), build("bench-slim", "--no-default-features", "--features=programs")
    builds = {"default": f"{default}/service-registry-wrapper", "slim": f"{slim}/service-registry-wrapper"}
    print("\nSize of the binary")
    for name, wrapper in builds.items():
        print(f"  {name:10} {os.path.getsize(wrapper) / 1e6:.2f} MB")
    environment = {**os.environ, "SERVICE_REGISTRY_API_KEY": "bench"}
    with tempfile.TemporaryDirectory() as scratch:
        with serving(default, "-q", os.devnull) as url:
            measure_start(builds, url, environment)
        log = os.path.join(scratch, "registry.log")
        with serving(default, "-v", log) as url:  # which says a line for each heartbeat
            measure_idle(builds, url, environment, log)


if __name__ == "__main__":
    main()
