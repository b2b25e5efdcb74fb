//! Tables on a terminal, and what foreign data may do to it.

use std::process::Stdio;
use std::time::Duration;

use serde_json::json;

use crate::bench::commands::{command, on_terminal, output, register, run, set_values};
use crate::bench::faulty_server::page;
use crate::bench::{Misbehaving, Registry, need};

const BOLD: &str = "\u{1b}[1m";

#[test]
fn terminal_gets_an_aligned_table_in_its_width() {
    need("python3");
    let registry = Registry::start();
    register(&registry.url, "web-1", &["www"], &json!({"port": "80"}));
    register(&registry.url, "a-longer-id", &["www"], &json!({"text": "many words ".repeat(9).trim()}));
    let (status, shown) = on_terminal(80, &command(&registry.url, &["services"]));
    assert_eq!(status, 0);
    let lines: Vec<&str> = shown.lines().collect();
    assert!(lines[0].contains(BOLD) && lines[0].contains("METADATA"), "{shown}");
    assert!(lines[1].starts_with("a-longer-id  www   text=many words"), "{shown}");
    assert!(lines.contains(&"web-1        www   port=80"), "{shown}");
    let widest = lines[1..].iter().map(|line| line.len()).max().unwrap();
    assert!(widest <= 80 && lines.len() > 3, "long cells are wrapped: {shown}");
    let (_, unknown) = on_terminal(0, &command(&registry.url, &["services"]));
    assert_eq!(unknown, shown, "80 is the width of a terminal that tells none");
    let (_, wide) = on_terminal(200, &command(&registry.url, &["services"]));
    assert_eq!(wide.lines().count(), 3, "{wide}");
    let (_, shown) = on_terminal(200, &command(&registry.url, &["services", "-o", "wide"]));
    assert!(shown.lines().next().unwrap().contains("LAST HEARTBEAT"), "{shown}");
}

#[test]
fn colours_need_a_terminal_that_has_them() {
    let registry = Registry::start();
    register(&registry.url, "web-1", &[], &json!({}));
    let shown =
        |variable: (&str, &str)| on_terminal(100, command(&registry.url, &["events"]).env(variable.0, variable.1)).1;
    let coloured = shown(("NO_COLOR", ""));
    assert!(coloured.contains(BOLD) && coloured.contains("\u{1b}[38;5;"), "{coloured:?}");
    for plain in [("NO_COLOR", "1"), ("TERM", "dumb")] {
        let shown = shown(plain);
        assert!(!shown.contains('\u{1b}') && shown.starts_with("TIME "), "{plain:?}: {shown:?}");
    }
    assert!(!output(&registry, &["events"]).contains('\u{1b}'));
}

#[test]
fn times_are_relative_on_a_terminal() {
    let registry = Registry::start();
    register(&registry.url, "web-1", &[], &json!({}));
    let (_, shown) = on_terminal(100, &command(&registry.url, &["events"]));
    let row = shown.lines().nth(1).unwrap();
    assert!(row.starts_with("now ") || row.contains(" s ago"), "{shown}");
}

#[test]
fn foreign_control_characters_do_not_reach_the_terminal() {
    let evil = "a\u{1b}[2Jb\u{9b}c\u{7f}\u{202e}d\ne";
    let registry = Registry::start();
    register(&registry.url, "web-1", &[evil], &json!({ "text": evil, evil: "x" }));
    let body = json!({ "value": evil }).to_string();
    assert_eq!(crate::bench::request(&registry.url, "PUT", "/v1.0/configuration/evil", &body).unwrap().0, 204);
    let forms = ["table", "wide", "json", "jsonl", "yaml", "name"].map(|form| vec!["-o", form]);
    let template = vec!["--template", "{{tags}}{{text}}{{metadata}}"];
    for (arguments, form) in forms.iter().chain([&template]).flat_map(|form| {
        [(&["services"][..], form), (&["services", "web-1"], form), (&["config", "list"], form), (&["events"], form)]
    }) {
        let arguments = [arguments, form].concat();
        let mut command = command(&registry.url, &arguments);
        let (status, shown) = on_terminal(100, command.env("NO_COLOR", "1"));
        assert_eq!(status, 0, "{arguments:?}: {shown}");
        let acts = |c: char| c != '\n' && (c.is_control() || c == '\u{202e}');
        assert!(!shown.contains(acts), "{arguments:?}: {shown:?}");
        assert!(!run(&mut command).1.replace('\t', "").contains(acts), "{arguments:?}");
    }
    let (_, shown) = on_terminal(100, &command(&registry.url, &["config", "get", "evil"]));
    assert_eq!(shown, "a\\u{1b}[2Jb\\u{9b}c\\u{7f}\\u{202e}d\ne\n");
    assert_eq!(output(&registry, &["config", "get", "evil"]), format!("{evil}\n"), "a program gets the value");
    let listed = output(&registry, &["services", "--template={{tags|length}}"]);
    assert_eq!(listed, "1\n");
    let json: serde_json::Value =
        serde_json::from_str(&output(&registry, &["services", "web-1", "-o", "json"])).unwrap();
    assert_eq!(json["metadata"]["text"], evil, "the value is the same");
}

#[test]
fn closed_pipe_is_no_error() {
    let registry = Registry::start();
    set_values(&registry.url, (0..3_000).map(|n| format!("a-key-with-a-long-name-{n}")));
    let mut list = command(&registry.url, &["config", "list"]);
    let mut child = list.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take()); // before there is any output
    #[expect(clippy::disallowed_methods, reason = "a test is the parent here, and has no supervisor")]
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]));
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let mut list = command(&registry.url, &["config", "list"]);
    let output = list.stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("writing to stdout: No space left"));
}

#[tokio::test(flavor = "multi_thread")]
async fn long_list_shows_its_progress_on_a_terminal() {
    let registry = Misbehaving::start(|seen| {
        std::thread::sleep(Duration::from_millis(1_300)); // a slow registry
        let next = (!seen.target.contains("marker")).then_some("web-2");
        page(&json!([{"id": if next.is_some() { "web-1" } else { "web-2" }, "tags": [], "metadata": {}}]), next)
    })
    .await;
    let mut slow = command(&registry.url, &["services", "-o", "name"]);
    let (status, shown) = on_terminal(100, &slow);
    assert_eq!(status, 0);
    assert!(shown.contains("\r1 read in 2 s...") && shown.ends_with("\r\u{1b}[Kweb-1\nweb-2\n"), "{shown:?}");
    assert_eq!(run(&mut slow), (0, "web-1\nweb-2\n".to_owned(), String::new()), "off a terminal it is quiet");
}
