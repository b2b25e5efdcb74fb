//! Under systemd: the test acts as the manager, through its protocols.

use std::fs;
use std::io::IoSliceMut;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::Path;
use std::process::Command;

use nix::cmsg_space;
use nix::sys::signal::Signal;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, UnixAddr, UnixCredentials, recvmsg, setsockopt, sockopt};

use crate::bench::steps::scripted_registry;
use crate::bench::wrapper::limited;
use crate::bench::{DEADLINE, Registry, Running, clean, eventually, free_address, need, wrapper};

/// The manager's end of NOTIFY_SOCKET.
struct Manager {
    socket: UnixDatagram,
    path: std::path::PathBuf,
}

impl Manager {
    fn start(folder: &Path) -> Self {
        let path = folder.join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        setsockopt(&socket, sockopt::PassCred, &true).unwrap();
        Self { socket, path }
    }

    /// The next message, its sender, and its descriptors.
    fn hear(&self) -> (String, i32, Vec<OwnedFd>) {
        let mut text = [0; 4096];
        let mut space = cmsg_space!(UnixCredentials, [i32; 253]);
        let mut parts = [IoSliceMut::new(&mut text)];
        let flags = MsgFlags::MSG_CMSG_CLOEXEC; // children of other tests are not to have them
        let message = recvmsg::<UnixAddr>(self.socket.as_raw_fd(), &mut parts, Some(&mut space), flags).unwrap();
        let mut sender = 0;
        let mut descriptors = Vec::new();
        for control in message.cmsgs().unwrap() {
            match control {
                ControlMessageOwned::ScmCredentials(credentials) => sender = credentials.pid(),
                ControlMessageOwned::ScmRights(numbers) => {
                    #[expect(unsafe_code, reason = "descriptors arrive as numbers")]
                    // SAFETY: the kernel has just opened them for this process.
                    descriptors.extend(numbers.into_iter().map(|number| unsafe { OwnedFd::from_raw_fd(number) }));
                }
                _ => {}
            }
        }
        let length = message.bytes;
        (String::from_utf8(text[..length].to_vec()).unwrap(), sender, descriptors)
    }
}

fn wrapped(manager: &Manager) -> Command {
    let mut command = wrapper("http://127.0.0.1:1");
    command.args(["-q", "--id=web0"]).env("NOTIFY_SOCKET", &manager.path);
    command
}

/// A program that is connected to NOTIFY_SOCKET, as `s`, and does this.
fn speaker(what: &str) -> String {
    need("python3");
    format!(
        "
import os, socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
name = os.environ['NOTIFY_SOCKET']
s.connect('\\0' + name[1:] if name[0] == '@' else name)
{what}
"
    )
}

#[test]
fn notifications_of_the_child_come_from_the_main_process() {
    need("python3");
    let scratch = tempfile::tempdir().unwrap();
    let manager = Manager::start(scratch.path());
    let script = "
import os, socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
name = os.environ['NOTIFY_SOCKET']
s.connect('\\0' + name[1:] if name[0] == '@' else name)
for text in sys.argv[1:]:
    s.send(text.replace('OWN', str(os.getpid())).encode())
";
    let messages = ["READY=1\nMAINPID=OWN\nSTATUS=up", "RELOADING=1\nMONOTONIC_USEC=7", "WATCHDOG=1", "STOPPING=1"];
    let mut running = Running::start(wrapped(&manager).args(["python3", "-c", script]).args(messages));
    for expected in ["READY=1\nSTATUS=up", "RELOADING=1\nMONOTONIC_USEC=7", "WATCHDOG=1", "STOPPING=1"] {
        let (text, sender, _) = manager.hear();
        assert_eq!((text.as_str(), sender), (expected, running.pid.as_raw()));
    }
    assert_eq!(running.end().code(), Some(0));
}

#[test]
fn notifications_before_the_childs_exit_arrive() {
    let scratch = tempfile::tempdir().unwrap();
    let manager = Manager::start(scratch.path());
    // More than waits in one socket, with as many descriptors as one message takes.
    let script = speaker(
        "
socket.send_fds(s, [b'FDSTORE=1'], [0] * 253)
for number in range(16):
    s.send(b'STATUS=%d' % number)
print('gone', flush=True)
",
    );
    let mut running = Running::start(wrapped(&manager).args(["python3", "-c", &script]));
    running.line("gone");
    let (text, _, descriptors) = manager.hear();
    assert_eq!((text.as_str(), descriptors.len()), ("FDSTORE=1", 253));
    for number in 0..16 {
        assert_eq!(manager.hear().0, format!("STATUS={number}"));
    }
    assert_eq!(running.end().code(), Some(0));
}

