//! `ringfort host index`: which files do the packages of an archive hold?

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::Serialize;
use software::{
    archive::{ListedPackage, check_package, check_packages, check_release},
    index::Index,
    rpm::Keyring,
};

use super::{read, write};
use crate::{failure::Status, session::Session};

/// Arguments of `host index`.
#[derive(clap::Args)]
pub struct IndexPackages {
    /// The index; made if it is not there.
    #[arg(long, value_name = "FILE")]
    into: PathBuf,
    /// For .deb: the archive's InRelease file.
    #[arg(long, value_name = "FILE", required_unless_present = "rpm_keys")]
    release: Option<PathBuf>,
    /// For .deb: the keyring that must have signed it.
    #[arg(long, value_name = "FILE", required_unless_present = "rpm_keys")]
    keyring: Option<PathBuf>,
    /// For .deb: the archive's list of packages, uncompressed.
    #[arg(long, value_name = "FILE", required_unless_present = "rpm_keys")]
    packages: Option<PathBuf>,
    /// For .deb: the list's path in the release.
    #[arg(
        long,
        default_value = "main/binary-amd64/Packages",
        value_name = "PATH"
    )]
    component: String,
    /// For .rpm: the vendor's keys, in ASCII armour; one of them must have signed each
    /// package.
    #[arg(
        long,
        value_name = "FILE",
        requires = "archive",
        conflicts_with_all = ["release", "keyring", "packages"]
    )]
    rpm_keys: Option<PathBuf>,
    /// For .rpm: what the index calls the archive, such as `fedora-43-updates`.
    #[arg(long, value_name = "NAME", requires = "rpm_keys")]
    archive: Option<String>,
    /// Packages to add.
    #[arg(value_name = "PACKAGE")]
    files: Vec<PathBuf>,
}

impl IndexPackages {
    /// Adds the packages to the index.
    pub(super) fn execute(&self, session: &Session) -> anyhow::Result<Status> {
        let mut index = match self.into.exists() {
            true => Index::decode(&read(&self.into)?)?,
            false => Index::default(),
        };
        let (archive, added) = match (&self.rpm_keys, &self.archive) {
            (Some(keys), Some(archive)) => (
                archive.clone(),
                self.take_rpms(session, &mut index, keys, archive)?,
            ),
            _ => self.take_release(session, &mut index)?,
        };
        write(&self.into, &index.encode())?;
        #[derive(Serialize)]
        struct Indexed {
            release: String,
            added: usize,
            packages: usize,
            files: usize,
        }
        let indexed = Indexed {
            release: archive,
            added,
            packages: index.packages().len(),
            files: index.files(),
        };
        session.print(&indexed, |one| {
            format!(
                "{}: {} packages added; {} packages, {} files in all\n",
                one.release, one.added, one.packages, one.files
            )
        })?;
        Ok(Status::Done)
    }

    /// Adds packages of a signed release; its name, and how many were added.
    fn take_release(
        &self,
        session: &Session,
        index: &mut Index,
    ) -> anyhow::Result<(String, usize)> {
        let named = |path: &Option<PathBuf>| path.clone().context("clap asks for it");
        let release = check_release(&read(&named(&self.release)?)?, &named(&self.keyring)?)?;
        let packages = read(&named(&self.packages)?)?;
        let listed = check_packages(&release, &self.component, &packages)?;
        let mut added = Vec::new();
        for path in &self.files {
            let deb = read(path)?;
            let sha256 = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &deb);
            let known = |one: &&ListedPackage| one.sha256 == sha256.as_ref();
            let one = listed
                .iter()
                .find(known)
                .with_context(|| format!("{} is not a package of this release", path.display()))?;
            if !index.has(one) {
                session
                    .terminal
                    .progress(&format!("hash {} {}", one.name, one.version));
                added.push((one.clone(), check_package(one, &deb)?));
            }
        }
        let count = added.len();
        index.take_release(&release, &listed, added)?;
        Ok((release.name, count))
    }

    /// Adds packages that are signed one by one; how many.
    fn take_rpms(
        &self,
        session: &Session,
        index: &mut Index,
        keys: &Path,
        archive: &str,
    ) -> anyhow::Result<usize> {
        let keyring = Keyring::open(keys)?;
        let mut packages = Vec::new();
        for path in &self.files {
            session
                .terminal
                .progress(&format!("check {}", path.display()));
            packages.push(keyring.check(path)?);
        }
        Ok(index.take_packages(archive, packages)?)
    }
}
