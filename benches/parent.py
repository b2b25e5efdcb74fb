#!/usr/bin/env python3
"""The wrapper as a parent, beside tini, dumb-init and catatonit (those that are installed).

    benches/parent.py [RUNS]         # 200 by default

Builds the slim release build, starts a registry on loopback in a process of its own, and measures in turns, in one run:
memory while a child sleeps, from a signal to the child's handler, from the child's death to the parent's end, and CPU over
a minute of idling (the wrapper with an interval of 120 s, so that no heartbeat falls into it).
The end is measured three times, since the kernel tells the registry that the connection is closed before it tells the parent
that waits. First with a registry that has no time on these processors, as one on another machine: it is stopped while the
children die, and only its kernel answers. Then with the registry here; and with it here and every processor kept awake: in
many virtual machines Linux takes one that sleeps for one that the host has taken away, and puts the registry on the processor
where the wrapper ends, before the parent. An awake one gets it.
Compare ratios within one run only. Needs Linux, Python 3 and cargo.
"""
import contextlib
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import time

from wrapper import build, cpu_seconds, unshared_memory, wrap

RUNS = int(sys.argv[1]) if len(sys.argv) > 1 else 200
IDLE_SECONDS = 60
BATCH = 10
# Waits in the kernel for the signal, so that no interpreter stands between its arrival and the answer.
HANDLER = """
import os, signal
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
os.write(1, b".")
while True:
    signal.sigwait([signal.SIGUSR1])
    os.write(1, b".")
"""


def parents(wrapper, url):
    found = {"service-registry-wrapper": lambda name: wrap(wrapper, url, name, 120)}
    for init, options in {"tini": ["-s", "--"], "dumb-init": ["--"], "catatonit": ["--"]}.items():
        if path := shutil.which(init):
            found[init] = lambda _, path=path, options=options: [path, *options]
    return found


def child_of(pid):
    """Waits for the first child of a process."""
    while True:
        with open(f"/proc/{pid}/task/{pid}/children") as children:
            if numbers := children.read().split():
                return int(numbers[0])


def start(command, environment, **options):
    return subprocess.Popen(command, env=environment, **options)


def signal_latency(name, parent, environment):
    process = start(parent(f"signal-{name}") + [sys.executable, "-c", HANDLER], environment, stdout=subprocess.PIPE)
    answer = process.stdout.fileno()
    os.read(answer, 1)
    taken = []
    for _ in range(RUNS):
        time.sleep(0.002)  # everybody waits in the kernel again
        before = time.perf_counter()
        process.send_signal(signal.SIGUSR1)
        os.read(answer, 1)
        taken.append(time.perf_counter() - before)
    os.kill(child_of(process.pid), signal.SIGKILL)  # the parent ends with it; an init that is killed leaves it behind
    process.wait()
    return taken


@contextlib.contextmanager
def awake():
    """Keeps every processor from sleeping, with work of the lowest priority."""
    busy = []
    try:
        for processor in os.sched_getaffinity(0):
            def prepare(processor=processor):
                os.sched_setaffinity(0, [processor])
                os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
            busy.append(subprocess.Popen([sys.executable, "-c", "while True: pass"], preexec_fn=prepare))
        yield
    finally:
        for process in busy:
            process.kill()
            process.wait()


@contextlib.contextmanager
def stopped(registry):
    registry.send_signal(signal.SIGSTOP)
    os.waitpid(registry.pid, os.WUNTRACED)
    try:
        yield
    finally:
        registry.send_signal(signal.SIGCONT)


def exit_latencies(label, everybody, environment, circumstances=contextlib.nullcontext):
    """Of children that have run for a while: the wrapper's first heartbeat, a second after its start, is over."""
    taken = {name: [] for name in everybody}
    for batch in range(0, RUNS, BATCH):
        running = [(name, start(parent(f"{label}-{name}-{run}") + ["sleep", "1000"], environment))
                   for name, parent in everybody.items() for run in range(batch, batch + BATCH)]
        running = [(name, process, child_of(process.pid)) for name, process in running]
        time.sleep(2)
        random.shuffle(running)  # who comes after whom matters
        with circumstances():
            for name, process, child in running:
                time.sleep(0.005)  # everybody waits in the kernel again
                before = time.perf_counter()
                os.kill(child, signal.SIGKILL)
                process.wait()
                taken[name].append(time.perf_counter() - before)
    return taken


def main():
    default, slim = build("bench-default"), build("bench-slim", "--no-default-features", "--features=programs")
    registry = subprocess.Popen([f"{default}/service-registry", "serve", "-q", "--in-memory", "--listen=127.0.0.1:0"],
                                stdout=subprocess.PIPE, text=True)
    try:
        url = registry.stdout.readline().split()[-1]
        environment = {**os.environ, "SERVICE_REGISTRY_API_KEY": "bench"}
        everybody = parents(f"{slim}/service-registry-wrapper", url)
        signals = {name: signal_latency(name, parent, environment) for name, parent in everybody.items()}
        far = exit_latencies("far", everybody, environment, lambda: stopped(registry))
        here = exit_latencies("here", everybody, environment)
        with awake():
            awake_here = exit_latencies("awake", everybody, environment)
        sleeping = {name: start(parent(f"idle-{name}") + ["sleep", "1000"], environment)
                    for name, parent in everybody.items()}
        time.sleep(3)
        before = {name: cpu_seconds(process.pid) for name, process in sleeping.items()}
        time.sleep(IDLE_SECONDS)
        idle = {name: cpu_seconds(process.pid) - before[name] for name, process in sleeping.items()}
        memory = {name: unshared_memory(process.pid) for name, process in sleeping.items()}
        for process in sleeping.values():
            process.terminate()
            process.wait()
    finally:
        registry.terminate()
        registry.wait()
    times = {"signal": signals, "exit, far": far, "exit, here": here, "exit, awake": awake_here}
    print(f"\n{'':26}" + "".join(f"{what:>14}" for what in times) + f"{'CPU a minute':>15} {'USS':>8}")
    for name in everybody:
        print(f"{name:26}" + "".join(f"{statistics.median(taken[name]) * 1e6:11.0f} us" for taken in times.values())
              + f"{idle[name] * 1e3:12.2f} ms {memory[name]:5} kB")
    if "tini" in everybody:
        for what, taken in times.items():
            ours = statistics.median(taken["service-registry-wrapper"])
            print(f"{what}: {ours / statistics.median(taken['tini']):.2f} x tini")


if __name__ == "__main__":
    main()
