//! What a payload's URL points to, and whether this process may go there.
//!
//! Locations come from the ledger, where anyone may write: a provider that
//! followed them blindly would read its own files and its own network for
//! strangers. Only the parts of a URL that are understood are used; options
//! that carry credentials or reroute a request are refused.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
};

use reqwest::{
    Url,
    dns::{Addrs, Name, Resolve, Resolving},
};
use wire::limits::MAX_TEXT_BYTES;

use super::StorageError;

/// Where this process may go.
#[derive(Clone, Debug)]
pub struct AccessPolicy {
    /// Directories beneath which `file:` locations may lie; `None` for any.
    pub file_roots: Option<Vec<PathBuf>>,
    /// Whether addresses of the machine itself and of private networks may be
    /// connected to.
    pub private_addresses: bool,
}

impl AccessPolicy {
    /// For a user's own locations.
    pub fn unrestricted() -> Self {
        Self {
            file_roots: None,
            private_addresses: true,
        }
    }

    /// For locations that strangers wrote: public addresses only, no files.
    pub fn public_only() -> Self {
        Self {
            file_roots: Some(Vec::new()),
            private_addresses: false,
        }
    }
}

/// A parsed location of one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Location {
    File(PathBuf),
    Http {
        endpoint: String,
        path: String,
    },
    S3 {
        bucket: String,
        key: String,
        endpoint: Option<String>,
        region: Option<String>,
    },
    Ipfs {
        gateway: String,
        root: String,
        path: String,
    },
}

/// The gateway for `ipfs:` locations that name none: a node on this machine.
const LOCAL_GATEWAY: &str = "http://127.0.0.1:8080";

impl Location {
    /// Reads a URL.
    ///
    /// Errors: a scheme or option that is not known here, or a place that
    ///         `policy` does not allow.
    pub fn parse(text: &str, policy: &AccessPolicy) -> Result<Self, StorageError> {
        let refuse = |reason: &str| StorageError::Location {
            location: text.to_owned(),
            reason: reason.to_owned(),
        };
        if text.len() > MAX_TEXT_BYTES {
            return Err(refuse("it is too long"));
        }
        let url = Url::parse(text).map_err(|error| refuse(&error.to_string()))?;
        if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
            return Err(refuse("it carries credentials or a fragment"));
        }
        match url.scheme() {
            "file" => Self::file(&url, policy).map_err(|reason| refuse(&reason)),
            "http" | "https" => Self::http(&url, policy).map_err(|reason| refuse(&reason)),
            "s3" => Self::s3(&url, policy).map_err(|reason| refuse(&reason)),
            "ipfs" => Self::ipfs(&url, policy).map_err(|reason| refuse(&reason)),
            scheme => Err(refuse(&format!(
                "{scheme}: is not known; use file:, http:, https:, s3: or ipfs:"
            ))),
        }
    }

    fn file(url: &Url, policy: &AccessPolicy) -> Result<Self, String> {
        let path = url
            .to_file_path()
            .map_err(|()| "it is no absolute path on this machine".to_owned())?;
        let Some(roots) = &policy.file_roots else {
            return Ok(Self::File(path));
        };
        // Links are resolved first: a link beneath a root may lead out of it.
        let (parent, name) = path
            .parent()
            .zip(path.file_name())
            .ok_or("it names no file")?;
        let real = std::fs::canonicalize(&path)
            .or_else(|_| std::fs::canonicalize(parent).map(|parent| parent.join(name)))
            .map_err(|error| error.to_string())?;
        let beneath =
            |root: &PathBuf| std::fs::canonicalize(root).is_ok_and(|root| real.starts_with(root));
        if roots.iter().any(beneath) {
            Ok(Self::File(real))
        } else {
            Err("files there are not allowed here".to_owned())
        }
    }

    fn http(url: &Url, policy: &AccessPolicy) -> Result<Self, String> {
        if url.query().is_some() {
            return Err("a query is not allowed".to_owned());
        }
        check_host(url, policy)?;
        Ok(Self::Http {
            endpoint: origin(url),
            path: decoded_path(url)?,
        })
    }

    fn s3(url: &Url, policy: &AccessPolicy) -> Result<Self, String> {
        let mut endpoint = None;
        let mut region = None;
        for (key, value) in url.query_pairs() {
            match &*key {
                "endpoint" => endpoint = Some(value.into_owned()),
                "region" => region = Some(value.into_owned()),
                other => return Err(format!("the option {other} is not allowed")),
            }
        }
        if let Some(endpoint) = &endpoint {
            let url = Url::parse(endpoint).map_err(|error| error.to_string())?;
            check_host(&url, policy)?;
        }
        Ok(Self::S3 {
            bucket: url.host_str().ok_or("it names no bucket")?.to_owned(),
            key: decoded_path(url)?,
            endpoint,
            region,
        })
    }

    fn ipfs(url: &Url, policy: &AccessPolicy) -> Result<Self, String> {
        let mut gateway = LOCAL_GATEWAY.to_owned();
        for (key, value) in url.query_pairs() {
            match &*key {
                "gateway" => gateway = value.into_owned(),
                other => return Err(format!("the option {other} is not allowed")),
            }
        }
        let parsed = Url::parse(&gateway).map_err(|error| error.to_string())?;
        check_host(&parsed, policy)?;
        // `Url` keeps the case of a host whose scheme is not special.
        let cid = url.host_str().ok_or("it names no content id")?;
        if !cid.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Err("the content id has other characters than letters and digits".to_owned());
        }
        let path = decoded_path(url)?;
        // The object is the content id itself, or a file beneath it.
        let (root, path) = if path.is_empty() {
            ("/ipfs/".to_owned(), cid.to_owned())
        } else {
            (format!("/ipfs/{cid}/"), path)
        };
        Ok(Self::Ipfs {
            gateway: origin(&parsed),
            root,
            path,
        })
    }
}

