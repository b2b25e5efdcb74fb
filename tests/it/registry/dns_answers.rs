//! DNS answers, as `dig` sees them.

use std::collections::HashSet;

use serde_json::json;

use crate::bench::dns::{DnsRegistry, Dug, register};
use crate::bench::scrape::{fetch, value};
use crate::bench::users::address;
use crate::bench::{Registry, Running, USERS, clean, eventually};

const SOA: &str = "ns.registry. hostmaster.registry.";

/// Two services with addresses, one with the name of a host, one with neither.
fn fleet() -> DnsRegistry {
    let server = DnsRegistry::start(&[]);
    let client = &mut server.client();
    let metadata = json!({"address": "10.0.0.1", "port": "8080", "zone": "a"});
    register(client, "web-1", &["web"], metadata);
    register(client, "web-2", &["web", "Big.Tag"], json!({"address": "10.0.0.2", "ip": "2001:db8::2", "port": "8081"}));
    register(client, "db.example.com", &["db"], json!({"host": "db.example.com", "port": "5432"}));
    register(client, "Job_7", &["jobs"], json!({"text": "a\"b; c"}));
    server
}

fn assert_missing(dug: &Dug, status: &str) {
    assert_eq!((dug.status.as_str(), &dug.answers[..]), (status, &[][..]), "{}", dug.text);
    assert!(dug.authorities.len() == 1 && dug.authorities[0].contains(SOA), "{}", dug.text);
    assert!(dug.has_flag("aa"), "{}", dug.text);
}

#[test]
fn addresses_are_answered_by_tag_and_by_id() {
    let server = fleet();
    for (query, expected) in [
        (
            &["web.tag.registry", "A"][..],
            &["web.tag.registry. 0 IN A 10.0.0.1", "web.tag.registry. 0 IN A 10.0.0.2"][..],
        ),
        (&["web.tag.registry", "AAAA"], &["web.tag.registry. 0 IN AAAA 2001:db8::2"]),
        (&["web-1.id.registry", "A"], &["web-1.id.registry. 0 IN A 10.0.0.1"]),
        (&["WEB-1.Id.Registry", "A"], &["WEB-1.Id.Registry. 0 IN A 10.0.0.1"]),
        (&["web.tag.1.registry", "AAAA"], &["web.tag.1.registry. 0 IN AAAA 2001:db8::2"]),
        (&["_x4269672e546167.tag.registry", "A"], &["_x4269672e546167.tag.registry. 0 IN A 10.0.0.2"]),
        (&["+tcp", "web-2.id.registry", "A"], &["web-2.id.registry. 0 IN A 10.0.0.2"]),
        (&["+noedns", "web-2.id.registry", "A"], &["web-2.id.registry. 0 IN A 10.0.0.2"]),
    ] {
        let dug = server.dig(query);
        assert_eq!((dug.status.as_str(), Dug::sorted(&dug.answers)), ("NOERROR", expected.to_vec()), "{}", dug.text);
        assert!(dug.has_flag("aa") && !dug.has_flag("ra") && !dug.has_flag("tc"), "{}", dug.text);
    }
}

#[test]
fn host_names_are_answered_as_canonical_names() {
    let server = fleet();
    for (name, of_type) in [("db.tag", "A"), ("db.tag", "AAAA"), ("db.example.com.id", "A"), ("db.tag", "CNAME")] {
        let dug = server.dig(&[&format!("{name}.registry"), of_type]);
        assert_eq!(dug.answers, [format!("{name}.registry. 0 IN CNAME db.example.com.")], "{}", dug.text);
    }
    // One in the zone is followed, also in a circle.
    for (id, host) in [("a-1", "b-1"), ("b-1", "web-2"), ("c-1", "d-1"), ("d-1", "c-1")] {
        register(&mut server.client(), id, &[], json!({"host": format!("{host}.id.registry")}));
    }
    let followed = ["a-1.id.registry. 0 IN CNAME b-1.id.registry.", "b-1.id.registry. 0 IN CNAME web-2.id.registry."];
    let dug = server.dig(&["a-1.id.registry"]);
    assert_eq!(dug.answers, [&followed[..], &["web-2.id.registry. 0 IN A 10.0.0.2"]].concat(), "{}", dug.text);
    assert_eq!(server.dig(&["c-1.id.registry"]).answers.len(), 5);
    // Beside addresses there can be no canonical name.
    register(&mut server.client(), "db-2", &["db"], json!({"address": "10.0.0.9"}));
    assert_eq!(server.dig(&["db.tag.registry"]).answers, ["db.tag.registry. 0 IN A 10.0.0.9"]);
}

