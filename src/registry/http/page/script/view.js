// The view that the address names: which one, of what, and when it is drawn again.

const views = { services, activity, events, sessions, configuration, cluster };
const queries = {};
let view = "services";
let in_sight = !document.hidden;

/** The address of the page says what it shows: `#services/web-1`, `#services?q=tag:www`. */
function read_address() {
  const [, name, id, query] = /^#([a-z]*)(?:\/([^?]*))?(?:\?q=(.*))?$/.exec(location.hash) ?? [];
  const decode = (text) => {
    try {
      return decodeURIComponent(text);
    } catch {
      return "";
    }
  };
  return { name: Object.hasOwn(views, name) ? name : "services", id: id ? decode(id) : null, query: query === undefined ? null : decode(query) };
}

function go_to(name, id, takes_focus = false) {
  const hash = id === null ? `#${name}` : `#${name}/${encodeURIComponent(id)}`;
  if (location.hash === hash) return show_details(name, id, takes_focus);
  history.pushState(null, "", hash);
  show(takes_focus);
}

const has_pulse = () => view === "services" || view === "activity";

/** Shows the view that the address names. */
function show(takes_focus = false) {
  const { name, id, query } = read_address();
  const is_other = name !== view || !$("lists").contains(views[name].rows.grid);
  view = name;
  if (query !== null) queries[view] = query;
  const { title, rows } = views[view];
  for (const link of $("views").children) toggle(link, "aria-current", link.hash === `#${view}` ? "page" : null);
  // On a phone the last of them are beyond the edge.
  $("views").querySelector("[aria-current]").scrollIntoView({ block: "nearest", inline: "nearest" });
  say($("title"), title);
  document.title = `${title} – Service Registry`;
  if ($("search").value !== (queries[view] ?? "")) $("search").value = queries[view] ?? "";
  $("search").placeholder = `Search ${title.toLowerCase()}`;
  $("kind-label").hidden = view !== "events";
  $("add").hidden = view !== "configuration" || !api.may_write;
  $("pulse").hidden = !has_pulse();
  if (is_other) $("lists").replaceChildren(rows.grid);
  rows.select(id);
  if (view === "activity" && id !== null) return go_to("activity", null);
  render();
  show_details(view, id, takes_focus);
}

function render() {
  const { rows, items, found } = views[view];
  const shown_items = items(queries[view] ?? "");
  rows.update(shown_items);
  say($("found"), found(shown_items.length));
  if (has_pulse()) draw_pulse();
  say($("count-services"), store.services.size.toLocaleString("en"));
  say($("count-sessions"), store.sessions.size.toLocaleString("en"));
  say($("count-values"), store.values.size.toLocaleString("en"));
  $("add").hidden = view !== "configuration" || !api.may_write;
  if (details_of) show_details(view, read_address().id);
  store.changed.clear();
}

/** Shows how old everything is by now. Without an event, order and findings stay: to sort a long list takes time. */
function grow_older() {
  if (store.changed.size > 0 || view === "activity") return render_soon();
  if (!in_sight || document.body.dataset.phase !== "ready") return;
  views[view].rows.paint();
  if (has_pulse()) draw_pulse();
  if (details_of) show_details(view, read_address().id);
}

/** Draws at most five times a second, and not while nobody looks. */
let render_timer = 0;
let rendered_at = 0;
function render_soon() {
  if (render_timer || !in_sight || document.body.dataset.phase !== "ready") return;
  const wait = Math.max(0, rendered_at + 200 - Date.now());
  render_timer = setTimeout(() => requestAnimationFrame(() => {
    [render_timer, rendered_at] = [0, Date.now()];
    render();
  }), wait);
}
store.on_change = render_soon;

