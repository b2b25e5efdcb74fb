//! The page of a registry with users.

use std::time::{Duration, SystemTime};

use serde_json::json;
use service_registry::registry::{Config, Users};

use crate::bench::browser::Browser;
use crate::bench::users::{address, with_users};
use crate::bench::{Client, Server, USERS};

const LISTED: &str = "document.querySelector('#service-rows')?.innerText.includes('joes-1')";

fn sign_in(browser: &Browser, user: &str, secret: &str) {
    browser.wait("!document.querySelector('#sign-in').hidden && !document.querySelector('#sign-in-go').disabled");
    browser.write("#user", user);
    browser.write("#secret", secret);
    browser.click("#sign-in-go");
}

fn add(client: &mut Client, id: &str) {
    client.create("/services", json!({"id": id, "heartbeat_timeout": 120}));
}

#[test]
fn token_is_in_the_memory_of_the_page_only() {
    let Some(browser) = Browser::lease() else { return };
    let server = Server::start(Config::with_users(Users::parse(USERS).unwrap()));
    add(&mut server.joe(), "joes-1");
    add(&mut server.client().logged_in("ann", "anns-key"), "anns-1");
    let url = format!("http://{}/", server.address);
    browser.open(&url);
    sign_in(&browser, "joe", "wrong");
    browser.wait("document.querySelector('#sign-in-error').innerText.includes('does not know')");
    sign_in(&browser, "joe", "joes-key");
    browser.wait(LISTED);
    assert!(!browser.text("#service-rows").contains("anns-1"), "another account's");
    assert_eq!(browser.text("#account"), "account 7777");
    browser.wait("document.querySelector('#connection').dataset.state == 'live'");
    add(&mut server.joe(), "joes-2");
    browser.wait("document.querySelector('#service-rows').innerText.includes('joes-2')");

    let kept = browser.run(
        "return [JSON.stringify(localStorage), JSON.stringify(sessionStorage), document.cookie, location.href,
                 document.documentElement.outerHTML, ...[...document.querySelectorAll('input')].map(i => i.value)]",
    );
    let token = &server.joe().headers.last().unwrap().1.clone();
    assert!(!kept.to_string().contains(&token[..8]) && !kept.to_string().contains("joes-key"), "{kept}");
    assert_eq!(kept[0], r#"{"theme":"system"}"#);
    browser.open(&url);
    sign_in(&browser, "ann", "anns-key");
    browser.wait("document.querySelector('#service-rows')?.innerText.includes('anns-1')");
    browser.click("#leave");
    browser.wait("!document.querySelector('#sign-in').hidden");
    assert_eq!(browser.run("return document.body.innerText.includes('anns-1')"), false);
    browser.run("document.querySelector('[value=password]').click()");
    sign_in(&browser, "joe", "joes-password");
    browser.wait(LISTED);
}

#[test]
fn removed_user_is_asked_to_sign_in_again() {
    let Some(browser) = Browser::lease() else { return };
    let (registry, file) = with_users(USERS);
    let address = address(&registry);
    add(&mut Client::new(address).logged_in("joe", "joes-key"), "joes-1");
    browser.open(&format!("http://{address}/"));
    sign_in(&browser, "joe", "joes-key");
    browser.wait(LISTED);
    browser.wait("document.querySelector('#connection').dataset.state == 'live'");
    std::fs::write(file.path(), USERS.replace("joes-key", "other-key")).unwrap();
    file.as_file().set_modified(SystemTime::now() + Duration::from_secs(2)).unwrap();
    browser.wait("document.querySelector('#sign-in-why').innerText.includes('does not accept the token')");
    assert_eq!(browser.run("return document.body.innerText.includes('joes-1')"), false);
    sign_in(&browser, "joe", "other-key");
    browser.wait(LISTED);
}

#[test]
fn reader_sees_nothing_that_changes_something() {
    let Some(browser) = Browser::lease() else { return };
    let reader = "[[user]]\nname = 'eve'\ntenant = 7777\napi_key = 'eves-key'\nrole = 'read'\n";
    let server = Server::start(Config::with_users(Users::parse(&format!("{USERS}{reader}")).unwrap()));
    let mut joe = server.joe();
    add(&mut joe, "joes-1");
    joe.put("/configuration/key", json!({"value": "abc"}));
    let buttons = "[...document.querySelectorAll('main button, aside button')]
                   .filter(button => button.checkVisibility() && /…|New/.test(button.innerText)).length";
    for (user, counts, state) in [("joe", [2, 3], "account 7777"), ("eve", [0, 0], "account 7777, read only")] {
        browser.open("about:blank");
        browser.open(&format!("http://{}/#services/joes-1", server.address));
        sign_in(&browser, user, &format!("{user}s-key"));
        browser.wait("document.querySelector('#details-body').innerText.includes('Heartbeat')");
        assert_eq!(
            (browser.run(&format!("return {buttons}")), browser.text("#account")),
            (json!(counts[0]), state.into())
        );
        browser.run("location.hash = '#configuration/key'");
        browser.wait("document.querySelector('#details-body').innerText.includes('abc')");
        assert_eq!(browser.run(&format!("return {buttons}")), counts[1], "{user}");
    }
}
