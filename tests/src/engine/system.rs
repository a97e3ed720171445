//! The node's own `/etc`, `/opt`, `/usr` and `/var/lib`: the machine's below, all that is written in memory.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Once;

use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind, mount_bind_recursive, mount_change,
    unmount,
};

use super::Release;
use crate::node::tmpfs;

/// What is the node's own.
pub const TREES: [&str; 4] = ["/etc", "/opt", "/usr", "/var/lib"];

/// Where engines keep images and containers: no overlay can be made in an overlay.
const DATA: [&str; 3] = ["/var/lib/containerd", "/var/lib/containers", "/var/lib/docker"];

/// What the machine may have of engines, and of porthole.
const HIDDEN: [&str; 27] = [
    "/etc/cni",
    "/etc/containerd",
    "/etc/containers",
    "/etc/crio",
    "/etc/docker",
    "/etc/init.d/containerd",
    "/etc/init.d/docker",
    "/etc/porthole",
    "/etc/systemd/system",
    "/opt/cni",
    "/opt/containerd",
    "/opt/porthole",
    "/usr/bin/containerd",
    "/usr/bin/crio",
    "/usr/bin/docker",
    "/usr/bin/dockerd",
    "/usr/bin/podman",
    "/usr/bin/porthole",
    "/usr/lib/cni",
    "/usr/libexec/porthole",
    "/usr/local/bin/containerd",
    "/usr/local/bin/docker",
    "/usr/local/bin/dockerd",
    "/usr/sbin/dockerd",
    "/usr/share/containers",
    "/var/lib/cni",
    "/var/lib/porthole",
];

fn layer(tree: &str, layer: &str) -> PathBuf {
    Path::new("/mnt/system").join(tree.trim_start_matches('/').replace('/', "-")).join(layer)
}

/// Makes them, once on a node.
pub fn make_own() {
    static DONE: Once = Once::new();
    DONE.call_once(|| {
        for tree in TREES {
            own(tree);
        }
        HIDDEN.iter().for_each(|path| remove(Path::new(path)));
        for dir in DATA.iter().chain(&["/etc/systemd/system", "/etc/init.d"]) {
            fs::create_dir_all(dir).unwrap_or_else(|e| panic!("make {dir}: {e}"));
        }
        DATA.iter().for_each(|dir| tmpfs(dir, "mode=711"));
        own_cgroups();
        no_security_module();
    });
}

fn own(tree: &str) {
    let [below, upper, work] = ["below", "upper", "work"].map(|name| layer(tree, name));
    for dir in [&below, &upper, &work] {
        fs::create_dir_all(dir).unwrap_or_else(|e| panic!("make {}: {e}", dir.display()));
    }
    let meta = fs::metadata(tree).unwrap_or_else(|e| panic!("look at {tree}: {e}"));
    fs::set_permissions(&upper, meta.permissions()).expect("set the mode of a layer");
    mount_bind(tree, &below).unwrap_or_else(|e| panic!("bind {tree}: {e}"));
    // Else what is mounted on the tree would be mounted on this, too.
    mount_change(&below, MountPropagationFlags::PRIVATE).expect("make a layer private");
    let data =
        format!("lowerdir={},upperdir={},workdir={}", below.display(), upper.display(), work.display());
    let data = CString::new(data).expect("no NUL");
    mount("overlay", tree, "overlay", MountFlags::empty(), data.as_c_str())
        .unwrap_or_else(|e| panic!("lay over {tree}: {e}"));
}

/// On a machine with both versions of cgroups, or with the first: the same hierarchies in a directory of the node's own,
/// where engines may make what they miss. Without the second version, which confuses crun and podman there.
fn own_cgroups() {
    const PLACE: &str = "/sys/fs/cgroup";
    if Path::new(PLACE).join("cgroup.controllers").exists() {
        return;
    }
    let new = Path::new("/mnt/system/cgroup");
    fs::create_dir_all(new).expect("make a directory for cgroups");
    tmpfs("/mnt/system/cgroup", "mode=755");
    // Else the hierarchies would go with this place.
    mount_change(new, MountPropagationFlags::PRIVATE).expect("make cgroups private");
    for entry in fs::read_dir(PLACE).into_iter().flatten().flatten() {
        let (from, to) = (entry.path(), new.join(entry.file_name()));
        if !from.join("cgroup.procs").exists() || from.join("cgroup.controllers").exists() {
            continue;
        }
        if let Ok(target) = fs::read_link(&from) {
            symlink(target, to).expect("link a hierarchy");
        } else {
            fs::create_dir(&to).expect("make a directory for a hierarchy");
            mount_bind(&from, &to).unwrap_or_else(|e| panic!("bind {}: {e}", from.display()));
        }
    }
    unmount(PLACE, UnmountFlags::DETACH).expect("unmount the machine's cgroups");
    mount_bind_recursive(new, PLACE).expect("bind cgroups");
    unmount(new, UnmountFlags::DETACH).expect("unmount the place where cgroups were made");
}

