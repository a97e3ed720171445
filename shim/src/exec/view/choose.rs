//! Which view a command gets, and which directories of the host are in it.

use std::io;
use std::path::{Path, PathBuf};

use porthole_registry::hidden::Hidden;
use porthole_registry::namespace::NamespaceKind;

use super::{Contents, Hide, Root, View, accounts, is_mount_point};
use crate::exec::Target;
use crate::exec::args::{Place, Request};
use crate::exec::capabilities::Base;
use crate::exec::dns::Dns;
use crate::exec::environment::Account;
use crate::exec::error::{ExecError, Step};
use crate::exec::ids::Ids;
use crate::exec::impersonate::as_user;
use crate::exec::namespaces::Joins;
use crate::exec::places::{Directory, OpenedDirectory, open_place};
use crate::policy::Invoker;

/// Everything that decides about the view.
pub(crate) struct Question<'a> {
    pub(crate) request: &'a Request,
    pub(crate) target: &'a Target,
    pub(crate) namespaces: &'a Joins,
    /// Another root directory was asked for.
    pub(crate) has_root: bool,
    /// The command may change the network that it joins.
    pub(crate) administers: bool,
    /// Permissions do not keep the command from what is root's.
    pub(crate) as_root: bool,
    pub(crate) ids: &'a Ids,
    pub(crate) account: &'a Account,
    /// Directories that the command may be in.
    pub(crate) programs: &'a [PathBuf],
    /// Paths that the configuration hides, and shows.
    pub(crate) hidden: &'a Hidden,
    /// With whose rights the directories to write to are looked for, if not porthole's.
    pub(crate) looks_as: Option<&'a Invoker>,
}

/// A view, and the directories of the host that were opened for it.
#[derive(Debug)]
pub(crate) struct Chosen {
    pub(crate) view: View,
    pub(crate) working_directory: Directory,
    pub(crate) directory: OpenedDirectory,
    pub(crate) writable: Vec<OpenedDirectory>,
}

/// /etc of the host as everybody may read it, for a command that only this process's namespaces can see.
const PUBLIC: [&str; 6] =
    ["/etc/passwd", "/etc/group", "/etc/hostname", "/etc/hosts", "/etc/nsswitch.conf", "/etc/resolv.conf"];

