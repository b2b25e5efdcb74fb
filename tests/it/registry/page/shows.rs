//! What the page shows, and that it follows what happens.

use serde_json::{Value, json};

use crate::bench::browser::Browser;
use crate::bench::{Client, Registry, Server, users};

fn session(client: &mut Client) -> String {
    client.create("/sessions", json!({"heartbeat_timeout": 120, "metadata": {"host": "web-host", "pid": "42"}})).0
}

fn add(client: &mut Client, session: &str, id: &str, tags: &[&str], metadata: &Value) {
    let service = json!({"id": id, "session_id": session, "tags": tags, "metadata": metadata});
    let answer = client.post("/services", service);
    assert_eq!(answer.status, 201, "{answer:?}");
}

/// The ids in the list of services.
const IDS: &str =
    "[...document.querySelectorAll('#service-rows .body .row:not([hidden]) .id')].map(e => e.textContent)";

#[test]
fn services_are_listed_and_followed_without_a_reload() {
    let Some(browser) = Browser::lease() else { return };
    let server = Server::open();
    let mut client = server.client();
    let session = session(&mut client);
    add(&mut client, &session, "web-1", &["www", "eu"], &json!({"address": "10.0.0.7", "port": "8080", "zone": "b"}));
    browser.open(&format!("http://{}/", server.address));
    browser.wait(&format!("{IDS} == 'web-1'"));
    let row = "#service-rows .body .row";
    assert_eq!(browser.text(&format!("{row} [role=gridcell]:nth-child(2)")).replace('\n', " ").trim(), "wwweu");
    assert_eq!(browser.run("return document.querySelector('.row a').href"), "http://10.0.0.7:8080/");
    assert_eq!(browser.text(&format!("{row} [role=gridcell]:nth-child(4)")).trim(), "zone b");
    browser.wait("document.querySelector('#connection').dataset.state == 'live'");
    browser.run("window.was_not_loaded_again = true");

    add(&mut client, &session, "web-2", &[], &json!({}));
    browser.wait(&format!("{IDS} == 'web-1,web-2'"));
    client.put("/services/web-2", json!({"tags": ["new-tag"]}));
    browser.wait("document.querySelector('#service-rows').innerText.includes('new-tag')");
    client.delete("/services/web-1?reason=moved");
    browser.wait(&format!("{IDS} == 'web-2'"));
    client.delete(&format!("/sessions/{session}"));
    browser.wait("document.querySelector('#lists').innerText == 'No service is registered.'");

    browser.click("a[href='#events']");
    for part in ["+ came", "− removed", "deregistered · moved", "session removed", "session opened", "127.0.0.1"] {
        browser.wait_for_text("#event-rows", part);
    }
    assert_eq!(browser.run("return window.was_not_loaded_again"), true);
    assert_eq!(browser.complaints(), [""; 0]);
}

#[test]
fn session_shows_its_holder_and_its_last_heartbeat() {
    let Some(browser) = Browser::lease() else { return };
    let server = Server::open();
    let mut client = server.client();
    let metadata = json!({"host": "web-host", "pid": "42"});
    let (id, token) = client.create("/sessions", json!({"heartbeat_timeout": 120, "metadata": metadata}));
    add(&mut client, &id, "web-1", &[], &json!({}));
    client.post(&format!("/sessions/{id}/heartbeat"), json!({ "token": token }));
    server.advance(7_000);
    browser.open(&format!("http://{}/#sessions/{id}", server.address));
    browser.wait("document.querySelector('#session-rows').innerText.includes('web-host · pid 42')");
    browser.wait("document.querySelector('#session-rows').innerText.includes('web-1')");
    // By the registry's clock, not by this computer's.
    browser.wait(
        "/^([7-9]|[1-5]\\d) s ago$/.test(document.querySelector('#session-rows .body .number:last-child').innerText)",
    );
    browser.wait("document.querySelector('#details-body').innerText.includes('by 127.0.0.1')");
    browser.click("#details-body a[href='#services/web-1']");
    browser.wait("document.querySelector('#details-title').innerText == 'web-1'");
    assert_eq!(browser.complaints(), [""; 0]);
}

/// A minute is 1/60 of the width. One came and was removed 32 minutes ago; one came 12 minutes ago and expired 10 ago.
#[test]
fn timeline_shows_when_services_came_and_went() {
    let Some(browser) = Browser::lease() else { return };
    let server = Server::open();
    let mut client = server.client();
    client.create("/services", json!({"id": "old-1", "heartbeat_timeout": 120, "tags": ["old"]}));
    client.delete("/services/old-1");
    server.advance(70 * 60_000);
    client.create("/services", json!({"id": "web-1", "heartbeat_timeout": 120, "tags": ["www"]}));
    client.delete("/services/web-1");
    server.advance(20 * 60_000);
    client.create("/services", json!({"id": "web-2", "heartbeat_timeout": 120, "tags": ["www", "eu"]}));
    server.advance(121_000);
    assert_eq!(client.get("/services").json()["metadata"]["count"], 0);
    server.advance(10 * 60_000);

    browser.open(&format!("http://{}/#activity", server.address));
    browser.wait("document.querySelector('#pulse-text').innerText.includes('came,')");
    assert_eq!(browser.text("#pulse-text"), "Last hour: 2 came, 1 removed, 1 expired");
    let rows = "[...document.querySelectorAll('#activity-rows .body .row:not([hidden])')]";
    browser.wait(&format!("{rows}.map(row => row.querySelector('.id').textContent) == 'eu,www'"));
    let (role, name) = browser.role_and_name("#activity-rows .body .row:nth-child(2) canvas");
    assert_eq!((&*role, &*name), ("image", "www, last hour: 2 came, 1 removed, 1 expired"));
    // Where there is colour above and below the middle, in minutes ago.
    let painted = browser.run(&format!(
        "const canvas = {rows}[1].querySelector('canvas');
         const [width, height] = [canvas.width, canvas.height];
         const pixels = canvas.getContext('2d').getImageData(0, 0, width, height).data;
         const is_painted = (minute, y) => pixels[4 * (y * width + Math.round((59.4 - minute) / 60 * width)) + 3] > 0;
         const middle = Math.round(height / 2);
         const at = (y) => [...Array(60).keys()].filter((minute) => is_painted(minute, y));
         return [at(middle - 3), at(middle + 3)];"
    ));
    let near = |part: &Value, wanted: &[i64]| {
        let found: Vec<i64> = part.as_array().unwrap().iter().map(|minute| minute.as_i64().unwrap()).collect();
        found.len() == wanted.len() && found.iter().zip(wanted).all(|(found, wanted)| (found - wanted).abs() <= 1)
    };
    assert!(near(&painted[0], &[12, 32]) && near(&painted[1], &[10, 32]), "{painted}");
    assert_eq!(browser.complaints(), [""; 0]);
}

