// The picture of an hour: bars up for what came, down for what was removed or expired, a minute each.

const colours = {};

/** Reads the colours of the theme from the legend: a canvas knows no variables. */
function read_colours() {
  for (const name of ["came", "went", "lost"]) {
    colours[name] = getComputedStyle(document.querySelector(`.legend .${name}`)).color;
  }
  colours.line = getComputedStyle($("lists")).borderTopColor;
}

function draw_timeline(canvas, bins, gap = null) {
  const scale = Math.min(3, devicePixelRatio || 1);
  const [width, height] = [canvas.clientWidth, canvas.clientHeight];
  if (width === 0) return;
  if (canvas.width !== Math.round(width * scale) || canvas.height !== Math.round(height * scale)) {
    [canvas.width, canvas.height] = [Math.round(width * scale), Math.round(height * scale)];
  }
  const paint = canvas.getContext("2d");
  paint.setTransform(scale, 0, 0, scale, 0, 0);
  paint.clearRect(0, 0, width, height);
  const middle = Math.round(height / 2);
  const most = Math.max(4, ...bins.map(([came, went, lost]) => Math.max(came, went + lost)));
  const size = (number) => (number === 0 ? 0 : Math.max(1.5, (number / most) * (middle - 1)));
  const step = width / bins.length;
  const bar = Math.max(1, step - Math.min(2, step / 4));
  paint.fillStyle = colours.line;
  paint.fillRect(0, middle, width, 1);
  bins.forEach(([came, went, lost], at) => {
    const x = at * step;
    const fill = (colour, y, tall) => ((paint.fillStyle = colours[colour]), paint.fillRect(x, y, bar, tall));
    if (came) fill("came", middle - size(came), size(came));
    if (lost) fill("lost", middle + 1, size(lost));
    if (went) fill("went", middle + 1 + size(lost), size(went));
  });
  if (gap) hatch(paint, width, height, gap);
}

/** Marks the time whose events were not read. */
function hatch(paint, width, height, gap) {
  const place = (time) => Math.min(width, Math.max(0, width - ((now() - time) / (MINUTES * MINUTE)) * width));
  const [from, until] = gap.map(place);
  paint.strokeStyle = colours.line;
  paint.beginPath();
  for (let x = from; x < until; x += 6) {
    paint.moveTo(x, height);
    paint.lineTo(x + 8, 0);
  }
  paint.stroke();
}

function describe_hour([came, went, lost]) {
  if (!past.is_complete) return "reading…";
  if (came + went + lost === 0) return "nothing came or went";
  return `${came.toLocaleString("en")} came, ${went.toLocaleString("en")} removed, ${lost.toLocaleString("en")} expired`;
}

/** The tags of all services and of the events of the last hour, with what happened to each. */
function tag_entries() {
  const present = new Map();
  for (const service of store.services.values()) {
    for (const tag of service.tags) present.set(`#${tag}`, (present.get(`#${tag}`) ?? 0) + 1);
  }
  const keys = new Set([...present.keys(), ...past.tags.keys()]);
  keys.delete(ALL);
  const entries = [];
  for (const key of keys) {
    const sums = sums_of(key);
    const number = present.get(key) ?? 0;
    if (number === 0 && sums.every((sum) => sum === 0)) continue;
    entries.push({ key, name: key.slice(1), number, sums, text: key.slice(1).toLowerCase() });
  }
  return entries.sort((a, b) => by_text(a.name, b.name));
}

const changes_of = ({ sums }) => sums[CAME] + sums[WENT] + sums[LOST];

const axis = () => make("span", { class: "axis" }, ...["60 min ago", "45", "30", "15", "now"].map((text) => make("span", {}, text)));

const activity = {
  title: "Activity",
  rows: new Rows({
    id: "activity-rows",
    label: "Tags, and what came and went in the last hour",
    key: (entry) => entry.key,
    open: (key) => (location.hash = `#services?q=${encodeURIComponent(`tag:${key.slice(1)}`)}`),
    empty: () => "No service has a tag.",
    sort: "tag",
    columns: [
      { name: "tag", title: "Tag", width: "minmax(90px, 190px)", look: "id", sort: (a, b) => by_text(a.name, b.name), draw: (cell, entry) => say(cell, entry.name) },
      { name: "number", title: "Now", width: "64px", look: "number", sort: (a, b) => b.number - a.number, draw: (cell, entry) => say(cell, entry.number.toLocaleString("en")) },
      { name: "hour", title: axis, width: "minmax(120px, 1fr)", look: "second", draw: draw_hour },
      { name: "changes", title: "Changes", width: "150px", look: "off", sort: (a, b) => changes_of(b) - changes_of(a), draw: draw_sums },
    ],
  }),
  items: (query) => search(tag_entries(), query),
  found: (number) => count(number, "tag"),
};

function draw_hour(cell, { key, name, sums }) {
  if (!cell.firstChild) cell.append(make("canvas", { role: "img" }));
  toggle(cell.firstChild, "aria-label", `${name}, last hour: ${describe_hour(sums)}`);
  draw_timeline(cell.firstChild, last_hour(key), past.gap);
}

function draw_sums(cell, { sums }) {
  refill(cell, sums.join(), () => {
    const part = (sum, sign, look, word) => sum > 0 && make("span", { class: `pair ${look}`, title: word }, `${sign}${sum.toLocaleString("en")}`);
    const parts = [part(sums[CAME], "+", "came", "came"), part(sums[WENT], "−", "went", "removed"), part(sums[LOST], "×", "lost", "expired")];
    return parts.filter(Boolean);
  });
}

/** The picture above the services: of all of them. */
function draw_pulse() {
  const gap = past.gap ? `; more than this page reads: nothing is shown from ${past.gap.map(clock_time).join(" to ")}` : "";
  say($("pulse-text"), `Last hour: ${describe_hour(sums_of(ALL))}${gap}`);
  draw_timeline($("pulse-canvas"), last_hour(ALL), past.gap);
}
