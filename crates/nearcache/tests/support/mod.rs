//! Children, and memory they share with their parent, for tests of many processes.
#![allow(unsafe_code, clippy::unwrap_used, dead_code)] // in helper code, as in tests; each test uses its part

use std::os::unix::ffi::OsStrExt;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::{fs, io, ptr, slice};

/// A directory of its own, in memory where there is such a file system; removed at the end.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new(test: &str) -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let memory = Path::new("/dev/shm");
        let parent = if memory.is_dir() {
            memory.into()
        } else {
            std::env::temp_dir()
        };
        let directory = parent.join(format!("nearcache-{test}-{}-{count}", std::process::id()));
        fs::create_dir(&directory).unwrap();
        Self(directory)
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.0
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.0.join("cache")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}

/// How a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Exit(i32),
    Killed(i32),
}

/// What a child returns with whose operating system does not let it do what the test needs.
pub(crate) const SKIPPED: i32 = 77;

/// Set in children of `spawn`.
static IS_CHILD: AtomicBool = AtomicBool::new(false);

/// Makes a panic in a child write its message without any lock. Another thread of the parent may have held one when the child was
/// made, for example because a test failed at that moment, and the child would wait for it forever.
fn install_panic_hook() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let default = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !IS_CHILD.load(Ordering::Relaxed) {
                return default(info);
            }
            let message = format!("in a child: {info}\n");
            // SAFETY: reads the bytes of the message. If it fails, the exit code still tells that the child failed.
            unsafe { libc::write(libc::STDERR_FILENO, message.as_ptr().cast(), message.len()) };
        }));
    });
}

/// Runs something in a child, which returns its exit code; returns its process id.
pub(crate) fn spawn(child: impl FnOnce() -> i32) -> libc::pid_t {
    install_panic_hook();
    // SAFETY: the child uses the allocator, which glibc and musl make usable after a fork, and ends without returning.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0, "fork failed");
    if pid == 0 {
        IS_CHILD.store(true, Ordering::Relaxed);
        let code = panic::catch_unwind(AssertUnwindSafe(child)).unwrap_or(1);
        // SAFETY: ends the process without running what belongs to the parent.
        unsafe { libc::_exit(code) };
    }
    pid
}

fn ended(status: i32) -> End {
    if libc::WIFSIGNALED(status) {
        End::Killed(libc::WTERMSIG(status))
    } else {
        End::Exit(libc::WEXITSTATUS(status))
    }
}

pub(crate) fn wait(pid: libc::pid_t) -> End {
    let mut status = 0;
    // SAFETY: `status` is there to be written.
    assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
    ended(status)
}

/// How a child ended, if it has.
pub(crate) fn has_ended(pid: libc::pid_t) -> Option<End> {
    let mut status = 0;
    // SAFETY: `status` is there to be written.
    let waited = unsafe { libc::waitpid(pid, &raw mut status, libc::WNOHANG) };
    (waited == pid).then(|| ended(status))
}

pub(crate) fn signal(pid: libc::pid_t, signal: i32) {
    // SAFETY: a child of ours that has not been waited for.
    assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
}

/// Runs something in a child; whether it could be done there, which it tells by `SKIPPED` if not.
pub(crate) fn in_child(what: &str, child: impl FnOnce() -> i32) {
    match wait(spawn(child)) {
        End::Exit(0) => {}
        End::Exit(SKIPPED) => println!("skipped: {what}"),
        end => panic!("{what}: {end:?}"),
    }
}

/// Words that this process and its children share, zeros at first. Never freed.
pub(crate) fn shared_words(count: usize) -> &'static [AtomicU64] {
    let (protection, flags) = (
        libc::PROT_READ | libc::PROT_WRITE,
        libc::MAP_SHARED | libc::MAP_ANONYMOUS,
    );
    // SAFETY: a new mapping, wherever the kernel likes.
    let base = unsafe { libc::mmap(ptr::null_mut(), count * 8, protection, flags, -1, 0) };
    assert_ne!(base, libc::MAP_FAILED);
    // SAFETY: so many words are mapped, aligned to pages, until the process ends; zeros are valid.
    unsafe { slice::from_raw_parts(base.cast(), count) }
}

/// Enters namespaces of its own. Who is not root becomes root in a user namespace first, where that is allowed.
pub(crate) fn unshare(what: i32) -> io::Result<()> {
    // SAFETY: none of these takes anything but numbers.
    let (user, group, done) = unsafe { (libc::geteuid(), libc::getegid(), libc::unshare(what)) };
    if done == 0 {
        return Ok(());
    }
    // SAFETY: as above.
    if unsafe { libc::unshare(what | libc::CLONE_NEWUSER) } != 0 {
        return Err(io::Error::last_os_error());
    }
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("0 {user} 1"))?;
    fs::write("/proc/self/gid_map", format!("0 {group} 1"))
}

/// Mounts a file system in memory over a directory, for this process only.
fn mount_small(directory: &Path, bytes: u64) -> io::Result<()> {
    unshare(libc::CLONE_NEWNS)?;
    let target = std::ffi::CString::new(directory.as_os_str().as_bytes())?;
    let options = std::ffi::CString::new(format!("size={bytes}"))?;
    let private = libc::MS_REC | libc::MS_PRIVATE;
    let none = std::ptr::null();
    // SAFETY: strings that end in zeros, or none where none are asked for.
    let mounted = unsafe {
        libc::mount(none, c"/".as_ptr(), none, private, std::ptr::null()) == 0
            && libc::mount(
                c"tmpfs".as_ptr(),
                target.as_ptr(),
                c"tmpfs".as_ptr(),
                0,
                options.as_ptr().cast(),
            ) == 0
    };
    if mounted {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Runs something where the directory has room for so many bytes only.
pub(crate) fn with_room_for(bytes: u64, test: impl FnOnce(&Scratch)) {
    let scratch = Scratch::new("room");
    in_child("a small file system: mounting is not allowed here", || {
        if mount_small(scratch.directory(), bytes).is_err() {
            return SKIPPED;
        }
        test(&scratch);
        0
    });
}
