//! Directories and files in memory, with a quota.
//!
//! There are no links, owners, modes or devices. Paths are resolved one name at
//! a time from a directory that the guest holds, and never leave it. A tree is
//! used by one guest, so its locks are never contended.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::SystemTime,
};

use wasmtime_wasi::p2::bindings::filesystem::types::ErrorCode;
use zeroize::Zeroize as _;

/// What a file or directory costs of the quota besides its contents, so that
/// empty ones are bounded too.
const NODE_BYTES: u64 = 512;

/// Bytes of a name, at most, as on common file systems.
const MAX_NAME_BYTES: usize = 255;

/// Names on a path, at most.
const MAX_DEPTH: usize = 64;

/// How much a writable tree may hold.
pub struct Quota {
    limit: u64,
    used: AtomicU64,
    next_id: AtomicU64,
}

impl Quota {
    /// One of `limit` bytes.
    pub fn new(limit: u64) -> Arc<Self> {
        Arc::new(Self {
            limit,
            used: AtomicU64::new(0),
            next_id: AtomicU64::new(1),
        })
    }

    fn charge(&self, bytes: u64) -> Result<(), ErrorCode> {
        self.used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                used.checked_add(bytes).filter(|sum| *sum <= self.limit)
            })
            .map(|_| ())
            .map_err(|_| ErrorCode::InsufficientSpace)
    }

    fn release(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// What a node is.
pub(super) enum Kind {
    /// A file and its contents.
    File(Mutex<Vec<u8>>),
    /// A directory and its entries, by name.
    Directory(Mutex<BTreeMap<String, Arc<Node>>>),
}

/// A file or directory.
pub(super) struct Node {
    pub id: u64,
    pub kind: Kind,
    /// Whether it may be changed; the same for a whole tree.
    pub writable: bool,
    modified: Mutex<SystemTime>,
    quota: Arc<Quota>,
}

impl Drop for Node {
    fn drop(&mut self) {
        let mut bytes = NODE_BYTES;
        if let Kind::File(contents) = &mut self.kind {
            let contents = contents.get_mut().unwrap_or_else(PoisonError::into_inner);
            bytes += contents.len() as u64;
            contents.zeroize();
        }
        self.quota.release(bytes);
    }
}

/// Where a path leads.
pub(super) struct Resolved {
    /// The directory that holds (or would hold) the last name.
    pub parent: Arc<Node>,
    /// The last name; none if the path is a directory that the guest holds
    /// already, or one above the last name.
    pub name: Option<String>,
    /// What is there now.
    pub node: Option<Arc<Node>>,
    /// Whether the path insists on a directory by a trailing slash.
    pub wants_directory: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Node {
    fn new(kind: Kind, writable: bool, quota: &Arc<Quota>) -> Result<Arc<Self>, ErrorCode> {
        quota.charge(NODE_BYTES)?;
        Ok(Arc::new(Self {
            id: quota.next_id.fetch_add(1, Ordering::Relaxed),
            kind,
            writable,
            modified: Mutex::new(SystemTime::now()),
            quota: Arc::clone(quota),
        }))
    }

    fn directory(writable: bool, quota: &Arc<Quota>) -> Result<Arc<Self>, ErrorCode> {
        Self::new(Kind::Directory(Mutex::default()), writable, quota)
    }

    pub fn is_directory(&self) -> bool {
        matches!(self.kind, Kind::Directory(_))
    }

    pub fn entries(&self) -> Result<MutexGuard<'_, BTreeMap<String, Arc<Self>>>, ErrorCode> {
        match &self.kind {
            Kind::Directory(entries) => Ok(lock(entries)),
            Kind::File(_) => Err(ErrorCode::NotDirectory),
        }
    }

    pub fn contents(&self) -> Result<MutexGuard<'_, Vec<u8>>, ErrorCode> {
        match &self.kind {
            Kind::File(contents) => Ok(lock(contents)),
            Kind::Directory(_) => Err(ErrorCode::IsDirectory),
        }
    }

    /// Whether it is a file; the error says what it is instead.
    pub fn check_file(&self) -> Result<(), ErrorCode> {
        self.contents().map(drop)
    }

    /// Whether it is a directory; the error says what it is instead.
    pub fn check_directory(&self) -> Result<(), ErrorCode> {
        self.entries().map(drop)
    }

    /// Bytes of a file; 0 for a directory.
    pub fn size(&self) -> u64 {
        self.contents().map_or(0, |contents| contents.len() as u64)
    }

    pub fn modified(&self) -> SystemTime {
        *lock(&self.modified)
    }

    pub fn set_modified(&self, time: SystemTime) {
        *lock(&self.modified) = time;
    }

    fn check_writable(&self) -> Result<(), ErrorCode> {
        if self.writable {
            Ok(())
        } else {
            Err(ErrorCode::ReadOnly)
        }
    }

    /// At most `length` bytes from `offset`; fewer only at the end.
    pub fn read_at(&self, offset: u64, length: usize) -> Result<Vec<u8>, ErrorCode> {
        let contents = self.contents()?;
        let start = usize::try_from(offset)
            .unwrap_or(usize::MAX)
            .min(contents.len());
        let end = start.saturating_add(length).min(contents.len());
        Ok(contents[start..end].to_vec())
    }

    /// Writes at `offset`, or at the end if there is none; a gap reads as zeros.
    pub fn write_at(&self, offset: Option<u64>, bytes: &[u8]) -> Result<(), ErrorCode> {
        self.check_writable()?;
        let mut contents = self.contents()?;
        let start = match offset {
            Some(offset) => usize::try_from(offset).map_err(|_| ErrorCode::FileTooLarge)?,
            None => contents.len(),
        };
        let end = start
            .checked_add(bytes.len())
            .ok_or(ErrorCode::FileTooLarge)?;
        let size = end.max(contents.len());
        self.resize(&mut contents, size)?;
        contents[start..end].copy_from_slice(bytes);
        drop(contents);
        self.set_modified(SystemTime::now());
        Ok(())
    }

    pub fn set_size(&self, size: u64) -> Result<(), ErrorCode> {
        self.check_writable()?;
        let mut contents = self.contents()?;
        let size = usize::try_from(size).map_err(|_| ErrorCode::FileTooLarge)?;
        self.resize(&mut contents, size)?;
        drop(contents);
        self.set_modified(SystemTime::now());
        Ok(())
    }

    /// Charges before it allocates.
    fn resize(&self, contents: &mut Vec<u8>, size: usize) -> Result<(), ErrorCode> {
        let before = contents.len();
        if size > before {
            self.quota.charge((size - before) as u64)?;
        }
        contents.resize(size, 0);
        if size < before {
            self.quota.release((before - size) as u64);
        }
        Ok(())
    }

    /// Follows `path` from this directory; the last name need not exist.
    pub fn resolve(self: &Arc<Self>, path: &str) -> Result<Resolved, ErrorCode> {
        if path.starts_with('/') {
            return Err(ErrorCode::NotPermitted);
        }
        if path.is_empty() {
            return Err(ErrorCode::NoEntry);
        }
        let names: Vec<&str> = path.split('/').filter(|name| !name.is_empty()).collect();
        if names.len() > MAX_DEPTH {
            return Err(ErrorCode::NameTooLong);
        }
        let mut above = vec![Arc::clone(self)];
        let mut resolved = Resolved {
            parent: Arc::clone(self),
            name: None,
            node: Some(Arc::clone(self)),
            wants_directory: path.ends_with('/'),
        };
        for name in names {
            let here = resolved.node.take().ok_or(ErrorCode::NoEntry)?;
            match name {
                "." => {
                    here.check_directory()?;
                    resolved.node = Some(here);
                }
                ".." => {
                    here.check_directory()?;
                    // The directory that the guest holds is the top of its world.
                    above.pop();
                    let parent = above.last().ok_or(ErrorCode::NotPermitted)?;
                    resolved.node = Some(Arc::clone(parent));
                    resolved.name = None;
                }
                _ if name.len() > MAX_NAME_BYTES => return Err(ErrorCode::NameTooLong),
                _ if name.contains('\0') => return Err(ErrorCode::Invalid),
                _ => {
                    resolved.node = here.entries()?.get(name).cloned();
                    if let Some(node) = resolved.node.as_ref().filter(|node| node.is_directory()) {
                        above.push(Arc::clone(node));
                    }
                    resolved.name = Some(name.to_owned());
                    resolved.parent = here;
                }
            }
        }
        Ok(resolved)
    }

    /// What is at `path`.
    pub fn find(self: &Arc<Self>, path: &str) -> Result<Arc<Self>, ErrorCode> {
        let resolved = self.resolve(path)?;
        let node = resolved.node.ok_or(ErrorCode::NoEntry)?;
        if resolved.wants_directory && !node.is_directory() {
            return Err(ErrorCode::NotDirectory);
        }
        Ok(node)
    }

    fn add(&self, name: String, node: Arc<Self>) -> Result<(), ErrorCode> {
        self.entries()?.insert(name, node);
        self.set_modified(SystemTime::now());
        Ok(())
    }

    /// Makes an empty file or directory where `resolved` leads.
    pub fn create(resolved: &Resolved, directory: bool) -> Result<Arc<Self>, ErrorCode> {
        let parent = &resolved.parent;
        let name = resolved.name.clone().ok_or(ErrorCode::Exist)?;
        if resolved.node.is_some() {
            return Err(ErrorCode::Exist);
        }
        parent.check_writable()?;
        let node = if directory {
            Self::directory(true, &parent.quota)?
        } else {
            Self::new(Kind::File(Mutex::default()), true, &parent.quota)?
        };
        parent.add(name, Arc::clone(&node))?;
        Ok(node)
    }

    /// Takes away the file, or the empty directory, at `path`.
    pub fn remove(self: &Arc<Self>, path: &str, directory: bool) -> Result<(), ErrorCode> {
        let resolved = self.resolve(path)?;
        let node = resolved.node.as_ref().ok_or(ErrorCode::NoEntry)?;
        if directory {
            if !node.entries()?.is_empty() {
                return Err(ErrorCode::NotEmpty);
            }
        } else if node.is_directory() {
            return Err(ErrorCode::IsDirectory);
        } else if resolved.wants_directory {
            return Err(ErrorCode::NotDirectory);
        }
        let name = resolved.name.ok_or(ErrorCode::Busy)?;
        resolved.parent.check_writable()?;
        resolved.parent.entries()?.remove(&name);
        resolved.parent.set_modified(SystemTime::now());
        Ok(())
    }

    /// Moves what is at `from` to `to` beneath `target`, replacing a file by a
    /// file and an empty directory by a directory.
    pub fn rename(
        self: &Arc<Self>,
        from: &str,
        target: &Arc<Self>,
        to: &str,
    ) -> Result<(), ErrorCode> {
        let source = self.resolve(from)?;
        let destination = target.resolve(to)?;
        let node = source.node.clone().ok_or(ErrorCode::NoEntry)?;
        let (from, to) = (
            source.name.ok_or(ErrorCode::Busy)?,
            destination.name.ok_or(ErrorCode::Busy)?,
        );
        source.parent.check_writable()?;
        destination.parent.check_writable()?;
        if let Some(replaced) = &destination.node {
            if Arc::ptr_eq(replaced, &node) {
                return Ok(());
            }
            match (node.is_directory(), replaced.is_directory()) {
                (true, false) => return Err(ErrorCode::NotDirectory),
                (false, true) => return Err(ErrorCode::IsDirectory),
                (true, true) if !replaced.entries()?.is_empty() => {
                    return Err(ErrorCode::NotEmpty);
                }
                _ => {}
            }
        }
        if node.holds(&destination.parent)? {
            return Err(ErrorCode::Invalid);
        }
        source.parent.entries()?.remove(&from);
        destination.parent.add(to, node)?;
        source.parent.set_modified(SystemTime::now());
        Ok(())
    }

    /// Whether `other` is this node or lies beneath it.
    fn holds(self: &Arc<Self>, other: &Arc<Self>) -> Result<bool, ErrorCode> {
        if Arc::ptr_eq(self, other) {
            return Ok(true);
        }
        if !self.is_directory() {
            return Ok(false);
        }
        let children: Vec<Arc<Self>> = self.entries()?.values().cloned().collect();
        for child in children {
            if child.is_directory() && child.holds(other)? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// A guest's directories.
pub struct Filesystem {
    /// Preopened directories with their paths, as the guest asks for them.
    pub(super) preopens: Vec<(Arc<Node>, String)>,
}

impl Filesystem {
    /// None at all, as for a service.
    pub fn none() -> Self {
        Self {
            preopens: Vec::new(),
        }
    }

    /// `/input` with `files`, and an empty `/output` of at most `limit` bytes.
    ///
    /// Errors: none that the bundle's own limits do not exclude first.
    pub fn for_job<'a>(
        files: impl Iterator<Item = (&'a str, &'a [u8])>,
        limit: u64,
    ) -> Result<Self, ErrorCode> {
        // The bundle bounds the input already.
        let quota = Quota::new(u64::MAX);
        let input = Node::directory(false, &quota)?;
        for (path, bytes) in files {
            let mut here = Arc::clone(&input);
            let (above, name) = path.rsplit_once('/').unwrap_or(("", path));
            for part in above.split('/').filter(|part| !part.is_empty()) {
                let known = here.entries()?.get(part).cloned();
                here = match known {
                    Some(node) => node,
                    None => {
                        let node = Node::directory(false, &quota)?;
                        here.add(part.to_owned(), Arc::clone(&node))?;
                        node
                    }
                };
            }
            quota.charge(bytes.len() as u64)?;
            let file = Node::new(Kind::File(Mutex::new(bytes.to_vec())), false, &quota)?;
            here.add(name.to_owned(), file)?;
        }
        let output = Node::directory(true, &Quota::new(limit.saturating_add(NODE_BYTES)))?;
        Ok(Self {
            preopens: vec![(input, "/input".to_owned()), (output, "/output".to_owned())],
        })
    }

    /// Uses every file of `/output`: pairs of path and contents, ordered by path.
    pub fn with_output<T>(&self, used: impl FnOnce(&[(String, &[u8])]) -> T) -> T {
        let mut files = Vec::new();
        for (node, path) in &self.preopens {
            if path == "/output" {
                collect(node, "", &mut files);
            }
        }
        let guards: Vec<_> = files
            .iter()
            .filter_map(|(path, node)| Some((path.clone(), node.contents().ok()?)))
            .collect();
        let borrowed: Vec<(String, &[u8])> = guards
            .iter()
            .map(|(path, contents)| (path.clone(), contents.as_slice()))
            .collect();
        used(&borrowed)
    }
}

fn collect(node: &Arc<Node>, path: &str, files: &mut Vec<(String, Arc<Node>)>) {
    let Ok(entries) = node.entries() else {
        return;
    };
    for (name, child) in entries.iter() {
        let path = if path.is_empty() {
            name.clone()
        } else {
            format!("{path}/{name}")
        };
        if child.is_directory() {
            collect(child, &path, files);
        } else {
            files.push((path, Arc::clone(child)));
        }
    }
}

#[cfg(test)]
mod tests;
