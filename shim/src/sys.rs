//! The system calls no crate wraps safely, and the start: the only unsafe code of the command line.
//!
//! It starts in C's `main`, not in the standard library's, which reads `/proc/self/maps` and makes a dozen more system
//! calls before every start: `exec` is measured against programs in C.

#![allow(unsafe_code)]

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicPtr, AtomicU16, Ordering};

use rustix::process::Pid;

static ARGUMENTS: OnceLock<Vec<OsString>> = OnceLock::new();
/// The first byte of the words that the kernel wrote: `/proc/PID/cmdline` shows them from there.
static WORDS: AtomicPtr<u8> = AtomicPtr::new(std::ptr::null_mut());

/// Where the C library enters the program.
// SAFETY: `main` is the symbol that the C start files look for, with this signature; with `no_main` there is no other.
#[cfg(not(test))]
#[unsafe(no_mangle)]
extern "C" fn main(argc: i32, argv: *const *const std::ffi::c_char) -> i32 {
    // SAFETY: C calls `main` with a list of `argc` pointers, which stays as long as the process.
    let strings = unsafe { std::slice::from_raw_parts(argv, usize::try_from(argc).unwrap_or(0)) };
    let owned = |&string: &*const std::ffi::c_char| {
        // SAFETY: each of them is a string, which stays too.
        std::os::unix::ffi::OsStringExt::from_vec(
            unsafe { std::ffi::CStr::from_ptr(string) }.to_bytes().to_vec(),
        )
    };
    let _ = ARGUMENTS.set(strings.iter().map(owned).collect());
    WORDS.store(
        strings.first().map_or(std::ptr::null_mut(), |&first| first.cast_mut().cast()),
        Ordering::Relaxed,
    );
    i32::from(crate::main_status().number())
}

/// What the program was called with, its own name first. Not every C library tells the standard library, which had no
/// part in the start.
pub(crate) fn arguments() -> &'static [OsString] {
    ARGUMENTS.get().map_or(&[], Vec::as_slice)
}

/// Leaves nothing on this process's command line, as `/proc/PID/cmdline` shows it, but its last `count` words.
pub(crate) fn keep_last_arguments(count: usize) {
    let all = arguments();
    let kept = length(all.get(all.len().saturating_sub(count)..).unwrap_or_default());
    change_command_line(|line| {
        line.copy_within(line.len() - kept.., 0);
        line[kept..].fill(0);
    });
}

/// Writes over the ends of words on this process's command line that are `secret`.
pub(crate) fn conceal_argument(secret: &[u8]) {
    let mut at = 0;
    let ends = arguments().iter().filter_map(|word| {
        let word = word.as_bytes();
        at += word.len() + 1;
        word.ends_with(secret).then_some(at - 1)
    });
    let ends: Vec<_> = ends.collect();
    change_command_line(|line| ends.iter().for_each(|&end| line[end - secret.len()..end].fill(b'*')));
}

fn length(words: &[OsString]) -> usize {
    words.iter().map(|word| word.as_bytes().len() + 1).sum()
}

/// The words as `/proc/PID/cmdline` shows them; what `arguments` gives are copies.
fn change_command_line(change: impl FnOnce(&mut [u8])) {
    let words = WORDS.load(Ordering::Relaxed);
    if words.is_null() {
        return;
    }
    // SAFETY: execve(2) puts the words one behind the other, each with its NUL, into the writable memory of the stack, from
    // `words` on. Their length is known, since ARGUMENTS has copies of all of them; there is no reference to the originals,
    // nor another thread.
    change(unsafe { std::slice::from_raw_parts_mut(words, length(arguments())) });
}

/// Opens `/dev/null` where stdin, stdout or stderr is closed: what is opened later must not take their place.
pub(crate) fn fill_standard_descriptors() -> io::Result<()> {
    use rustix::event::{PollFd, PollFlags, poll};
    let none = rustix::fs::Timespec { tv_sec: 0, tv_nsec: 0 };
    let mut fds = [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()]
        .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::empty()));
    poll(&mut fds, Some(&none))?;
    for _ in fds.iter().filter(|fd| fd.revents().contains(PollFlags::NVAL)) {
        // The lowest free number, so those that are closed, in turn; they stay open for good.
        let null = rustix::fs::open("/dev/null", rustix::fs::OFlags::RDWR, rustix::fs::Mode::empty())?;
        std::mem::forget(null);
    }
    Ok(())
}

/// Which side of a fork this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fork {
    /// The new process.
    Child,
    /// The old process, with the number of the new one.
    Parent(Pid),
}

