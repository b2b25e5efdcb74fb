//! The client at an etcd that demands TLS and certificates.

use std::fs;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, Issuer, KeyPair};

use super::fixture::Etcd;
use super::{EtcdClient, EtcdConfig};

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority(name: &str) -> Authority {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// Returns a certificate for loopback and its key.
fn sign(authority: &Authority) -> (Vec<u8>, Vec<u8>) {
    let issuer: &Issuer<'_, _> = authority;
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap().signed_by(&key, issuer).unwrap();
    (certificate.pem().into_bytes(), key.serialize_pem().into_bytes())
}

#[tokio::test]
async fn member_and_client_show_certificates_of_their_authority() {
    let (right, wrong) = (authority("right"), authority("wrong"));
    let (folder, member) = (tempfile::tempdir().unwrap(), sign(&right));
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    for (name, pem) in [("ca", right.pem().into_bytes()), ("cert", member.0), ("key", member.1)] {
        fs::write(path(name), pem).unwrap();
    }
    let [ca, cert, key] = ["ca", "cert", "key"].map(path);
    let options = ["--client-cert-auth", "--trusted-ca-file", &ca, "--cert-file", &cert, "--key-file", &key];
    let config = EtcdConfig {
        endpoints: Vec::new(),
        prefix: String::new(),
        user: None,
        ca: Some(right.pem().into_bytes()),
        identity: Some(sign(&right)),
        quota: 0,
    };
    let Some(etcd) = Etcd::start_tls(&options, &config).await else { return };
    assert_eq!(etcd.client().get(b"x").await.unwrap(), None);
    let other = |change: &dyn Fn(&mut EtcdConfig)| {
        let mut config = etcd.config();
        change(&mut config);
        EtcdClient::new(&config)
    };
    let refused = [
        other(&|config| config.ca = Some(wrong.pem().into_bytes())),
        other(&|config| config.ca = None), // the system's
        other(&|config| config.identity = None),
        other(&|config| config.identity = Some(sign(&wrong))),
    ];
    for client in refused.map(Result::unwrap) {
        let error = client.get(b"x").await.unwrap_err().to_string();
        assert!(error.contains(&etcd.url) && error.contains("connect"), "{error}");
    }
    let (certificate, key) = sign(&right);
    let refused = [
        (other(&|config| config.ca = Some(b"no PEM".to_vec())), "--etcd-ca-file"),
        (other(&|config| config.identity = Some((b"no PEM".to_vec(), key.clone()))), "--etcd-cert"),
        (other(&|config| config.identity = Some((certificate.clone(), b"no PEM".to_vec()))), "--etcd-key"),
    ];
    for (client, option) in refused {
        let error = client.unwrap_err().to_string();
        assert!(error.contains(option), "{error}");
    }
}
