// What changes something: each asks first, in one dialog that shows what will happen and what went wrong.

const dialog = { act: null, opener: null };

/** Asks for `fields` and then does `act(values)`. The dialog stays open while that fails. */
function ask_first({ title, lines, fields = [], go, is_danger = false, act }) {
  Object.assign(dialog, { act, opener: document.activeElement });
  say($("dialog-title"), title);
  say($("dialog-error"), "");
  const inputs = fields.map(({ name, label, value = "", is_long, most, is_required }) => {
    const attributes = { name, maxlength: most, required: is_required, autocomplete: "off", spellcheck: "false" };
    const input = make(is_long ? "textarea" : "input", attributes);
    input.value = value;
    return make("label", {}, label, input);
  });
  $("dialog-body").replaceChildren(...lines.map((line) => make("p", {}, line)), ...inputs);
  say($("dialog-go"), go);
  $("dialog-go").className = is_danger ? "main danger" : "main";
  $("dialog-cancel").hidden = !act;
  $("dialog").showModal();
  // What cannot be undone should not be done by a key that was meant for something else.
  (inputs[0]?.lastChild ?? (is_danger ? $("dialog-cancel") : $("dialog-go"))).focus();
}

$("dialog-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  if (!dialog.act) return $("dialog").close();
  const values = Object.fromEntries([...$("dialog-body").querySelectorAll("[name]")].map((input) => [input.name, input.value]));
  $("dialog-go").disabled = true;
  say($("dialog-error"), "");
  try {
    const done = await dialog.act(values);
    $("dialog").close();
    notice(done);
  } catch (error) {
    say($("dialog-error"), error instanceof TypeError ? "The registry cannot be reached. Nothing is known about the change." : error.message);
  } finally {
    $("dialog-go").disabled = false;
    render_soon();
  }
});
$("dialog-cancel").addEventListener("click", () => $("dialog").close());
$("dialog").addEventListener("close", () => {
  const other = $("details").hidden ? views[view].rows.grid : $("details-title");
  const { opener } = dialog;
  (opener?.isConnected && opener !== document.body ? opener : (button_like(opener) ?? other)).focus();
});

const reason_field = { name: "reason", label: "Reason (for the events; may stay empty)", most: 255 };
const with_reason = (reason) => (reason ? `?reason=${encodeURIComponent(reason)}` : "");

function deregister(id) {
  ask_first({
    title: `Deregister ${id}?`,
    lines: [
      "The service leaves the registry at once. Its program runs on.",
      "A wrapper that still holds it registers it again. To take a wrapped service out for a while, use “service-registry maintenance on” on its machine.",
    ],
    fields: [reason_field],
    go: "Deregister",
    is_danger: true,
    act: async ({ reason }) => {
      await ask(`/services/${encodeURIComponent(id)}${with_reason(reason)}`, { method: "DELETE" });
      return `${id} is deregistered.`;
    },
  });
}

function end_session(id, services) {
  ask_first({
    title: `End session ${id}?`,
    lines: [
      services.length ? `These services leave the registry with it: ${services.join(", ")}.` : "It has no services.",
      "Its holder, if it still runs, opens another one and registers again.",
    ],
    fields: [reason_field],
    go: "End session",
    is_danger: true,
    act: async ({ reason }) => {
      await ask(`/sessions/${encodeURIComponent(id)}${with_reason(reason)}`, { method: "DELETE" });
      return `Session ${id} is ended.`;
    },
  });
}

function write_note(service) {
  ask_first({
    title: `Maintenance note of ${service.id}`,
    lines: [`The note is the metadata “${NOTE}”, for all who read the service. The service stays listed. Without text the note is removed.`],
    fields: [{ name: "note", label: "Note", value: service.metadata?.[NOTE] ?? "", most: 255 }],
    go: "Save note",
    act: async ({ note }) => {
      const path = `/services/${encodeURIComponent(service.id)}`;
      const { metadata } = await ask(path); // the page's own may be old
      const { [NOTE]: _, ...rest } = metadata ?? {};
      await ask(path, { method: "PUT", body: { metadata: note ? { ...rest, [NOTE]: note } : rest } });
      return note ? `${service.id} has the note.` : `${service.id} has no note.`;
    },
  });
}

const value_path = (id) => `/configuration/${encodeURIComponent(id)}`;

function edit_value({ id, value }) {
  ask_first({
    title: `Set ${id}`,
    lines: ["All readers of this account get the new value.", make("span", {}, "Now: ", make("code", {}, value))],
    fields: [{ name: "value", label: "New value", value, is_long: true, most: 1024, is_required: true }],
    go: "Set value",
    act: async ({ value: next }) => {
      const present = await ask(value_path(id));
      if (present.value !== value) throw new Error(`Someone else has set it to “${present.value}” meanwhile. Close this and look again.`);
      await ask(value_path(id), { method: "PUT", body: { value: next } });
      return `${id} is set.`;
    },
  });
}

function add_value() {
  ask_first({
    title: "New value",
    lines: ["An id is a name, or a path of names: /production/cache/address."],
    fields: [
      { name: "id", label: "Id", most: 500, is_required: true },
      { name: "value", label: "Value", is_long: true, most: 1024, is_required: true },
    ],
    go: "Add value",
    act: async ({ id, value }) => {
      if (store.values.has(id)) throw new Error("There is a value with this id.");
      await ask(value_path(id), { method: "PUT", body: { value } });
      return `${id} is set.`;
    },
  });
}

function remove_value({ id, value }) {
  ask_first({
    title: `Remove ${id}?`,
    lines: [make("span", {}, "Its value is ", make("code", {}, value), ".")],
    fields: [reason_field],
    go: "Remove value",
    is_danger: true,
    act: async ({ reason }) => {
      await ask(value_path(id) + with_reason(reason), { method: "DELETE" });
      return `${id} is removed.`;
    },
  });
}
