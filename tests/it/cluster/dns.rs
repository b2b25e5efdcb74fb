//! DNS in a cluster: each node answers for all accounts.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use nix::sys::signal::Signal;
use serde_json::json;

use crate::bench::cluster::{Cluster, Setting};
use crate::bench::dns::{Dug, address_in, dig, register};
use crate::bench::etcd::is_installed_for;
use crate::bench::history::World;
use crate::bench::{Client, DEADLINE, eventually};

/// So many that each node owns some.
const ACCOUNTS: usize = 6;

/// A cluster that answers DNS, with two services in each account.
fn start() -> (Cluster, Vec<SocketAddr>) {
    let options = vec!["--dns=127.0.0.1:0".to_owned()];
    let mut cluster = Cluster::start(&Setting { users: World::users(ACCOUNTS), options, ..Setting::default() });
    let said = |at| eventually("a node that answers DNS", || address_in(&cluster.said(at)));
    let dns: Vec<SocketAddr> = (0..3).map(said).collect();
    for account in 0..ACCOUNTS {
        let mut client = client(&cluster, account % 3, account);
        eventually("an owner", || (client.get("/services").status == 200).then_some(()));
        for number in 1..=2 {
            let metadata = json!({"address": format!("10.0.{account}.{number}"), "port": "80"});
            register(&mut client, &format!("web-{number}"), &["web"], metadata);
        }
    }
    (cluster, dns)
}

fn client(cluster: &Cluster, at: usize, account: usize) -> Client {
    Client::new(cluster.nodes[at].address).logged_in(&format!("user{account}"), "key")
}

fn assert_answers(dns: &[SocketAddr], question: [&str; 2], status: &str, expected: &[String]) {
    for at in dns {
        let dug = dig(*at, &question);
        let answers: Vec<&str> = Dug::sorted(&dug.answers);
        assert_eq!(
            (dug.status.as_str(), answers),
            (status, expected.iter().map(String::as_str).collect()),
            "{}",
            dug.text
        );
    }
}

/// Asks for the services of all accounts, and adds what was said. Returns whether all were found.
fn all_found(dns: &[SocketAddr], seen: &mut BTreeSet<String>) -> bool {
    let questions = (0..ACCOUNTS).flat_map(|account| dns.iter().map(move |at| (account, at)));
    let found = questions.map(|(account, at)| {
        let dug = dig(*at, &[&format!("web.tag.user{account}.registry"), "A"]);
        let is_found = dug.status == "NOERROR" && dug.answers.len() == 2;
        seen.insert(if is_found { "all".to_owned() } else { dug.status });
        is_found
    });
    found.filter(|found| !found).count() == 0
}

fn said(words: &[&str]) -> BTreeSet<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

#[test]
fn each_node_answers_dns_for_all_accounts() {
    if !is_installed_for("DNS of a cluster") {
        return;
    }
    let (cluster, dns) = start();
    for account in 0..ACCOUNTS {
        let zone = format!("user{account}.registry.");
        let record = |name: &str, data: &str| format!("{name}.{zone} 0 IN {data}");
        let address = |name: &str, number: usize| record(name, &format!("A 10.0.{account}.{number}"));
        let (tag, id) = (format!("web.tag.{zone}"), format!("web-2.id.{zone}"));
        assert_answers(&dns, [&tag, "A"], "NOERROR", &[address("web.tag", 1), address("web.tag", 2)]);
        assert_answers(&dns, [&id, "A"], "NOERROR", &[address("web-2.id", 2)]);
        let port = |number: usize| record("_web._tcp", &format!("SRV 0 1 80 web-{number}.id.{zone}"));
        assert_answers(&dns, [&format!("_web._tcp.{zone}"), "SRV"], "NOERROR", &[port(1), port(2)]);
        let text = record("web-1.id", &format!("TXT \"address=10.0.{account}.1\" \"port=80\""));
        assert_answers(&dns, [&format!("web-1.id.{zone}"), "TXT"], "NOERROR", &[text]);
        assert_answers(&dns, [&tag, "AAAA"], "NOERROR", &[]);
        assert_answers(&dns, [&format!("no.tag.{zone}"), "A"], "NXDOMAIN", &[]);
        // A change is seen everywhere as soon as it was acknowledged anywhere.
        let mut client = client(&cluster, (account + 1) % 3, account);
        assert_eq!(client.delete("/services/web-2").status, 204);
        assert_answers(&dns, [&tag, "A"], "NOERROR", &[address("web.tag", 1)]);
        assert_answers(&dns, [&id, "A"], "NXDOMAIN", &[]);
        assert_eq!(client.delete("/services/web-1").status, 204);
        assert_answers(&dns, [&tag, "A"], "NXDOMAIN", &[]);
    }
}

#[test]
fn accounts_without_an_owner_are_never_said_not_to_exist() {
    if !is_installed_for("DNS of a cluster whose nodes and members of etcd end") {
        return;
    }
    let (mut cluster, dns) = start();
    let mut seen = BTreeSet::new();
    assert!(all_found(&dns, &mut seen), "{seen:?}");

    cluster.signal_node(0, Signal::SIGKILL);
    assert!(cluster.reap_node(0, DEADLINE));
    eventually("answers of the others", || all_found(&dns[1..], &mut seen).then_some(()));
    assert!(seen.is_subset(&said(&["all", "SERVFAIL"])), "{seen:?}");

    let members = &mut cluster.etcd.as_mut().unwrap().members;
    members.iter_mut().for_each(|member| member.kill());
    eventually("no owner of any account", || {
        let mut last = BTreeSet::new();
        all_found(&dns[1..], &mut last);
        seen.extend(last.iter().cloned());
        (last == said(&["SERVFAIL"])).then_some(())
    });
    members.iter_mut().for_each(|member| member.start());
    eventually("owners", || all_found(&dns[1..], &mut seen).then_some(()));
    assert_eq!(seen, said(&["all", "SERVFAIL"]));
}
