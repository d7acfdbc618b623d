//! `wasi:filesystem` over the tree in memory.
//!
//! The interface's types are wasmtime-wasi's; only what is behind a descriptor
//! differs: a node of the tree instead of a file of the host. Descriptors are
//! entries of the guest's resource table under the same numbers.

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    io,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use wasmtime::component::{HasData, Resource, ResourceTable};
use wasmtime_wasi::p2::{
    DynInputStream, DynOutputStream, FsError, FsResult, InputStream, OutputStream, Pollable,
    StreamError, StreamResult,
    bindings::{
        clocks::wall_clock::Datetime,
        filesystem::{
            preopens,
            types::{
                self, Advice, DescriptorFlags, DescriptorStat, DescriptorType, DirectoryEntry,
                ErrorCode, MetadataHashValue, NewTimestamp, OpenFlags, PathFlags,
            },
        },
    },
};

use super::tree::{Filesystem, Node};

/// Bytes given by one read and taken by one write, at most: bounds the copies
/// that a guest can make the host hold.
const MAX_TRANSFER_BYTES: usize = 1024 * 1024;

/// Names this implementation to a linker.
pub struct HasFilesystem;

impl HasData for HasFilesystem {
    type Data<'a> = View<'a>;
}

/// A guest's files and its resource table.
pub struct View<'a> {
    /// Where descriptors are.
    pub table: &'a mut ResourceTable,
    /// What is preopened.
    pub filesystem: &'a Filesystem,
}

/// What the guest may do with a node that it opened.
struct Descriptor {
    node: Arc<Node>,
    flags: DescriptorFlags,
}

/// Directory entries that were not read yet, last first.
struct Entries(Vec<DirectoryEntry>);

type WasiDescriptor = Resource<types::Descriptor>;
type WasiEntries = Resource<types::DirectoryEntryStream>;

impl View<'_> {
    fn push(
        &mut self,
        node: Arc<Node>,
        flags: DescriptorFlags,
    ) -> wasmtime::Result<WasiDescriptor> {
        let own = self.table.push(Descriptor { node, flags })?;
        Ok(Resource::new_own(own.rep()))
    }

    fn get(&self, descriptor: &WasiDescriptor) -> wasmtime::Result<&Descriptor> {
        Ok(self.table.get(&Resource::new_borrow(descriptor.rep()))?)
    }

    fn node(&self, descriptor: &WasiDescriptor) -> FsResult<Arc<Node>> {
        let found = self.get(descriptor).map_err(FsError::trap)?;
        Ok(Arc::clone(&found.node))
    }

    /// The node, if it was opened for writing.
    fn written(&self, descriptor: &WasiDescriptor) -> FsResult<Arc<Node>> {
        let found = self.get(descriptor).map_err(FsError::trap)?;
        if !found.flags.contains(DescriptorFlags::WRITE) {
            return Err(ErrorCode::NotPermitted.into());
        }
        Ok(Arc::clone(&found.node))
    }
}

impl preopens::Host for View<'_> {
    fn get_directories(&mut self) -> wasmtime::Result<Vec<(WasiDescriptor, String)>> {
        let preopens = self.filesystem.preopens.clone();
        preopens
            .into_iter()
            .map(|(node, path)| {
                let mut flags = DescriptorFlags::READ;
                if node.writable {
                    flags |= DescriptorFlags::MUTATE_DIRECTORY;
                }
                Ok((self.push(node, flags)?, path))
            })
            .collect()
    }
}

impl types::Host for View<'_> {
    fn convert_error_code(&mut self, error: FsError) -> wasmtime::Result<ErrorCode> {
        error.downcast()
    }

    fn filesystem_error_code(
        &mut self,
        error: Resource<wasmtime::Error>,
    ) -> wasmtime::Result<Option<ErrorCode>> {
        let error = self.table.get(&error)?;
        Ok(error.downcast_ref::<io::Error>().map(ErrorCode::from))
    }
}

