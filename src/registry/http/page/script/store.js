// What the page knows: the lists as the registry sent them, kept up to date by the feed.

const store = {
  services: new Map(), sessions: new Map(), values: new Map(),
  joined: new Map(), openers: new Map(), // from the events of the last hour: when, and by whom
  loaded: new Set(),
  changed: new Set(),
  on_change: () => {},
};

function touch(...kinds) {
  kinds.forEach((kind) => store.changed.add(kind));
  store.on_change();
}

function forget_all() {
  [store.services, store.sessions, store.values, store.joined, store.openers, store.loaded].forEach((map) => map.clear());
  clear_history();
  touch("services", "sessions", "values", "events");
}

/** Adds the text that a search looks at. */
function searchable(entry, ...more) {
  const metadata = pairs_of(entry.metadata).map(([key, value]) => `${key}=${value}`);
  entry.text = [entry.id, ...metadata, ...more].join("\n").toLowerCase();
  return entry;
}

const made = {
  services: (one) => searchable({ ...one, tags: one.tags ?? [] }, ...(one.tags ?? []).map((tag) => `tag:${tag}`)),
  sessions: (one) => searchable({ ...one }),
  values: (one) => ({ ...one, text: `${one.id}\n${one.value}`.toLowerCase() }),
};

/** What events have changed while lists were being read, for each reading: the pages may be older. */
const readings = { services: new Set(), sessions: new Set(), values: new Set() };
const note_change = (kind, id) => readings[kind].forEach((changed) => changed.add(id));

function put(kind, entry) {
  const before = store[kind].get(entry.id);
  // The payloads of events do not tell the last heartbeat.
  const last_seen = entry.last_seen === undefined ? before?.last_seen : entry.last_seen;
  store[kind].set(entry.id, made[kind]({ ...entry, last_seen }));
  note_change(kind, entry.id);
}

function drop(kind, id) {
  store[kind].delete(id);
  note_change(kind, id);
}

/** Reads a whole list, and removes what is no longer in it. */
async function load(kind, path, signal, first) {
  const [listed, by_events] = [new Set(), new Set()];
  readings[kind].add(by_events);
  try {
    for await (const page of pages(path, signal, first)) {
      if (signal.aborted) return;
      for (const entry of page) {
        listed.add(entry.id);
        if (!by_events.has(entry.id)) store[kind].set(entry.id, made[kind](entry));
      }
      touch(kind);
    }
  } finally {
    readings[kind].delete(by_events);
  }
  for (const id of store[kind].keys()) {
    if (!listed.has(id) && !by_events.has(id)) store[kind].delete(id);
  }
  store.loaded.add(kind);
  touch(kind);
}

/** Applies an event to the lists. */
function apply(event) {
  const { type, payload, timestamp } = event;
  switch (type) {
    case "service.join":
      put("services", { ...payload, last_seen: null });
      store.joined.set(payload.id, timestamp);
      break;
    case "service.update": {
      const { old, ...service } = payload;
      put("services", service);
      break;
    }
    case "service.remove":
    case "service.timeout":
      drop("services", payload.id);
      break;
    case "services.timeout":
      for (const service of payload) {
        drop("services", service.id);
        drop("sessions", service.session_id);
      }
      if (payload.length === 0) store.on_lost_session?.(); // the event does not say which
      touch("sessions");
      break;
    case "session.create":
      put("sessions", { ...payload, last_seen: null });
      store.openers.set(payload.id, event);
      break;
    case "session.update":
      put("sessions", payload);
      break;
    case "session.remove":
      drop("sessions", payload.id);
      store.openers.delete(payload.id);
      break;
    case "configuration_value.update":
      put("values", { id: payload.configuration_value_id, value: payload.new_value });
      break;
    case "configuration_value.remove":
      drop("values", payload.configuration_value_id);
  }
  touch(type.startsWith("service.") ? "services" : type.startsWith("session.") ? "sessions" : "values");
  if (type === "services.timeout") touch("services");
}

/** When something has sent its last heartbeat, as far as the page knows. */
function last_seen_of(service) {
  return service.session_id ? store.sessions.get(service.session_id)?.last_seen : service.last_seen;
}

/** The entries whose text has all words of a query. */
function search(entries, query) {
  const words = query.toLowerCase().split(/\s+/).filter(Boolean);
  if (words.length === 0) return entries;
  const has = (text, word) =>
    word.startsWith("tag:") ? text.includes(`\n${word}\n`) || text.endsWith(`\n${word}`) : text.includes(word);
  return entries.filter((entry) => words.every((word) => has(entry.text, word)));
}
