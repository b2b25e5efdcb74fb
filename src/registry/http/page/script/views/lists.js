// The views that are lists: services, sessions, events and configuration values.

const NOTE = "maintenance"; // the metadata that a note of the page is

function draw_tags(cell, { tags, metadata }) {
  refill(cell, JSON.stringify([tags, metadata?.[NOTE]]), () => {
    const chips = tags.map((tag) => make("span", { class: "chip" }, tag));
    const note = metadata?.[NOTE];
    return note ? [make("span", { class: "chip note", title: `maintenance: ${note}` }, "maintenance"), ...chips] : chips;
  });
}

/** Metadata that another column shows. */
const SHOWN = ["address", "ip", "host", "hostname", "port", "url", "uri", NOTE];

function draw_pairs(cell, { metadata }) {
  refill(cell, JSON.stringify(metadata), () =>
    pairs_of(metadata).filter(([key]) => !SHOWN.includes(key)).map(([key, value]) => make("span", { class: "pair" }, make("span", { class: "key" }, `${key} `), value)));
}

function draw_address(cell, { metadata }) {
  refill(cell, JSON.stringify(metadata), () => [address_link(metadata, true)]);
}

function heartbeat_text(last_seen) {
  return last_seen ? `${since(last_seen)} ago` : last_seen === null ? "none yet" : "";
}

/** How long a service has been there: exactly if it came in the last hour. */
function age_text(id) {
  const joined = store.joined.get(id);
  return joined ? since(joined) : past.is_complete && !past.gap ? "over 1 h" : "";
}

const newest_first = (of) => (a, b) => (of(b) ?? 0) - (of(a) ?? 0);

const services = {
  title: "Services",
  rows: new Rows({
    id: "service-rows",
    label: "Services",
    key: (service) => service.id,
    open: (id, by_key) => go_to("services", id, by_key),
    empty: () => (!store.loaded.has("services") ? "Reading the services…" : store.services.size ? "No service matches the search." : "No service is registered."),
    sort: "id",
    columns: [
      { name: "id", title: "Service", width: "minmax(140px, 1.3fr)", look: "id", sort: (a, b) => by_text(a.id, b.id), draw: (cell, service) => say(cell, service.id) },
      { name: "tags", title: "Tags", width: "minmax(100px, 1fr)", look: "second", draw: draw_tags },
      { name: "address", title: "Address", width: "minmax(110px, 1fr)", look: "off corner", draw: draw_address },
      { name: "metadata", title: "Metadata", width: "minmax(60px, 1.6fr)", look: "off", draw: draw_pairs },
      { name: "age", title: "Age", width: "66px", look: "number off", sort: newest_first((one) => store.joined.get(one.id)), draw: (cell, service) => say(cell, age_text(service.id)) },
      { name: "seen", title: "Heartbeat", width: "86px", look: "number", sort: newest_first(last_seen_of), draw: (cell, service) => say(cell, heartbeat_text(last_seen_of(service))) },
    ],
  }),
  items: (query) => search([...store.services.values()], query),
  found: (number) => count(number, "service"),
};

/** Which services are in which session. */
function members() {
  const by_session = new Map();
  for (const service of store.services.values()) {
    if (!service.session_id) continue;
    const list = by_session.get(service.session_id);
    list ? list.push(service.id) : by_session.set(service.session_id, [service.id]);
  }
  return by_session;
}

/** Who holds a session: what it says of itself, and who opened it, if that was in the last hour. */
function holder_text({ id, metadata }) {
  const by = store.openers.get(id)?.by;
  const said = ["host", "hostname", "pid", "command"].filter((key) => metadata?.[key]).map((key) => (key === "pid" ? `pid ${metadata[key]}` : metadata[key]));
  const rest = said.length ? said : pairs_of(metadata).map(([key, value]) => `${key} ${value}`);
  return [...rest, by?.user, by?.address].filter(Boolean).join(" · ") || "says nothing of itself";
}