fn origin(url: &Url) -> String {
    url.origin().ascii_serialization()
}

fn decoded_path(url: &Url) -> Result<String, String> {
    let path = url.path().trim_start_matches('/');
    let bytes = percent_decode(path)?;
    let text = String::from_utf8(bytes).map_err(|_| "its path is not UTF-8".to_owned())?;
    if text.split('/').any(|part| part == ".." || part == ".") || text.contains('\0') {
        return Err("its path leaves where it starts".to_owned());
    }
    Ok(text)
}

fn percent_decode(text: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |byte: Option<u8>| byte.and_then(|byte| (byte as char).to_digit(16));
        match (digit(rest.next()), digit(rest.next())) {
            (Some(high), Some(low)) => bytes.push((high * 16 + low) as u8),
            _ => return Err("a percent sign is not followed by two hex digits".to_owned()),
        }
    }
    Ok(bytes)
}

/// Refuses a host that is an address which `policy` does not allow. Names are
/// checked when they are resolved ([`PublicResolver`]).
fn check_host(url: &Url, policy: &AccessPolicy) -> Result<(), String> {
    if !matches!(url.scheme(), "http" | "https") {
        return Err(format!("{} is no web address", url.as_str()));
    }
    let host = url.host_str().ok_or("it names no host")?;
    if policy.private_addresses {
        return Ok(());
    }
    match host.trim_matches(['[', ']']).parse::<IpAddr>() {
        Ok(address) if !is_public(address) => Err(format!("{address} is not a public address")),
        _ => Ok(()),
    }
}

/// Whether an address belongs to the public internet (RFC 6890).
pub(super) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => match address.to_ipv4_mapped() {
            Some(inner) => is_public_v4(inner),
            None => is_public_v6(address),
        },
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let shared = a == 100 && (64..128).contains(&b);
    let benchmark = a == 198 && (b == 18 || b == 19);
    let protocol = a == 192 && b == 0 && c == 0;
    !(a == 0
        || a >= 240
        || shared
        || benchmark
        || protocol
        || address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_multicast()
        || address.is_documentation())
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let first = address.segments()[0];
    // Global unicast is 2000::/3; of it, 2001::/23 (protocols, Teredo),
    // 2001:db8::/32 (documentation) and 2002::/16 (6to4) lead elsewhere.
    let global = first & 0xe000 == 0x2000;
    let protocol = first == 0x2001 && address.segments()[1] < 0x0200;
    let documentation = first == 0x2001 && address.segments()[1] == 0x0db8;
    global && !protocol && !documentation && first != 0x2002
}

/// Resolves names to public addresses alone, at the moment of connecting, so
/// that a name cannot turn to another address after it was checked.
pub(super) struct PublicResolver;

