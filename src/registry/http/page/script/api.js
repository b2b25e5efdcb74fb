// The requests to the registry. The token is in a variable of this script, and nowhere else.

const api = { root: "v1.0", token: null, may_write: true, is_open: true, on_signed_out: () => {} };

class Failure extends Error {
  constructor(status, fault) {
    const details = typeof fault?.details === "string" ? fault.details : "";
    const message = fault?.message && fault.message !== details ? `${fault.message}: ${details}` : details;
    super(message || `The registry answered with ${status}.`);
    this.status = status;
  }
}

function headers_of(more) {
  return api.token ? { "X-Auth-Token": api.token, ...more } : { ...more };
}

/** Sends one request; returns its body. Throws a Failure, or a TypeError if there was no response. */
async function ask(path, { method = "GET", body, signal } = {}) {
  const headers = headers_of(body ? { "Content-Type": "application/json" } : {});
  const text = body && JSON.stringify(body);
  const response = await fetch(api.root + path, { method, headers, body: text, signal, cache: "no-store" });
  const time = /\.ts-(\d+)\./.exec(response.headers.get("X-Response-Id") ?? "");
  if (time) clock_offset = Number(time[1]) - Date.now();
  await check(response, method);
  return response.status === 204 ? null : response.json();
}

async function check(response, method = "GET") {
  const role = response.headers.get("X-Role");
  if (role) api.may_write = role !== "read";
  if (response.ok) return;
  if (response.status === 401 && api.token) api.on_signed_out("The registry does not accept the token any more.");
  if (response.status === 403 && method !== "GET") api.may_write = false;
  throw new Failure(response.status, await response.json().catch(() => null));
}

/** The same, again and again as long as the registry cannot be reached or is busy. */
async function ask_patiently(path, signal) {
  for (let wait = 500; ; wait = Math.min(2 * wait, 15_000)) {
    try {
      return await ask(path, { signal });
    } catch (error) {
      const is_passing = error instanceof TypeError || error.status >= 500;
      if (signal.aborted || !is_passing) throw error;
      await pause(wait * (0.75 + Math.random() / 2));
    }
  }
}

/** The entries of a list, page by page. The first page is short, so that there is something to see at once. */
async function* pages(path, signal, first = 1000) {
  let [limit, marker] = [first, null];
  do {
    const query = new URLSearchParams({ limit, ...(marker && { marker }) });
    const page = await ask_patiently(`${path}${path.includes("?") ? "&" : "?"}${query}`, signal);
    yield page.values;
    marker = page.metadata.next_marker;
    limit = 1000;
  } while (marker);
}

/** Reads the feed as server-sent events until it ends. Calls `on_event` with each, and `on_position` with each id. */
async function read_stream(marker, signal, on_open, on_position, on_event) {
  // EventSource cannot send a token.
  const headers = headers_of({ Accept: "text/event-stream", "Last-Event-ID": marker });
  const silence = new AbortController();
  const signals = AbortSignal.any([signal, silence.signal]);
  const response = await fetch(`${api.root}/events?extended=true`, { headers, signal: signals, cache: "no-store" });
  await check(response);
  on_open();
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let [rest, id, data] = ["", null, ""];
  for (;;) {
    const timer = setTimeout(() => silence.abort(), 45_000); // the registry says something every 15 s
    const { value, done } = await reader.read().finally(() => clearTimeout(timer));
    if (done) return;
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const line of lines) {
      if (line.startsWith("id: ")) id = line.slice(4);
      else if (line.startsWith("data: ")) data += line.slice(6);
      else if (line === "") {
        if (data) on_event(JSON.parse(data));
        if (id) on_position(id);
        [id, data] = [null, ""];
      }
    }
  }
}

/** Gets a token and the account it is for. */
async function sign_in(name, secret, is_password) {
  const auth = is_password
    ? { passwordCredentials: { username: name, password: secret } }
    : { "RAX-KSKEY:apiKeyCredentials": { username: name, apiKey: secret } };
  const request = { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ auth }) };
  const response = await fetch("v2.0/tokens", { ...request, cache: "no-store" });
  await check(response);
  const { token } = (await response.json()).access;
  [api.token, api.root, api.is_open] = [token.id, `v1.0/${token.tenant.id}`, false];
  return token.tenant.id;
}
