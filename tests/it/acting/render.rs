//! `service-registry render`.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use nix::sys::signal::Signal;
use serde_json::json;

use crate::bench::fleet::{Fleet, command, run};
use crate::bench::users::with_users;
use crate::bench::{Registry, Running, USERS, clean, eventually, is_root_for};

const IDS: &str = "{% for service in services %}\n{{ service.id }}\n{% endfor %}\n";

/// A folder with a template, and the file that it becomes.
struct Folder {
    folder: tempfile::TempDir,
    /// `TEMPLATE:FILE`
    names: String,
}

impl Folder {
    fn new(template: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("list.j2"), template).unwrap();
        let names = format!("{0}/list.j2:{0}/list", folder.path().display());
        Self { folder, names }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn text(&self) -> String {
        fs::read_to_string(self.path("list")).unwrap_or_default()
    }

    fn becomes(&self, text: &str) {
        eventually(text, || (self.text() == text).then_some(()));
    }

    fn render(&self, url: &str, options: &[&str]) -> Running {
        let mut command = command(url, &["render", &self.names]);
        Running::start(command.args(options).env("FOLDER", self.folder.path()))
    }
}

fn count(running: &mut Running, part: &str) -> usize {
    running.said().lines().filter(|line| line.contains(part)).count()
}

#[test]
fn file_follows_the_list_and_its_program_is_told_once_for_each_text() {
    let (registry, folder) = (Registry::start(), Folder::new(IDS));
    let mut fleet = Fleet::of(&registry);
    fleet.add("api-1", &["api"], json!({}));
    let mut render = folder.render(&registry.url, &["--tag=api", "--exec=echo told", "--quiet-time=0"]);
    render.line("told");
    assert_eq!(folder.text(), "api-1\n");
    let inode = fs::metadata(folder.path("list")).unwrap().ino();
    let mut witness = Running::start(&mut command(&registry.url, &["watch", "--tag=api", "--quiet-time=0"]));
    witness.line("api-1");
    fleet.change("api-1", json!({"port": "80"})); // not in the text
    witness.line("\"port\"");
    fleet.add("web-0", &["web"], json!({})); // not in the list
    assert_eq!(fs::metadata(folder.path("list")).unwrap().ino(), inode, "written again");
    fleet.add("api-0", &["api"], json!({}));
    folder.becomes("api-0\napi-1\n");
    render.line("told");
    render.signal(Signal::SIGTERM);
    assert_eq!(render.end().code(), Some(0));
    render.said_to_the_end();
    assert_eq!((count(&mut render, "told"), count(&mut render, "is written")), (2, 2), "{}", render.said());
    // The file has its text already.
    let mut again =
        folder.render(&registry.url, &["--tag=api", "--exec=echo told", "--once", "--check=echo {}; false"]);
    assert_eq!((again.end().code(), again.said_to_the_end().as_str()), (Some(0), ""));
}

#[test]
fn absent_registry_changes_no_file() {
    let (mut registry, folder) = (Registry::start(), Folder::new(IDS));
    let address = registry.url.strip_prefix("http://").unwrap().to_owned();
    Fleet::of(&registry).add("api-0", &["api"], json!({}));
    let mut render = folder.render(&registry.url, &["--quiet-time=0", "--hold=3s"]);
    folder.becomes("api-0\n");
    registry.process.signal(Signal::SIGKILL);
    registry.process.end();
    render.line("the registry does not answer; its last list counts until it does");
    assert_eq!(folder.text(), "api-0\n");
    // It has lost its data.
    let registry = Registry::start_at(&address, &[]);
    render.line("missing after the outage: 1 services");
    let mut fleet = Fleet::of(&registry);
    fleet.add("api-1", &["api"], json!({}));
    folder.becomes("api-0\napi-1\n");
    render.line("not back after the outage: 1 services");
    folder.becomes("api-1\n");
    fleet.remove("api-1");
    render.line("the list is empty");
    fleet.add("api-2", &["api"], json!({})); // so the empty list has been dealt with
    render.line("is written");
    assert_eq!(folder.text(), "api-2\n");
    assert_eq!(count(&mut render, "is written"), 4, "{}", render.said());
}

#[test]
fn empty_list_is_written_if_allowed_or_if_there_is_no_file() {
    let (registry, folder) = (Registry::start(), Folder::new("none\n"));
    let once = |options: &[&str]| {
        let mut render = folder.render(&registry.url, &[&["--once"], options].concat());
        assert_eq!(render.end().code(), Some(0));
        (folder.text(), render.said_to_the_end().contains("stays as it is"))
    };
    assert_eq!(once(&[]), ("none\n".to_owned(), false));
    fs::write(folder.path("list"), "some\n").unwrap();
    assert_eq!(once(&[]), ("some\n".to_owned(), true));
    assert_eq!(once(&["--allow-empty"]), ("none\n".to_owned(), false));
}

