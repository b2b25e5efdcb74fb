//! A headless Chromium, driven by Debian's chromedriver: WebDriver is JSON over HTTP, which the bench sends anyway.

use std::io::{BufRead, Read, Write};
use std::ops::Deref;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::registry::connect;
use super::{DEADLINE, Running, clean};

/// Nothing that could leave the machine, and nothing of another run.
const OPTIONS: [&str; 11] = [
    "--headless",
    "--no-sandbox", // the tests also run as root, and in containers
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-backgrounding-occluded-windows",
    "--window-size=1280,900",
];

/// A browser on a busy machine is slow: axe takes seconds even on an idle one.
const PATIENCE: Duration = DEADLINE.saturating_mul(3);
/// Between two looks at the page: each takes a script there.
const LOOK: Duration = Duration::from_millis(50);

/// The one browser. It starts slowly, and two at a time would slow each other down.
static SHARED: Mutex<Option<Browser>> = Mutex::new(None);
/// The tests that have it or wait for it. The last of them ends it.
static TESTS: AtomicUsize = AtomicUsize::new(0);

/// The browser, for one test.
pub struct Lease(MutexGuard<'static, Option<Browser>>);

pub struct Browser {
    _driver: Running,
    driver: String,
    session: String,
    _profile: tempfile::TempDir,
}

impl Browser {
    /// Waits until no other test has it. None, said on stderr, where there is no Chromium: it is large, and not everybody
    /// who changes the project needs it.
    pub fn lease() -> Option<Lease> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let has = |program: &str| std::env::split_paths(&path).any(|folder| folder.join(program).is_file());
        if !has("chromedriver") || !has("chromium") {
            let cure = "install chromium and chromium-driver, as .ci/run does";
            let _ = writeln!(std::io::stderr(), "left out, it needs a browser: {cure}");
            return None;
        }
        TESTS.fetch_add(1, Ordering::SeqCst);
        let mut lease = Lease(SHARED.lock().unwrap_or_else(PoisonError::into_inner));
        lease.0.get_or_insert_with(Self::start).reset();
        Some(lease)
    }

    fn start() -> Self {
        let profile = tempfile::tempdir().unwrap();
        let mut command = clean("chromedriver");
        command.arg("--port=0").env("HOME", profile.path()).env("TMPDIR", profile.path());
        let mut process = Running::start(&mut command);
        let line = process.line("started successfully on port ");
        let port = line.rsplit(' ').next().unwrap().trim_end_matches('.').to_owned();
        let mut arguments: Vec<String> = OPTIONS.map(str::to_owned).to_vec();
        arguments.push(format!("--user-data-dir={}", profile.path().join("profile").display()));
        let logging = json!({"browser": "ALL"});
        let timeouts = json!({"script": PATIENCE.as_millis()});
        let options = json!({ "args": arguments });
        let wanted = json!({"goog:chromeOptions": options, "goog:loggingPrefs": logging, "timeouts": timeouts});
        let driver = format!("127.0.0.1:{port}");
        let asked = json!({"capabilities": {"alwaysMatch": wanted}}).to_string();
        let (status, answer) = exchange(&driver, "POST", "/session", &asked).unwrap();
        assert_eq!(status, 200, "{answer}");
        let session = answer["value"]["sessionId"].as_str().unwrap().to_owned();
        Self { _driver: process, driver, session, _profile: profile }
    }

    /// Leaves nothing of the test before.
    fn reset(&self) {
        self.open("about:blank");
        self.tell("Emulation.clearDeviceMetricsOverride", &json!({}));
        self.prefer("");
        self.complaints();
    }

    fn try_to(&self, method: &str, path: &str, body: &Value) -> Result<Value, String> {
        let text = if body.is_null() { String::new() } else { body.to_string() };
        let (status, mut answer) =
            exchange(&self.driver, method, &format!("/session/{}{path}", self.session), &text).unwrap();
        match status {
            200 => Ok(answer["value"].take()),
            _ => Err(format!("{method} {path} {text:.300}: {answer:#}")),
        }
    }

    fn ask(&self, method: &str, path: &str, body: &Value) -> Value {
        self.try_to(method, path, body).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Does this once the page is ready for it: it may be about to replace an element.
    fn patiently(&self, act: impl Fn() -> Result<Value, String>) {
        let start = Instant::now();
        while let Err(error) = act() {
            assert!(start.elapsed() < DEADLINE, "{error}");
            thread::sleep(LOOK); // the pause between two looks, not a synchronisation
        }
    }

    /// Sends a command of Chromium's own protocol.
    pub fn tell(&self, command: &str, parameters: &Value) -> Value {
        self.ask("POST", "/goog/cdp/execute", &json!({"cmd": command, "params": parameters}))
    }

    pub fn open(&self, url: &str) {
        self.ask("POST", "/url", &json!({ "url": url }));
    }

    /// Runs a script in the page; returns what it returns.
    pub fn run(&self, script: &str) -> Value {
        self.ask("POST", "/execute/sync", &json!({"script": script, "args": []}))
    }

    /// The same for a script that calls its last argument with the result.
    pub fn run_to_the_end(&self, script: &str) -> Value {
        self.ask("POST", "/execute/async", &json!({"script": script, "args": []}))
    }

    /// Waits until an expression of the page is true.
    pub fn wait(&self, expression: &str) {
        let script = json!({"script": format!("return Boolean({expression}) || document.body.innerText"), "args": []});
        // An element that it names may not be there yet, which is an error of the script.
        self.patiently(|| match self.try_to("POST", "/execute/sync", &script)? {
            Value::Bool(true) => Ok(Value::Null),
            page => Err(format!("waited in vain for {expression}; the page shows {page}")),
        });
    }

    /// Waits until the first element that the selector finds has this text in it.
    pub fn wait_for_text(&self, selector: &str, part: &str) {
        self.wait(&format!("document.querySelector({})?.innerText.includes({})", json!(selector), json!(part)));
    }

    /// The text of the first element that the selector finds; empty if there is none.
    pub fn text(&self, selector: &str) -> String {
        let text = self.run(&format!("return document.querySelector({})?.innerText ?? ''", json!(selector)));
        text.as_str().unwrap().to_owned()
    }

    fn element(&self, selector: &str) -> Result<String, String> {
        let found = self.try_to("POST", "/element", &json!({"using": "css selector", "value": selector}))?;
        Ok(found.as_object().unwrap().values().next().unwrap().as_str().unwrap().to_owned())
    }

    pub fn click(&self, selector: &str) {
        self.patiently(|| self.try_to("POST", &format!("/element/{}/click", self.element(selector)?), &json!({})));
    }

    pub fn write(&self, selector: &str, text: &str) {
        self.patiently(|| {
            let element = self.element(selector)?;
            self.try_to("POST", &format!("/element/{element}/clear"), &json!({}))?;
            self.try_to("POST", &format!("/element/{element}/value"), &json!({ "text": text }))
        });
    }

    /// Presses keys one after the other, as WebDriver names them.
    pub fn press(&self, keys: &[char]) {
        let actions = keys.iter().flat_map(|key| ["keyDown", "keyUp"].map(|kind| json!({"type": kind, "value": key})));
        let actions: Vec<Value> = actions.collect();
        self.ask("POST", "/actions", &json!({"actions": [{"type": "key", "id": "keys", "actions": actions}]}));
    }

    /// The role and the name that a screen reader is told.
    pub fn role_and_name(&self, selector: &str) -> (String, String) {
        let element = self.element(selector).unwrap();
        let ask = |what| self.ask("GET", &format!("/element/{element}/computed{what}"), &Value::Null);
        (ask("role").as_str().unwrap().to_owned(), ask("label").as_str().unwrap().to_owned())
    }

    /// A window of this size, as of a phone.
    pub fn resize(&self, width: u32, height: u32) {
        let size = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600});
        self.tell("Emulation.setDeviceMetricsOverride", &size);
    }

    /// The scheme that the system prefers: `light` or `dark`.
    pub fn prefer(&self, scheme: &str) {
        let feature = json!({"name": "prefers-color-scheme", "value": scheme});
        self.tell("Emulation.setEmulatedMedia", &json!({ "features": [feature] }));
    }

    /// What the console has, without what is meant to be refused.
    pub fn complaints(&self) -> Vec<String> {
        let log = self.ask("POST", "/se/log", &json!({"type": "browser"}));
        let lines = log.as_array().unwrap().iter().map(|line| line["message"].as_str().unwrap().to_owned());
        let is_meant = |line: &String| ["/views/cluster", " 401 ", " 400 "].iter().any(|part| line.contains(part));
        lines.filter(|line| !is_meant(line)).collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Its processes are not in the driver's group.
        let _ = exchange(&self.driver, "DELETE", &format!("/session/{}", self.session), "");
    }
}

