//! The client at a real etcd, and at members that are not there.

use std::net::TcpListener;
use std::time::Duration;

use tokio::time::timeout;

use super::call::{Method, Repeat};
use super::fixture::Etcd;
use super::messages::{AuthenticateRequest, Empty};
use super::{Compare, EtcdClient, EtcdConfig, EtcdError, Operation, Page};

const DEADLINE: Duration = Duration::from_secs(20);

fn put(key: &str, value: &str) -> Operation {
    Operation::put(key, value)
}

async fn values(client: &EtcdClient, from: &str, to: &str) -> Vec<String> {
    let found = client.range(from.as_bytes(), to.as_bytes()).await.unwrap();
    found.values.into_iter().map(|found| String::from_utf8(found.value).unwrap()).collect()
}

/// Returns the URL of a port that nothing listens on.
fn closed_port() -> String {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

#[tokio::test]
async fn transaction_is_made_if_all_conditions_hold() {
    let Some(etcd) = Etcd::start(&[]).await else { return };
    let client = etcd.client();
    assert_eq!(client.get(b"a").await.unwrap(), None);
    let is_new = || vec![Compare::CreateRevision(b"a".to_vec(), 0)];
    let made = client.transact(is_new(), vec![put("a", "1"), put("b", "2")]).await.unwrap();
    assert!(made.succeeded);
    let found = client.get(b"a").await.unwrap().unwrap();
    assert_eq!((found.value, found.create_revision, found.mod_revision), (b"1".to_vec(), made.revision, made.revision));
    assert!(!client.transact(is_new(), vec![put("a", "x")]).await.unwrap().succeeded);
    let conditions = [
        (Compare::ModRevision(b"a".to_vec(), made.revision), true),
        (Compare::ModRevision(b"a".to_vec(), made.revision + 1), false),
        (Compare::ModRevision(b"none".to_vec(), 0), true),
        (Compare::CreateRevision(b"a".to_vec(), 0), false),
        (Compare::Value(b"a".to_vec(), b"1".to_vec()), true),
        (Compare::Value(b"a".to_vec(), b"2".to_vec()), false),
        (Compare::Value(b"none".to_vec(), Vec::new()), false),
    ];
    for (condition, holds) in conditions {
        let outcome = client.transact(vec![condition.clone()], Vec::new()).await.unwrap();
        assert_eq!(outcome.succeeded, holds, "{condition:?}");
    }
    let remove = vec![Operation::Delete { key: b"a".to_vec() }, put("c", "3"), put("d", "4")];
    assert!(client.transact(Vec::new(), remove).await.unwrap().succeeded);
    assert_eq!(values(&client, "a", "z").await, ["2", "3", "4"]);
    let range = Operation::DeleteRange { from: b"b".to_vec(), to: b"d".to_vec() };
    client.transact(Vec::new(), vec![range]).await.unwrap();
    assert_eq!(values(&client, "a", "z").await, ["4"]);
}

#[tokio::test]
async fn page_is_a_part_of_the_range_at_a_revision() {
    let Some(etcd) = Etcd::start(&[]).await else { return };
    let client = etcd.client();
    let made = client.transact(Vec::new(), ["a", "b", "c", "d"].map(|key| put(key, key)).into()).await.unwrap();
    client.transact(Vec::new(), vec![put("aa", "later")]).await.unwrap();
    let page = Page { from: b"a".to_vec(), to: b"d".to_vec(), ..Page::default() };
    let found = client.page(Page { limit: 2, revision: made.revision, ..page.clone() }).await.unwrap();
    let keys: Vec<_> = found.values.iter().map(|found| &found.key[..]).collect();
    assert_eq!((keys, found.more, found.count), (vec![&b"a"[..], b"b"], true, 3));
    let found = client.page(Page { descending: true, limit: 1, keys_only: true, ..page.clone() }).await.unwrap();
    assert_eq!((&found.values[0].key[..], &found.values[0].value[..], found.more), (&b"c"[..], &b""[..], true));
    assert_eq!(client.count(b"a", b"d").await.unwrap(), 4);

    client.compact(made.revision + 1).await.unwrap();
    client.compact(made.revision + 1).await.unwrap();
    let error = client.page(Page { revision: made.revision, ..page }).await.unwrap_err();
    assert!(error.to_string().contains("compacted") && error.to_string().contains(&etcd.url), "{error}");
}

/// An answer of more than 64 MB is not read.
#[tokio::test]
async fn page_of_large_values_is_shorter() {
    let Some(etcd) = Etcd::start(&[]).await else { return };
    let client = etcd.client();
    let value = "x".repeat(1_400_000);
    for number in 0..50 {
        client.transact(Vec::new(), vec![put(&format!("{number:02}"), &value)]).await.unwrap();
    }
    let all = Page { from: b"0".to_vec(), to: b"9".to_vec(), ..Page::default() };
    for limit in [0, 50] {
        let found = client.page(Page { limit, ..all.clone() }).await.unwrap();
        assert!(found.more && !found.values.is_empty(), "{}", found.values.len());
    }
}

#[tokio::test]
async fn transaction_that_is_too_large_is_refused_for_certain() {
    let Some(etcd) = Etcd::start(&[]).await else { return };
    let client = etcd.client();
    let many = (0..129).map(|number| put(&format!("{number}"), "x")).collect();
    let twice = vec![put("a", "x"), put("a", "y")];
    for operations in [many, twice, vec![put("a", &"x".repeat(1_600_000))]] {
        let error = client.transact(Vec::new(), operations).await.unwrap_err();
        assert!(matches!(error, EtcdError::Refused(_)), "{error:?}");
    }
    assert!(values(&client, "\0", "z").await.is_empty());
}

#[tokio::test]
async fn key_goes_with_its_lease() {
    let Some(etcd) = Etcd::start(&[]).await else { return };
    let client = etcd.client();
    let lease = client.grant(600).await.unwrap();
    let node = Operation::Put { key: b"n".to_vec(), value: b"x".to_vec(), lease };
    client.transact(Vec::new(), vec![node]).await.unwrap();
    assert_eq!(client.get(b"n").await.unwrap().unwrap().lease, lease);
    assert_eq!(client.keep_alive(lease).await.unwrap(), 600);
    assert!((500..=600).contains(&client.time_to_live(lease).await.unwrap()));
    client.revoke(lease).await.unwrap();
    client.revoke(lease).await.unwrap();
    assert_eq!(client.get(b"n").await.unwrap(), None);
    assert_eq!(client.keep_alive(lease).await.unwrap(), 0);
    assert!(client.time_to_live(lease).await.unwrap() <= 0);
}

#[tokio::test]
async fn watch_tells_of_changes_in_its_range_and_ends_with_its_member() {
    let Some(etcd) = Etcd::start(&[]).await else { return };
    let client = etcd.client();
    let mut watching = client.watch(b"b", b"d").await.unwrap();
    client.transact(Vec::new(), vec![put("a", "x"), put("d", "x")]).await.unwrap();
    let mut changed = Box::pin(watching.changed());
    assert!(timeout(Duration::from_millis(200), &mut changed).await.is_err(), "outside of the range");
    client.transact(Vec::new(), vec![put("c", "x")]).await.unwrap();
    timeout(DEADLINE, changed).await.unwrap().unwrap();
    client.transact(Vec::new(), vec![Operation::Delete { key: b"c".to_vec() }]).await.unwrap();
    timeout(DEADLINE, watching.changed()).await.unwrap().unwrap();
    drop(etcd);
    assert!(timeout(DEADLINE, watching.changed()).await.unwrap().is_err());
}

#[tokio::test]
async fn members_tell_their_state() {
    let Some(etcd) = Etcd::start(&[]).await else { return };
    let client = etcd.client();
    let members = client.members().await.unwrap();
    let [member] = &members[..] else { panic!("{members:?}") };
    assert_eq!((&member.name[..], &member.urls[..]), ("m0", &[etcd.url.clone()][..]));
    let status = client.status(member).await.unwrap();
    assert_eq!((status.id(), status.leader), (member.id, member.id));
    assert!(status.version.starts_with('3') && status.size >= status.in_use && status.in_use > 0, "{status:?}");
    assert!(client.alarms().await.unwrap().is_empty());
    client.defragment(member).await.unwrap();
}

#[tokio::test]
async fn full_etcd_is_told_apart() {
    let Some(etcd) = Etcd::start(&["--quota-backend-bytes", "1000000"]).await else { return };
    let client = etcd.client();
    let value = "x".repeat(200_000);
    let mut last = Ok(());
    for number in 0..20 {
        last = client.transact(Vec::new(), vec![put(&format!("{number}"), &value)]).await.map(drop);
        if last.is_err() {
            break;
        }
    }
    assert_eq!(last, Err(EtcdError::NoSpace));
    assert!(!client.alarms().await.unwrap().is_empty());
}

#[tokio::test]
async fn calls_go_to_a_member_that_answers() {
    let Some(etcd) = Etcd::start(&[]).await else { return };
    let silent = TcpListener::bind(("127.0.0.1", 0)).unwrap(); // takes connections, and never answers
    let silent = format!("http://{}", silent.local_addr().unwrap());
    let client = |first: &str| {
        EtcdClient::new(&EtcdConfig { endpoints: vec![first.to_owned(), etcd.url.clone()], ..etcd.config() }).unwrap()
    };
    for first in [&closed_port(), &silent] {
        assert_eq!(client(first).get(b"none").await.unwrap(), None);
        assert!(client(first).grant(600).await.is_ok() && client(first).watch(b"a", b"b").await.is_ok());
    }
    let lost = client(&closed_port());
    assert!(lost.transact(Vec::new(), vec![put("a", "x")]).await.unwrap().succeeded, "it was not sent before");
    let lost = client(&silent);
    let error = lost.transact(Vec::new(), vec![put("a", "x")]).await.unwrap_err();
    assert!(matches!(&error, EtcdError::Unclear(text) if text.contains(&silent)), "{error:?}");
    assert!(lost.transact(Vec::new(), vec![put("a", "x")]).await.unwrap().succeeded, "the next call goes elsewhere");
}

#[tokio::test]
async fn error_names_the_member_and_the_cause() {
    let url = closed_port();
    let config = |url: &str| EtcdConfig {
        endpoints: vec![url.to_owned()],
        prefix: String::new(),
        user: None,
        ca: None,
        identity: None,
        quota: 0,
    };
    let error = EtcdClient::new(&config(&url)).unwrap().transact(Vec::new(), Vec::new()).await.unwrap_err();
    let wanted = format!("etcd member {url}: cannot connect: Connection refused");
    assert!(matches!(&error, EtcdError::Unavailable(text) if text.starts_with(&wanted)), "{error:?}");
    for wrong in ["127.0.0.1:2379", "http://", "http://a b"] {
        let error = EtcdClient::new(&config(wrong)).unwrap_err().to_string();
        assert!(error.contains(&format!("--etcd {wrong}: ")), "{error}");
    }
}

#[tokio::test]
async fn user_gets_a_token_and_a_new_one_when_it_is_void() {
    let Some(etcd) = Etcd::start(&[]).await else { return };
    let open = etcd.client();
    let root = AuthenticateRequest { name: "root".to_owned(), password: "secret".to_owned() };
    let role = AuthenticateRequest { name: "root".to_owned(), password: "root".to_owned() };
    let only = AuthenticateRequest { password: String::new(), ..root.clone() };
    for (path, request) in [
        ("/etcdserverpb.Auth/UserAdd", root),
        ("/etcdserverpb.Auth/RoleAdd", only.clone()),
        ("/etcdserverpb.Auth/UserGrantRole", role),
        ("/etcdserverpb.Auth/AuthEnable", only),
    ] {
        let _: Empty = open.call(Method::new(path, Repeat::NotTaken), request).await.unwrap();
    }
    let error = open.get(b"a").await.unwrap_err().to_string();
    assert!(error.contains("user name is empty: give --etcd-user"), "{error}");
    let client = |password: &str| {
        let user = Some(("root".to_owned(), password.to_owned()));
        EtcdClient::new(&EtcdConfig { user, ..etcd.config() }).unwrap()
    };
    let error = client("wrong").get(b"a").await.unwrap_err().to_string();
    assert!(error.contains("--etcd-user"), "{error}");
    let client = client("secret");
    client.transact(Vec::new(), vec![put("a", "x")]).await.unwrap();
    client.members.set_token(Some(tonic::metadata::MetadataValue::from_static("void.1")));
    assert!(client.get(b"a").await.unwrap().is_some());
    client.members.set_token(Some(tonic::metadata::MetadataValue::from_static("void.1")));
    assert!(client.watch(b"a", b"b").await.is_ok());
}
