// The life of the page: sign in if the registry has users, read the lists, follow the feed.

let life = null; // ends when the user signs out

function connection(state, text) {
  $("connection").dataset.state = state;
  say($("connection-text"), text);
}

/** Counts what happens for those who do not see it. */
const unsaid = { came: 0, gone: 0 };
function announce_event({ type, payload }) {
  if (type === "service.join") unsaid.came += 1;
  else if (type === "service.remove" || type === "service.timeout") unsaid.gone += 1;
  else if (type === "services.timeout") unsaid.gone += payload.length;
  else return;
  const parts = [unsaid.came && `${count(unsaid.came, "service")} came`, unsaid.gone && `${count(unsaid.gone, "service")} went`];
  announce(parts.filter(Boolean).join(", "));
}
new MutationObserver(() => Object.assign(unsaid, { came: 0, gone: 0 })).observe($("announcement"), { childList: true });

async function until_in_sight(signal) {
  while (!in_sight && !signal.aborted) await new Promise((resolve) => document.addEventListener("visibilitychange", resolve, { once: true }));
}

/** Follows the feed while someone looks, through outages. Throws if events may have been missed. */
async function follow(marker, signal) {
  let failures = 0;
  while (!signal.aborted) {
    await until_in_sight(signal);
    const looking = new AbortController();
    const rest = () => {
      // A browser has few connections for one registry: a tab in the background should not hold one.
      if (document.hidden) setTimeout(() => document.hidden && looking.abort(), 20_000);
    };
    document.addEventListener("visibilitychange", rest);
    try {
      const opened = () => ((failures = 0), connection("live", "Live"));
      const on_event = (event) => (apply(event), record_live(event), announce_event(event));
      await read_stream(marker, AbortSignal.any([signal, looking.signal]), opened, (id) => (marker = id), on_event);
    } catch (error) {
      if (error.status === 401 || error.status === 410 || error.status === 400) throw error;
    } finally {
      document.removeEventListener("visibilitychange", rest);
    }
    if (signal.aborted || looking.signal.aborted) continue;
    failures += 1;
    if (failures > 1) connection("lost", "No connection: trying again");
    await pause(Math.min(15_000, 300 * 2 ** failures) * (0.75 + Math.random() / 2));
  }
}

/** Reads all lists, in the order in which they are wanted. */
async function read_all(signal) {
  await load("services", "/services", signal, 100);
  await load("sessions", "/sessions", signal);
  await load("values", "/configuration", signal);
  await load_history(signal);
}

const FEW = 1000; // entries that fit on a page
let sessions_are_doubtful = 0;
store.on_lost_session = () => (sessions_are_doubtful ||= Date.now());

/** Reads the last heartbeats again, for which there are no events: all if they are few, otherwise those in sight. */
async function refresh(signal) {
  while (!signal.aborted) {
    await pause(store.sessions.size > FEW ? 30_000 : 15_000);
    await until_in_sight(signal);
    if (signal.aborted) return;
    try {
      await refresh_once(signal);
    } catch (error) {
      if (error.status === 401) return;
    }
  }
}

async function refresh_once(signal) {
  const is_doubtful = sessions_are_doubtful && Date.now() - sessions_are_doubtful > 30_000;
  if (store.sessions.size <= FEW || is_doubtful) {
    sessions_are_doubtful = 0;
    await load("sessions", "/sessions", signal);
  } else {
    const seen = views[view].rows.visible().map((entry) => (view === "sessions" ? entry.id : entry.session_id));
    for (const id of new Set(seen)) {
      const session = id && (await ask(`/sessions/${encodeURIComponent(id)}`, { signal }).catch(() => null));
      if (session && store.sessions.has(id)) put("sessions", session);
    }
    touch("sessions");
  }
  const own = [...store.services.values()].filter((service) => !service.session_id);
  if (own.length > 0 && store.services.size <= FEW) await load("services", "/services", signal);
  else if (view === "services") {
    for (const { id } of services.rows.visible().filter((service) => !service.session_id)) {
      const service = await ask(`/services/${encodeURIComponent(id)}`, { signal }).catch(() => null);
      if (service && store.services.has(id)) put("services", service);
    }
    touch("services");
  }
}

/** Lives until the signal: reads everything, follows, and begins again where events may have been missed. */
async function live(signal) {
  follow_cluster(signal);
  refresh(signal);
  while (!signal.aborted) {
    const round = new AbortController();
    const either = AbortSignal.any([signal, round.signal]);
    try {
      const { metadata } = await ask_patiently("/events?wait=0&extended=true", either);
      clear_history();
      const following = follow(metadata.next_marker, either);
      read_all(either).catch((error) => signal.aborted || either.aborted || notice(error.message));
      await following;
    } catch (error) {
      if (signal.aborted || error.status === 401) return;
      connection("waiting", "Reading again");
      await pause(1000);
    } finally {
      round.abort();
    }
  }
}

function begin(account) {
  document.body.dataset.phase = "ready";
  $("sign-in").hidden = true;
  [$("bar"), $("lists")].forEach((part) => (part.hidden = false));
  $("leave").hidden = api.is_open;
  say($("account"), [account && `account ${account}`, api.may_write ? "" : "read only"].filter(Boolean).join(", "));
  forget_all();
  show();
  resume();
}

/** Reads everything, and follows, from now on. */
function resume() {
  life?.abort();
  life = new AbortController();
  live(life.signal);
}

function ask_to_sign_in(why) {
  life?.abort();
  forget_all();
  [api.token, api.root, api.may_write, api.is_open] = [null, "v1.0", true, false];
  document.body.dataset.phase = "signing-in";
  show_details(view, null);
  [$("bar"), $("pulse"), $("lists"), $("leave")].forEach((part) => (part.hidden = true));
  if ($("dialog").open) $("dialog").close();
  say($("account"), "");
  say($("sign-in-why"), why);
  $("sign-in").hidden = false;
  $("user").focus();
}
api.on_signed_out = ask_to_sign_in;

$("sign-in").addEventListener("submit", async (event) => {
  event.preventDefault();
  $("sign-in-go").disabled = true;
  say($("sign-in-error"), "");
  try {
    const is_password = $("sign-in").elements.kind.value === "password";
    const account = await sign_in($("user").value, $("secret").value, is_password);
    await ask("/limits"); // it also tells whether the user may change something
    $("secret").value = "";
    begin(account);
    $("main").focus();
  } catch (error) {
    const texts = { 401: "The registry does not know this user with this key or password.", 503: "Too many sign-ins wait. Try again in a moment." };
    say($("sign-in-error"), error instanceof TypeError ? "The registry cannot be reached." : (texts[error.status] ?? error.message));
  } finally {
    $("sign-in-go").disabled = false;
  }
});

async function start() {
  try {
    await ask_patiently("/limits", new AbortController().signal);
    begin(null);
  } catch (error) {
    if (error.status === 401) ask_to_sign_in("This registry has users.");
    else connection("lost", error.message);
  }
}
