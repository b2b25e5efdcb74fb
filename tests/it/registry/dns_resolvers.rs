//! DNS through the resolvers that programs use: the C library's, alone and with unbound and dnsmasq in front. In
//! namespaces of their own, where port 53 and /etc/resolv.conf are free.

use crate::bench::{Running, child, clean, is_root_for, need};

/// Runs the script, and returns what it printed for each of its questions.
fn run() -> Option<Vec<(String, String)>> {
    if !is_root_for("DNS through the C library's resolver") {
        return None;
    }
    for program in ["unshare", "ip", "curl", "getent", "dig", "python3", "unbound", "dnsmasq"] {
        need(program);
    }
    let folder = tempfile::tempdir().unwrap();
    let mut command = clean("unshare");
    command.args(["--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", "sh"]);
    command.arg(child("dns_resolvers.sh")).arg(env!("CARGO_BIN_EXE_service-registry")).arg(folder.path());
    let mut script = Running::start(&mut command);
    let code = script.end().code();
    let said = script.said_to_the_end();
    assert_eq!(code, Some(0), "{said}");
    let lines = said.lines().filter_map(|line| line.split_once(": "));
    Some(lines.map(|(question, answer)| (question.to_owned(), answer.to_owned())).collect())
}

#[test]
fn programs_find_services_by_the_usual_resolvers() {
    let Some(found) = run() else { return };
    let answer = |question: &str| {
        let found = found.iter().find(|(known, _)| known == question);
        found.unwrap_or_else(|| panic!("no {question}")).1.as_str()
    };
    for resolver in ["libc", "unbound", "dnsmasq"] {
        let of = |question: &str| answer(&format!("{resolver} {question}"));
        assert_eq!(of("web.tag"), "10.0.0.1 10.0.0.2 2001:db8::2");
        assert_eq!(of("Web-1.id"), "10.0.0.1");
        assert_eq!(of("many.tag"), "200 addresses", "by TCP, since they do not fit into a datagram");
        assert_eq!(of("alias.tag"), "10.0.0.1", "the canonical name is in the zone, too");
        assert_eq!(of("no.tag"), "", "not found");
        assert_eq!(of("new.tag"), "10.0.0.7", "registered after it was found missing");
        assert_eq!(of("removed.tag"), "", "deregistered after it was found");
    }
    assert_eq!(answer("other address"), "10.0.0.1", "answered from the address that was asked");
    // Beyond loopback: 1,000 whole answers in a second for a network, then short ones.
    let counts: Vec<u32> = answer("flood").split(' ').map(|count| count.parse().unwrap()).collect();
    let [whole, cut, longer] = counts[..] else { panic!("{counts:?}") };
    // The second may change once or twice meanwhile.
    assert!((1_000..=4_000).contains(&whole) && cut > 0 && longer == 0, "{counts:?}");
}
