// The events of the last hour: the feed, and for each tag and minute how many services came and went.

const MINUTE = 60_000;
const MINUTES = 60;
const SLOTS = 64; // of a ring; a power of two above MINUTES
const KEPT = 5000; // events that the feed shows of each part
const MOST_PAGES = 60; // of 1,000 events, for the past

const ALL = "*"; // tags are stored with a # before them

const past = { tags: new Map(), before: [], live: [], ids: new Set(), gap: null, is_complete: false, started: 0 };

function clear_history() {
  Object.assign(past, { tags: new Map(), before: [], live: [], ids: new Set(), gap: null, is_complete: false });
  past.started = now();
}

/** The counts of one tag: three numbers for each minute of a ring. */
function counts_of(key) {
  let counts = past.tags.get(key);
  if (!counts) past.tags.set(key, (counts = { slots: new Uint32Array(3 * SLOTS), minutes: new Float64Array(SLOTS) }));
  return counts;
}

const [CAME, WENT, LOST] = [0, 1, 2];

function tally(key, minute, what) {
  const counts = counts_of(key);
  const slot = minute % SLOTS;
  if (counts.minutes[slot] > minute) return;
  if (counts.minutes[slot] < minute) {
    counts.minutes[slot] = minute;
    counts.slots.fill(0, 3 * slot, 3 * slot + 3);
  }
  counts.slots[3 * slot + what] += 1;
}

function tally_service(service, minute, what) {
  tally(ALL, minute, what);
  for (const tag of service.tags ?? []) tally(`#${tag}`, minute, what);
}

function tally_event({ type, payload, timestamp }) {
  const minute = Math.floor(timestamp / MINUTE);
  if (type === "service.join") tally_service(payload, minute, CAME);
  else if (type === "service.remove") tally_service(payload, minute, WENT);
  else if (type === "service.timeout") tally_service(payload, minute, LOST);
  else if (type === "services.timeout") payload.forEach((service) => tally_service(service, minute, LOST));
  else if (type === "service.update") {
    const [old, tags] = [payload.old.tags ?? [], payload.tags ?? []];
    tags.filter((tag) => !old.includes(tag)).forEach((tag) => tally(`#${tag}`, minute, CAME));
    old.filter((tag) => !tags.includes(tag)).forEach((tag) => tally(`#${tag}`, minute, WENT));
  }
}

/** The last hour of a tag: for each minute, oldest first, how many came, were removed, and expired. */
function last_hour(key) {
  const counts = past.tags.get(key);
  const end = Math.floor(now() / MINUTE);
  const bins = [];
  for (let minute = end - MINUTES + 1; minute <= end; minute += 1) {
    const slot = minute % SLOTS;
    const is_there = counts && counts.minutes[slot] === minute;
    bins.push(is_there ? Array.from(counts.slots.subarray(3 * slot, 3 * slot + 3)) : [0, 0, 0]);
  }
  return bins;
}

/** The sums alone, without making anything: there may be thousands of tags. */
function sums_of(key) {
  const counts = past.tags.get(key);
  const sums = [0, 0, 0];
  const first = Math.floor(now() / MINUTE) - MINUTES + 1;
  for (let slot = 0; counts && slot < SLOTS; slot += 1) {
    if (counts.minutes[slot] < first) continue;
    for (let what = 0; what < 3; what += 1) sums[what] += counts.slots[3 * slot + what];
  }
  return sums;
}

/** Records an event that happens now. */
function record_live(event) {
  if (!past.is_complete) past.ids.add(event.id);
  past.live.push(shown(event));
  if (past.live.length > 2 * KEPT) past.live.splice(0, KEPT);
  tally_event(event);
  touch("events");
}

/** Reads the events of the last hour, up to those that came by the stream. */
async function load_history(signal) {
  let read = 0;
  for await (const page of pages("/events?extended=true", signal)) {
    if (signal.aborted) return;
    for (const event of page) {
      if (past.ids.has(event.id)) continue;
      past.before.push(shown(event));
      tally_event(event);
      if (event.type === "service.join") {
        const { id } = event.payload;
        store.joined.set(id, Math.max(event.timestamp, store.joined.get(id) ?? 0));
      }
      if (event.type === "session.create") store.openers.set(event.payload.id, event);
    }
    if (past.before.length > KEPT) past.before.splice(0, past.before.length - KEPT);
    touch("events", "services");
    if ((read += 1) >= MOST_PAGES) {
      past.gap = [page.at(-1).timestamp, past.started];
      break;
    }
    await pause(0);
  }
  past.is_complete = true;
  past.ids.clear();
  touch("events", "services", "sessions");
}

const VERBS = {
  "service.join": ["came", "+", "came"],
  "service.remove": ["went", "−", "removed"],
  "service.timeout": ["lost", "×", "expired"],
  "services.timeout": ["lost", "×", "expired"],
  "service.update": ["changed", "~", "updated"],
  "session.create": ["changed", "○", "session opened"],
  "session.update": ["changed", "~", "session updated"],
  "session.remove": ["went", "●", "session ended"],
  "configuration_value.update": ["changed", "=", "value set"],
  "configuration_value.remove": ["went", "−", "value removed"],
};

/** An event as the feed shows it. */
function shown(event) {
  const { type, payload, cause, reason, by, last_heard } = event;
  const [look, sign, verb] = VERBS[type] ?? ["changed", "·", type];
  const subjects = Array.isArray(payload) ? payload.map((service) => service.id) : [payload.configuration_value_id ?? payload.id];
  const who = by ? [by.user, by.address, by.agent].filter(Boolean).join(", ") : "";
  const change = type === "configuration_value.update" ? `${payload.old_value ?? "nothing"} → ${payload.new_value}` : "";
  const heard = last_heard ? `last heard ${clock_time(last_heard)}` : "";
  const why = [cause !== verb && cause, reason, change, heard].filter(Boolean).join(" · ");
  const subject = subjects.length > 3 ? `${subjects.slice(0, 3).join(", ")} and ${subjects.length - 3} more` : subjects.join(", ");
  const entry = { ...event, look, sign, verb, subjects, subject: subject || "a session", who, why };
  entry.text = [subjects.join("\n"), verb, type, why, who].join("\n").toLowerCase();
  return entry;
}

/** All known events, newest first. */
function all_events() {
  return past.before.concat(past.live).reverse();
}
