//! The file of a state that all processes of the machine map.
//!
//! A file filled with zeros is valid, so that creating it needs no lock. Each file is mapped once in a process, for ever.

use std::fs::File;
use std::io::{self, Error, ErrorKind};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use arc_swap::ArcSwapOption;
use rustix::fs::{FallocateFlags, Mode, OFlags};
use rustix::io::Errno;

use super::state::{NearState, Words};
use super::{boot, words_memory};

/// The first word of a file: the name, and a version that changes with the layout of [`Words`].
const FORMAT: u64 = u64::from_ne_bytes(*b"ncnear\0\x01");
const SIZE: u64 = size_of::<Words>() as u64;

/// A mapped file. Mapping it keeps its inode in use, so that the numbers identify it.
struct Mapped {
    device: u64,
    inode: u64,
    words: &'static Words,
    next: Option<Arc<Mapped>>,
}

/// The files that this process has mapped. It is no mutex, because a child of `fork` could inherit that locked.
static MAPPED: ArcSwapOption<Mapped> = ArcSwapOption::const_empty();

impl NearState {
    /// Opens the state in a file, which is created if it does not exist, and maps it for the life of the process.
    ///
    /// All processes that map the file must read invalidations of the same servers with the same prefix. Times in the
    /// file belong to a boot: if the machine was restarted since it was written, nothing in it is served any more.
    ///
    /// # Errors
    ///
    /// Fails if the file cannot be created, opened, extended or mapped, if it belongs to another user, is a symbolic link
    /// or no regular file, or has another format.
    pub fn open_mapped(path: &Path) -> io::Result<Self> {
        let file = open(path)?;
        let (device, inode) = (file.metadata()?.dev(), file.metadata()?.ino());
        if let Some(words) = find(MAPPED.load().as_deref(), device, inode) {
            return Ok(Self { words });
        }
        check_format(&file, path)?;
        extend(&file)?;
        let words = words_memory::map(&file)?;
        if words.format.load(SeqCst) == 0 {
            words.raise_epoch_to_random();
        }
        if let Err(found) = words.format.compare_exchange(0, FORMAT, SeqCst, SeqCst)
            && found != FORMAT
        {
            return Err(foreign(path));
        }
        boot::reset_if_older(words, boot::current());
        // Another thread may have mapped the file meanwhile. Both mappings are of the same words.
        MAPPED.rcu(|next| {
            Some(Arc::new(Mapped {
                device,
                inode,
                words,
                next: next.clone(),
            }))
        });
        Ok(Self { words })
    }
}

fn find(mut mapped: Option<&Mapped>, device: u64, inode: u64) -> Option<&'static Words> {
    while let Some(file) = mapped {
        if (file.device, file.inode) == (device, inode) {
            return Some(file.words);
        }
        mapped = file.next.as_deref();
    }
    None
}

/// Opens or creates the file, and checks that it is a regular file of this user.
fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDWR
        | OFlags::CREATE
        | OFlags::NOFOLLOW
        | OFlags::CLOEXEC
        | OFlags::NONBLOCK
        | OFlags::NOCTTY;
    let mode = Mode::RUSR | Mode::WUSR;
    let file = rustix::fs::open(path, flags, mode).map_err(|error| {
        let error = Error::from(error);
        Error::new(error.kind(), format!("{}: {error}", path.display()))
    })?;
    let file = File::from(file);
    let metadata = file.metadata()?;
    let refuse = |why: &str| {
        let message = format!("{} {why}", path.display());
        Err(Error::new(ErrorKind::PermissionDenied, message))
    };
    if !metadata.is_file() {
        return refuse("is not a regular file");
    }
    if metadata.uid() != rustix::process::geteuid().as_raw() {
        return refuse("belongs to another user");
    }
    if metadata.mode() & 0o077 != 0 {
        return refuse("is accessible to other users; expected mode 0600");
    }
    Ok(file)
}

/// Checks the first word before anything is written, so that a foreign file stays as it is.
fn check_format(file: &File, path: &Path) -> io::Result<()> {
    let mut first = [0; 8];
    let mut len = 0;
    while len < first.len() {
        match file.read_at(&mut first[len..], len as u64)? {
            0 => break,
            count => len += count,
        }
    }
    match u64::from_ne_bytes(first) {
        0 | FORMAT => Ok(()),
        _ => Err(foreign(path)),
    }
}

fn foreign(path: &Path) -> Error {
    let message = format!(
        "{} is not the state of a near tier, or of another version of nearcache; it can be removed while no process uses it",
        path.display()
    );
    Error::new(ErrorKind::InvalidData, message)
}

/// Allocates the file's space, so that a full file system is an error here and not a signal at the first write.
fn extend(file: &File) -> io::Result<()> {
    match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, SIZE) {
        // The file system cannot do that.
        Err(Errno::OPNOTSUPP | Errno::NOSYS) if file.metadata()?.len() < SIZE => file.set_len(SIZE),
        Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