#[test]
fn failed_check_leaves_the_file_and_is_repeated() {
    let (registry, folder) = (Registry::start(), Folder::new(IDS));
    let mut fleet = Fleet::of(&registry);
    fleet.add("api-0", &["api"], json!({}));
    let check = "grep -q api-1 {} && exit; echo looked at; cat {}; exit 3";
    fs::write(folder.path("list"), "old\n").unwrap();
    let mut render = folder.render(&registry.url, &["--quiet-time=0", "--exec=echo told", "--check", check]);
    render.line("--check: looked at");
    render.line("--check: api-0");
    render.line("list stays as it is: the command of --check has failed with status 3; it is run again in 1.0 s");
    assert_eq!((folder.text().as_str(), folder.path(".list.new").exists()), ("old\n", false));
    fleet.add("api-1", &["api"], json!({}));
    render.all(&["told", "all files are up to date again"]);
    assert_eq!(folder.text(), "api-0\napi-1\n");
}

/// A reader that reads all the time.
#[test]
fn reader_never_sees_a_part_of_a_file() {
    let line = "x".repeat(100);
    let template = format!("{{% for n in range(20000) %}}\n{line}\n{{% endfor %}}\nend {{{{ services | length }}}}\n");
    let (registry, folder) = (Registry::start(), Folder::new(&template));
    let mut fleet = Fleet::of(&registry);
    let _render = folder.render(&registry.url, &["--quiet-time=0"]);
    eventually("the file", || folder.text().ends_with("end 0\n").then_some(()));
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let reader = scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                let text = folder.text();
                let end = text.len().saturating_sub(20);
                assert!(text.len() > 2_000_000 && text[end..].contains("\nend "), "{} bytes", text.len());
            }
        });
        for number in 1..=10 {
            fleet.add(&format!("api-{number}"), &[], json!({}));
            eventually("the next text", || folder.text().ends_with(&format!("end {number}\n")).then_some(()));
        }
        is_over.store(true, Ordering::Relaxed);
        reader.join().unwrap();
    });
}

#[test]
fn failed_exec_is_repeated_also_if_no_file_changes() {
    let (registry, folder) = (Registry::start(), Folder::new(IDS));
    Fleet::of(&registry).add("api-0", &[], json!({}));
    let mut render = folder.render(&registry.url, &["--exec", "[ -e \"$FOLDER/gate\" ] || exit 4; echo told"]);
    render.line("the command of --exec has failed with status 4; it is run again in 1.0 s");
    assert_eq!(folder.text(), "api-0\n");
    fs::write(folder.path("gate"), "").unwrap();
    render.all(&["told", "all files are up to date again"]);
    assert_eq!(count(&mut render, "is written"), 1);
}

#[test]
fn signal_goes_to_the_process_of_the_file() {
    let (registry, folder) = (Registry::start(), Folder::new(IDS));
    Fleet::of(&registry).add("api-0", &[], json!({}));
    let pid_file = folder.path("pid");
    let mut render = folder.render(&registry.url, &[&format!("--signal=HUP:{}", pid_file.display())]);
    render.line("--signal: HUP:");
    let mut script = clean("sh");
    script.args([
        "-c",
        "trap 'echo told; exit' HUP; echo $$ >\"$0.new\"; mv \"$0.new\" \"$0\"; while :; do sleep 0.05; done",
    ]);
    let mut program = Running::start(script.arg(&pid_file));
    program.line("told");
    render.line("all files are up to date again");
}

#[test]
fn files_of_one_list_are_replaced_together() {
    let (registry, folder) = (Registry::start(), Folder::new(IDS));
    let mut fleet = Fleet::of(&registry);
    fs::write(folder.path("other.j2"), "{{ services[0].metadata.zone }}\n").unwrap();
    let other = format!("{0}/other.j2:{0}/other", folder.folder.path().display());
    fleet.add("api-0", &[], json!({"zone": "a"}));
    let mut render = folder.render(&registry.url, &[&other, "--quiet-time=0", "--exec=echo told"]);
    render.line("told");
    fleet.change("api-0", json!({"rack": "1"}));
    render.line("other.j2:1: undefined value: `services[0].metadata.zone` is undefined; write `NAME | default(");
    fleet.add("api-1", &[], json!({}));
    render.line("other.j2:1: undefined value");
    assert_eq!(folder.text(), "api-0\n", "one of two files");
    fleet.change("api-0", json!({"zone": "b"}));
    render.all(&["told", "all files are up to date again"]);
    assert_eq!(
        (folder.text(), fs::read_to_string(folder.path("other")).unwrap()),
        ("api-0\napi-1\n".into(), "b\n".into())
    );
    assert_eq!((count(&mut render, "told"), count(&mut render, "is written")), (2, 4), "{}", render.said());
}

