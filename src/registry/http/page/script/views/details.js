// The details of one entry, beside the list; on a narrow screen in its place.

const term = (name, ...value) => [make("dt", {}, name), make("dd", {}, ...value)];
const link_to = (view, id) => make("a", { href: `#${view}/${encodeURIComponent(id)}` }, id);
const pair_list = (metadata) => make("dl", {}, ...pairs_of(metadata).flatMap(([key, value]) => term(key, safe_link(value) ? link_out(value) : value)));
const link_out = (url) => make("a", { href: safe_link(url), target: "_blank", rel: "noopener noreferrer" }, url);
const button = (text, click, look = "") => make("button", { type: "button", class: look, click }, text);
const actions = (...buttons) => (api.may_write ? [make("div", { class: "actions" }, ...buttons)] : []);

function section(title, ...content) {
  return [make("h3", {}, title), ...content];
}

function metadata_section(metadata) {
  return pairs_of(metadata).length ? section("Metadata", pair_list(metadata)) : [];
}

/** The latest events of something. */
function events_section(id) {
  const found = [];
  for (const part of [past.live, past.before]) {
    for (let at = part.length - 1; at >= 0 && found.length < 8; at -= 1) {
      if (part[at].subjects.includes(id)) found.push(part[at]);
    }
  }
  if (found.length === 0) return [];
  const items = found.map(({ timestamp, look, sign, verb, why, who }) =>
    make("li", {}, make("span", { class: "time" }, `${clock_time(timestamp)} `), make("span", { class: look }, `${sign} ${verb}`),
      [why, who && `by ${who}`].filter(Boolean).map((text) => ` · ${text}`).join("")));
  return section("In the last hour", make("ul", { class: "plain" }, ...items));
}

function lease_terms(timeout, last_seen) {
  const heard = last_seen ? `${full_time(last_seen)} (${since(last_seen)} ago)` : last_seen === null ? "none since the registry knows it" : "not known";
  return [...term("Heartbeat", heard), ...(timeout ? term("Timeout", `${timeout} s`) : [])];
}

