//! The page by keyboard, for screen readers, in both themes and on a phone.

use serde_json::{Value, json};

use crate::bench::Server;
use crate::bench::browser::{Browser, axe};

// As WebDriver names them.
const TAB: char = '\u{e004}';
const ENTER: char = '\u{e007}';
const ESCAPE: char = '\u{e00c}';
const END: char = '\u{e010}';
const UP: char = '\u{e013}';
const DOWN: char = '\u{e015}';

/// A registry with something for every view.
fn registry() -> Server {
    let server = Server::open();
    let mut client = server.client();
    let metadata = json!({"host": "web-host"});
    let (session, _) = client.create("/sessions", json!({"heartbeat_timeout": 120, "metadata": metadata}));
    for id in ["web-1", "web-2", "web-3"] {
        let metadata = json!({"address": "10.0.0.7", "port": "80", "maintenance": "new disks"});
        let service = json!({"id": id, "session_id": session, "tags": ["www"], "metadata": metadata});
        assert_eq!(client.post("/services", service).status, 201);
    }
    client.delete("/services/web-3?reason=moved");
    client.put("/configuration/key", json!({"value": "abc"}));
    server
}

fn open(browser: &Browser, server: &Server, place: &str) {
    browser.open("about:blank");
    browser.open(&format!("http://{}/#{place}", server.address));
    browser.wait("document.querySelectorAll('.body .row:not([hidden])').length > 0");
    browser.wait("document.querySelector('#connection').dataset.state == 'live'");
}

fn focused(browser: &Browser) -> Value {
    browser.run("return document.activeElement.id")
}

#[test]
fn keyboard_reaches_everything() {
    let Some(browser) = Browser::lease() else { return };
    let server = registry();
    open(&browser, &server, "services");
    browser.press(&[TAB]);
    assert_eq!(focused(&browser), "skip");
    browser.press(&[ENTER]);
    assert_eq!(focused(&browser), "service-rows");
    browser.press(&['/', 'w', 'e', 'b', '-', '2']);
    browser.wait("document.querySelector('#found').innerText == '1 service'");
    browser.press(&[DOWN, ENTER]);
    assert_eq!((focused(&browser), browser.text("#details-title")), (json!("details-title"), "web-2".to_owned()));
    browser.press(&[TAB, TAB]);
    assert_eq!(browser.run("return document.activeElement.href"), "http://10.0.0.7/");
    browser.press(&[ESCAPE]);
    assert_eq!(focused(&browser), "service-rows");
    assert_eq!(browser.run("return document.querySelector('#details').hidden"), true);

    open(&browser, &server, "services");
    browser.run("document.querySelector('#service-rows').focus()");
    let active = || {
        browser.run(
            "return document.getElementById(document.activeElement.getAttribute('aria-activedescendant'))?.innerText",
        )
    };
    for (key, id) in [(DOWN, "web-1"), (DOWN, "web-2"), (DOWN, "web-2"), (UP, "web-1"), (END, "web-2")] {
        browser.press(&[key]);
        assert!(active().as_str().is_some_and(|text| text.starts_with(id)), "{id}: {}", active());
    }
    browser.press(&['?']);
    browser.wait("document.querySelector('#dialog').open");
    browser.click("#dialog [type=checkbox]");
    browser.press(&[ESCAPE]);
    browser.run("document.querySelector('#service-rows').focus()");
    browser.press(&['?', '/']);
    assert_eq!(browser.run("return document.querySelector('#dialog').open"), false, "single keys are off");
    assert_eq!(focused(&browser), "service-rows");
}

#[test]
fn roles_names_and_announcements_are_there() {
    let Some(browser) = Browser::lease() else { return };
    let server = registry();
    open(&browser, &server, "services");
    for (selector, role, name) in [
        ("nav", "navigation", "Views"),
        ("#service-rows", "grid", "Services"),
        ("#service-rows .body .row", "row", ""),
        ("#service-rows .head > :first-child", "columnheader", "Service"),
        ("#search", "searchbox", "Search"),
        ("#announcement", "status", ""),
        ("#help", "button", "Help and keyboard"),
    ] {
        let (found, label) = browser.role_and_name(selector);
        assert_eq!(found, role, "{selector}");
        assert!(name.is_empty() || label.starts_with(name), "{selector}: {label}");
    }
    let sorted = |direction: &str| {
        browser.wait(&format!("document.querySelector('#service-rows [aria-sort]').ariaSort == '{direction}'"));
    };
    sorted("ascending");
    browser.click("#service-rows .head button");
    sorted("descending");
    // The list itself says nothing; one sentence counts what has happened.
    for number in 0..20 {
        server.client().create("/services", json!({"id": format!("new-{number}"), "heartbeat_timeout": 120}));
    }
    browser.wait("document.querySelector('#found').innerText == '22 services'");
    browser.wait("/^\\d+ services? came$/.test(document.querySelector('#announcement').innerText)");
    assert_eq!(browser.run("return document.querySelectorAll('#lists [aria-live], #lists [role=log]').length"), 0);
}

#[test]
fn theme_follows_the_system_or_the_switch() {
    let Some(browser) = Browser::lease() else { return };
    let server = registry();
    let ground = || browser.run("return getComputedStyle(document.body).backgroundColor");
    browser.prefer("light");
    open(&browser, &server, "services");
    let light = ground();
    browser.prefer("dark");
    let dark = ground();
    assert_ne!(light, dark);
    browser.click("#theme");
    assert_eq!((ground(), browser.text("#theme")), (light, "Theme: light".to_owned()));
    browser.click("#theme");
    browser.prefer("light");
    assert_eq!((ground(), browser.text("#theme")), (dark.clone(), "Theme: dark".to_owned()));
    open(&browser, &server, "services");
    assert_eq!(ground(), dark, "it is remembered");
}

#[test]
fn axe_finds_nothing_in_any_view_theme_or_width() {
    let (Some(browser), Some(axe)) = (Browser::lease(), axe()) else { return };
    let server = registry();
    let all = ["services", "services/web-1", "activity", "events", "sessions", "configuration/key"];
    // In the other theme only colours differ, and on a phone only the form of a row.
    let windows = [(1280, 900, "light", &all[..]), (1280, 900, "dark", &all[1..2]), (360, 740, "dark", &all[..1])];
    for (width, height, scheme, places) in windows {
        browser.resize(width, height);
        browser.prefer(scheme);
        for &place in places {
            open(&browser, &server, place);
            let overflow = browser.run("return document.documentElement.scrollWidth - innerWidth");
            assert!(overflow.as_i64().unwrap() <= 0, "{place} is wider than {width}: {overflow}");
            for with_dialog in [false, true] {
                if with_dialog && place != "services/web-1" {
                    continue;
                }
                if with_dialog {
                    browser.run("document.querySelector('.actions .danger').click()");
                }
                browser.run(&axe);
                let found = browser.run_to_the_end(
                    "const done = arguments[arguments.length - 1];
                     const text = (node) => node.target.join(' ') + ' ' + node.failureSummary;
                     axe.run({ resultTypes: ['violations'] }).then(
                       ({ violations }) => done(violations.map((one) => [one.id, one.nodes.map(text)])),
                       (error) => done(String(error)));",
                );
                assert_eq!(found, json!([]), "{place} {width} {scheme} {with_dialog}: {found:#}");
            }
        }
    }
}
