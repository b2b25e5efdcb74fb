#!/usr/bin/env python3
"""DNS queries per second of the registry, beside unbound with the same names as static data.

    benches/dns.py [--seconds=5] [--turns=5] [--programs=DIR]     # built if no folder with the program is given

Both answer the same random queries of dnsperf on loopback, in turns; both are told to use one thread for it. Told are
the median of the turns, the ratio, and the processor time of the server for a query, which does not depend on what else
the machine does. Then: what registering and removing services of the tags meanwhile costs, what 200,000 queries for
names that do not exist leave in memory, and how long a tag with 10,000 services takes over UDP and TCP. Needs Linux,
Python 3, dnsperf, unbound, dig and cargo. Debian: dnsperf, unbound, bind9-dnsutils.

The heartbeats with and without queries: `benches/dns.py --heartbeats`, which runs `cargo bench --bench heartbeats --
1000` both ways, with 10,000 queries a second to the same registry.
"""
import argparse
import http.client
import json
import os
import random
import re
import socket
import statistics
import subprocess
import tempfile
import threading
import time

PORT, DNS, UNBOUND = 7397, 7396, 7395
TAGS, SERVICES = 100, 10


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--programs")
    parser.add_argument("--heartbeats", action="store_true")
    parser.add_argument("--bench", help="the built benchmark, with --heartbeats")
    return parser.parse_args()


def wait_for(port):
    query = b"\1\1\1\0\0\1\0\0\0\0\0\0\3tag\x08registry\0\0\1\0\1"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
        asker.settimeout(0.2)
        for _ in range(300):
            try:
                asker.sendto(query, ("127.0.0.1", port))
                return asker.recv(512)
            except OSError:
                time.sleep(0.1)
    raise SystemExit(f"nothing answers on port {port}")


class Registry:
    def __init__(self):
        self.http = http.client.HTTPConnection("127.0.0.1", PORT)

    def send(self, method, path, body=None):
        self.http.request(method, "/v1.0/1" + path, json.dumps(body), {"Content-Type": "application/json"})
        answer = self.http.getresponse()
        answer.read()
        assert answer.status in (201, 204), (method, path, answer.status)

    def register(self, name, tag, address):
        metadata = {"address": address, "port": "8080"}
        self.send("POST", "/services", {"id": name, "tags": [tag], "metadata": metadata, "heartbeat_timeout": 120})


def records():
    return [(f"tag-{tag}", f"web-{tag}-{n}", f"10.0.{tag}.{n}") for tag in range(TAGS) for n in range(SERVICES)]


def unbound_configuration(folder):
    lines = ["server:", f"    interface: 127.0.0.1@{UNBOUND}", f"    port: {UNBOUND}", "    num-threads: 1", '    username: ""', '    chroot: ""', '    pidfile: ""',
             "    use-syslog: no", f'    directory: "{folder}"', '    local-zone: "registry." static', "    rrset-roundrobin: yes"]
    for tag, name, address in records():
        lines.append(f'    local-data: "{tag}.tag.registry. 0 IN A {address}"')
        lines.append(f'    local-data: "{name}.id.registry. 0 IN A {address}"')
        lines.append(f'    local-data: "_{tag}._tcp.registry. 0 IN SRV 0 1 8080 {name}.id.registry."')
    lines += ["remote-control:", "    control-enable: no"]
    path = os.path.join(folder, "unbound.conf")
    with open(path, "w") as file:
        file.write("\n".join(lines) + "\n")
    return path


def processor(process):
    with open(f"/proc/{process.pid}/stat") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory(process):
    with open(f"/proc/{process.pid}/status") as file:
        return int(re.search(r"VmRSS:\s+(\d+)", file.read()).group(1))


def perf(port, queries, seconds, *options):
    command = ["dnsperf", "-s", "127.0.0.1", "-p", str(port), "-d", queries, "-l", str(seconds), "-c", "8", "-q", "200", *options]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    count = int(re.search(r"Queries completed:\s+(\d+)", output).group(1))
    lost = int(re.search(r"Queries lost:\s+(\d+)", output).group(1))
    latency = float(re.search(r"Average Latency \(s\):\s+([\d.]+)", output).group(1))
    return float(re.search(r"Queries per second:\s+([\d.]+)", output).group(1)), count, lost, latency


def compare(options, servers, folder):
    kinds = {
        "A by tag, 10 records": [f"{tag}.tag.registry A" for tag, _, _ in records()],
        "A by id": [f"{name}.id.registry A" for _, name, _ in records()],
        "SRV by tag, 10 records and their addresses (unbound: none)": [f"_{tag}._tcp.registry SRV" for tag, _, _ in records()],
        "names that do not exist": [f"x{n}.tag.registry A" for n in range(1000)],
    }
    for kind, queries in kinds.items():
        path = os.path.join(folder, "queries")
        with open(path, "w") as file:
            file.write("\n".join(random.sample(queries, len(queries))) + "\n")
        rates, costs, lost = {}, {}, {}
        for _ in range(options.turns):
            for name, (port, process) in servers.items():
                before = processor(process)
                rate, count, missing, _ = perf(port, path, options.seconds)
                rates.setdefault(name, []).append(rate)
                costs.setdefault(name, []).append((processor(process) - before) / max(count, 1) * 1e6)
                lost[name] = lost.get(name, 0) + missing
        told = [f"{name} {statistics.median(rates[name]):,.0f}/s, {statistics.median(costs[name]):.1f} µs, lost {lost[name]}" for name in servers]
        ratio = statistics.median(rates["registry"]) / statistics.median(rates["unbound"])
        print(f"{kind}: {'; '.join(told)}; ratio {ratio:.2f}", flush=True)
    return kinds