/// Else an installation on the node would load its policy into the machine's kernel.
fn no_security_module() {
    for path in ["/sys/module/apparmor", "/sys/fs/selinux"].iter().filter(|path| Path::new(path).is_dir()) {
        tmpfs(path, "mode=755");
    }
}

fn remove(path: &Path) {
    let Ok(meta) = fs::symlink_metadata(path) else { return };
    let removed = if meta.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    removed.unwrap_or_else(|e| panic!("remove {}: {e}", path.display()));
}

/// Puts a program, or a directory, of `release` where it belongs, over what was there.
pub fn put(release: &Release, path: &str) {
    make_own();
    let from = release.path(path);
    if from.is_dir() {
        fs::create_dir_all(path).unwrap_or_else(|e| panic!("make {path}: {e}"));
    } else if !Path::new(path).is_file() {
        super::write(path, "");
    }
    mount_bind(&from, path).unwrap_or_else(|e| panic!("put {} at {path}: {e}", from.display()));
}

/// As [`put`], for a runtime: runc makes an overlay of the directory it is in, and runs what it finds there.
pub fn copy(release: &Release, path: &str) {
    make_own();
    remove(Path::new(path));
    let from = release.path(path);
    fs::copy(&from, path).unwrap_or_else(|e| panic!("copy {} to {path}: {e}", from.display()));
}

/// Something that is not as the machine has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The machine has it, the node does not.
    Gone,
    /// A file: mode, owner, group, bytes.
    File(u32, u32, u32, Vec<u8>),
    /// A directory: mode, owner, group; and whether what the machine has in it is hidden.
    Dir(u32, u32, u32, bool),
    /// A symbolic link.
    Link(PathBuf),
}

/// Everything in [`TREES`] that is not as the machine has it, by path. What engines keep in `/var/lib` aside.
///
/// Taken before and after, it says what was changed, and that everything was undone.
#[must_use]
pub fn changes() -> BTreeMap<PathBuf, Change> {
    let mut found = BTreeMap::new();
    for tree in TREES {
        look(&layer(tree, "upper"), &layer(tree, "below"), Path::new(tree), &mut found);
    }
    found.retain(|path, _| !path.starts_with("/var/lib/cni"));
    found
}

fn look(upper: &Path, below: &Path, place: &Path, found: &mut BTreeMap<PathBuf, Change>) {
    for entry in fs::read_dir(upper).into_iter().flatten().flatten() {
        let (upper, below) = (entry.path(), below.join(entry.file_name()));
        let place = place.join(entry.file_name());
        let Some(change) = at(&upper) else { continue };
        if at(&below).as_ref() != Some(&change) {
            found.insert(place.clone(), change);
        }
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            look(&upper, &below, &place, found);
        }
    }
}

fn at(path: &Path) -> Option<Change> {
    let meta = fs::symlink_metadata(path).ok()?;
    let (mode, owner, group) = (meta.permissions().mode() & 0o7777, meta.uid(), meta.gid());
    let kind = meta.file_type();
    Some(if kind.is_char_device() && meta.rdev() == 0 {
        Change::Gone
    } else if kind.is_dir() {
        let mut value = [0_u8; 1];
        let opaque = rustix::fs::lgetxattr(path, c"trusted.overlay.opaque", &mut value);
        Change::Dir(mode, owner, group, opaque.is_ok_and(|_| value == *b"y"))
    } else if kind.is_symlink() {
        Change::Link(fs::read_link(path).ok()?)
    } else {
        Change::File(mode, owner, group, fs::read(path).ok()?)
    })
}
