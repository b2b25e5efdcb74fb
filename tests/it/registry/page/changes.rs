//! What the page changes: it asks first.

use serde_json::json;

use crate::bench::browser::Browser;
use crate::bench::{Client, Server};

fn service(client: &mut Client) -> String {
    let (session, _) = client.create("/sessions", json!({"heartbeat_timeout": 120}));
    let metadata = json!({"port": "80"});
    let answer =
        client.post("/services", json!({"id": "web-1", "session_id": session, "tags": ["www"], "metadata": metadata}));
    assert_eq!(answer.status, 201, "{answer:?}");
    session
}

/// Opens the details of something, and presses the button that begins with this text.
fn begin(browser: &Browser, server: &Server, place: &str, button: &str) {
    browser.open("about:blank");
    browser.open(&format!("http://{}/#{place}", server.address));
    let find =
        format!("[...document.querySelectorAll('main button, aside button')].find(b => b.innerText == '{button}')");
    browser.wait(&find);
    browser.run(&format!("{find}.focus(); {find}.click()"));
    browser.wait("document.querySelector('#dialog').open");
}

fn wait_until_closed(browser: &Browser) {
    browser.wait("!document.querySelector('#dialog').open");
}

#[test]
fn service_is_deregistered_with_a_reason_once_that_is_confirmed() {
    let Some(browser) = Browser::lease() else { return };
    let server = Server::open();
    let mut client = server.client();
    service(&mut client);
    begin(&browser, &server, "services/web-1", "Deregister…");
    assert_eq!(browser.role_and_name("#dialog"), ("dialog".to_owned(), "Deregister web-1?".to_owned()));
    browser.click("#dialog-cancel");
    wait_until_closed(&browser);
    assert_eq!(browser.run("return document.activeElement.innerText"), "Deregister…", "the focus is back");
    assert_eq!(client.get("/services/web-1").status, 200);

    browser.click(".actions .danger");
    // A notice goes after some seconds.
    browser.run(
        "const notice = document.querySelector('#notice');
         window.notices = [];
         new MutationObserver(() => window.notices.push(notice.textContent)).observe(notice, { childList: true });",
    );
    browser.write("#dialog [name=reason]", "host is gone");
    browser.click("#dialog-go");
    wait_until_closed(&browser);
    assert_eq!(client.get("/services/web-1").status, 404);
    let event = client.get("/events?type=service.remove").json()["values"][0].clone();
    assert_eq!((&event["reason"], &event["cause"]), (&json!("host is gone"), &json!("deregistered")));
    browser.wait("document.querySelector('#details-body').innerText == 'It is not there any more.'");
    browser.wait("window.notices.includes('web-1 is deregistered.')");
    assert_eq!(browser.complaints(), [""; 0]);
}

#[test]
fn session_is_ended_with_its_services() {
    let Some(browser) = Browser::lease() else { return };
    let server = Server::open();
    let mut client = server.client();
    let session = service(&mut client);
    begin(&browser, &server, &format!("sessions/{session}"), "End session…");
    browser.wait("document.querySelector('#dialog-body').innerText.includes('web-1')");
    browser.click("#dialog-go");
    wait_until_closed(&browser);
    assert_eq!(client.get("/sessions").json()["metadata"]["count"], 0);
    assert_eq!(client.get("/services").json()["metadata"]["count"], 0);
}

#[test]
fn maintenance_note_is_one_pair_of_the_metadata() {
    let Some(browser) = Browser::lease() else { return };
    let server = Server::open();
    let mut client = server.client();
    service(&mut client);
    let metadata = |client: &mut Client| client.get("/services/web-1").json()["metadata"].clone();
    begin(&browser, &server, "services/web-1", "Maintenance note…");
    // What others have changed meanwhile stays.
    client.put("/services/web-1", json!({"metadata": {"port": "81", "zone": "b"}}));
    browser.write("#dialog [name=note]", "new disks, until 5 pm");
    browser.click("#dialog-go");
    wait_until_closed(&browser);
    assert_eq!(metadata(&mut client), json!({"port": "81", "zone": "b", "maintenance": "new disks, until 5 pm"}));
    assert_eq!(client.get("/services/web-1").json()["tags"], json!(["www"]));
    browser.wait("document.querySelector('#service-rows .note')?.title == 'maintenance: new disks, until 5 pm'");

    browser.click(".actions button");
    browser.write("#dialog [name=note]", "");
    browser.click("#dialog-go");
    wait_until_closed(&browser);
    assert_eq!(metadata(&mut client), json!({"port": "81", "zone": "b"}));
}

#[test]
fn value_is_set_unless_someone_else_was_faster() {
    let Some(browser) = Browser::lease() else { return };
    let server = Server::open();
    let mut client = server.client();
    let id = "/production/cache/address";
    let path = "/configuration/%2Fproduction%2Fcache%2Faddress";
    client.put(path, json!({"value": "10.0.0.7"}));
    let value = |client: &mut Client| client.get(path).json()["value"].as_str().map(str::to_owned);
    let place = format!("configuration/{}", id.replace('/', "%2F"));
    begin(&browser, &server, &place, "Set…");
    browser.write("#dialog [name=value]", "10.0.0.8");
    browser.click("#dialog-go");
    wait_until_closed(&browser);
    assert_eq!(value(&mut client).as_deref(), Some("10.0.0.8"));
    browser.wait("document.querySelector('#value-rows').innerText.includes('10.0.0.8')");

    browser.click(".actions button");
    browser.wait("document.querySelector('#dialog').open");
    client.put(path, json!({"value": "10.0.0.9"}));
    browser.write("#dialog [name=value]", "mine");
    browser.click("#dialog-go");
    browser.wait("document.querySelector('#dialog-error').innerText.includes('“10.0.0.9”')");
    assert_eq!(value(&mut client).as_deref(), Some("10.0.0.9"));
    browser.press(&['\u{e00c}']); // Escape

    begin(&browser, &server, &place, "Remove…");
    browser.click("#dialog-go");
    wait_until_closed(&browser);
    assert_eq!(value(&mut client), None);
    begin(&browser, &server, "configuration", "New value");
    browser.write("#dialog [name=id]", "no//id");
    browser.write("#dialog [name=value]", "new");
    browser.click("#dialog-go");
    browser.wait("document.querySelector('#dialog-error').innerText.includes('Invalid characters')");
    browser.write("#dialog [name=id]", id);
    browser.click("#dialog-go");
    wait_until_closed(&browser);
    assert_eq!(value(&mut client).as_deref(), Some("new"));
}
