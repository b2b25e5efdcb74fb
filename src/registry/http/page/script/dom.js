// Elements and texts. Data becomes text nodes and attributes only, never HTML.

const $ = (id) => document.getElementById(id);

/** Makes an element. `attributes` are set as attributes, functions among them as listeners ("click": …). */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if ((value ?? false) !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== false));
  return element;
}

/** Sets the text of an element, if it is another one. */
function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Replaces the children of an element if what they are made of, told as a text, has changed. */
function refill(element, made_of, children) {
  if (element.made_of === made_of) return;
  element.made_of = made_of;
  element.replaceChildren(...children());
}

const toggle = (element, name, value) =>
  value === null ? element.removeAttribute(name) : element.getAttribute(name) === value || element.setAttribute(name, value);

/** The registry's clock less this computer's, from the ids of responses. */
let clock_offset = 0;
const now = () => Date.now() + clock_offset;

function since(time) {
  const seconds = Math.max(0, Math.round((now() - time) / 1000));
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 48 * 3600) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86400)} d`;
}

const clock_format = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const clock_time = (time) => clock_format.format(time);
const full_time = (time) => new Date(time).toISOString().replace("T", " ").replace(/\.\d+Z/, " UTC");
const count = (number, one, many = `${one}s`) => `${number.toLocaleString("en")} ${number === 1 ? one : many}`;
const by_text = (a, b) => (a < b ? -1 : a > b ? 1 : 0);
const pairs_of = (metadata) => Object.entries(metadata ?? {});
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Where a service can be reached, from its metadata: a text, and a link if a browser can follow it. */
function address_of(metadata) {
  const named = (...names) => names.map((name) => metadata[name]).find(Boolean);
  const url = named("url", "uri");
  if (url) return { text: url, href: safe_link(url) };
  const [host, port] = [named("address", "ip", "host", "hostname"), named("port")];
  if (!host) return port ? { text: `:${port}`, href: null } : null;
  const bare = host.includes(":") && !host.startsWith("[") && (host.match(/:/g) ?? []).length > 1 ? `[${host}]` : host;
  const text = port && !/:\d+$/.test(bare.replace(/^\[.*\]/, "")) ? `${bare}:${port}` : bare;
  const scheme = named("scheme", "protocol") ?? (port === "443" ? "https" : "http");
  return { text, href: /:\d+$/.test(text) && /^https?$/.test(scheme) ? safe_link(`${scheme}://${text}/`) : null };
}

/** A URL that a link may have: of the web, without a password. */
function safe_link(text) {
  try {
    const url = new URL(text);
    return /^https?:$/.test(url.protocol) && !url.username && !url.password ? url.href : null;
  } catch {
    return null;
  }
}

function address_link(metadata, in_list) {
  const address = address_of(metadata);
  if (!address) return "";
  if (!address.href) return address.text;
  // In a list the keyboard reaches it by way of the details: a row is one stop.
  const attributes = { href: address.href, target: "_blank", rel: "noopener noreferrer", tabindex: in_list ? "-1" : null };
  return make("a", attributes, address.text);
}

/** Tells the users of screen readers, at most once in a while: a busy registry must not shout. */
const announcements = { waiting: "", at: 0, timer: 0 };
function announce(text) {
  announcements.waiting = text;
  if (announcements.timer) return;
  const wait = Math.max(0, announcements.at + 10_000 - Date.now());
  announcements.timer = setTimeout(() => {
    [announcements.timer, announcements.at] = [0, Date.now()];
    say($("announcement"), announcements.waiting);
  }, wait);
}

let notice_timer = 0;
function notice(text) {
  say($("notice"), text);
  clearTimeout(notice_timer);
  notice_timer = setTimeout(() => say($("notice"), ""), 6000);
}