impl types::HostDescriptor for View<'_> {
    async fn advise(
        &mut self,
        descriptor: WasiDescriptor,
        _offset: u64,
        _length: u64,
        _advice: Advice,
    ) -> FsResult<()> {
        Ok(self.node(&descriptor)?.check_file()?)
    }

    async fn sync_data(&mut self, descriptor: WasiDescriptor) -> FsResult<()> {
        self.node(&descriptor).map(|_| ())
    }

    async fn sync(&mut self, descriptor: WasiDescriptor) -> FsResult<()> {
        self.node(&descriptor).map(|_| ())
    }

    async fn get_flags(&mut self, descriptor: WasiDescriptor) -> FsResult<DescriptorFlags> {
        Ok(self.get(&descriptor).map_err(FsError::trap)?.flags)
    }

    async fn get_type(&mut self, descriptor: WasiDescriptor) -> FsResult<DescriptorType> {
        Ok(kind(&*self.node(&descriptor)?))
    }

    async fn set_size(&mut self, descriptor: WasiDescriptor, size: u64) -> FsResult<()> {
        Ok(self.written(&descriptor)?.set_size(size)?)
    }

    async fn set_times(
        &mut self,
        descriptor: WasiDescriptor,
        _access: NewTimestamp,
        modification: NewTimestamp,
    ) -> FsResult<()> {
        set_times(&*self.node(&descriptor)?, modification)
    }

    async fn read(
        &mut self,
        descriptor: WasiDescriptor,
        length: u64,
        offset: u64,
    ) -> FsResult<(Vec<u8>, bool)> {
        let node = self.node(&descriptor)?;
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let bytes = node.read_at(offset, length.min(MAX_TRANSFER_BYTES))?;
        let ended = bytes.is_empty();
        Ok((bytes, ended))
    }

    async fn write(
        &mut self,
        descriptor: WasiDescriptor,
        bytes: Vec<u8>,
        offset: u64,
    ) -> FsResult<u64> {
        self.written(&descriptor)?.write_at(Some(offset), &bytes)?;
        Ok(bytes.len() as u64)
    }

    async fn read_directory(&mut self, descriptor: WasiDescriptor) -> FsResult<WasiEntries> {
        let node = self.node(&descriptor)?;
        let mut entries: Vec<DirectoryEntry> = node
            .entries()?
            .iter()
            .map(|(name, node)| DirectoryEntry {
                type_: kind(node),
                name: name.clone(),
            })
            .collect();
        entries.reverse();
        let own = self.table.push(Entries(entries))?;
        Ok(Resource::new_own(own.rep()))
    }

    async fn create_directory_at(
        &mut self,
        descriptor: WasiDescriptor,
        path: String,
    ) -> FsResult<()> {
        let resolved = self.node(&descriptor)?.resolve(&path)?;
        Node::create(&resolved, true)?;
        Ok(())
    }

    async fn stat(&mut self, descriptor: WasiDescriptor) -> FsResult<DescriptorStat> {
        Ok(stat(&*self.node(&descriptor)?))
    }

    async fn stat_at(
        &mut self,
        descriptor: WasiDescriptor,
        _flags: PathFlags,
        path: String,
    ) -> FsResult<DescriptorStat> {
        Ok(stat(&*self.node(&descriptor)?.find(&path)?))
    }

    async fn set_times_at(
        &mut self,
        descriptor: WasiDescriptor,
        _flags: PathFlags,
        path: String,
        _access: NewTimestamp,
        modification: NewTimestamp,
    ) -> FsResult<()> {
        set_times(&*self.node(&descriptor)?.find(&path)?, modification)
    }

    async fn link_at(
        &mut self,
        _descriptor: WasiDescriptor,
        _flags: PathFlags,
        _path: String,
        _target: WasiDescriptor,
        _target_path: String,
    ) -> FsResult<()> {
        Err(ErrorCode::Unsupported.into())
    }

    async fn open_at(
        &mut self,
        descriptor: WasiDescriptor,
        _path_flags: PathFlags,
        path: String,
        how: OpenFlags,
        flags: DescriptorFlags,
    ) -> FsResult<WasiDescriptor> {
        let resolved = self.node(&descriptor)?.resolve(&path)?;
        let node = match &resolved.node {
            Some(_) if how.contains(OpenFlags::CREATE | OpenFlags::EXCLUSIVE) => {
                return Err(ErrorCode::Exist.into());
            }
            Some(node) => Arc::clone(node),
            None if !how.contains(OpenFlags::CREATE) => return Err(ErrorCode::NoEntry.into()),
            None if how.contains(OpenFlags::DIRECTORY) || resolved.wants_directory => {
                return Err(ErrorCode::Invalid.into());
            }
            None => Node::create(&resolved, false)?,
        };
        let wants_directory = how.contains(OpenFlags::DIRECTORY) || resolved.wants_directory;
        let changes = flags.contains(DescriptorFlags::WRITE) || how.contains(OpenFlags::TRUNCATE);
        if node.is_directory() && changes {
            return Err(ErrorCode::IsDirectory.into());
        }
        if !node.is_directory() && wants_directory {
            return Err(ErrorCode::NotDirectory.into());
        }
        if !node.writable && (changes || flags.contains(DescriptorFlags::MUTATE_DIRECTORY)) {
            return Err(ErrorCode::ReadOnly.into());
        }
        if how.contains(OpenFlags::TRUNCATE) {
            node.set_size(0)?;
        }
        self.push(node, flags).map_err(FsError::trap)
    }

    async fn readlink_at(&mut self, descriptor: WasiDescriptor, path: String) -> FsResult<String> {
        self.node(&descriptor)?.find(&path)?;
        // Nothing here is a link.
        Err(ErrorCode::Invalid.into())
    }

    async fn remove_directory_at(
        &mut self,
        descriptor: WasiDescriptor,
        path: String,
    ) -> FsResult<()> {
        Ok(self.node(&descriptor)?.remove(&path, true)?)
    }

    async fn rename_at(
        &mut self,
        descriptor: WasiDescriptor,
        path: String,
        target: WasiDescriptor,
        target_path: String,
    ) -> FsResult<()> {
        let target = self.node(&target)?;
        Ok(self
            .node(&descriptor)?
            .rename(&path, &target, &target_path)?)
    }

    async fn symlink_at(
        &mut self,
        _descriptor: WasiDescriptor,
        _path: String,
        _target: String,
    ) -> FsResult<()> {
        Err(ErrorCode::Unsupported.into())
    }

    async fn unlink_file_at(&mut self, descriptor: WasiDescriptor, path: String) -> FsResult<()> {
        Ok(self.node(&descriptor)?.remove(&path, false)?)
    }

    fn read_via_stream(
        &mut self,
        descriptor: WasiDescriptor,
        offset: u64,
    ) -> FsResult<Resource<DynInputStream>> {
        let node = self.node(&descriptor)?;
        node.check_file()?;
        let stream: DynInputStream = Box::new(Reader { node, offset });
        Ok(self.table.push(stream)?)
    }

    fn write_via_stream(
        &mut self,
        descriptor: WasiDescriptor,
        offset: u64,
    ) -> FsResult<Resource<DynOutputStream>> {
        let node = self.written(&descriptor)?;
        let stream: DynOutputStream = Box::new(Writer {
            node,
            offset: Some(offset),
        });
        Ok(self.table.push(stream)?)
    }

    fn append_via_stream(
        &mut self,
        descriptor: WasiDescriptor,
    ) -> FsResult<Resource<DynOutputStream>> {
        let node = self.written(&descriptor)?;
        let stream: DynOutputStream = Box::new(Writer { node, offset: None });
        Ok(self.table.push(stream)?)
    }

    async fn is_same_object(
        &mut self,
        one: WasiDescriptor,
        other: WasiDescriptor,
    ) -> wasmtime::Result<bool> {
        Ok(Arc::ptr_eq(&self.get(&one)?.node, &self.get(&other)?.node))
    }

    async fn metadata_hash(&mut self, descriptor: WasiDescriptor) -> FsResult<MetadataHashValue> {
        Ok(metadata_hash(&*self.node(&descriptor)?))
    }

    async fn metadata_hash_at(
        &mut self,
        descriptor: WasiDescriptor,
        _flags: PathFlags,
        path: String,
    ) -> FsResult<MetadataHashValue> {
        Ok(metadata_hash(&*self.node(&descriptor)?.find(&path)?))
    }

    fn drop(&mut self, descriptor: WasiDescriptor) -> wasmtime::Result<()> {
        let own: Resource<Descriptor> = Resource::new_own(descriptor.rep());
        self.table.delete(own)?;
        Ok(())
    }
}

