//! What of a process's memory reaches swap: ordinary pages do, the page of secrets
//! does not. With a real swap file, into which the kernel is asked to page out both.
//!
//! It takes the right to switch swap on and a file system that can hold a swap file;
//! where either is missing the test says so and shows nothing.

#![allow(unsafe_code)]

use std::{
    fs::{self, File, OpenOptions},
    io::{Read as _, Write as _},
    os::{
        fd::AsRawFd as _,
        unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use sandbox::SecretPage;

const PAGE: usize = 4096;
/// How much ordinary memory holds the canary.
const PAGES: usize = 64;
const PATIENCE: Duration = Duration::from_secs(20);

/// A swap file in use, switched off at the end.
struct Swap(PathBuf);

impl Swap {
    /// None where swap cannot be switched on.
    fn on(directory: &Path) -> Option<Self> {
        let path = directory.join("swap");
        let mut file = File::create(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        for _ in 0..32 {
            file.write_all(&vec![0; 1 << 20]).unwrap();
        }
        file.sync_all().unwrap();
        let run = |program: &str| {
            let command = Command::new(program)
                .arg(&path)
                .stdout(Stdio::null())
                .status();
            command.is_ok_and(|status| status.success())
        };
        (run("mkswap") && run("swapon")).then_some(Self(path))
    }

    /// The file's bytes as they are on the disk.
    fn read(&self) -> Vec<u8> {
        let mut file = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_CLOEXEC)
            .open(&self.0)
            .unwrap();
        file.sync_all().unwrap();
        // The kernel writes past the file's cached pages, so those are dropped.
        // SAFETY: a plain call on an open descriptor.
        unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).unwrap();
        bytes
    }
}

impl Drop for Swap {
    fn drop(&mut self) {
        let _ = Command::new("swapoff").arg(&self.0).status();
    }
}

/// Asks the kernel to take the page at `address` out of memory; it may refuse.
fn page_out(address: usize, bytes: usize) {
    // SAFETY: the range is mapped, and paging out changes no byte of it.
    unsafe { libc::madvise(address as *mut libc::c_void, bytes, libc::MADV_PAGEOUT) };
}

fn holds(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|at| at == needle)
}

#[test]
fn the_page_of_secrets_does_not_reach_swap_and_ordinary_pages_do() {
    // Not on a file system in memory, which holds no swap.
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("swap-test");
    fs::create_dir_all(&directory).unwrap();
    let Some(swap) = Swap::on(&directory) else {
        eprintln!("NOT SHOWN: swap cannot be switched on here (root, and a file for it)");
        return;
    };
    let mut random = [0; 32];
    File::open("/dev/urandom")
        .unwrap()
        .read_exact(&mut random)
        .unwrap();
    // The secret itself stands in the page alone; here it is masked.
    let masked: [u8; 32] = random.map(|byte| byte ^ 0x5a);
    let page = SecretPage::new([0_u8; 32]).unwrap();
    page.write(|secret| secret.copy_from_slice(&masked.map(|byte| byte ^ 0xa5)));
    let mut ordinary = vec![0_u8; (PAGES + 1) * PAGE];
    let start = ordinary.as_ptr() as usize;
    let first = start.next_multiple_of(PAGE);
    for page in 0..PAGES {
        ordinary[first - start + page * PAGE..][..32].copy_from_slice(&random);
    }
    let secret_page = page.address() / PAGE * PAGE;

    let deadline = Instant::now() + PATIENCE;
    let bytes = loop {
        page_out(first, PAGES * PAGE);
        page_out(secret_page, PAGE);
        let bytes = swap.read();
        if holds(&bytes, &random) {
            break bytes;
        }
        assert!(
            Instant::now() < deadline,
            "nothing of this process is swapped"
        );
    };
    let secret = masked.map(|byte| byte ^ 0xa5);
    assert!(!holds(&bytes, &secret), "the secret is in swap");
    assert!(
        page.read(|inside| *inside == secret),
        "it is where it belongs"
    );
}
