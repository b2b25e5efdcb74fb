//! `service-registry services`.

use serde_json::{Value, json};

use crate::bench::commands::{command, output, register, run};
use crate::bench::faulty_server::page;
use crate::bench::{Misbehaving, Registry, Reply};

fn registry() -> Registry {
    let registry = Registry::start();
    register(&registry.url, "db-1", &["db", "www"], &json!({"host": "h1", "port": "5432", "zone": "eu"}));
    register(&registry.url, "web-1", &["www"], &json!({"ip": "192.0.2.1", "port": "80", "zone": "eu"}));
    register(&registry.url, "web-2", &["www"], &json!({"ip": "192.0.2.2", "port": "80", "zone": "us"}));
    registry
}

#[test]
fn list_is_lines_of_tabs_off_a_terminal() {
    let registry = registry();
    let listed = output(&registry, &["services"]);
    assert_eq!(listed.lines().next().unwrap(), "db-1\tdb,www\thost=h1,port=5432,zone=eu");
    assert_eq!(listed.lines().count(), 3, "{listed}");
    let wide = output(&registry, &["services", "-o", "wide"]);
    assert_eq!(wide.lines().next().unwrap(), "db-1\tdb,www\thost=h1,port=5432,zone=eu\t-\t120\t-");
}

#[test]
fn every_filter_must_match() {
    let registry = registry();
    for (filter, expected) in [
        (&["--tag=www"][..], "db-1\nweb-1\nweb-2\n"),
        (&["-t", "www", "-t", "db"], "db-1\n"),
        (&["--metadata=zone=eu"], "db-1\nweb-1\n"),
        (&["-m", "zone=eu", "-m", "port=80"], "web-1\n"),
        (&["--id-prefix=web"], "web-1\nweb-2\n"),
        (&["--id-prefix=web", "--tag=www", "--metadata=zone=us"], "web-2\n"),
    ] {
        assert_eq!(output(&registry, &[&["services", "-o", "name"], filter].concat()), expected, "{filter:?}");
    }
    for (wrong, said) in [
        (&["--metadata=zone"][..], "write KEY=VALUE"),
        (&["--metadata==eu"], "write KEY=VALUE"),
        (&["db-1", "--tag=db"], "an id names one service"),
    ] {
        let (status, stdout, stderr) = run(&mut command(&registry.url, &[&["services"], wrong].concat()));
        assert_eq!((status, stdout.as_str()), (2, ""), "{wrong:?}");
        assert!(stderr.contains(said), "{wrong:?}: {stderr}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_are_parameters_of_the_request() {
    let registry = Misbehaving::start(|seen| match seen.target.matches("tag=").count() {
        0 | 1 => page(&json!([{"id": "web-1", "tags": ["a", "b"], "metadata": {}}]), None),
        _ => Reply::fault(400, "badRequest", "two tags"), // as a registry of an earlier version
    })
    .await;
    let (status, stdout, _) = run(&mut command(
        &registry.url,
        &["services", "-o", "name", "-t", "a", "-t", "b", "-m", "a.b=c d", "--id-prefix=web"],
    ));
    assert_eq!((status, stdout.as_str()), (1, ""), "the pair is missing");
    let targets: Vec<String> = registry.seen().iter().map(|seen| seen.target.clone()).collect();
    assert_eq!(
        targets,
        [
            "/v1.0/services?tag=a&tag=b&metadata.a.b=c+d&id_prefix=web&limit=1000",
            "/v1.0/services?tag=a&metadata.a.b=c+d&id_prefix=web&limit=1000"
        ]
    );
}

#[test]
fn every_form_has_the_same_services() {
    let registry = registry();
    let json: Value = serde_json::from_str(&output(&registry, &["services", "-o", "json"])).unwrap();
    let lines = output(&registry, &["services", "-o", "jsonl"]);
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(json, Value::Array(lines));
    assert_eq!(json[1]["metadata"]["ip"], "192.0.2.1");
    let yaml = output(&registry, &["services", "web-1", "-o", "yaml"]);
    assert_eq!(
        yaml,
        "heartbeat_timeout: 120\nid: web-1\nlast_seen: null\nmetadata:\n  ip: \"192.0.2.1\"\n  port: \"80\"\n  zone: eu\n\
         tags:\n- www\n"
    );
    assert_eq!(output(&registry, &["services", "-o", "name"]), "db-1\nweb-1\nweb-2\n");
    let one: Value = serde_json::from_str(&output(&registry, &["services", "web-1", "-o", "json"])).unwrap();
    assert_eq!(one, json[1], "an object, and no array");
}

#[test]
fn template_writes_a_line_for_each_service() {
    let registry = registry();
    let lines = |template: &str| output(&registry, &["services", "--template", template]);
    assert_eq!(lines("{{address}}:{{port}}"), "h1:5432\n192.0.2.1:80\n192.0.2.2:80\n");
    assert_eq!(lines("{{id}} {{tags|join('+')}}").lines().next(), Some("db-1 db+www"));
    assert_eq!(lines("<{{nothing}}{{nothing.more}}>").lines().next(), Some("<>"));
    let backend = "{% if zone == 'eu' %}server {{id}} {{address}}:{{port}} check{% endif %}";
    assert_eq!(lines(backend), "server db-1 h1:5432 check\nserver web-1 192.0.2.1:80 check\n\n");
}

/// Nothing is asked: nothing listens at that address.
#[test]
fn wrong_template_is_a_usage_error() {
    for template in ["{{address", "{% if %}", "{{id|nofilter}}"] {
        let (status, stdout, stderr) = run(&mut command("http://127.0.0.1:1", &["services", "--template", template]));
        assert_eq!((status, stdout.as_str()), (2, ""), "{template}: {stderr}");
        assert!(stderr.contains("--template: "), "{stderr}");
    }
    let both = &["services", "--template", "{{id}}", "-o", "json"];
    assert_eq!(run(&mut command("http://127.0.0.1:1", both)).0, 2);
}

#[test]
fn nothing_found_is_status_1() {
    let registry = registry();
    for (arguments, stdout, stderr) in [
        (&["services", "--tag=none"][..], "", "no services found"),
        (&["services", "--tag=none", "-o", "json"], "[]\n", "no services found"),
        (&["services", "web-9"], "", "404 notFoundError"),
    ] {
        let (status, written, said) = run(&mut command(&registry.url, arguments));
        assert_eq!((status, written.as_str()), (1, stdout), "{arguments:?}");
        assert!(said.contains(stderr), "{said}");
    }
}