impl types::HostDirectoryEntryStream for View<'_> {
    async fn read_directory_entry(
        &mut self,
        stream: WasiEntries,
    ) -> FsResult<Option<DirectoryEntry>> {
        let own: Resource<Entries> = Resource::new_borrow(stream.rep());
        Ok(self.table.get_mut(&own)?.0.pop())
    }

    fn drop(&mut self, stream: WasiEntries) -> wasmtime::Result<()> {
        let own: Resource<Entries> = Resource::new_own(stream.rep());
        self.table.delete(own)?;
        Ok(())
    }
}

fn kind(node: &Node) -> DescriptorType {
    if node.is_directory() {
        DescriptorType::Directory
    } else {
        DescriptorType::RegularFile
    }
}

fn stat(node: &Node) -> DescriptorStat {
    let since = node.modified().duration_since(SystemTime::UNIX_EPOCH);
    let since = since.unwrap_or_default();
    let time = Some(Datetime {
        seconds: since.as_secs(),
        nanoseconds: since.subsec_nanos(),
    });
    DescriptorStat {
        type_: kind(node),
        link_count: 1,
        size: node.size(),
        data_access_timestamp: time,
        data_modification_timestamp: time,
        status_change_timestamp: time,
    }
}

fn set_times(node: &Node, modification: NewTimestamp) -> FsResult<()> {
    if !node.writable {
        return Err(ErrorCode::ReadOnly.into());
    }
    match modification {
        NewTimestamp::NoChange => {}
        NewTimestamp::Now => node.set_modified(SystemTime::now()),
        NewTimestamp::Timestamp(time) => {
            let since = Duration::from_secs(time.seconds)
                .checked_add(Duration::from_nanos(u64::from(time.nanoseconds)));
            let time = since.and_then(|since| SystemTime::UNIX_EPOCH.checked_add(since));
            node.set_modified(time.ok_or(ErrorCode::Overflow)?);
        }
    }
    Ok(())
}