#[test]
fn ports_are_answered_with_the_addresses_of_their_hosts() {
    let server = fleet();
    for name in ["web.tag", "_web._tcp", "_web._udp"] {
        let name = format!("{name}.registry.");
        let dug = server.dig(&[&name, "SRV"]);
        let ports =
            ["8080 web-1.id.registry.", "8081 web-2.id.registry."].map(|port| format!("{name} 0 IN SRV 0 1 {port}"));
        assert_eq!(Dug::sorted(&dug.answers), ports, "{}", dug.text);
        let addresses = [
            "web-1.id.registry. 0 IN A 10.0.0.1",
            "web-2.id.registry. 0 IN A 10.0.0.2",
            "web-2.id.registry. 0 IN AAAA 2001:db8::2",
        ];
        assert_eq!(Dug::sorted(&dug.additionals), addresses, "{}", dug.text);
    }
    let dug = server.dig(&["_db._tcp.registry", "SRV"]);
    assert_eq!(dug.answers, ["_db._tcp.registry. 0 IN SRV 0 1 5432 db.example.com."], "{}", dug.text);
    let dug = server.dig(&["web-1.id.1.registry", "SRV"]);
    assert_eq!(dug.answers, ["web-1.id.1.registry. 0 IN SRV 0 1 8080 web-1.id.1.registry."], "{}", dug.text);
    assert_missing(&server.dig(&["_web._tcp.registry", "A"]), "NOERROR");
    assert_missing(&server.dig(&["jobs.tag.registry", "SRV"]), "NOERROR");
    // The name of such an id is one that DNS can have.
    register(&mut server.client(), "Web_3", &["three"], json!({"ip": "10.0.0.3", "port": "80"}));
    let dug = server.dig(&["three.tag.registry", "SRV"]);
    assert_eq!(dug.answers, ["three.tag.registry. 0 IN SRV 0 1 80 _x5765625f33.id.registry."], "{}", dug.text);
    assert_eq!(server.dig(&["_x5765625f33.id.registry"]).answers, ["_x5765625f33.id.registry. 0 IN A 10.0.0.3"]);
}