#[test]
fn lost_descriptors_harm_no_later_notification() {
    need("prlimit");
    let scratch = tempfile::tempdir().unwrap();
    let manager = Manager::start(scratch.path());
    let script = speaker(
        "
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096)) # its own sending is not in question
for _ in range(3):
    socket.send_fds(s, [b'STATUS=stored'], [0] * 20)
s.send(b'WATCHDOG=1')
",
    );
    let mut command = clean("prlimit");
    command.arg("--nofile=24:4096").arg(env!("CARGO_BIN_EXE_service-registry-wrapper"));
    command.args(["--id=web0", "--registry-url=http://127.0.0.1:1", "python3", "-c", &script]);
    let mut running = Running::start(command.env("NOTIFY_SOCKET", &manager.path));
    for _ in 0..3 {
        assert_eq!(manager.hear().0, "STATUS=stored");
    }
    assert_eq!(manager.hear().0, "WATCHDOG=1");
    running.line("has lost descriptors");
    assert_eq!(running.end().code(), Some(0));
}

/// The kernel counts the descriptors that a user has sent and nobody has received yet, except for root.
#[test]
fn notification_that_may_not_take_its_descriptors_along_goes_without_them() {
    need("prlimit");
    let scratch = tempfile::tempdir().unwrap();
    let manager = Manager::start(scratch.path());
    for path in [scratch.path(), &manager.path] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap(); // for the other user
    }
    let script = speaker(
        "
import os, resource, signal
resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))
os.kill(os.getppid(), signal.SIGSTOP)
for _ in range(4):
    socket.send_fds(s, [b'STATUS=stored'], [0] * 20)
os.kill(os.getppid(), signal.SIGCONT)
",
    );
    let mut command = limited("prlimit");
    command.arg("--nofile=40:4096").arg(env!("CARGO_BIN_EXE_service-registry-wrapper"));
    command.args(["--id=web0", "--registry-url=http://127.0.0.1:1", "python3", "-c", &script]);
    let mut running = Running::start(command.env("NOTIFY_SOCKET", &manager.path));
    for _ in 0..4 {
        assert_eq!(manager.hear().0, "STATUS=stored");
    }
    running.line("goes to systemd without its descriptors");
    assert_eq!(running.end().code(), Some(0));
}

