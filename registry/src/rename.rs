//! Names that change hands. A pin is renamed when its engine has renamed the container, or when its name belongs to a
//! container that is in another namespace by now.
//!
//! The index lists the new pin as one that is going before it is made. One exchange of two links makes it the index's,
//! and the old one the one that is going. So a kill leaves a pin that is going, which the next hook or `reconcile`
//! removes.

use crate::container_id::ContainerId;
use crate::error::Error;
use crate::identity::{CurrentNames, Disk};
use crate::lock::Lock;
use crate::naming::{PinName, Template, candidates};
use crate::netns_dir::NetnsDir;
use crate::pin::Found;
use crate::reconcile::{Action, Pass};
use crate::record::{PinRecord, Record};
use crate::registration::Registry;

impl Registry {
    /// Gives the pin of a namespace another name, which has to be free.
    ///
    /// # Errors
    /// When the new pin cannot be made; the old one stays then.
    fn rename_pin(&self, lock: &Lock, dir: &NetnsDir, ino: u64, to: &PinName) -> Result<(), Error> {
        // An earlier change of this namespace may have been killed.
        self.finish(lock, ino)?;
        let Some(from) = self.store.pin_name(ino)? else { return Ok(()) };
        let Some(id) = self.pin_id(dir, &from, ino)? else { return Ok(()) };
        let Some(netns) = dir.open_pin(&from, id)? else { return Ok(()) };
        self.store.set_going(lock, ino, &dir.path().join(to.as_str()))?;
        if let Err(error) = dir.pin(to, netns, id) {
            // Another pin may have the name by now, so only the entry goes.
            drop(self.store.unshelve(lock, ino));
            return Err(error);
        }
        if let Err(error) = self.store.swap_names(lock, ino) {
            drop(self.finish(lock, ino));
            return Err(error);
        }
        for member in self.store.members(ino)? {
            if let Ok(Some(record)) = self.store.record(&member) {
                self.tell_pin(lock, dir, record, to)?;
            }
        }
        self.finish(lock, ino)
    }

    /// Writes the pin's name into the record of a member.
    fn tell_pin(&self, lock: &Lock, dir: &NetnsDir, record: Record, name: &PinName) -> Result<(), Error> {
        let pin = Some(PinRecord { name: name.clone(), path: dir.path().join(name.as_str()) });
        self.update(lock, &Record { pin, ..record })
    }

    /// Frees a name that another container wants, if no member of the namespace has it any more: its owner was started
    /// again in another namespace. The pin then gets the name of a member that is left. A pod keeps its name, also without
    /// a container.
    pub(crate) fn give_up_name(
        &self,
        lock: &Lock,
        dir: &NetnsDir,
        ino: u64,
        name: &PinName,
        template: &Template,
    ) -> Result<(), Error> {
        let mut members = Vec::new();
        for id in self.store.members(ino)? {
            // A record that cannot be read may be the owner's.
            let Ok(Some(record)) = self.store.record(&id) else { return Ok(()) };
            members.push(record);
        }
        // A pod has one network namespace as long as it exists, so no container elsewhere has its name.
        let keeps = |record: &Record| record.pod.is_some() || is_called(record, name, template);
        if members.iter().any(keeps) {
            return Ok(());
        }
        let Some(heir) = members.iter().min_by_key(|record| (record.pid_start, &record.id)) else {
            return Ok(());
        };
        for other in candidates(template, &heir.identity(), &heir.id) {
            if dir.look(&other)? == Found::Nothing {
                return self.rename_pin(lock, dir, ino, &other);
            }
        }
        Ok(())
    }

    /// Renames a record and its pin, since the engine calls the container `name` now. Returns the name that the pin has
    /// freed.
    fn rename(
        &self,
        lock: &Lock,
        mut record: Record,
        name: String,
        template: &Template,
    ) -> Result<Option<PinName>, Error> {
        let before = record.clone();
        record.name = Some(name);
        let mut freed = None;
        // The pin comes first: a record with the new name would keep the next run from renaming the pin.
        if let Some(ino) = record.netns().filter(|netns| !netns.host).map(|netns| netns.id.ino)
            && let Some(old) = self.store.pin_name(ino)?
            && is_called(&before, &old, template)
            && !is_called(&record, &old, template)
            && !self.is_anothers(ino, &record.id, &old, template)?
            && let Some(new) = self.take_name(lock, ino, &record, template)?
        {
            let path = self.netns_dir.join(new.as_str());
            record.pin = Some(PinRecord { name: new, path });
            freed = Some(old);
        }
        self.update(lock, &record)?;
        Ok(freed)
    }