#[test]
fn data_is_text_and_only_web_addresses_are_links() {
    let Some(browser) = Browser::lease() else { return };
    let server = Server::open();
    let mut client = server.client();
    let session = session(&mut client);
    let evil = "<img src=x onerror='document.title=1'>";
    add(
        &mut client,
        &session,
        "evil-1",
        &["<b>bold</b>"],
        &json!({"url": "javascript:document.title=1", "note": evil}),
    );
    add(&mut client, &session, "evil-2", &[], &json!({"url": "https://user:secret@example.org/"}));
    add(&mut client, &session, "good-1", &[], &json!({"url": "https://example.org/x"}));
    add(&mut client, &session, "good-2", &[], &json!({"ip": "2001:db8::1", "port": "443"}));
    add(&mut client, &session, "none-1", &[], &json!({"host": "no-port"}));
    client.put("/configuration/evil", json!({"value": evil}));
    browser.open(&format!("http://{}/#services/evil-1", server.address));
    browser.wait(&format!("{IDS}.length == 5"));
    let text = browser.text("#service-rows");
    assert!(text.contains(evil) && text.contains("<b>bold</b>"), "{text}");
    let links = browser.run("return [...document.querySelectorAll('.row a')].map(a => [a.href, a.rel])");
    let rel = "noopener noreferrer";
    assert_eq!(links, json!([["https://example.org/x", rel], ["https://[2001:db8::1]/", rel]]));
    browser.wait("document.querySelector('#details-body').innerText.includes('onerror')");
    browser.run("location.hash = '#configuration/evil'");
    browser.wait("document.querySelector('#details-body').innerText.includes('onerror')");
    assert_eq!(browser.run("return document.querySelectorAll('img, b, #details-body a').length"), 0);
    // A script that found a way in could neither make HTML of text nor run one of its own.
    let refused = browser.run(
        "const made = (act) => { try { act(); return 'done' } catch (error) { return error.name } };
         const inline = document.createElement('div');
         return [made(() => inline.innerHTML = '<b></b>'), made(() => inline.setAttribute('onclick', 'x()'))];",
    );
    assert_eq!(refused[0], "TypeError", "{refused}");
}

#[test]
fn long_list_has_few_elements() {
    let Some(browser) = Browser::lease() else { return };
    let server = Server::open();
    let mut client = server.client();
    let session = session(&mut client);
    for number in 0..1500 {
        add(
            &mut client,
            &session,
            &format!("web-{number:04}"),
            &["www"],
            &json!({"address": "10.0.0.7", "port": "80"}),
        );
    }
    browser.open(&format!("http://{}/", server.address));
    browser.wait("document.querySelector('#found').innerText == '1,500 services'");
    let elements = || browser.run("return document.querySelectorAll('*').length").as_u64().unwrap();
    assert!(elements() < 1500, "{}", elements());
    assert_eq!(browser.run("return document.querySelector('#service-rows').ariaRowCount"), "1501");
    browser.run("document.querySelector('#service-rows').scrollTop = 1e9");
    browser.wait(&format!("{IDS}.at(-1) == 'web-1499'"));
    assert!(elements() < 1500, "{}", elements());
    browser.write("#search", "tag:www 10.0.0.7 web-123");
    browser.wait("document.querySelector('#found').innerText == '10 services'");
    assert_eq!(browser.run("return location.hash"), "#services?q=tag%3Awww%2010.0.0.7%20web-123");
    browser.write("#search", "tag:ww");
    browser.wait("document.querySelector('#lists').innerText == 'No service matches the search.'");
}

#[test]
fn page_follows_again_after_the_registry_was_away() {
    let Some(browser) = Browser::lease() else { return };
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let options = ["--data-dir", data.to_str().unwrap()];
    let registry = Registry::start_with(&options);
    let address = users::address(&registry);
    let mut client = Client::new(address);
    let session = session(&mut client);
    add(&mut client, &session, "web-1", &[], &json!({}));
    browser.open(&format!("http://{address}/"));
    browser.wait(&format!("{IDS} == 'web-1'"));
    browser.wait("document.querySelector('#connection').dataset.state == 'live'");
    drop(registry);
    browser.wait("document.querySelector('#connection').dataset.state == 'lost'");
    assert_eq!(browser.run(&format!("return {IDS}")), json!(["web-1"]), "what was known stays");
    let _registry = Registry::start_at(&address.to_string(), &options);
    let mut client = Client::new(address);
    add(&mut client, &session, "web-2", &[], &json!({}));
    browser.wait(&format!("{IDS} == 'web-1,web-2'"));
    browser.wait("document.querySelector('#connection').dataset.state == 'live'");
}
