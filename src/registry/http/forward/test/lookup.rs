//! Services that another node looks up, for DNS.

use std::time::Duration;

use super::{Client, FRONT, Node, OWNER, SECRET, peers, status, url};
use crate::registry::http::forward::peers::{Peers, PeersConfig};
use crate::registry::http::forward::seal::{FORWARDED, Key, Stamp};
use crate::registry::http::lookup::Selection;
use crate::registry::model::Clock;

const SERVICE: &str = r#"{"id": "web-1", "heartbeat_timeout": 30, "tags": ["web"], "metadata": {"port": "80"}}"#;

#[tokio::test(flavor = "multi_thread")]
async fn services_are_told_to_nodes_only() {
    let node = Node::owner(&Clock::system()).await;
    let mut client = Client::connect(node.address).await;
    let json = "Content-Type: application/json\r\n";
    assert_eq!(status(&client.ask("POST", "/v1.0/7/services", json, SERVICE).await), 201);
    let at = url(node.address);
    let front = peers(FRONT);
    let look_up = async |tenant, selection| {
        let services = front.look_up(&at, tenant, &selection).await.unwrap();
        services.iter().map(|service| (service.id.to_string(), service.metadata.to_list())).collect::<Vec<_>>()
    };
    let [web, web_1] = [Selection::Tag("web".to_owned()), Selection::Id("web-1".to_owned())];
    let found = [("web-1".to_owned(), vec!["port".to_owned(), "80".to_owned()])];
    assert_eq!(look_up(7, web.clone()).await, found);
    assert_eq!(look_up(7, web_1.clone()).await, found);
    assert_eq!(look_up(7, Selection::Id("web".to_owned())).await, []);
    assert_eq!(look_up(8, web.clone()).await, []);

    let stranger = PeersConfig { node: FRONT.to_owned(), key: [1; 32], ca: None, identity: None };
    let error = Peers::new(stranger).unwrap().look_up(&at, 7, &web).await.unwrap_err();
    assert!(error.contains("403"), "{error}");
    let (path, body) = ("/internal/v1/services/7", r#"{"tag":"web"}"#);
    assert_eq!(status(&client.ask("POST", path, "", body).await), 403, "without a seal");
    let address = [127, 0, 0, 1].into();
    let stamp = Stamp { node: OWNER, address, is_secure: false, id: "-", wait: Duration::ZERO };
    let seal = Key::of(&SECRET).seal("POST", path, &stamp, body.as_bytes());
    let seal = format!("{FORWARDED}: {}\r\n", seal.to_str().unwrap());
    assert_eq!(status(&client.ask("POST", path, &seal, r#"{"id":"web-1"}"#).await), 403, "another body");
    assert_eq!(status(&client.ask("POST", "/internal/v1/services/8", &seal, body).await), 403, "another account");
    assert_eq!(status(&client.ask("GET", path, &seal, "").await), 403, "another method");
    assert_eq!(status(&client.ask("POST", path, &seal, body).await), 200);
}