const details = {
  services(id) {
    const service = store.services.get(id);
    if (!service) return null;
    const session = service.session_id && store.sessions.get(service.session_id);
    const joined = store.joined.get(id);
    return [
      make("dl", {},
        ...(address_of(service.metadata) ? term("Address", address_link(service.metadata, false)) : []),
        ...term("Tags", ...(service.tags.length ? service.tags.map((tag) => make("span", { class: "chip" }, tag)) : ["none"])),
        ...(service.session_id ? term("Session", link_to("sessions", service.session_id)) : term("Session", "none: it sends heartbeats of its own")),
        ...(session ? term("Holder", holder_text(session)) : []),
        ...lease_terms(service.heartbeat_timeout ?? session?.heartbeat_timeout, last_seen_of(service)),
        ...term("Age", joined ? `${since(joined)}, since ${full_time(joined)}` : age_text(id) || "not known")),
      ...metadata_section(service.metadata),
      ...events_section(id),
      ...actions(button("Maintenance note…", () => write_note(store.services.get(id))), button("Deregister…", () => deregister(id), "danger")),
    ];
  },
  sessions(id) {
    const session = store.sessions.get(id);
    if (!session) return null;
    const services = members().get(id) ?? [];
    const opener = store.openers.get(id);
    return [
      make("dl", {},
        ...term("Holder", holder_text(session)),
        ...(opener ? term("Opened", `${full_time(opener.timestamp)}${opener.by ? ` by ${[opener.by.user, opener.by.address, opener.by.agent].filter(Boolean).join(", ")}` : ""}`) : []),
        ...lease_terms(session.heartbeat_timeout, session.last_seen)),
      ...section(count(services.length, "service"), make("ul", { class: "plain" }, ...services.map((service) => make("li", {}, link_to("services", service))))),
      ...metadata_section(session.metadata),
      ...events_section(id),
      ...actions(button("End session…", () => end_session(id, members().get(id) ?? []), "danger")),
    ];
  },
  events(id) {
    const event = past.live.find((one) => one.id === id) ?? past.before.find((one) => one.id === id);
    if (!event) return null;
    const { type, timestamp, payload, cause, reason, by, last_heard, subjects } = event;
    const view = type.startsWith("session.") ? "sessions" : type.startsWith("configuration") ? "configuration" : "services";
    return [
      make("dl", {},
        ...term("Type", make("code", {}, type)),
        ...term("Time", full_time(timestamp)),
        ...(subjects.length ? term("Of", ...subjects.slice(0, 20).flatMap((subject) => [link_to(view, subject), " "])) : []),
        ...(cause ? term("Cause", cause) : []),
        ...(reason ? term("Reason", reason) : []),
        ...(last_heard ? term("Last heard", full_time(last_heard)) : []),
        ...(by?.user ? term("User", by.user) : []),
        ...(by?.address ? term("From", by.address) : []),
        ...(by?.agent ? term("Program", by.agent) : [])),
      ...section("Payload", make("pre", { class: "mono", tabindex: "0", "aria-label": "Payload" }, JSON.stringify(payload, null, 2))),
    ];
  },
  configuration(id) {
    const value = store.values.get(id);
    if (!value) return null;
    return [
      make("pre", { class: "mono", tabindex: "0", "aria-label": "Value" }, value.value),
      ...events_section(id),
      ...actions(button("Set…", () => edit_value(store.values.get(id))), button("Remove…", () => remove_value(store.values.get(id)), "danger")),
    ];
  },
  cluster(id) {
    const node = cluster.nodes.find((one) => one.id === id);
    if (!node) return null;
    return [
      make("dl", {},
        ...term("Address", safe_link(node.url) ? link_out(node.url) : (node.url ?? "")),
        ...term("State", node_state(node)),
        ...term("Version", node.version ?? ""),
        ...(node.started ? term("Started", `${full_time(node.started)} (${since(node.started)} ago)`) : [])),
      ...section(`Shards: ${node.owned.length}`, make("p", { class: "mono" }, node.owned.join(" ") || "none")),
    ];
  },
};

let details_of = null; // what the pane shows

/** The button of the details that stands where this one was: events may have replaced it. */
const button_like = (old) => [...$("details-body").querySelectorAll("button")].find((one) => one.textContent === old?.textContent);

/** Shows the details of an entry; says so if it is gone. */
function show_details(view, id, takes_focus = false) {
  const was = details_of;
  details_of = id === null ? null : `${view}/${id}`;
  $("details").hidden = id === null;
  // On a narrow screen it covers the list.
  const is_covered = id !== null && matchMedia("(max-width: 720px)").matches;
  for (const part of $("main").children) part.inert = is_covered;
  if (id === null) return;
  const fresh = make("div", {}, ...(details[view](id) ?? [make("p", {}, "It is not there any more.")]));
  say($("details-title"), id);
  const body = $("details-body");
  const focused = document.activeElement;
  const had_focus = body.contains(focused);
  if (was === details_of && body.firstChild) {
    become(body.firstChild, fresh);
  } else {
    body.replaceChildren(fresh);
    body.scrollTop = 0;
  }
  if (takes_focus) $("details-title").focus();
  else if (had_focus && !body.contains(document.activeElement)) (button_like(focused) ?? $("details-title")).focus();
}

/** Makes a node like another one, and leaves alone what is alike: the focus and what is marked stay where they are. */
function become(node, fresh) {
  if (node.isEqualNode(fresh)) return;
  const is_alike = node.nodeName === fresh.nodeName && node.childNodes.length === fresh.childNodes.length;
  if (!is_alike) return node.replaceWith(fresh);
  if (node.nodeType === Node.TEXT_NODE) return void (node.data = fresh.data);
  for (const { name, value } of fresh.attributes) toggle(node, name, value);
  const [children, others] = [[...node.childNodes], [...fresh.childNodes]];
  children.forEach((child, at) => become(child, others[at]));
}
