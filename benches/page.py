#!/usr/bin/env python3
"""What the page for people costs: in a browser with many services, and in the registry with many open pages.

    cargo build --release && benches/page.py [SERVICES [PAGES [SECONDS]]]     # 10000, 100 and 60 by default

The browser is a headless Chromium. The open pages are what one page sends, without a browser around it: the lists once,
the feed as a stream, and the sessions of the visible rows every 30 seconds. Needs Linux, Python 3, chromium and
chromedriver (Debian: chromium-driver).
"""
import concurrent.futures
import http.client
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
PROGRAM = os.environ.get("PROGRAM", os.path.join(HERE, "../target/release/service-registry"))
TICKS = os.sysconf("SC_CLK_TCK")
VISIBLE = 30  # rows
OPTIONS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-dev-shm-usage",
           "--disable-background-networking", "--disable-component-update", "--disable-sync", "--window-size=1280,900"]


def free_port():
    with socket.socket() as any_port:
        any_port.bind(("127.0.0.1", 0))
        return any_port.getsockname()[1]


def wait_for(port):
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            time.sleep(0.05)


class Registry:
    def __init__(self):
        self.port = free_port()
        options = ["serve", "-qq", "--in-memory", "--listen", f"127.0.0.1:{self.port}"]
        self.process = subprocess.Popen([PROGRAM, *options], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        wait_for(self.port)

    def connect(self):
        return http.client.HTTPConnection("127.0.0.1", self.port)

    def ask(self, connection, method, path, body=None):
        headers = {"Content-Type": "application/json"}
        try:
            connection.request(method, "/v1.0" + path, body and json.dumps(body), headers)
            answer = connection.getresponse()
        except http.client.RemoteDisconnected:  # it was idle for long
            connection.close()
            connection.request(method, "/v1.0" + path, body and json.dumps(body), headers)
            answer = connection.getresponse()
        text = answer.read()
        assert answer.status < 300, (path, answer.status, text)
        return answer, json.loads(text) if text else None

    def memory(self):
        """In MB."""
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as status:
            return int(re.search(r"VmRSS:\s+(\d+)", status.read()).group(1)) / 1000

    def processor(self):
        """In seconds."""
        with open(f"/proc/{self.process.pid}/stat", encoding="ascii") as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICKS


def register(registry, count):
    """Returns the token of each session."""
    connection, held = registry.connect(), {}
    for number in range(count):
        session = {"heartbeat_timeout": 120, "metadata": {"host": f"node-{number % 50}", "pid": str(number)}}
        answer, token = registry.ask(connection, "POST", "/sessions", session)
        name = answer.headers["Location"].rsplit("/", 1)[1]
        held[name] = token
        service = {"id": f"web-{number:05}", "session_id": name,
                   "tags": [f"role-{number % 20}", f"zone-{number % 3}"],
                   "metadata": {"address": f"10.0.{number // 250}.{number % 250}", "port": "8080", "version": "1.2.3"}}
        registry.ask(connection, "POST", "/services", service)
    return held


def beat(registry, held):
    """Before each part: the sessions live for two minutes, and nothing should expire while something is measured."""
    connection = registry.connect()
    for name, token in held.items():
        _, held[name] = registry.ask(connection, "POST", f"/sessions/{name}/heartbeat", token)


class Browser:
    def __init__(self):
        self.port, self.session = free_port(), ""
        self.profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self.driver = subprocess.Popen(["chromedriver", f"--port={self.port}"], stdout=subprocess.DEVNULL,
                                       stderr=subprocess.DEVNULL)
        wait_for(self.port)
        options = {"args": [*OPTIONS, f"--user-data-dir={self.profile.name}/profile"]}
        wanted = {"capabilities": {"alwaysMatch": {"goog:chromeOptions": options}}}
        self.session = "/session/" + self.ask("POST", "/session", wanted)["sessionId"]

    def ask(self, method, path, body=None):
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{self.session}{path}", method=method,
                                         data=json.dumps(body).encode() if body is not None else None)
        with urllib.request.urlopen(request, timeout=120) as answer:
            return json.load(answer)["value"]

    def run(self, script):
        return self.ask("POST", "/execute/sync", {"script": script, "args": []})

    def run_to_the_end(self, script):
        return self.ask("POST", "/execute/async", {"script": script, "args": []})

    def tell(self, command, parameters):
        return self.ask("POST", "/goog/cdp/execute", {"cmd": command, "params": parameters})

    def close(self):
        self.ask("DELETE", "")
        self.driver.terminate()
        self.driver.wait()


# Notes when there are first rows, when all services are counted, and when the last hour is read.
WATCHER = """
window.seen = {};
const look = () => {
  const note = (name, is_so) => { if (is_so && !(name in seen)) seen[name] = Math.round(performance.now()); };
  const text = (id) => document.getElementById(id)?.innerText ?? '';
  note('rows', document.querySelector('#service-rows .body .row:not([hidden])'));
  note('all', text('found') === '%s services');
  note('hour', /came,/.test(text('pulse-text')));
  requestAnimationFrame(look);
};
requestAnimationFrame(look);
"""

