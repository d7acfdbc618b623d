//! Files with which machines are told to trust the circle's root: for Apple's
//! devices, Chromium and Firefox.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::json;
use wire::Digest;

use super::authority::Authority;

/// Apple's configuration profile with the root as a payload.
///
/// Shape: an XML property list. Its identifiers follow from the root, so that
///        a second installation replaces the first.
pub(super) fn mobileconfig(authority: &Authority) -> String {
    let circle = authority.circle().short();
    let root = BASE64_STANDARD.encode(authority.root_der());
    let (inner, outer) = (uuid(authority, b"root"), uuid(authority, b"profile"));
    format!(
        r#"<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0">
<dict>
	<key>PayloadContent</key>
	<array>
		<dict>
			<key>PayloadContent</key>
			<data>{root}</data>
			<key>PayloadDisplayName</key>
			<string>Ringfort circle {circle}</string>
			<key>PayloadIdentifier</key>
			<string>ringfort.{circle}.root</string>
			<key>PayloadType</key>
			<string>com.apple.security.root</string>
			<key>PayloadUUID</key>
			<string>{inner}</string>
			<key>PayloadVersion</key>
			<integer>1</integer>
		</dict>
	</array>
	<key>PayloadDisplayName</key>
	<string>Ringfort circle {circle}</string>
	<key>PayloadIdentifier</key>
	<string>ringfort.{circle}</string>
	<key>PayloadType</key>
	<string>Configuration</string>
	<key>PayloadUUID</key>
	<string>{outer}</string>
	<key>PayloadVersion</key>
	<integer>1</integer>
</dict>
</plist>
"#
    )
}

/// Chromium's managed policy: the root, with its constraint said once more, so
/// that the browser holds to it even where it would not read it.
pub(super) fn chromium(authority: &Authority) -> serde_json::Value {
    let names: Vec<&str> = authority
        .apexes()
        .iter()
        .map(wire::DomainName::as_str)
        .collect();
    json!({
        "CACertificatesWithConstraints": [{
            "certificate": BASE64_STANDARD.encode(authority.root_der()),
            "constraints": { "permitted_dns_names": names },
        }],
    })
}

/// Firefox's `policies.json`: it takes the root from a file beside others of
/// the distribution, which is `roots.pem` under this name.
pub(super) fn firefox(authority: &Authority) -> serde_json::Value {
    let file = format!("ringfort-{}.pem", authority.circle().short());
    json!({ "policies": { "Certificates": { "Install": [file] } } })
}

/// A UUID of version 8 (RFC 9562 §5.8) from the root.
fn uuid(authority: &Authority, purpose: &[u8]) -> String {
    let digest = Digest::tagged("ringfort/profile/1", &[authority.root_der(), purpose]);
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest.0[..16]);
    bytes[6] = bytes[6] & 0x0f | 0x80;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let digits = hex::encode_upper(bytes);
    [0..8, 8..12, 12..16, 16..20, 20..32]
        .map(|part| &digits[part])
        .join("-")
}