impl Resolve for PublicResolver {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let public: Vec<SocketAddr> = found.filter(|address| is_public(address.ip())).collect();
            if public.is_empty() {
                return Err(format!("{} has no public address", name.as_str()).into());
            }
            Ok(Box::new(public.into_iter()) as Addrs)
        })
    }
}

/// The URL of `name` within the directory or bucket `mirror`.
pub(super) fn join(mirror: &str, name: &str) -> Result<String, StorageError> {
    let refuse = |reason: &str| StorageError::Location {
        location: mirror.to_owned(),
        reason: reason.to_owned(),
    };
    let mut url = Url::parse(mirror).map_err(|error| refuse(&error.to_string()))?;
    let path = format!("{}/{name}", url.path().trim_end_matches('/'));
    url.set_path(&path);
    Ok(url.into())
}

/// The `file:` URL of a directory on this machine.
///
/// Errors: the path is not absolute.
pub fn directory_url(path: &Path) -> Result<String, StorageError> {
    Url::from_directory_path(path)
        .map(Into::into)
        .map_err(|()| StorageError::Location {
            location: path.display().to_string(),
            reason: "it is not absolute".to_owned(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(text: &str) -> Result<Location, StorageError> {
        Location::parse(text, &AccessPolicy::unrestricted())
    }

    #[test]
    fn reads_every_kind_of_location() {
        assert_eq!(
            open("file:///a/b%20c").unwrap(),
            Location::File("/a/b c".into())
        );
        assert_eq!(
            open("http://127.0.0.1:90/x/y").unwrap(),
            Location::Http {
                endpoint: "http://127.0.0.1:90".to_owned(),
                path: "x/y".to_owned()
            }
        );
        assert_eq!(
            open("s3://bucket/a/b?region=eu-1&endpoint=http%3A%2F%2Fstore%3A9000").unwrap(),
            Location::S3 {
                bucket: "bucket".to_owned(),
                key: "a/b".to_owned(),
                endpoint: Some("http://store:9000".to_owned()),
                region: Some("eu-1".to_owned()),
            }
        );
        assert_eq!(
            open("ipfs://QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG/readme").unwrap(),
            Location::Ipfs {
                gateway: "http://127.0.0.1:8080".to_owned(),
                root: "/ipfs/QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG/".to_owned(),
                path: "readme".to_owned(),
            }
        );
    }

    #[test]
    fn refuses_options_that_reroute_or_carry_credentials() {
        for bad in [
            "s3://b/k?role_arn=x",
            "s3://b/k?access_key_id=x",
            "http://u:p@host/x",
            "http://host/x?y",
            "http://host/a%2f..%2fb",
            "http://host/%zz",
            "ftp://host/x",
            "ipfs://cid?api=x",
            "relative",
        ] {
            assert!(open(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_strangers_location_leads_neither_to_files_nor_to_private_addresses() {
        let policy = AccessPolicy::public_only();
        for bad in [
            "file:///etc/passwd",
            "http://127.0.0.1/x",
            "http://2130706433/x",
            "http://10.0.0.1/x",
            "http://169.254.169.254/latest",
            "http://[::1]/x",
            "http://[::ffff:10.0.0.1]/x",
            "http://[fd00::1]/x",
            "s3://b/k?endpoint=http%3A%2F%2F192.168.0.1",
            "ipfs://cid",
        ] {
            assert!(Location::parse(bad, &policy).is_err(), "{bad}");
        }
        assert!(Location::parse("https://93.184.216.34/x", &policy).is_ok());
    }

    #[test]
    fn a_file_location_cannot_leave_its_root_by_a_link() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("root");
        std::fs::create_dir(&root).unwrap();
        std::fs::write(root.join("inside"), b"x").unwrap();
        std::fs::write(directory.path().join("outside"), b"x").unwrap();
        std::os::unix::fs::symlink("../outside", root.join("link")).unwrap();
        let policy = AccessPolicy {
            file_roots: Some(vec![root.clone()]),
            private_addresses: false,
        };
        let parse = |name: &str| {
            let url = Url::from_file_path(root.join(name)).unwrap();
            Location::parse(url.as_str(), &policy)
        };
        assert!(parse("inside").is_ok());
        assert!(parse("missing").is_ok());
        assert!(parse("link").is_err());
        assert!(parse("../outside").is_err());
    }
}
