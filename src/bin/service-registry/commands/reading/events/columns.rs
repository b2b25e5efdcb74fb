//! The columns of events.

use comfy_table::Color;
use serde_json::Value;

use crate::output::{Cell, Column, Shape, visible};

const COLUMNS: &[Column] = &[
    Column::new("TIME", |event| Cell::time(&event["timestamp"])).usually(26),
    Column::new("TYPE", kind).usually(28),
    Column::new("ID", |event| Cell::text(subjects(event).join(","))).usually(22),
    Column::new("DETAILS", |event| Cell::text(details(event))),
    Column::wide("BY", |event| Cell::text(by(&event["by"]))).usually(22),
    Column::wide("EVENT", |event| Cell::of(&event["id"])),
];

pub(super) const SHAPE: Shape = Shape::of(COLUMNS);

/// Returns the type: green for what comes, red for what is lost, yellow for what is taken away.
fn kind(event: &Value) -> Cell {
    let kind = event["type"].as_str().unwrap_or_default();
    let colour = match kind.rsplit('.').next().unwrap_or_default() {
        "join" | "create" => Color::Green,
        "timeout" => Color::Red,
        "remove" => Color::Yellow,
        _ => return Cell::text(kind.to_owned()),
    };
    Cell::Coloured(kind.to_owned(), colour)
}

/// Returns the ids of what an event is about.
fn subjects(event: &Value) -> Vec<String> {
    let payload = &event["payload"];
    let all = payload.as_array().map_or(std::slice::from_ref(payload), Vec::as_slice);
    let id = |object: &Value| object["id"].as_str().or(object["configuration_value_id"].as_str()).map(str::to_owned);
    all.iter().filter_map(id).collect()
}

/// Returns the cause, the reason, and what changed.
fn details(event: &Value) -> String {
    let payload = &event["payload"];
    let text = |value: &Value| value.as_str().map(|text| visible(text).into_owned());
    let change = match (text(&payload["old_value"]), text(&payload["new_value"])) {
        (Some(old), Some(new)) => Some(format!("{old} -> {new}")),
        (old, new) => new.or(old),
    };
    let parts = [text(&event["cause"]), text(&event["reason"]), change];
    parts.into_iter().flatten().collect::<Vec<_>>().join(": ")
}

/// Returns who caused an event.
fn by(by: &Value) -> String {
    let parts = [&by["user"], &by["address"], &by["agent"]];
    parts.iter().filter_map(|part| part.as_str()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn event_is_told_by_its_members() {
        let event = json!({"type": "service.remove", "payload": {"id": "web1"}, "cause": "deregistered", "reason": "bad disk",
            "by": {"user": "ann", "address": "192.0.2.7", "agent": "curl/8.5"}});
        assert_eq!((subjects(&event).join(","), details(&event)), ("web1".into(), "deregistered: bad disk".into()));
        assert_eq!(by(&event["by"]), "ann 192.0.2.7 curl/8.5");
        let event = json!({"type": "services.timeout", "payload": [{"id": "a"}, {"id": "b"}]});
        assert_eq!((subjects(&event).join(","), details(&event)), ("a,b".into(), String::new()));
        let event = json!({"type": "configuration_value.update", "cause": "updated",
            "payload": {"configuration_value_id": "/a/key", "old_value": "1", "new_value": "2"}});
        assert_eq!((subjects(&event).join(","), details(&event)), ("/a/key".into(), "updated: 1 -> 2".into()));
    }
}