const sessions = {
  title: "Sessions",
  rows: new Rows({
    id: "session-rows",
    label: "Sessions",
    key: (session) => session.id,
    open: (id, by_key) => go_to("sessions", id, by_key),
    empty: () => (!store.loaded.has("sessions") ? "Reading the sessions…" : store.sessions.size ? "No session matches the search." : "No session is open."),
    sort: "id",
    columns: [
      { name: "id", title: "Session", width: "minmax(110px, 140px)", look: "mono", sort: (a, b) => by_text(a.id, b.id), draw: (cell, session) => say(cell, session.id) },
      { name: "holder", title: "Holder", width: "minmax(140px, 1.5fr)", look: "second", draw: (cell, session) => say(cell, holder_text(session)) },
      { name: "services", title: "Services", width: "minmax(120px, 1fr)", look: "off", draw: (cell, session) => say(cell, (sessions.members.get(session.id) ?? []).join(", ")) },
      { name: "timeout", title: "Timeout", width: "64px", look: "number off", sort: (a, b) => a.heartbeat_timeout - b.heartbeat_timeout, draw: (cell, session) => say(cell, `${session.heartbeat_timeout} s`) },
      { name: "seen", title: "Heartbeat", width: "86px", look: "number", sort: newest_first((one) => one.last_seen), draw: (cell, session) => say(cell, heartbeat_text(session.last_seen)) },
    ],
  }),
  members: new Map(),
  items: (query) => {
    sessions.members = members();
    return search([...store.sessions.values()], query);
  },
  found: (number) => count(number, "session"),
};

const events = {
  title: "Events",
  rows: new Rows({
    id: "event-rows",
    label: "Events, newest first",
    key: (event) => event.id,
    open: (id, by_key) => go_to("events", id, by_key),
    empty: () => (past.is_complete ? "No event in the last hour matches." : "Reading the events of the last hour…"),
    keeps_place: true,
    columns: [
      { name: "time", title: "Time", width: "66px", look: "time", draw: (cell, event) => say(cell, clock_time(event.timestamp)) },
      { name: "verb", title: "Event", width: "132px", draw: draw_verb },
      { name: "subject", title: "Of", width: "minmax(120px, 1fr)", look: "id off", draw: (cell, event) => say(cell, event.subject) },
      { name: "why", title: "Cause", width: "minmax(90px, 1.2fr)", look: "off", draw: (cell, event) => say(cell, event.why) },
      { name: "who", title: "By", width: "minmax(90px, 1fr)", look: "off key", draw: (cell, event) => say(cell, event.who) },
      { name: "all", title: "", width: "", look: "second narrow", draw: (cell, event) => say(cell, [event.subject, event.why].filter(Boolean).join(" · ")) },
    ],
  }),
  items: (query) => {
    const kind = $("kind").value;
    const fits = (event) => (kind === "lost" ? event.look === "lost" : event.type.startsWith(kind));
    return search(all_events().filter(fits), query);
  },
  found: (number) => count(number, "event"),
};

function draw_verb(cell, { look, sign, verb }) {
  refill(cell, look + verb, () => [make("span", { class: look }, `${sign} ${verb}`)]);
}

const configuration = {
  title: "Configuration",
  rows: new Rows({
    id: "value-rows",
    label: "Configuration values",
    key: (value) => value.id,
    open: (id, by_key) => go_to("configuration", id, by_key),
    empty: () => (!store.loaded.has("values") ? "Reading the values…" : store.values.size ? "No value matches the search." : "There are no configuration values."),
    sort: "id",
    columns: [
      { name: "id", title: "Id", width: "minmax(140px, 1fr)", look: "id", sort: (a, b) => by_text(a.id, b.id), draw: (cell, value) => say(cell, value.id) },
      { name: "value", title: "Value", width: "minmax(140px, 2fr)", look: "second mono", draw: (cell, value) => say(cell, value.value) },
    ],
  }),
  items: (query) => search([...store.values.values()], query),
  found: (number) => count(number, "value"),
};
