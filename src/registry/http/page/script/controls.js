// What the page's own controls do: theme, search, keys, help.

const THEMES = ["system", "light", "dark"];
/** Remembered by the browser; nothing else is. */
const memory = {
  get: (name) => { try { return localStorage.getItem(name); } catch { return null; } },
  set: (name, value) => { try { localStorage.setItem(name, value); } catch { /* it forgets */ } },
};

function set_theme(theme) {
  toggle(document.documentElement, "data-theme", theme === "system" ? null : theme);
  say($("theme-name"), theme);
  toggle($("theme"), "aria-label", `Theme: ${theme}`);
  memory.set("theme", theme);
  read_colours();
  render_soon();
}
$("theme").addEventListener("click", () => {
  const present = document.documentElement.dataset.theme ?? "system";
  set_theme(THEMES[(THEMES.indexOf(present) + 1) % THEMES.length]);
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => (read_colours(), render_soon()));

$("search").addEventListener("input", () => {
  queries[view] = $("search").value;
  history.replaceState(null, "", queries[view] ? `#${view}?q=${encodeURIComponent(queries[view])}` : `#${view}`);
  show_details(view, null);
  views[view].rows.select(null);
  views[view].rows.grid.scrollTop = 0;
  render();
});
$("search").addEventListener("keydown", (event) => {
  if (event.key !== "ArrowDown") return;
  event.preventDefault();
  const { rows } = views[view];
  rows.grid.focus();
  if (rows.items.length > 0) rows.go(0);
});
$("kind").addEventListener("change", render);
$("add").addEventListener("click", add_value);
$("leave").addEventListener("click", () => ask_to_sign_in("You are signed out."));
$("skip").addEventListener("click", (event) => {
  event.preventDefault();
  (document.body.dataset.phase === "ready" ? views[view].rows.grid : $("main")).focus();
});

function close_details() {
  const { rows } = views[view];
  go_to(view, null);
  rows.grid.focus();
}
$("details-close").addEventListener("click", close_details);

const has_single_keys = () => memory.get("single-keys") !== "off";

document.addEventListener("keydown", (event) => {
  if ($("dialog").open || event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  if (event.key === "Escape" && !$("details").hidden) return close_details();
  if (event.target.closest("input, textarea, select") || !has_single_keys()) return;
  if (event.key === "?") show_help();
  else if (event.key === "/" && document.body.dataset.phase === "ready") $("search").focus();
  else return;
  event.preventDefault();
});
$("help").addEventListener("click", show_help);

function show_help() {
  const key = (text) => make("kbd", {}, text);
  const rows = [
    [[key("/")], "to the search; ↓ leads from there to the list"],
    [[key("↑"), " ", key("↓"), " ", key("Page ↑"), " ", key("Page ↓"), " ", key("Home"), " ", key("End")], "in the list"],
    [[key("Enter")], "details of the row"],
    [[key("Esc")], "closes the details, and goes back to the list"],
    [[key("?")], "this help"],
  ];
  const box = make("input", { type: "checkbox", checked: has_single_keys(), change: () => memory.set("single-keys", box.checked ? "on" : "off") });
  ask_first({
    title: "Help",
    lines: [
      "A search finds what has all of its words: in ids, tags and metadata. tag:www finds services with this tag, port=80 those with this pair.",
      make("span", {}, make("dl", {}, ...rows.flatMap(([keys, text]) => term("", text).map((part, at) => (at ? part : make("dt", {}, ...keys)))))),
      make("span", {}, make("label", { class: "inline" }, box, " / and ? work without further keys")),
    ],
    go: "Close",
    act: null,
  });
}

addEventListener("hashchange", () => show());
addEventListener("popstate", () => show());
addEventListener("resize", render_soon);
// A page that the browser only keeps for "back" holds no connection.
addEventListener("pagehide", () => life?.abort());
addEventListener("pageshow", (event) => event.persisted && document.body.dataset.phase === "ready" && resume());
document.addEventListener("visibilitychange", () => {
  in_sight = !document.hidden;
  render_soon();
});
setInterval(grow_older, 1000);

set_theme(THEMES.includes(memory.get("theme")) ? memory.get("theme") : "system");
start();
