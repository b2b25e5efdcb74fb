//! What one node hands to the next.

use std::time::Duration;

use super::{Client, FRONT, Node, OWNER, SECRET, deserted, peers, status, url};
use crate::registry::http::forward::address::Location;
use crate::registry::http::forward::peers::{Peers, PeersConfig};
use crate::registry::http::forward::seal::{FORWARDED, Key, Stamp};
use crate::registry::http::{Tls, TlsFiles};
use crate::registry::model::Clock;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

#[tokio::test(flavor = "multi_thread")]
async fn handover_arrives_whole() {
    let node = Node::owner(&Clock::system()).await;
    let front = peers(FRONT);
    for bytes in [Vec::new(), vec![1; 10], (0..5 << 20).map(|at| (at % 251) as u8).collect()] {
        front.handover(&url(node.address), 63, bytes.clone()).await.unwrap();
        assert!(node.table.taken() == Some((63, bytes)));
    }
    let error = front.handover(&url(deserted().await), 63, Vec::new()).await.unwrap_err();
    assert!(error.starts_with("http://127.0.0.1:"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn handover_of_nobody_is_refused() {
    let node = Node::owner(&Clock::system()).await;
    let stranger = PeersConfig { node: FRONT.to_owned(), key: [1; 32], ca: None, identity: None };
    let error = Peers::new(stranger).unwrap().handover(&url(node.address), 1, vec![1; 10]).await.unwrap_err();
    assert!(error.contains("refused shard 1 with 403"), "{error}");
    let path = "/internal/v1/handover/1";
    let ask = async |headers: &str, body: &str| {
        status(&Client::connect(node.address).await.ask("POST", path, headers, body).await)
    };
    assert_eq!(ask("", "x").await, 403, "without a seal");
    let address = [127, 0, 0, 1].into();
    let stamp = Stamp { node: OWNER, address, is_secure: false, id: "-", wait: Duration::ZERO };
    let seal = Key::of(&SECRET).seal("POST", path, &stamp, b"x");
    let seal = format!("{FORWARDED}: {}\r\n", seal.to_str().unwrap());
    assert_eq!(ask(&seal, "y").await, 403, "other bytes");
    assert_eq!(node.table.taken(), None);
    assert_eq!(ask(&format!("{seal}Content-Length: 300000000\r\n"), "").await, 413);
    assert_eq!(ask(&seal, "x").await, 204);
    assert_eq!(node.table.taken(), Some((1, b"x".to_vec())));
}

/// Nodes that demand a certificate get one, and certificates of other authorities are refused.
#[tokio::test(flavor = "multi_thread")]
async fn nodes_speak_tls_with_certificates_on_both_sides() {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        #[cfg(unix)]
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        path
    };
    let files = TlsFiles {
        certificate: write("certificate", &certificate.pem()),
        key: write("key", &key.serialize_pem()),
        client_ca: Some(write("ca", &issuer.pem())),
    };
    let tls = Tls::read(&files).unwrap();
    let node = Node::start(&Clock::system(), Location::Here(()), Some(tls), peers(OWNER)).await;
    let url = format!("https://{}", node.address).parse().unwrap();
    let identity = || Some((certificate.pem().into_bytes(), key.serialize_pem().into_bytes()));
    let with = |ca: Option<String>, identity| {
        let (node, ca) = (FRONT.to_owned(), ca.map(String::into_bytes));
        Peers::new(PeersConfig { node, key: SECRET, ca, identity })
    };
    let trusting = with(Some(issuer.pem()), identity()).unwrap();
    for _ in 0..2 {
        trusting.handover(&url, 5, vec![3; 100_000]).await.unwrap();
    }
    assert!(with(Some(issuer.pem()), None).unwrap().handover(&url, 5, vec![3]).await.is_err(), "no certificate");
    let other = CertifiedIssuer::self_signed(CertificateParams::default(), KeyPair::generate().unwrap()).unwrap();
    let error = with(Some(other.pem()), identity()).unwrap().handover(&url, 5, vec![3]).await.unwrap_err();
    assert!(error.contains("TLS: "), "{error}");
    let error = with(Some("nothing".to_owned()), None).unwrap_err();
    assert!(error.contains("--node-ca-file"), "{error}");
}