SCROLL = """
const done = arguments[0], list = document.getElementById('service-rows');
const frames = [];
let last = performance.now(), step = 0;
const next = (now) => {
  frames.push(now - last); last = now;
  list.scrollTop += 1500;
  if (++step < 200) requestAnimationFrame(next);
  else done([frames.sort((a, b) => a - b)[100], frames.at(-3), document.querySelectorAll('*').length]);
};
requestAnimationFrame(next);
"""


def browse(registry, services):
    browser = Browser()
    browser.tell("Page.addScriptToEvaluateOnNewDocument", {"source": WATCHER % f"{services:,}"})
    for attempt in ("first", "second"):
        browser.ask("POST", "/url", {"url": "about:blank"})
        browser.ask("POST", "/url", {"url": f"http://127.0.0.1:{registry.port}/"})
        end = time.monotonic() + 60
        while len(seen := browser.run("return seen")) < 3 and time.monotonic() < end:
            time.sleep(0.1)
        paint = browser.run("return performance.getEntriesByName('first-contentful-paint')[0]?.startTime")
        print(f"{attempt} load: first paint {paint:.0f} ms, first rows {seen.get('rows')} ms, all services "
              f"{seen.get('all')} ms, last hour read {seen.get('hour')} ms")
    browser.tell("HeapProfiler.collectGarbage", {})
    heap = browser.tell("Runtime.getHeapUsage", {})["usedSize"] / 1e6
    print(f"memory of the page's script after a collection: {heap:.1f} MB")
    median, worst, elements = browser.run_to_the_end(SCROLL)
    print(f"200 frames of scrolling by 1,500 pixels: median {median:.1f} ms, 99 of 100 within {worst:.1f} ms; "
          f"{elements} elements in the document")
    search = browser.run("""
        const begun = performance.now(), input = document.getElementById('search');
        input.value = 'role-7 zone-1 10.0'; input.dispatchEvent(new Event('input'));
        return [performance.now() - begun, document.getElementById('found').innerText]""")
    print(f"a search: {search[0]:.1f} ms ({search[1]})")
    browser.close()


class Page:
    """What one page asks of a registry."""

    def __init__(self, registry):
        self.registry, self.connection = registry, registry.connect()
        _, limits = registry.ask(self.connection, "GET", "/events?wait=0&extended=true")
        self.stream = registry.connect()
        headers = {"Accept": "text/event-stream", "Last-Event-ID": limits["metadata"]["next_marker"]}
        self.stream.request("GET", "/v1.0/events?extended=true", headers=headers)
        self.sessions = []

    def load(self):
        for path, first in (("/services", 100), ("/sessions", 1000), ("/configuration", 1000),
                            ("/events?extended=true", 1000)):
            limit, marker = first, None
            while True:
                query = f"{'&' if '?' in path else '?'}limit={limit}" + (f"&marker={marker}" if marker else "")
                _, page = self.registry.ask(self.connection, "GET", path + query)
                if path == "/sessions":
                    self.sessions += [session["id"] for session in page["values"]]
                marker, limit = page["metadata"]["next_marker"], 1000
                if not marker:
                    break

    def refresh(self):
        for session in self.sessions[:VISIBLE]:
            self.registry.ask(self.connection, "GET", f"/sessions/{session}")


def open_pages(registry, held, count, seconds):
    beat(registry, held)
    memory, processor, begun = registry.memory(), registry.processor(), time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        pages = list(pool.map(lambda _: Page(registry), range(count)))
        list(pool.map(Page.load, pages))
    took = time.monotonic() - begun
    print(f"{count} pages opened at once: {registry.processor() - processor:.2f} s of processor time in {took:.1f} s, "
          f"{registry.memory() - memory:.1f} MB")
    beat(registry, held)
    processor, begun = registry.processor(), time.monotonic()
    stop = threading.Event()

    def look(page):
        while not stop.is_set():
            page.refresh()
            stop.wait(30)

    threads = [threading.Thread(target=look, args=(page,)) for page in pages]
    for thread in threads:
        thread.start()
    time.sleep(seconds)
    stop.set()
    for thread in threads:
        thread.join()
    took = time.monotonic() - begun
    print(f"{count} open pages: {100 * (registry.processor() - processor) / took:.2f} % of a processor over {took:.0f} s, "
          f"{registry.memory() - memory:.1f} MB more than without")


def main():
    services, pages, seconds = (int(text) for text in (sys.argv[1:] + ["10000", "100", "60"][len(sys.argv) - 1:]))
    registry = Registry()
    try:
        empty = registry.memory()
        held = register(registry, services)
        print(f"{services} services: the registry has {registry.memory():.1f} MB, {empty:.1f} when empty")
        browse(registry, services)
        open_pages(registry, held, pages, seconds)
    finally:
        registry.process.terminate()
        registry.process.wait()


if __name__ == "__main__":
    main()