impl Question<'_> {
    /// Looks, opens, and changes nothing.
    pub(crate) fn choose(&self) -> Result<Chosen, ExecError> {
        let sysadmin = self.request.profile.base == Base::Sysadmin;
        let entered = self.has_root || self.namespaces.has(NamespaceKind::Mnt);
        // Through the command, the target's processes see what it sees.
        let seen_through = self.namespaces.has_other(NamespaceKind::Pid);
        if seen_through {
            self.refuse_directories(entered)?;
        }
        let writable = self.writable(entered || seen_through || sysadmin)?;
        let view = match () {
            () if entered => View::Entered,
            () if seen_through => self.tools(&[], &[], true)?,
            () if sysadmin => View::Host(self.contents(Root::Host, false)?),
            () if self.as_root => self.tools(self.hidden.shown(), &writable, false)?,
            () => View::Confined(self.contents(Root::Host, false)?),
        };
        let (working_directory, directory) = self.working_directory(&view, seen_through)?;
        let view = match view {
            View::Confined(mut contents) if contents.root == Root::Host => {
                let paths: Vec<_> = writable.iter().map(|opened| opened.path.clone()).collect();
                contents.trees =
                    Contents::trees(working_directory.in_view(), &paths, self.programs, is_mount_point);
                View::Confined(contents)
            }
            other => other,
        };
        Ok(Chosen { view, working_directory, directory, writable })
    }

    /// A view of the host without its trees.
    fn contents(&self, root: Root, procfs: bool) -> Result<Contents, ExecError> {
        let net = self.namespaces.has(NamespaceKind::Net);
        let mut dns = match (net, root) {
            (true, _) => Dns::resolve(self.target, !procfs)?,
            (false, Root::Empty) if procfs => Dns::made(),
            (false, _) => Dns::default(),
        };
        let in_etc = |name: &str| std::fs::symlink_metadata(Path::new("/etc").join(name)).is_ok();
        let confined = self.request.profile.base != Base::Sysadmin;
        if confined && !procfs {
            dns.follow_links(|place| Contents::shows_linked(root, place))
                .map_err(Step::Dns.failed("/etc"))?;
        }
        let etc_merged =
            confined && root == Root::Host && !dns.overlays.iter().all(|overlay| in_etc(&overlay.name));
        let hidden = if confined || root == Root::Empty { self.covered(root)? } else { Vec::new() };
        Ok(Contents {
            root,
            trees: Vec::new(),
            links: Vec::new(),
            hidden,
            sysfs: net,
            procfs,
            etc_merged,
            xtables_lock: confined && self.administers && self.namespaces.has_other(NamespaceKind::Net),
            dns,
        })
    }

    fn covered(&self, root: Root) -> Result<Vec<Hide>, ExecError> {
        let of_profile = self.request.profile.hide.iter().map(PathBuf::as_path);
        let private = Contents::private().into_iter();
        let private = private.filter(|path| root == Root::Empty && !self.hidden.shows(path));
        Contents::hidden(self.hidden.paths().chain(of_profile).chain(private))
    }

    /// The tools, and what else is named. `procfs`: of the target's pid namespace, where others see through the command.
    fn tools(
        &self,
        shown: &[PathBuf],
        writable: &[OpenedDirectory],
        procfs: bool,
    ) -> Result<View, ExecError> {
        let mut contents = self.contents(Root::Empty, procfs)?;
        let mut more = shown.to_vec();
        if procfs {
            contents.dns.overlays.extend(accounts(self.ids, self.account));
        } else {
            more.extend(PUBLIC.map(PathBuf::from));
        }
        let paths: Vec<_> = writable.iter().map(|opened| opened.path.clone()).collect();
        let (mut trees, mut links) = Contents::tools(&more, &paths, !procfs, is_mount_point);
        // A file of the pod's stands before the host's of the same name.
        let is_the_pods = |path: &Path| {
            contents.dns.overlays.iter().any(|overlay| Path::new("/etc").join(&overlay.name) == path)
        };
        trees.retain(|tree| !is_the_pods(&tree.path));
        links.retain(|link| !is_the_pods(&link.path));
        (contents.trees, contents.links) = (trees, links);
        Ok(View::Confined(contents))
    }

    /// A directory of the host is none of the target's.
    fn refuse_directories(&self, entered: bool) -> Result<(), ExecError> {
        let remedy = "leave out -p, or the directory: the target's processes see what the command sees";
        if let Some(Place::Host(path)) = &self.request.root {
            let what =
                format!("{} of the host would be seen from the target's pid namespace", path.display());
            return Err(Step::Root.refused(what, remedy));
        }
        match &self.request.working_directory {
            Some(Place::Host(path)) if entered => {
                let what = format!("{} is not below the command's root", path.display());
                Err(Step::WorkingDirectory.refused(what, remedy))
            }
            _ => Ok(()),
        }
    }

    /// Opens what `--writable` names. `no_place`: there is no view of the host, or one that is read-only for good.
    fn writable(&self, no_place: bool) -> Result<Vec<OpenedDirectory>, ExecError> {
        let Some(first) = self.request.writable.first() else { return Ok(Vec::new()) };
        if no_place {
            return Err(Step::View.refused(
                format!(
                    "--writable={}: the command has no view of the host that this could be in",
                    first.display()
                ),
                "leave it out: -m, -p, -r and profile sysadmin have no such view",
            ));
        }
        let look = |path: &PathBuf| match self.looks_as {
            Some(user) => as_user(user, || OpenedDirectory::open(path)).flatten(),
            None => OpenedDirectory::open(path),
        };
        let open = |path: &PathBuf| {
            let opened = look(path).map_err(|error| match self.looks_as {
                Some(_) if error.kind() == io::ErrorKind::PermissionDenied => Step::View.refused(
                    format!("{}: {error}", path.display()),
                    "name a directory that you may look for yourself",
                ),
                _ => OpenedDirectory::why_not(path, Step::View, error),
            })?;
            if !Contents::writable(&opened.path) || opened.path.starts_with("/tmp") {
                return Err(Step::View.refused(
                    format!("{} is not a place to write to in a view", opened.path.display()),
                    "name a directory outside /proc, /sys, /dev, /run, /etc and /tmp",
                ));
            }
            Ok(opened)
        };
        let mut opened = self.request.writable.iter().map(open).collect::<Result<Vec<_>, _>>()?;
        // Directories before what is in them.
        opened.sort_by(|a, b| a.path.cmp(&b.path));
        opened.dedup_by(|later, earlier| later.path == earlier.path);
        Ok(opened)
    }

    fn working_directory(
        &self,
        view: &View,
        seen_through: bool,
    ) -> Result<(Directory, OpenedDirectory), ExecError> {
        let root = || OpenedDirectory::open(Path::new("/")).map_err(Step::WorkingDirectory.failed("/"));
        let entered = *view == View::Entered;
        let Some(place) = &self.request.working_directory else {
            // One that has no path any more is none.
            let own = if entered || seen_through { None } else { OpenedDirectory::open(Path::new(".")).ok() };
            return Ok(match own.filter(|own| has(view, &own.path)) {
                Some(own) => (Directory::InView(own.path.clone()), own),
                None => (Directory::Root, root()?),
            });
        };
        let opened = open_place(place, self.target, "cwd", Step::WorkingDirectory)?;
        match place {
            Place::Target => {}
            Place::Host(_) if entered => {}
            Place::Host(_) if has(view, &opened.path) => {
                return Ok((Directory::InView(opened.path.clone()), opened));
            }
            Place::Host(_) => {
                return Err(Step::WorkingDirectory.refused(
                    format!("{} is not in the command's view of the host", opened.path.display()),
                    "name one that --explain shows and does not list as hidden, or use --profile sysadmin",
                ));
            }
        }
        Ok((Directory::Opened(opened.path.clone()), opened))
    }
}

fn has(view: &View, path: &Path) -> bool {
    match view {
        View::Entered => false,
        View::Host(_) => true,
        View::Confined(contents) if contents.root == Root::Host => Contents::has(path, &contents.hidden),
        View::Confined(contents) => {
            let shown = contents.trees.iter().any(|tree| path.starts_with(&tree.path));
            shown && Contents::has(path, &contents.hidden)
        }
    }
}