#[test]
fn metadata_is_answered_as_text() {
    let server = fleet();
    let dug = server.dig(&["web-1.id.registry", "TXT"]);
    let expected = r#"web-1.id.registry. 0 IN TXT "address=10.0.0.1" "port=8080" "zone=a""#;
    assert_eq!(dug.answers, [expected], "{}", dug.text);
    let dug = server.dig(&["jobs.tag.registry", "TXT"]);
    assert_eq!(dug.answers, [r#"jobs.tag.registry. 0 IN TXT "text=a\"b; c""#], "{}", dug.text);
    assert_eq!(server.dig(&["_web._tcp.registry", "TXT"]).answers.len(), 2);
    let metadata = json!({"long": "x".repeat(251), "longest": "y".repeat(247)});
    register(&mut server.client(), "text-1", &[], metadata);
    let dug = server.dig(&["text-1.id.registry", "TXT"]);
    assert!(dug.answers[0].contains("longest=yyy") && !dug.answers[0].contains("long=x"), "{}", dug.text);
}

#[test]
fn missing_names_and_missing_types_come_with_the_soa() {
    let server = fleet();
    for missing in
        ["no.tag", "no.id", "web.id", "x", "a.b.c", "_no._tcp", "web._tcp", "web.tag.2", "web.tag.joe", "web.tag.0"]
    {
        assert_missing(&server.dig(&[&format!("{missing}.registry")]), "NXDOMAIN");
    }
    for (empty, of_type) in [
        ("web-1.id.registry", "AAAA"),
        ("web-1.id.registry", "MX"),
        ("web-1.id.registry", "DS"),
        ("jobs.tag.registry", "A"),
        ("tag.registry", "A"),
        ("tag.registry", "NS"),
        ("id.1.registry", "A"),
        ("_tcp.registry", "A"),
        ("1.registry", "A"),
        ("registry", "A"),
    ] {
        let dug = server.dig(&[empty, of_type]);
        assert_missing(&dug, "NOERROR");
    }
}

#[test]
fn zone_has_an_soa_and_a_name_server() {
    let server = fleet();
    let dug = server.dig(&["registry", "SOA"]);
    assert!(
        dug.answers[0].starts_with(&format!("registry. 0 IN SOA {SOA}")) && dug.answers[0].ends_with(" 0"),
        "{dug:?}"
    );
    let dug = server.dig(&["registry", "NS"]);
    assert_eq!(dug.answers, ["registry. 0 IN NS ns.registry."], "{}", dug.text);
    assert_eq!(dug.additionals, ["ns.registry. 0 IN A 127.0.0.1"], "{}", dug.text);
    assert_eq!(server.dig(&["ns.registry"]).answers, ["ns.registry. 0 IN A 127.0.0.1"]);
    assert_missing(&server.dig(&["ns.registry", "AAAA"]), "NOERROR");
}

#[test]
fn domain_and_time_to_live_can_be_chosen() {
    let server = DnsRegistry::start(&["--dns-domain", "Svc.Example.Com", "--dns-ttl", "5s"]);
    register(&mut server.client(), "web-1", &["web"], json!({"address": "10.0.0.1", "port": "80"}));
    assert_eq!(server.dig(&["web.tag.svc.example.com"]).answers, ["web.tag.svc.example.com. 5 IN A 10.0.0.1"]);
    let dug = server.dig(&["web.tag.svc.example.com", "SRV"]);
    assert_eq!(dug.answers, ["web.tag.svc.example.com. 5 IN SRV 0 1 80 web-1.id.svc.example.com."], "{}", dug.text);
    let dug = server.dig(&["no.tag.svc.example.com"]);
    assert!(dug.status == "NXDOMAIN" && dug.authorities[0].starts_with("svc.example.com. 5 IN SOA "), "{}", dug.text);
    assert!(dug.authorities[0].ends_with(" 5"), "{}", dug.text);
    assert_eq!(server.dig(&["web.tag.registry"]).status, "REFUSED");
}

#[test]
fn transfers_other_zones_and_updates_are_refused() {
    let server = fleet();
    for query in [["registry", "AXFR"], ["registry", "IXFR=1"], ["tag.registry", "AXFR"]] {
        let dug = server.dig(&[&["+tcp"], &query[..]].concat());
        assert!(dug.text.contains("; Transfer failed."), "{query:?}: {}", dug.text);
    }
    let socket = server.socket();
    for transfer in [251, 252] {
        assert_eq!(server.ask_for(&socket, "registry", transfer), (5, 0), "type {transfer}");
    }
    for transport in ["+tcp", "+notcp"] {
        for query in [&["example.com", "A"][..], &[".", "NS"], &["version.bind", "TXT", "CH"], &["registry", "A", "CH"]]
        {
            let dug = server.dig(&[&[transport], query].concat());
            assert_eq!((dug.status.as_str(), dug.has_flag("aa")), ("REFUSED", false), "{query:?}: {}", dug.text);
        }
        let dug = server.dig(&[transport, "+opcode=UPDATE", "registry", "SOA"]);
        assert_eq!(dug.status, "NOTIMP", "{}", dug.text);
        let dug = server.dig(&[transport, "+edns=1", "+noednsneg", "registry", "SOA"]);
        assert_eq!(dug.status, "BADVERS", "{}", dug.text);
        let dug = server.dig(&[transport, "web.tag.registry", "ANY"]);
        assert!(dug.answers.len() == 1 && dug.answers[0].contains("HINFO \"RFC8482\""), "{}", dug.text);
    }
    server.dig(&["no.tag.registry", "A"]);
    let metrics = fetch(address(&server.registry), "/metrics", &[]).body;
    for (result, count) in [("noerror", 2.0), ("nxdomain", 1.0), ("notimp", 2.0), ("badvers", 2.0), ("refused", 13.0)] {
        let series = format!("service_registry_dns_queries_total{{result=\"{result}\"}}");
        assert_eq!(value(&metrics, &series), count, "{result} in\n{metrics}");
    }
}

#[test]
fn large_answers_are_cut_over_udp_and_whole_over_tcp() {
    let server = DnsRegistry::start(&[]);
    let client = &mut server.client();
    for n in 0..500 {
        let address = format!("10.0.{}.{}", n / 250, n % 250);
        register(client, &format!("many-{n}"), &["many"], json!({"address": address, "port": "80"}));
    }
    let size = |dug: &Dug| -> usize {
        dug.text.split("MSG SIZE  rcvd: ").nth(1).unwrap().split_whitespace().next().unwrap().parse().unwrap()
    };
    for of_type in ["A", "SRV", "TXT"] {
        for (option, most) in [("+noedns", 512), ("+bufsize=700", 700), ("+bufsize=4096", 1232)] {
            let dug = server.dig(&["+ignore", option, "many.tag.registry", of_type]);
            assert!(dug.has_flag("tc") && !dug.answers.is_empty(), "{}", dug.text);
            assert!(size(&dug) <= most && size(&dug) > most - 100, "{option} {of_type}: {}", size(&dug));
        }
        // dig asks again over TCP.
        let dug = server.dig(&["many.tag.registry", of_type]);
        let different: HashSet<&String> = dug.answers.iter().collect();
        assert_eq!((dug.has_flag("tc"), dug.answers.len(), different.len()), (false, 500, 500), "{of_type}");
    }
    let dug = server.dig(&["+tcp", "many.tag.registry", "SRV"]);
    assert_eq!(dug.additionals.len(), 500, "all fit");
}

#[test]
fn answers_come_in_random_order() {
    let server = DnsRegistry::start(&[]);
    let client = &mut server.client();
    for n in 0..8 {
        register(client, &format!("web-{n}"), &["web"], json!({"address": format!("10.0.0.{n}"), "port": "80"}));
    }
    for of_type in ["A", "SRV"] {
        let firsts: HashSet<String> =
            (0..40).map(|_| server.dig(&["web.tag.registry", of_type]).answers[0].clone()).collect();
        assert!(firsts.len() >= 5, "{of_type}: {firsts:?}"); // fewer: once in 10^9 runs
    }
}

#[test]
fn each_account_has_names_of_its_own() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), USERS).unwrap();
    let users = file.path().to_str().unwrap();
    for default in [None, Some("joe"), Some("7777")] {
        let account = default.map(|account| ["--dns-account", account]);
        let options = [&["--users", users][..], account.as_ref().map_or(&[], |account| account)].concat();
        let server = DnsRegistry::start(&options);
        let mut joe = server.client().logged_in("joe", "joes-key");
        let mut ann = server.client().logged_in("ann", "anns-key");
        register(&mut joe, "web-1", &["web"], json!({"address": "10.0.0.1", "port": "80"}));
        register(&mut ann, "web-1", &["web"], json!({"address": "10.0.0.2"}));
        let address = |name: &str| {
            let dug = server.dig(&["+short", name]);
            dug.text.trim().to_owned()
        };
        for (name, expected) in [
            ("web.tag.joe.registry", "10.0.0.1"),
            ("web.tag.7777.registry", "10.0.0.1"),
            ("web-1.id.JOE.registry", "10.0.0.1"),
            ("web.tag.ann.registry", "10.0.0.2"),
            ("web.tag.8888.registry", "10.0.0.2"),
            ("web.tag.bob.registry", ""),
            ("web.tag.1.registry", ""),
            ("web.tag.registry", if default.is_some() { "10.0.0.1" } else { "" }),
        ] {
            assert_eq!(address(name), expected, "{name} with {default:?}");
        }
        let dug = server.dig(&["_web._tcp.joe.registry", "SRV"]);
        assert_eq!(dug.answers, ["_web._tcp.joe.registry. 0 IN SRV 0 1 80 web-1.id.joe.registry."], "{}", dug.text);
    }
}