/// Equal for the same node until it changes.
fn metadata_hash(node: &Node) -> MetadataHashValue {
    let mut hasher = DefaultHasher::new();
    node.modified().hash(&mut hasher);
    node.size().hash(&mut hasher);
    MetadataHashValue {
        lower: node.id,
        upper: hasher.finish(),
    }
}

struct Reader {
    node: Arc<Node>,
    offset: u64,
}

#[async_trait::async_trait]
impl Pollable for Reader {
    async fn ready(&mut self) {}
}

#[async_trait::async_trait]
impl InputStream for Reader {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        if size == 0 {
            return Ok(Bytes::new());
        }
        let bytes = self
            .node
            .read_at(self.offset, size.min(MAX_TRANSFER_BYTES))
            .map_err(failed)?;
        if bytes.is_empty() {
            return Err(StreamError::Closed);
        }
        self.offset += bytes.len() as u64;
        Ok(bytes.into())
    }
}

struct Writer {
    node: Arc<Node>,
    /// Where to write next; none to append.
    offset: Option<u64>,
}

#[async_trait::async_trait]
impl Pollable for Writer {
    async fn ready(&mut self) {}
}

#[async_trait::async_trait]
impl OutputStream for Writer {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.node.write_at(self.offset, &bytes).map_err(failed)?;
        if let Some(offset) = &mut self.offset {
            *offset += bytes.len() as u64;
        }
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(MAX_TRANSFER_BYTES)
    }
}

/// An error of the tree as one of streams, from which the guest can get the
/// error's code back.
fn failed(code: ErrorCode) -> StreamError {
    let kind = match code {
        ErrorCode::InsufficientSpace => io::ErrorKind::StorageFull,
        ErrorCode::FileTooLarge => io::ErrorKind::FileTooLarge,
        ErrorCode::ReadOnly => io::ErrorKind::ReadOnlyFilesystem,
        ErrorCode::IsDirectory => io::ErrorKind::IsADirectory,
        _ => io::ErrorKind::Other,
    };
    StreamError::LastOperationFailed(io::Error::from(kind).into())
}
