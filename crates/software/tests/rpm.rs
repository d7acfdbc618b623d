//! The chain from a vendor's key to the digest of a file, with packages that the
//! real `rpmbuild` makes and `rpmsign` signs, and the real `rpmkeys` checks.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use software::{archive::ArchiveError, index::Index, rpm::Keyring};

/// What a vendor has: a key, and packages.
struct Vendor {
    folder: tempfile::TempDir,
}

impl Vendor {
    fn new() -> Self {
        let vendor = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        run(vendor
            .program("gpg")
            .args(["--batch", "--quiet", "--passphrase", ""])
            .args([
                "--quick-gen-key",
                "Vendor <vendor@example.com>",
                "rsa3072",
                "sign",
                "never",
            ]));
        let keys = vendor.path("keys.asc");
        run(vendor
            .program("gpg")
            .args(["--export", "--armor", "--output"])
            .arg(keys));
        vendor
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn program(&self, name: &str) -> Command {
        let mut command = Command::new(name);
        let home = self.folder.path();
        command.env("GNUPGHOME", home).env("HOME", home);
        command
    }

    /// A package of one program, a link to it and a directory, with its version as contents.
    fn build(&self, version: &str, built: u64) -> PathBuf {
        let spec = self.path("hello.spec");
        fs::write(&spec, SPEC.replace("VERSION", version)).unwrap();
        let top = self.path("top");
        run(self
            .program("rpmbuild")
            .args([
                "--quiet",
                "-bb",
                "--define",
                "use_source_date_epoch_as_buildtime 1",
            ])
            .arg("--define")
            .arg(format!("_topdir {}", top.display()))
            .env("SOURCE_DATE_EPOCH", built.to_string())
            .arg(&spec));
        top.join(format!("RPMS/noarch/hello-{version}-1.noarch.rpm"))
    }

    fn sign(&self, package: &Path) {
        run(self
            .program("rpmsign")
            .args([
                "--define",
                "_gpg_name Vendor",
                "--define",
                "__gpg /usr/bin/gpg",
            ])
            .arg("--addsign")
            .arg(package));
    }

    fn keyring(&self) -> Keyring {
        Keyring::open(&self.path("keys.asc")).unwrap()
    }
}

impl Drop for Vendor {
    /// `gpg` has started an agent for the key.
    fn drop(&mut self) {
        let _ = self.program("gpgconf").args(["--kill", "all"]).status();
    }
}

const SPEC: &str = r#"
Name: hello
Version: VERSION
Release: 1
Epoch: 2
Summary: Greets
License: MIT
BuildArch: noarch
%description
Greets.
%install
mkdir -p %{buildroot}/usr/bin "%{buildroot}/usr/share/a b"
echo VERSION >%{buildroot}/usr/bin/hello
ln -s hello %{buildroot}/usr/bin/hi
echo text >"%{buildroot}/usr/share/a b/c d"
%files
/usr/bin/hello
/usr/bin/hi
"/usr/share/a b"
"#;

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
}

fn sha256(text: &str) -> [u8; 32] {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
    digest.as_ref().try_into().unwrap()
}

#[test]
fn the_chain_leads_from_a_vendors_key_to_a_file_in_whatever_order_packages_come() {
    let vendor = Vendor::new();
    let keyring = vendor.keyring();
    let packages = [("1.0", 1_000_000_000), ("1.1", 1_100_000_000)].map(|(version, built)| {
        let package = vendor.build(version, built);
        vendor.sign(&package);
        keyring.check(&package).unwrap()
    });
    let [old, new] = &packages;
    assert_eq!(old.listed.name, "hello");
    assert_eq!(old.listed.version, "2:1.0-1");
    assert_eq!(old.listed.architecture, "noarch");
    assert_eq!(old.built_ms, 1_000_000_000_000);
    let files: Vec<_> = old.files.iter().map(|file| &*file.path).collect();
    assert_eq!(files, ["usr/bin/hello", "usr/share/a b/c d"]);
    assert_eq!(old.files[0].sha256, sha256("1.0\n"));

    for order in [[old, new], [new, old]] {
        let mut index = Index::default();
        for package in order {
            let added = index
                .take_packages("vendor 1", vec![package.clone()])
                .unwrap();
            assert_eq!(added, 1);
        }
        let again = index.take_packages("vendor 1", packages.to_vec()).unwrap();
        assert_eq!((again, index.packages().len(), index.files()), (0, 2, 4));
        let of = |text: &str| index.containing(&sha256(text)).next().unwrap();
        assert_eq!(of("1.0\n").current_until_ms, Some(1_100_000_000_000));
        assert_eq!(of("1.1\n").current_until_ms, None);
        assert_eq!(of("1.1\n").archive, "vendor 1");
        let kept = Index::decode(&index.encode()).unwrap();
        assert_eq!(kept.packages(), index.packages());
    }
}

#[test]
fn what_no_key_of_the_keyring_signed_is_refused() {
    let vendor = Vendor::new();
    let unsigned = vendor.build("1.0", 1_000_000_000);
    let refused = |keyring: &Keyring, package: &Path| match keyring.check(package) {
        Err(ArchiveError::Signature(reason)) => reason,
        other => panic!("{other:?}"),
    };
    let reason = refused(&vendor.keyring(), &unsigned);
    assert!(reason.contains("NOT OK"), "{reason}");

    let signed = vendor.path("signed.rpm");
    fs::copy(&unsigned, &signed).unwrap();
    vendor.sign(&signed);
    vendor.keyring().check(&signed).unwrap();
    let stranger = Vendor::new();
    refused(&stranger.keyring(), &signed);

    // Within the header, and in what it names by digest.
    let good = fs::read(&signed).unwrap();
    let name = good
        .windows(14)
        .rposition(|window| window == b"/usr/share/a b");
    for at in [name.unwrap(), good.len() - 20] {
        let mut changed = good.clone();
        changed[at] ^= 1;
        let path = vendor.path("changed.rpm");
        fs::write(&path, changed).unwrap();
        refused(&vendor.keyring(), &path);
    }
}

#[test]
fn a_keyring_without_keys_and_a_package_that_is_none_are_refused_by_name() {
    let vendor = Vendor::new();
    let noise = vendor.path("noise");
    fs::write(&noise, "no key").unwrap();
    let refused = Keyring::open(&noise).unwrap_err().to_string();
    assert!(refused.contains("keyring"), "{refused}");
    let refused = vendor.keyring().check(&noise).unwrap_err().to_string();
    assert!(refused.contains("noise"), "{refused}");
    let refused = vendor.keyring().check(&vendor.path("nothing")).unwrap_err();
    assert!(refused.to_string().contains("nothing"), "{refused}");
}