#[test]
fn command_that_does_not_end_is_killed() {
    let (registry, folder) = (Registry::start(), Folder::new(IDS));
    Fleet::of(&registry).add("api-0", &[], json!({}));
    let exec = "--exec=sh -c 'trap \"\" TERM; echo up; while :; do sleep 0.05; done'; true";
    let mut render = folder.render(&registry.url, &[exec, "--command-timeout=1"]);
    render.line("the command of --exec was killed: it had not ended after 1 s; it is run again");
    drop(render);
    let mut render = folder.render(&registry.url, &["--exec=echo up; exec sleep 1000"]);
    Fleet::of(&registry).add("api-1", &[], json!({}));
    render.line("up");
    render.signal(Signal::SIGTERM);
    assert_eq!(render.end().code(), Some(0));
}

#[test]
fn owner_of_the_file_is_kept() {
    if !is_root_for("a file of another user") {
        return;
    }
    let (registry, folder) = (Registry::start(), Folder::new(IDS));
    Fleet::of(&registry).add("api-0", &[], json!({}));
    fs::write(folder.path("list"), "old\n").unwrap();
    chown(folder.path("list"), Some(65534), Some(65533)).unwrap();
    assert_eq!(folder.render(&registry.url, &["--once"]).end().code(), Some(0));
    let about = fs::metadata(folder.path("list")).unwrap();
    assert_eq!((folder.text().as_str(), about.uid(), about.gid()), ("api-0\n", 65534, 65533));
}

#[test]
fn once_writes_to_stdout_and_tells_failures_by_its_status() {
    let (registry, folder) = (Registry::start(), Folder::new(IDS));
    Fleet::of(&registry).add("api-0", &["api"], json!({}));
    let template = folder.path("list.j2").display().to_string();
    let once = |arguments: &[&str]| run(&registry.url, &[&["render", "--once"], arguments].concat());
    assert_eq!(once(&[&template]), (Some(0), "api-0\n".to_owned(), String::new()));
    assert_eq!(once(&[&template, "--tag=db"]), (Some(0), String::new(), String::new()));
    let (code, stdout, said) = once(&[&folder.names, "--exec=echo $0; exit 7"]);
    assert!((code, stdout.as_str()) == (Some(1), "") && said.contains("--exec has failed with status 7"), "{said}");
    fs::write(folder.path("list.j2"), "{{ services[0].metadata.zone }}\n").unwrap();
    let (code, stdout, said) = once(&[&template]);
    assert!((code, stdout.as_str()) == (Some(1), "") && said.contains("list.j2:1: undefined value"), "{said}");
}

#[test]
fn mistakes_and_refusals_end_it() {
    let (registry, folder) = (Registry::start(), Folder::new(IDS));
    let (of_users, _file) = with_users(USERS);
    let template = folder.path("list.j2").display().to_string();
    fs::write(folder.path("wrong.j2"), "\n{% if services %}{{ hosts }}{% endif %}").unwrap();
    let wrong = folder.path("wrong.j2").display().to_string();
    for (url, arguments, code, part) in [
        (&registry.url, &["render"][..], 2, "TEMPLATE"),
        (&registry.url, &["render", &template], 2, "--once"),
        (&registry.url, &["render", &template, "--once", "--exec=true"], 2, "TEMPLATE:FILE"),
        (&registry.url, &["render", "no-such.j2:x"], 2, "no-such.j2"),
        (&registry.url, &["render", &wrong, "--once"], 2, "wrong.j2:2: there is no hosts; a template has services"),
        (&registry.url, &["render", &folder.names, "--check=nginx -t"], 2, "{}"),
        (&registry.url, &["render", &folder.names, "--signal=HUPP:x"], 2, "no signal"),
        (&registry.url, &["render", &folder.names, "--signal=HUP:x", "--exec=true"], 2, "cannot be used"),
        (&of_users.url, &["render", &folder.names], 3, "refused with 401"),
    ] {
        let (ended, _, said) = run(url, arguments);
        assert!(ended == Some(code) && said.contains(part), "{arguments:?}: {ended:?} {said}");
    }
}
