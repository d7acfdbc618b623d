//! A name server on the loopback, with every transport, for stock clients.

use std::{net::SocketAddr, num::NonZeroUsize, path::PathBuf, sync::Arc};

use naming::names::{
    FrontSettings, Fronts, IdentitySettings, Published, RateLimit, Tolerance, Zone, ZoneSettings,
    now_ms,
};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair,
};
use wire::{Height, record::Name};

use crate::values::{endpoint, name, name_of, set, text};

/// The name by which the server proves who it is.
pub const SERVER_NAME: &str = "dns.internal";

/// A name server on free ports of the loopback.
pub struct Server {
    pub published: Arc<Published>,
    pub fronts: Fronts,
    /// Holds `root.pem`, which certifies the server.
    pub directory: tempfile::TempDir,
}

impl Server {
    /// Serves `names` over every transport, without a rate limit.
    pub async fn start(names: &[Name]) -> Self {
        Self::start_with(names, |_| {}).await
    }

    pub async fn start_with(names: &[Name], change: impl FnOnce(&mut FrontSettings)) -> Self {
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let mut settings = FrontSettings {
            listen: vec![any],
            tls: vec![any],
            https: vec![any],
            quic: vec![any],
            http: Some(any),
            workers: NonZeroUsize::new(2),
            identity: Some(IdentitySettings {
                key_file: directory.path().join("names.key"),
                certificate_file: None,
            }),
            rate_limit: RateLimit {
                responses_per_second: 0,
                ..RateLimit::default()
            },
            ..FrontSettings::default()
        };
        change(&mut settings);
        let published = Arc::new(Published::new(Tolerance::default()));
        published.publish(&mut zone(names));
        let fronts = Fronts::start(&settings, &published).await.unwrap();
        let server = Self {
            published,
            fronts,
            directory,
        };
        server.certify();
        server
    }

    /// Certifies the server's key under a root of its own.
    fn certify(&self) {
        let pem = std::fs::read_to_string(self.directory.path().join("names.key")).unwrap();
        let key = KeyPair::from_pem(&pem).unwrap();
        let root_key = KeyPair::generate().unwrap();
        let mut root = CertificateParams::default();
        // A leaf and a root of one name would look self-signed.
        root.distinguished_name = DistinguishedName::new();
        root.distinguished_name
            .push(DnType::CommonName, "a root for tests");
        root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = root.self_signed(&root_key).unwrap();
        std::fs::write(self.root(), certificate.pem()).unwrap();
        let leaf = CertificateParams::new([SERVER_NAME.to_owned()]).unwrap();
        let leaf = leaf.signed_by(&key, &Issuer::new(root, root_key)).unwrap();
        let identity = self.fronts.identity().unwrap();
        identity.certify(vec![leaf.der().to_vec()]).unwrap();
    }

    /// The root that certifies the server, PEM.
    pub fn root(&self) -> PathBuf {
        self.directory.path().join("root.pem")
    }

    /// Where it answers over UDP and TCP.
    pub fn address(&self) -> SocketAddr {
        self.fronts.addresses().next().unwrap()
    }
}

/// A zone beneath `internal` at height 42.
pub fn zone(names: &[Name]) -> Zone {
    let settings = ZoneSettings {
        ns_addresses: vec!["192.0.2.53".parse().unwrap()],
        ..ZoneSettings::default()
    };
    let changes: Vec<_> = names.iter().map(|name| (&name.name, Some(name))).collect();
    Zone::new(&[name_of("internal")], settings).next(Height(42), now_ms(), changes)
}

/// Names with what stock clients ask for.
pub fn names() -> Vec<Name> {
    let mut hello = name("hello.internal");
    hello.endpoints = vec![
        endpoint(1, &["127.0.1.1", "2001:db8::1"], 8443, 0xaa),
        endpoint(2, &["127.0.1.2"], 8443, 0xbb),
    ];
    hello.records = vec![
        text("by its owner"),
        set(Some("_dmarc"), 16, 60, &[b"\x09v=DMARC1;"]),
    ];
    let mut large = name("large.internal");
    let texts: Vec<Vec<u8>> = (0..16)
        .map(|index| [vec![200], vec![b'a' + index; 200]].concat())
        .collect();
    let texts: Vec<&[u8]> = texts.iter().map(Vec::as_slice).collect();
    large.records = vec![set(None, 16, 60, &texts)];
    let mut alias = name("alias.internal");
    alias.records = vec![
        set(Some("www"), 5, 60, &[b"\x05hello\x08internal\x00"]),
        set(Some("sub"), 2, 60, &[b"\x02ns\x07example\x00"]),
        set(None, 65_280, 60, &[b"opaque"]),
    ];
    vec![hello, large, alias]
}