    /// Whether the pin is called after another member.
    fn is_anothers(
        &self,
        ino: u64,
        id: &ContainerId,
        name: &PinName,
        template: &Template,
    ) -> Result<bool, Error> {
        let others = self.store.members(ino)?.into_iter().filter(|member| member != id);
        let mut records = others.filter_map(|member| self.store.record(&member).ok()?);
        Ok(records.any(|record| is_called(&record, name, template)))
    }

    /// Renames the pin of a namespace to the best name that its container can have.
    fn take_name(
        &self,
        lock: &Lock,
        ino: u64,
        record: &Record,
        template: &Template,
    ) -> Result<Option<PinName>, Error> {
        let Some(dir) = NetnsDir::open(&self.netns_dir)? else { return Ok(None) };
        for name in candidates(template, &record.identity(), &record.id) {
            if self.is_free(lock, &dir, &name, template)? {
                self.rename_pin(lock, &dir, ino, &name)?;
                return Ok(Some(name));
            }
        }
        Ok(None)
    }
}

impl Pass<'_> {
    /// Renames containers that their engine has renamed, and mends records that have an old name of their pin.
    pub(crate) fn names(&mut self) -> Result<(), Error> {
        let records = std::mem::take(&mut self.records);
        let registry = self.registry;
        let mut current = CurrentNames::new(&Disk);
        let mut freed = Vec::new();
        let mut now = Vec::with_capacity(records.len());
        for record in records {
            let id = record.id.clone();
            if let Err(error) = self.pin_on_record(&record) {
                self.note(Action::Rename, id.as_str(), "", Err(error));
            }
            let Some(name) = current.of(&record).filter(|name| record.name.as_ref() != Some(name)) else {
                now.push(record);
                continue;
            };
            let lock = self.lock()?;
            // Once more under the lock: the container may have ended, or be another one by now.
            let found = match registry.store.record(&id) {
                Ok(Some(found)) if found.name == record.name => found,
                _ => continue,
            };
            let was = found.name.clone().unwrap_or_else(|| id.short().to_owned());
            let why = format!("its engine calls it {name} now, not {was}");
            let renamed = registry.rename(&lock, found, name, self.template);
            let result = renamed.map(|name| freed.extend(name));
            self.note(Action::Rename, id.as_str(), why, result);
            now.extend(registry.store.record(&id).ok().flatten());
        }
        for name in freed {
            self.hand_over(&name, &now)?;
        }
        Ok(())
    }

    /// Gives a name that a rename has freed to the container that has it now, if its pin has a longer name.
    fn hand_over(&mut self, name: &PinName, records: &[Record]) -> Result<(), Error> {
        let registry = self.registry;
        let wants = |record: &&Record| {
            record.pin.is_some()
                && candidates(self.template, &record.identity(), &record.id).first() == Some(name)
        };
        let mut wanting = records.iter().filter(wants);
        let (Some(record), None) = (wanting.next(), wanting.next()) else { return Ok(()) };
        let lock = self.lock()?;
        let Ok(Some(record)) = registry.store.record(&record.id) else { return Ok(()) };
        let Some(ino) = record.netns().map(|netns| netns.id.ino) else { return Ok(()) };
        let Some(old) = registry.store.pin_name(ino)?.filter(|old| old != name) else { return Ok(()) };
        // A pin that is called after another member stays that member's.
        if !is_called(&record, &old, self.template) {
            return Ok(());
        }
        let why = format!("{name} is free now, and its own name");
        let Some(dir) = NetnsDir::open(&registry.netns_dir)? else { return Ok(()) };
        if registry.is_free(&lock, &dir, name, self.template)? {
            let renamed = registry.rename_pin(&lock, &dir, ino, name);
            self.note(Action::Rename, record.id.as_str(), why, renamed);
        }
        Ok(())
    }

    /// Mends records with an old name of their pin: a kill after the exchange leaves them.
    fn pin_on_record(&self, record: &Record) -> Result<(), Error> {
        let registry = self.registry;
        let (Some(pin), Some(netns)) = (&record.pin, record.netns()) else { return Ok(()) };
        let is_told = |name: Option<PinName>| name.is_none_or(|name| name == pin.name);
        if is_told(registry.store.pin_name(netns.id.ino)?) {
            return Ok(());
        }
        let lock = self.lock()?;
        let Ok(Some(record)) = registry.store.record(&record.id) else { return Ok(()) };
        let Some(dir) = NetnsDir::open(&registry.netns_dir)? else { return Ok(()) };
        match (record.netns(), registry.store.pin_name(netns.id.ino)?) {
            (Some(now), Some(name)) if now.id == netns.id && registry.is_pin(&name, now.id)? => {
                registry.tell_pin(&lock, &dir, record, &name)
            }
            _ => Ok(()),
        }
    }
}

/// Whether a pin with this name is called after the container.
fn is_called(record: &Record, name: &PinName, template: &Template) -> bool {
    candidates(template, &record.identity(), &record.id).contains(name)
}