/// fork(2) of a process that has one thread: <https://man7.org/linux/man-pages/man2/fork.2.html>
pub(crate) fn fork() -> io::Result<Fork> {
    one_thread()?;
    // SAFETY: fork takes no pointer. Its one obligation is that the child of a process with several threads
    // calls only async-signal-safe functions, since a lock another thread held stays locked for ever. There
    // is one thread, counted just above, and only that thread could have started another since.
    let pid = unsafe { libc::fork() };
    match pid {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Fork::Child),
        pid => parent_of(pid).map(Fork::Parent),
    }
}

/// A child that shares this process's memory, while this process stands still until the child executes another program
/// or ends, with the status `child` returns: clone(2) with `CLONE_VM` and `CLONE_VFORK`, which copies no page table.
/// <https://man7.org/linux/man-pages/man2/clone.2.html>
pub(crate) fn fork_without_copy(mut child: impl FnMut() -> u8) -> io::Result<Pid> {
    extern "C" fn run<F: FnMut() -> u8>(argument: *mut libc::c_void) -> libc::c_int {
        // SAFETY: `argument` is the pointer to the closure given to clone below, of this same type `F`. The parent
        // does not run, so this is the only reference to it while it is used.
        let child = unsafe { &mut *argument.cast::<F>() };
        exit_now(child())
    }
    fn entry_of<F: FnMut() -> u8>(_: &F) -> extern "C" fn(*mut libc::c_void) -> libc::c_int {
        run::<F>
    }
    one_thread()?;
    let entry = entry_of(&child);
    // Taken from the kernel page by page as it is used. Sixteen bytes are what the ABI wants a stack aligned to.
    let mut stack = Vec::<u128>::with_capacity(STACK / size_of::<u128>());
    let top = stack.spare_capacity_mut().as_mut_ptr_range().end;
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
    // SAFETY: `top` is the aligned end of a buffer that lives until after the call, and nothing else uses it: stacks
    // grow down. The closure outlives the child's use of this memory, since CLONE_VFORK suspends this process, whose
    // only thread (counted above) this is, until the child has executed another program or ended; so no access is
    // concurrent. `run` never returns into a frame of the parent: it ends with `_exit`.
    let pid = unsafe { libc::clone(entry, top.cast(), flags, (&raw mut child).cast()) };
    let error = io::Error::last_os_error();
    drop(stack);
    if pid == -1 { Err(error) } else { parent_of(pid) }
}

/// A child of this process's parent, with a copy of this memory, while this process stands still until the child executes
/// another program or ends: clone(2) with `CLONE_PARENT` and `CLONE_VFORK`. Gives the status that `child` returned if it
/// did; a program that was executed is not heard of.
///
/// For a process that has one thread because it has just been executed: `/proc` may be another pid namespace's, which
/// does not list it.
pub(crate) fn fork_beside(child: impl FnOnce() -> u8) -> io::Result<(Pid, Option<u8>)> {
    use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};
    let (protection, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED);
    // SAFETY: a null address lets the kernel choose one that nothing has.
    let page = unsafe { mmap_anonymous(std::ptr::null_mut(), size_of::<AtomicU16>(), protection, flags)? };
    // SAFETY: the page is zeroed, aligned, larger than the atomic and mapped until after the last use below. Both processes
    // access it through atomics alone.
    let answer = unsafe { &*page.cast::<AtomicU16>() };
    let (flags, none) =
        (libc::CLONE_PARENT | libc::CLONE_VFORK | libc::SIGCHLD, std::ptr::null::<libc::c_void>());
    // SAFETY: without CLONE_VM and with a null stack this is a fork: the child goes on with a copy of this memory and
    // this stack, and the other pointers are null and unused. There is one thread, so no lock is held by another.
    let pid = unsafe { libc::syscall(libc::SYS_clone, flags, none, none, none, none) };
    let error = io::Error::last_os_error();
    if pid == 0 {
        let status = child();
        answer.store(u16::from(status) | ANSWERED, Ordering::Release);
        exit_now(status);
    }
    let answered = answer.load(Ordering::Acquire);
    // SAFETY: nothing refers to the page any more.
    let _ = unsafe { munmap(page, size_of::<AtomicU16>()) };
    let [status, _] = answered.to_le_bytes();
    match libc::pid_t::try_from(pid) {
        Ok(pid) if pid > 0 => Ok((parent_of(pid)?, (answered & ANSWERED != 0).then_some(status))),
        _ => Err(error),
    }
}

/// Tells a status that was written from a page that is empty.
const ANSWERED: u16 = 1 << 8;

const STACK: usize = 1 << 20;

fn parent_of(pid: libc::pid_t) -> io::Result<Pid> {
    Pid::from_raw(pid).ok_or_else(|| io::Error::other("the kernel gave no process id"))
}

