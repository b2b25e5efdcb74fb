// A list of which only the rows in sight are in the document. One stop for the keyboard, as a grid.

class Rows {
  /** `columns` have a name, a title, a width, a way to `draw(cell, entry)`, and perhaps an order to `sort` by. */
  constructor({ id, label, columns, key, open, empty, sort = null, keeps_place = false }) {
    Object.assign(this, { id, columns, key, open, empty, sort, keeps_place });
    [this.items, this.pool, this.active, this.selected, this.down] = [[], [], null, null, 1];
    this.head = make("div", { class: "row head", role: "row", "aria-rowindex": "1" }, ...columns.map((one) => this.title(one)));
    this.body = make("div", { class: "body", role: "rowgroup" });
    this.grid = make("div", { class: "grid", id, role: "grid", tabindex: "0", "aria-label": label },
      make("div", { role: "rowgroup" }, this.head), this.body);
    this.grid.style.setProperty("--columns", columns.map((column) => column.width).join(" "));
    this.nothing = make("p", { class: "empty" });
    this.grid.addEventListener("scroll", () => this.paint(), { passive: true });
    this.grid.addEventListener("keydown", (event) => this.on_key(event));
    this.body.addEventListener("click", (event) => this.on_click(event));
    new ResizeObserver(() => this.paint()).observe(this.grid);
  }

  title({ name, title, sort, look = "" }) {
    const cell = make("div", { role: "columnheader", class: look });
    if (typeof title === "function") cell.append(title());
    else cell.append(sort ? make("button", { type: "button", click: () => this.sort_by(name) }, title) : title);
    return cell;
  }

  sort_by(name) {
    [this.sort, this.down] = [name, this.sort === name ? -this.down : 1];
    this.update(this.items);
  }

  /** Shows these entries; sorts them if there is an order. */
  update(items) {
    const at = this.keeps_place && this.top() > 0 ? this.items[this.top()] : null;
    const order = this.columns.find((column) => column.name === this.sort)?.sort;
    this.items = order ? items.slice().sort((a, b) => this.down * order(a, b)) : items;
    this.columns.forEach(({ name }, column) => {
      const direction = this.down > 0 ? "ascending" : "descending";
      toggle(this.head.children[column], "aria-sort", name === this.sort ? direction : null);
    });
    this.row_height = parseFloat(getComputedStyle(this.grid).getPropertyValue("--row")) || 33;
    this.body.style.height = `${this.items.length * this.row_height}px`;
    toggle(this.grid, "aria-rowcount", String(this.items.length + 1));
    if (at) this.keep(at);
    this.paint();
  }

  top() {
    return Math.floor(this.grid.scrollTop / (this.row_height || 33));
  }

  /** What is read stays where it is while rows are added above it. */
  keep(entry) {
    const moved = this.items.indexOf(entry) - this.top();
    if (moved > 0) this.grid.scrollTop += moved * this.row_height;
  }

  paint() {
    if (!this.grid.isConnected || !this.row_height) return;
    const first = Math.max(0, this.top() - 4);
    const last = Math.min(this.items.length, first + Math.ceil(this.grid.clientHeight / this.row_height) + 8);
    while (this.pool.length < last - first) this.pool.push(this.new_row());
    this.pool.forEach((row, at) => this.draw(row, first + at < last ? first + at : null));
    const active = this.pool.find((row) => row.entry && this.key(row.entry) === this.active);
    toggle(this.grid, "aria-activedescendant", active ? active.element.id : null);
    const has_none = this.items.length === 0;
    if (has_none) say(this.nothing, this.empty());
    if (has_none !== this.nothing.isConnected) has_none ? this.grid.after(this.nothing) : this.nothing.remove();
    this.grid.hidden = has_none;
  }

  new_row() {
    const cells = this.columns.map(({ look = "" }) => make("div", { role: "gridcell", class: look }));
    const element = make("div", { class: "row", role: "row", id: `${this.id}-${this.pool.length}` }, ...cells);
    this.body.append(element);
    return { element, cells, entry: null };
  }

  draw(row, index) {
    row.entry = index === null ? null : this.items[index];
    row.element.hidden = !row.entry;
    if (!row.entry) return;
    const key = this.key(row.entry);
    row.element.style.transform = `translateY(${index * this.row_height}px)`;
    toggle(row.element, "aria-rowindex", String(index + 2));
    toggle(row.element, "aria-selected", String(key === this.selected));
    row.element.classList.toggle("active", key === this.active);
    this.columns.forEach((column, at) => column.draw(row.cells[at], row.entry));
  }

  visible() {
    return this.grid.isConnected ? this.pool.filter((row) => row.entry).map((row) => row.entry) : [];
  }

  select(key) {
    this.selected = key;
    if (key !== null) this.active = key;
    this.paint();
  }

  on_click(event) {
    const row = this.pool.find(({ element }) => element === event.target.closest(".row"));
    if (!row?.entry || event.target.closest("a")) return;
    this.active = this.key(row.entry);
    this.open(this.active);
  }

  on_key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || this.items.length === 0) return;
    const at = this.items.findIndex((entry) => this.key(entry) === this.active);
    const page = Math.max(1, Math.floor(this.grid.clientHeight / this.row_height) - 2);
    const end = this.items.length - 1;
    const moves = { ArrowDown: at + 1, ArrowUp: at < 0 ? 0 : at - 1, PageDown: at + page, PageUp: at - page, Home: 0, End: end };
    if (event.key in moves) this.go(Math.min(end, Math.max(0, moves[event.key])));
    else if ((event.key === "Enter" || event.key === " ") && at >= 0 && event.target === this.grid) this.open(this.active, true);
    else return;
    event.preventDefault();
  }

  /** Makes the row active, and brings it into sight. */
  go(index) {
    this.active = this.key(this.items[index]);
    const [from, height, head] = [index * this.row_height, this.grid.clientHeight, this.head.offsetHeight];
    const top = Math.min(this.grid.scrollTop, from);
    this.grid.scrollTop = Math.max(top, from + this.row_height + head - height);
    this.paint();
  }
}