/// Registered, changed and removed: no answer is older than what was acknowledged before it was asked for.
#[test]
fn answers_have_what_was_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    for options in [&[][..], &["--data-dir", folder.path().to_str().unwrap()]] {
        let server = DnsRegistry::start(options);
        let (client, socket) = (&mut server.client(), server.socket());
        register(client, "web-0", &["web"], json!({"address": "10.0.0.1"}));
        for round in 0..50 {
            assert_eq!(server.ask(&socket, "web.tag.registry"), (0, 1), "round {round}");
            register(client, "web-1", &["web"], json!({"address": "10.0.0.2"}));
            assert_eq!(server.ask(&socket, "web.tag.registry"), (0, 2), "round {round}");
            assert_eq!(server.ask(&socket, "web-1.id.registry"), (0, 1), "round {round}");
            assert_eq!(client.put("/services/web-1", json!({"tags": ["db"]})).status, 204);
            assert_eq!(server.ask(&socket, "web.tag.registry"), (0, 1), "round {round}");
            assert_eq!(server.ask(&socket, "db.tag.registry"), (0, 1), "round {round}");
            assert_eq!(client.delete("/services/web-1").status, 204);
            assert_eq!(server.ask(&socket, "db.tag.registry"), (3, 0), "round {round}");
            assert_eq!(server.ask(&socket, "web-1.id.registry"), (3, 0), "round {round}");
        }
    }
}

