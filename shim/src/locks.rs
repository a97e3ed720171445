//! The kernel's list of locks: proc_locks(5).

/// The process that took a flock(2) of a file: `1: FLOCK ADVISORY WRITE 4242 00:1b:73 0 EOF`.
pub(crate) fn flock_holder(locks: &str, dev: u64, ino: u64) -> Option<i32> {
    let wanted = format!("{:02x}:{:02x}:{ino}", rustix::fs::major(dev), rustix::fs::minor(dev));
    locks.lines().find_map(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        // The line of a waiter has an arrow in the place of the kind.
        let is_it = fields.get(1) == Some(&"FLOCK") && fields.get(5) == Some(&wanted.as_str());
        fields.get(4).filter(|_| is_it)?.parse().ok()
    })
}