impl Deref for Lease {
    type Target = Browser;

    fn deref(&self) -> &Browser {
        self.0.as_ref().unwrap()
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let is_last = TESTS.fetch_sub(1, Ordering::SeqCst) == 1;
        if is_last || thread::panicking() {
            *self.0 = None;
        }
    }
}

/// One request to the driver, which closes no connection, and puts no blank before the values of its headers.
fn exchange(driver: &str, method: &str, path: &str, body: &str) -> std::io::Result<(u16, Value)> {
    let mut connection = connect(driver.parse().unwrap());
    connection.get_ref().set_read_timeout(Some(PATIENCE))?;
    let length = body.len();
    write!(
        connection.get_mut(),
        "{method} {path} HTTP/1.1\r\nHost: {driver}\r\nContent-Length: {length}\r\n\r\n{body}"
    )?;
    let (mut head, mut line) = (Vec::new(), String::new());
    while connection.read_line(&mut line)? > 2 {
        head.push(line.trim_end().to_ascii_lowercase());
        line.clear();
    }
    let status = head[0].split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    let length = head.iter().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
    let mut answer = vec![0; length.unwrap_or(0)];
    connection.read_exact(&mut answer)?;
    Ok((status, serde_json::from_slice(&answer).unwrap_or(Value::Null)))
}

/// The script of axe-core, if `.ci/run` or somebody else has installed it; says so otherwise.
pub fn axe() -> Option<String> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/axe/node_modules/axe-core/axe.min.js");
    let script = std::fs::read_to_string(file).ok();
    if script.is_none() {
        let cure = "npm install --no-save --prefix target/axe axe-core@4";
        let _ = writeln!(std::io::stderr(), "left out, it needs axe-core: run `{cure}`, as .ci/run does");
    }
    script
}
