//! Authorities, and certificates that they have signed.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use tokio_rustls::TlsAcceptor;

use super::{Registry, clean};

/// An authority, and the files that it signs.
pub struct Authority {
    folder: tempfile::TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "authority"); // another name than what it signs
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let authority = Self { folder: tempfile::tempdir().unwrap(), issuer };
        std::fs::write(authority.path("ca"), authority.issuer.pem()).unwrap();
        authority.sign("server", "localhost");
        authority
    }

    pub fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    pub fn sign(&self, file: &str, name: &str) {
        self.sign_params(file, CertificateParams::new([name.to_owned()]).unwrap());
    }

    /// Signs a certificate that expired long ago.
    pub fn sign_expired(&self, file: &str, name: &str) {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(2001, 1, 1);
        self.sign_params(file, params);
    }

    fn sign_params(&self, file: &str, params: CertificateParams) {
        let issuer: &Issuer<'_, _> = &self.issuer;
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, issuer).unwrap();
        let private = self.path(&format!("{file}.key"));
        std::fs::write(&private, key.serialize_pem()).unwrap();
        std::fs::set_permissions(&private, Permissions::from_mode(0o600)).unwrap();
        std::fs::write(self.path(file), certificate.pem()).unwrap();
    }

    pub fn serve(&self, options: &[&str]) -> Registry {
        let own = ["--tls-cert", &self.path("server"), "--tls-key", &self.path("server.key")].map(str::to_owned);
        let options: Vec<&str> = own.iter().map(String::as_str).chain(options.iter().copied()).collect();
        let registry = Registry::start_with(&options);
        assert!(registry.url.starts_with("https://127.0.0.1:"), "{}", registry.url);
        registry
    }

    /// The wrapper around a command that does nothing: whether it could register.
    pub fn wraps(&self, registry: &Registry, ca: &str, more: &[&str]) -> bool {
        let mut command = clean(env!("CARGO_BIN_EXE_service-registry-wrapper"));
        let url = registry.url.replace("127.0.0.1", "localhost");
        // An id of its own: the last one's session is still there.
        let id = format!("--id=web{}", fastrand::u64(..));
        command.args([&id, "--abort-on-failure", "--retries=1", "--registry-url", &url]);
        command.args(["--ca-file", ca]).args(more).arg("true");
        let code = command.output().unwrap().status.code();
        assert!(code == Some(0) || code == Some(100), "{code:?}");
        code == Some(0)
    }
}

/// A file with a new authority, and what a server needs to have this name by its word.
pub fn authority_for(name: &str) -> (tempfile::NamedTempFile, TlsAcceptor) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, issuer.pem()).unwrap();

    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new([name.to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key.into())
        .unwrap();
    (file, TlsAcceptor::from(Arc::new(config)))
}