fn one_thread() -> io::Result<()> {
    // A directory's link count is two and one for each directory in it: here, for each thread.
    match rustix::fs::stat("/proc/self/task")?.st_nlink.saturating_sub(2) {
        1 => Ok(()),
        threads => Err(io::Error::other(format!("the process has {threads} threads, fork needs one"))),
    }
}

/// _exit(2), without the exit handlers, which are the parent's: <https://man7.org/linux/man-pages/man2/_exit.2.html>
pub(crate) fn exit_now(status: u8) -> ! {
    // SAFETY: _exit takes an integer and does not return; whatever this process holds the kernel releases.
    unsafe { libc::_exit(libc::c_int::from(status)) }
}

/// Gives a signal its default action, for this process: <https://man7.org/linux/man-pages/man2/signal.2.html>
pub(crate) fn default_action(signal: libc::c_int) -> io::Result<()> {
    // SAFETY: SIG_DFL installs no handler, so no code of ours can run in signal context; an invalid number is
    // answered with SIG_ERR.
    let previous = unsafe { libc::signal(signal, libc::SIG_DFL) };
    if previous == libc::SIG_ERR { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Ignores a signal: signal(7). A write to a pipe whose reader has gone is to fail, not to kill.
pub(crate) fn ignore(signal: libc::c_int) {
    // SAFETY: SIG_IGN installs no code; the number is a constant of the caller's, and a wrong one is answered with an
    // error that changes nothing.
    unsafe { libc::signal(signal, libc::SIG_IGN) };
}

/// Leaves the session keyring for an empty one, where the kernel has keyrings: keyctl(2),
/// <https://man7.org/linux/man-pages/man3/keyctl_join_session_keyring.3.html>
pub(crate) fn new_session_keyring() -> io::Result<()> {
    const KEYCTL_JOIN_SESSION_KEYRING: libc::c_int = 1;
    let anonymous: *const libc::c_char = std::ptr::null();
    // SAFETY: a null name asks for a new keyring without a name, and is not read; the other arguments are unused.
    let keyring = unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, anonymous, 0, 0, 0) };
    match io::Error::last_os_error() {
        _ if keyring >= 0 => Ok(()),
        error if error.raw_os_error() == Some(libc::ENOSYS) => Ok(()),
        error => Err(error),
    }
}

/// Attributes of a mount, as mount_setattr(2) takes them.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct MountAttributes {
    /// `MOUNT_ATTR_*` to set.
    pub(crate) set: u64,
    /// `MS_PRIVATE`, `MS_SLAVE`, `MS_SHARED`, or 0 to leave the propagation as it is.
    pub(crate) propagation: u64,
    /// Also every mount below.
    pub(crate) recursive: bool,
}