#[test]
fn systemd_notify_succeeds_with_its_barrier() {
    need("systemd-notify");
    let scratch = tempfile::tempdir().unwrap();
    let manager = Manager::start(scratch.path());
    let mut running = Running::start(wrapped(&manager).args(["systemd-notify", "--ready", "--status=up and running"]));
    let (text, sender, _) = manager.hear();
    assert!(text.contains("READY=1") && text.contains("STATUS=up and running"), "{text}");
    assert!(!text.contains("MAINPID"), "{text}");
    assert_eq!(sender, running.pid.as_raw());
    let (text, _, barrier) = manager.hear();
    assert_eq!((text.as_str(), barrier.len()), ("BARRIER=1", 1));
    assert!(!running.has_ended(), "it waits for the barrier");
    drop(barrier);
    assert_eq!(running.end().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn notify_when_reports_readiness_for_the_child() {
    let scratch = tempfile::tempdir().unwrap();
    let manager = Manager::start(scratch.path());
    let mut spawned = Running::start(wrapped(&manager).args(["--notify-when=spawned", "sleep", "1000"]));
    let (text, sender, _) = manager.hear();
    assert_eq!((text.as_str(), sender), ("READY=1", spawned.pid.as_raw()));
    assert!(!spawned.has_ended());

    let registry = scripted_registry(|_, _| None).await;
    let mut command = wrapper(&registry.url);
    command.env("NOTIFY_SOCKET", &manager.path).args(["--id=web0", "--notify-when=registered", "sleep", "1000"]);
    let _registered = Running::start(&mut command);
    assert_eq!(manager.hear().0, "READY=1");
    assert!(registry.lines().contains(&"POST /v1.0/services".to_owned()));

    // A registry that comes late may have all the time it takes: the child runs already.
    let address = free_address();
    let mut command = wrapper(&format!("http://{address}"));
    command.env("NOTIFY_SOCKET", &manager.path).args(["--id=web0", "--interval=3", "--notify-when=registered"]);
    let _waiting = Running::start(command.args(["sleep", "1000"]));
    assert_eq!(manager.hear().0, "EXTEND_TIMEOUT_USEC=31536000000000");
    let _registry = Registry::start_at(&address, &[]);
    assert_eq!(manager.hear().0, "READY=1");
}

/// Where stderr leads to the journal, as systemd says it does.
#[test]
fn journal_gets_the_priority_of_lines() {
    let stderr = "$(stat -Lc %d:%i /proc/self/fd/2)";
    for (stream, prefix) in [(stderr, "<4>"), ("1:1", ""), ("", "")] {
        let script = format!("JOURNAL_STREAM={stream} exec \"$@\"");
        let mut command = clean("bash");
        command.args(["-c", &script, "bash", env!("CARGO_BIN_EXE_service-registry-wrapper"), "--id=web0"]);
        let mut running = Running::start(command.args(["--registry-url=http://127.0.0.1:1", "sleep", "1000"]));
        let line = running.line("web0 is not registered");
        assert!(line.starts_with(&format!("{prefix}service-registry-wrapper: warning: web0")), "{line}");
        running.signal(Signal::SIGTERM);
        running.end();
    }
    let mut command = clean("bash");
    let script = format!("JOURNAL_STREAM={stderr} exec \"$@\"");
    command.args([
        "-c",
        &script,
        "bash",
        env!("CARGO_BIN_EXE_service-registry-wrapper"),
        "--id=web0",
        "no-such-program",
    ]);
    Running::start(&mut command).line("<3>service-registry-wrapper: no-such-program: not found");
}

#[test]
fn sockets_from_systemd_reach_the_child_alone() {
    need("python3");
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    let script = "exec env LISTEN_FDS=1 LISTEN_FDNAMES=web WATCHDOG_PID=$$ WATCHDOG_USEC=1 LISTEN_PID=$$ LISTEN_PIDFDID=7 SYSTEMD_EXEC_PID=$$ \"$@\" 3<&0 0</dev/null";
    let program = "
import os, socket
pid = str(os.getpid())
print('right', os.environ['LISTEN_PID'] == pid, os.environ['WATCHDOG_PID'] == pid, os.environ['SYSTEMD_EXEC_PID'] == pid, os.environ['LISTEN_FDNAMES'], 'LISTEN_PIDFDID' in os.environ, flush=True)
connection, _ = socket.socket(fileno=3).accept()
connection.send(b'hello')
# The socket was closed with the object that held it.
connection.recv(1)
";
    let mut command = clean("sh");
    command.args(["-c", script, "sh", env!("CARGO_BIN_EXE_service-registry-wrapper"), "-q", "--id=web0"]);
    command.args(["--registry-url=http://127.0.0.1:1", "python3", "-c", program]);
    let mut running = Running::start_with_stdin(command.stdin(OwnedFd::from(listener)));
    drop(command); // it has a copy, too
    running.line("right True True True web False");
    let mut hello = [0; 5];
    let mut connection = std::os::unix::net::UnixStream::connect(&path).unwrap();
    std::io::Read::read_exact(&mut connection, &mut hello).unwrap();
    // The child has closed its copy. If the wrapper or the shell had one, this would wait in a queue instead.
    eventually("the listener to be closed everywhere", || {
        std::os::unix::net::UnixStream::connect(&path).is_err().then_some(())
    });
    std::io::Write::write_all(&mut connection, b"x").unwrap();
    assert_eq!(running.end().code(), Some(0));
}

#[test]
fn pipe_ends_when_the_child_closes_it() {
    let mut command = wrapper("http://127.0.0.1:1");
    command.args(["-qq", "--id=web0", "sh", "-c", "echo done; exec >&-; exec sleep 1000"]);
    let mut running = Running::start(&mut command);
    running.line("done");
    // Both outputs would have to be closed for the bench; so the open files are looked at.
    let own = |name: &str| std::fs::read_link(format!("/proc/{}/fd/{name}", running.pid)).unwrap();
    eventually("the wrapper to release stdout", || (own("1") == Path::new("/dev/null")).then_some(()));
    assert_eq!(own("0"), Path::new("/dev/null"));
    assert_ne!(own("2"), Path::new("/dev/null"));
}