def under_change(options, server, folder):
    stop, changes = threading.Event(), [0]

    def change():
        registry = Registry()
        while not stop.is_set():
            tag = random.randrange(TAGS)
            registry.register("new-1", f"tag-{tag}", "10.1.0.1")
            registry.send("DELETE", "/services/new-1")
            changes[0] += 2

    path = os.path.join(folder, "queries")
    with open(path, "w") as file:
        file.write("\n".join(f"{tag}.tag.registry A" for tag, _, _ in records()) + "\n")
    thread = threading.Thread(target=change)
    thread.start()
    rate, _, lost, _ = perf(server[0], path, options.seconds)
    stop.set()
    thread.join()
    print(f"A by tag during {changes[0] / options.seconds:,.0f} changes/s: {rate:,.0f}/s, lost {lost}", flush=True)


def unknown_names(server, folder):
    path = os.path.join(folder, "queries")
    with open(path, "w") as file:
        file.write("\n".join(f"y{n}.tag.{n}.registry A" for n in range(200_000)) + "\n")
    before = memory(server[1])
    perf(server[0], path, 3600, "-n", "1")
    print(f"200,000 names that do not exist: {memory(server[1]) - before:+,} kB of {before:,}", flush=True)


def large(server):
    registry = Registry()
    for n in range(10_000):
        registry.register(f"large-{n}", "large", f"10.2.{n // 250}.{n % 250}")
    for transport in "+notcp", "+tcp":
        times = []
        for _ in range(20):
            output = subprocess.run(["dig", "-r", "@127.0.0.1", "-p", str(server[0]), "+ignore", transport, "large.tag.registry"], capture_output=True, text=True, check=True).stdout
            times.append(int(re.search(r"Query time: (\d+) msec", output).group(1)))
        size = re.search(r"MSG SIZE\s+rcvd: (\d+)", output).group(1)
        print(f"tag with 10,000 services, {transport[1:]}: {statistics.median(times)} ms, worst {max(times)}; {size} bytes", flush=True)


def heartbeats(options):
    command = [options.bench, "1000"] if options.bench else ["cargo", "bench", "--locked", "--bench", "heartbeats", "--", "1000"]
    environment = os.environ | {"SERVICE_REGISTRY_DNS": f"127.0.0.1:{DNS}"}
    for with_queries in False, True, False, True:
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "queries")
            with open(path, "w") as file:
                file.write("x.tag.registry A\nregistry SOA\nno-such.id.registry A\n")
            bench = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
            if with_queries:
                wait_for(DNS)
                load = subprocess.Popen(["dnsperf", "-s", "127.0.0.1", "-p", str(DNS), "-d", path, "-l", "3600", "-Q", "10000"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            output = bench.communicate()[0]
            if with_queries:
                load.kill()
                load.wait()
        print(f"{'10,000 DNS queries/s beside it' if with_queries else 'no DNS queries'}:\n{output}", flush=True)


def main():
    options = arguments()
    if options.heartbeats:
        return heartbeats(options)
    programs = options.programs
    if not programs:
        subprocess.run(["cargo", "build", "--release", "--locked", "--bins"], check=True)
        programs = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "target/release")
    with tempfile.TemporaryDirectory() as folder:
        command = [f"{programs}/service-registry", "serve", "-qq", "--in-memory", "--listen", f"127.0.0.1:{PORT}", "--dns", f"127.0.0.1:{DNS}"]
        started = [subprocess.Popen(command, stdout=subprocess.DEVNULL)]
        started.append(subprocess.Popen(["unbound", "-d", "-c", unbound_configuration(folder)], stderr=subprocess.DEVNULL, env=os.environ | {"PATH": os.environ["PATH"] + ":/usr/sbin"}))
        try:
            servers = {"registry": (DNS, started[0]), "unbound": (UNBOUND, started[1])}
            for port, _ in servers.values():
                wait_for(port)
            registry = Registry()
            for tag, name, address in records():
                registry.register(name, tag, address)
            compare(options, servers, folder)
            # Their heartbeats are due after two minutes: what follows has services of its own.
            for tag, name, address in records():
                try:
                    registry.register(name, tag, address)
                except AssertionError:
                    pass  # it is there still
            under_change(options, servers["registry"], folder)
            unknown_names(servers["registry"], folder)
            large(servers["registry"])
        finally:
            for process in started:
                process.kill()
                process.wait()


if __name__ == "__main__":
    main()
