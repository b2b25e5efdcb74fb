#!/usr/bin/env python3
"""A rolling restart of ten wrapped programs, each of which opens its port three seconds after its start.

    benches/rolling.py [--programs=DIR]      # built if no folder with the two programs is given

HAProxy has the listed programs as its servers: a script asks the registry for the list ten times a second, and changes
them over HAProxy's admin socket. A client sends requests to HAProxy, which does not retry, until 2,000 are done and
every program was replaced. Told is how many requests failed, for --register-when=start, listening and healthy. Exits
with 1 if one failed with listening or healthy. Needs Linux, Python 3, haproxy and cargo.
"""
import json
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

PROGRAMS, REQUESTS, PAUSE, PORT, PROXY = 10, 2000, 0.02, 7400, 7399
URL = f"http://127.0.0.1:{PORT}"
SERVER = """
import http.server, sys, time
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")
    def log_message(self, *_):
        pass
time.sleep(3)
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def listed():
    with urllib.request.urlopen(URL + "/v1.0/services?limit=1000", timeout=10) as answer:
        return {service["id"]: int(service["metadata"]["port"]) for service in json.load(answer)["values"]}


class Proxy:
    """HAProxy, with a server for each id; those that are not listed get no requests."""

    def __init__(self):
        self.folder = tempfile.TemporaryDirectory()
        self.admin = self.folder.name + "/admin"
        servers = "".join(f"  server web{number} 127.0.0.1:1 disabled\n" for number in range(PROGRAMS))
        with open(self.folder.name + "/conf", "w") as conf:
            conf.write(f"""global
  stats socket {self.admin} level admin
defaults
  mode http
  retries 0
  timeout connect 5s
  timeout client 5s
  timeout server 5s
listen web
  bind 127.0.0.1:{PROXY}
{servers}""")
        self.process = subprocess.Popen(["haproxy", "-f", self.folder.name + "/conf", "-q"])
        self.servers = {}

    def say(self, command):
        while True:
            try:
                with socket.socket(socket.AF_UNIX) as admin:
                    admin.connect(self.admin)
                    admin.sendall(command.encode() + b"\n")
                    return admin.recv(65536)
            except (FileNotFoundError, ConnectionRefusedError):
                time.sleep(0.05)  # it starts

    def set(self, servers):
        for name in sorted(self.servers.keys() | servers.keys()):
            port = servers.get(name)
            if port == self.servers.get(name):
                continue
            if port:
                self.say(f"set server web/{name} addr 127.0.0.1 port {port}")
            self.say(f"set server web/{name} state {'ready' if port else 'maint'}")
        self.servers = servers

    def end(self):
        self.process.terminate()
        self.process.wait()


class Client:
    """Sends requests through HAProxy until it is told to end and has sent enough of them."""

    def __init__(self):
        self.sent = self.failed = 0
        self.proxy, self.is_over = Proxy(), False
        self.proxy.set(listed())
        self.threads = [threading.Thread(target=work) for work in (self.follow, self.request)]
        for thread in self.threads:
            thread.start()

    def follow(self):
        while any(thread.is_alive() for thread in self.threads[1:]) or not self.is_over:
            self.proxy.set(listed())
            time.sleep(0.1)

    def request(self):
        while not self.is_over or self.sent < REQUESTS:
            time.sleep(PAUSE)
            self.sent += 1
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{PROXY}/", timeout=5).read()
            except OSError:
                self.failed += 1

    def end(self):
        self.is_over = True
        for thread in reversed(self.threads):
            thread.join()
        self.proxy.end()


def wait_until_listed(count):
    while len(listed()) < count:
        time.sleep(0.05)


def start(programs, number, generation, options):
    port = PORT + 1 + number + generation * PROGRAMS
    options = [option.replace("PORT", str(port)) for option in options]
    return subprocess.Popen(
        [f"{programs}/service-registry-wrapper", "-qq", f"--registry-url={URL}", f"--id=web{number}",
         f"--metadata=port={port}", "--drain-delay=0.5", *options, sys.executable, "-c", SERVER, str(port)])


def roll(programs, options):
    registry = subprocess.Popen([f"{programs}/service-registry", "serve", f"--listen=127.0.0.1:{PORT}", "--in-memory"],
                                stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    registry.stdout.readline()
    running = [start(programs, number, 0, options) for number in range(PROGRAMS)]
    wait_until_listed(PROGRAMS)
    time.sleep(5)  # with =start, only now every port is open
    client = Client()
    for number in range(PROGRAMS):
        running[number].terminate()
        running[number].wait()
        running[number] = start(programs, number, 1, options)
        wait_until_listed(PROGRAMS)
    client.end()
    for wrapper in running:
        wrapper.terminate()
        wrapper.wait()
    registry.terminate()
    registry.wait()
    return client


def main():
    given = [argument.split("=", 1)[1] for argument in sys.argv[1:] if argument.startswith("--programs=")]
    if given:
        programs = given[0]
    else:
        from wrapper import build
        programs = build("bench-default")
    failed = 0
    for options in (["--register-when=start"], ["--register-when=listening"],
                    ["--register-when=healthy", "--check=http://127.0.0.1:PORT/"]):
        client = roll(programs, options)
        print(f"{options[0]}: {client.failed} of {client.sent} requests failed", flush=True)
        failed += client.failed if options[0] != "--register-when=start" else 0
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