#[test]
fn expired_service_is_not_answered() {
    let server = DnsRegistry::start(&[]);
    let (client, socket) = (&mut server.client(), server.socket());
    let body = json!({"id": "web-1", "tags": ["web"], "metadata": {"address": "10.0.0.1"}, "heartbeat_timeout": 3});
    assert_eq!(client.post("/services", body).status, 201);
    assert_eq!(server.ask(&socket, "web.tag.registry"), (0, 1));
    eventually("the expiry", || (server.ask(&socket, "web.tag.registry") == (3, 0)).then_some(()));
    assert_eq!(client.get("/services/web-1").status, 404);
}

#[test]
fn wrong_options_are_refused_with_a_cure() {
    let refused = |options: &[&str]| {
        let mut command = clean(env!("CARGO_BIN_EXE_service-registry"));
        let mut process = Running::start(command.args(["serve", "--in-memory", "--listen=127.0.0.1:0"]).args(options));
        let code = process.end().code().unwrap();
        (code, process.said_to_the_end())
    };
    let server = DnsRegistry::start(&[]);
    let taken = server.dns.to_string();
    for (options, code, said) in [
        (&["--dns", "0.0.0.0:0"][..], 2, "--dns 0.0.0.0:0: without users everyone may come in"),
        (&["--dns", "53"], 2, "give ADDRESS:PORT, as in 127.0.0.1:5353"),
        (&["--dns", &taken], 1, "cannot listen: Address already in use (os error 98); choose another address"),
        (&["--dns", "127.0.0.1:0", "--dns-domain", "a..b"], 2, "--dns-domain a..b: no domain"),
        (&["--dns", "127.0.0.1:0", "--dns-domain", "."], 2, "--dns-domain .: give a domain"),
        (&["--dns", "127.0.0.1:0", "--dns-ttl", "5"], 2, "give a number with s, m, h or d"),
        (&["--dns", "127.0.0.1:0", "--dns-account", "joe"], 2, "--dns-account joe: there is no such user"),
        (&["--dns-account", "joe"], 2, "--dns"),
    ] {
        let (status, text) = refused(options);
        assert!(status == code && text.contains(said), "{options:?}: {status}: {text}");
    }
}

#[test]
fn open_dns_of_users_is_warned_about() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), USERS).unwrap();
    let mut registry = Registry::start_with(&["--dns", "0.0.0.0:0", "--users", file.path().to_str().unwrap()]);
    assert!(registry.process.said().contains("can read the services of all accounts, without a key"));
}

/// It stands beside every process of a machine, so it must not grow by what it never does.
#[test]
fn wrapper_does_not_contain_dns() {
    let contains = |program: &str| std::fs::read(program).unwrap().windows(7).any(|bytes| bytes == b"RFC8482");
    assert!(contains(env!("CARGO_BIN_EXE_service-registry")), "what is looked for is no longer in the code");
    assert!(!contains(env!("CARGO_BIN_EXE_service-registry-wrapper")));
}