/// mount_setattr(2), Linux 5.12, on the mount `mount` refers to:
/// <https://man7.org/linux/man-pages/man2/mount_setattr.2.html>
pub(crate) fn mount_setattr(mount: BorrowedFd<'_>, attributes: MountAttributes) -> io::Result<()> {
    let recursive = if attributes.recursive { libc::AT_RECURSIVE } else { 0 };
    let mut attr = libc::mount_attr {
        attr_set: attributes.set,
        attr_clr: 0,
        propagation: attributes.propagation,
        userns_fd: 0,
    };
    // SAFETY: the path is a constant, terminated string. `attr` lives on this stack until the call returns,
    // and the size passed is its own; the kernel only reads it. The descriptor is borrowed, so open.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | recursive,
            &raw mut attr,
            size_of::<libc::mount_attr>(),
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// close_range(2) with `CLOSE_RANGE_CLOEXEC`, Linux 5.11: the next program gets 0, 1, 2 and nothing else. Until then
/// all stay open, so that whoever owns one still does when execve fails.
/// <https://man7.org/linux/man-pages/man2/close_range.2.html>
pub(crate) fn close_on_exec() -> io::Result<()> {
    // SAFETY: no pointer is passed, and no descriptor is closed: what fails or succeeds here, every value of this
    // process that owns one keeps it.
    let result = unsafe { libc::syscall(libc::SYS_close_range, 3u32, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// execveat(2) of the file `file` refers to: <https://man7.org/linux/man-pages/man2/execveat.2.html>
/// Comes back only with an error.
pub(crate) fn fexecve(
    file: BorrowedFd<'_>,
    arguments: &[std::ffi::CString],
    environment: &[std::ffi::CString],
) -> io::Error {
    let pointers = |strings: &[std::ffi::CString]| -> Vec<*const libc::c_char> {
        strings.iter().map(|s| s.as_ptr()).chain([std::ptr::null()]).collect()
    };
    let argv = pointers(arguments);
    let envp = pointers(environment);
    // SAFETY: the path is a constant, terminated string; `argv` and `envp` are arrays closed by a null
    // pointer, of pointers into `CString`s that are borrowed until the call returns. The kernel copies all.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            file.as_raw_fd(),
            c"".as_ptr(),
            argv.as_ptr(),
            envp.as_ptr(),
            libc::AT_EMPTY_PATH,
        );
    }
    io::Error::last_os_error()
}

/// The namespace that a pid or user namespace is in, where that is not outside this process's own: ioctl_nsfs(2),
/// <https://man7.org/linux/man-pages/man2/ioctl_nsfs.2.html>
pub(crate) fn parent_namespace(namespace: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    const NS_GET_PARENT: libc::Ioctl = 0xb702;
    // SAFETY: the request takes no argument, and no memory of this process; the descriptor is borrowed, so open.
    let parent = unsafe { libc::ioctl(namespace.as_raw_fd(), NS_GET_PARENT) };
    if parent >= 0 {
        // SAFETY: the call has just made this descriptor, close-on-exec, and nobody else knows it.
        Ok(unsafe { OwnedFd::from_raw_fd(parent) })
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Whether a file of nsfs is a network namespace: ioctl_nsfs(2).
pub(crate) fn is_netns(namespace: BorrowedFd<'_>) -> io::Result<bool> {
    const NS_GET_NSTYPE: libc::Ioctl = 0xb703;
    // SAFETY: as above.
    match unsafe { libc::ioctl(namespace.as_raw_fd(), NS_GET_NSTYPE) } {
        -1 => Err(io::Error::last_os_error()),
        kind => Ok(kind == libc::CLONE_NEWNET),
    }
}

/// The version of Landlock's interface, 0 where the kernel does not have it:
/// <https://man7.org/linux/man-pages/man2/landlock_create_ruleset.2.html>
pub(crate) fn landlock_version() -> u32 {
    const VERSION: u32 = 1;
    let nothing: *const libc::c_void = std::ptr::null();
    // SAFETY: with this flag the kernel reads no attributes, which are null and of size 0, and makes nothing.
    let version = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, nothing, 0usize, VERSION) };
    u32::try_from(version).unwrap_or(0)
}

/// What a ruleset of Landlock is about.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Landlock {
    /// Rights to files: `LANDLOCK_ACCESS_FS_*`.
    pub(crate) files: u64,
    /// Rights to ports.
    pub(crate) ports: u64,
    /// `LANDLOCK_SCOPE_*`, version 6.
    pub(crate) scopes: u64,
}

/// A new ruleset. A kernel older than the last field reads that it is 0.
pub(crate) fn landlock_create(attributes: &Landlock) -> io::Result<OwnedFd> {
    let (at, size): (*const Landlock, _) = (attributes, size_of::<Landlock>());
    // SAFETY: the kernel reads `size` bytes, which is the size of the structure that the borrowed pointer leads to.
    let ruleset = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, at, size, 0u32) };
    match RawFd::try_from(ruleset) {
        // SAFETY: the call has just made this descriptor, close-on-exec, and nobody else knows it.
        Ok(ruleset) if ruleset >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(ruleset) }),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Allows `files` below a directory: <https://man7.org/linux/man-pages/man2/landlock_add_rule.2.html>
pub(crate) fn landlock_allow(ruleset: BorrowedFd<'_>, files: u64, below: BorrowedFd<'_>) -> io::Result<()> {
    const PATH_BENEATH: libc::c_int = 1;
    // As the kernel has it, packed: eight bytes of rights, four of a descriptor.
    let mut rule = [0; 12];
    let (rights, directory) = (files.to_ne_bytes(), below.as_raw_fd().to_ne_bytes());
    rule.iter_mut().zip(rights.iter().chain(&directory)).for_each(|(to, from)| *to = *from);
    // SAFETY: the kernel reads the twelve bytes of that structure, which live here until the call returns; both
    // descriptors are borrowed, so open.
    let result = unsafe {
        libc::syscall(libc::SYS_landlock_add_rule, ruleset.as_raw_fd(), PATH_BENEATH, rule.as_ptr(), 0u32)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Puts a ruleset in force: <https://man7.org/linux/man-pages/man2/landlock_restrict_self.2.html>
pub(crate) fn landlock_restrict(ruleset: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: no pointer is passed; the descriptor is borrowed, so open.
    let result = unsafe { libc::syscall(libc::SYS_landlock_restrict_self, ruleset.as_raw_fd(), 0u32) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
