//! A machine's disk: it is slow, it fails at times, and without power it forgets what was not synced.

use crate::chance::Chance;
use crate::network::Count;
use edge::{ObjectFile, Volume};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::pin::Pin;
use std::time::Duration;

type Files = BTreeMap<ObjectFile, Vec<u8>>;

#[derive(Clone)]
enum Change {
    Put(Vec<u8>),
    Over(Vec<u8>),
    Remove,
}

impl Change {
    fn apply(&self, file: ObjectFile, files: &mut Files) {
        match self {
            Self::Put(bytes) => {
                files.insert(file, bytes.clone());
            }
            Self::Over(bytes) => {
                if let Some(there) = files.get_mut(&file) {
                    let length = bytes.len().min(there.len());
                    there[..length].copy_from_slice(&bytes[..length]);
                }
            }
            Self::Remove => {
                files.remove(&file);
            }
        }
    }
}

struct Held {
    state: Option<Vec<u8>>,
    instances: BTreeSet<u64>,
    /// What reads see.
    seen: Files,
    /// What survives.
    synced: Files,
    unsynced: Vec<(ObjectFile, Change)>,
    chance: Chance,
    /// In thousandths.
    failing: u64,
}

/// See the module.
pub(crate) struct SimulatedDisk {
    held: Mutex<Held>,
    read_ms: (u64, u64),
    pub(crate) failures: Count,
    pub(crate) forgotten: Count,
}

impl SimulatedDisk {
    pub(crate) fn new(chance: Chance, read_ms: (u64, u64)) -> Self {
        let held = Held {
            state: None,
            instances: BTreeSet::new(),
            seen: Files::new(),
            synced: Files::new(),
            unsynced: Vec::new(),
            chance,
            failing: 0,
        };
        Self { held: Mutex::new(held), read_ms, failures: Count::default(), forgotten: Count::default() }
    }

    /// From here on so many operations in a thousand fail.
    pub(crate) fn set_failing(&self, permille: u64) {
        self.held.lock().failing = permille;
    }

    /// The power is gone: each change that was not synced is kept, lost, or kept in part.
    pub(crate) fn lose_power(&self) {
        let held = &mut *self.held.lock();
        let mut files = std::mem::take(&mut held.synced);
        for (file, change) in std::mem::take(&mut held.unsynced) {
            match held.chance.below(8) {
                0..3 => change.apply(file, &mut files),
                3..7 => self.forgotten.add(),
                _ => {
                    let kept = held.chance.index(64);
                    let torn = match change {
                        Change::Put(bytes) => Change::Put(bytes[..kept.min(bytes.len())].to_vec()),
                        Change::Over(bytes) => Change::Over(bytes[..kept.min(bytes.len())].to_vec()),
                        Change::Remove => Change::Remove,
                    };
                    torn.apply(file, &mut files);
                }
            }
        }
        held.seen.clone_from(&files);
        held.synced = files;
    }

    fn work(&self, held: &mut Held) -> io::Result<()> {
        let failing = held.failing;
        if held.chance.permille(failing) {
            self.failures.add();
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    fn change(&self, file: ObjectFile, change: Change) -> io::Result<()> {
        let held = &mut *self.held.lock();
        self.work(held)?;
        change.apply(file, &mut held.seen);
        held.unsynced.push((file, change));
        Ok(())
    }
}

impl Volume for SimulatedDisk {
    fn state(&self) -> io::Result<Option<Vec<u8>>> {
        Ok(self.held.lock().state.clone())
    }

    fn put_state(&self, bytes: &[u8]) -> io::Result<()> {
        let held = &mut *self.held.lock();
        self.work(held)?;
        held.state = Some(bytes.to_vec());
        Ok(())
    }

    fn instances(&self) -> io::Result<Vec<u64>> {
        Ok(self.held.lock().instances.iter().copied().collect())
    }

    fn make_instance(&self, instance: u64) -> io::Result<()> {
        self.held.lock().instances.insert(instance);
        Ok(())
    }

    fn remove_instance(&self, instance: u64) -> io::Result<()> {
        let held = &mut *self.held.lock();
        held.instances.remove(&instance);
        held.seen.retain(|file, _| file.instance != instance);
        held.synced.retain(|file, _| file.instance != instance);
        held.unsynced.retain(|(file, _)| file.instance != instance);
        Ok(())
    }

    fn list(&self, instance: u64, bucket: u16, _clear: bool) -> io::Result<Vec<ObjectFile>> {
        let held = self.held.lock();
        let is_here = |file: &&ObjectFile| file.instance == instance && file.bucket() == bucket;
        Ok(held.seen.keys().filter(is_here).copied().collect())
    }

    fn put(&self, file: ObjectFile, parts: &[&[u8]]) -> io::Result<()> {
        self.change(file, Change::Put(parts.concat()))
    }

    fn write_over(&self, file: ObjectFile, bytes: &[u8]) -> io::Result<()> {
        if !self.held.lock().seen.contains_key(&file) {
            return Err(io::ErrorKind::NotFound.into());
        }
        self.change(file, Change::Over(bytes.to_vec()))
    }

    fn read(&self, file: ObjectFile, bytes_max: u64) -> io::Result<(Vec<u8>, u64)> {
        let held = &mut *self.held.lock();
        self.work(held)?;
        let bytes = held.seen.get(&file).ok_or(io::ErrorKind::NotFound)?;
        let read = usize::try_from(bytes_max).unwrap_or(usize::MAX).min(bytes.len());
        Ok((bytes[..read].to_vec(), bytes.len() as u64))
    }

    fn remove(&self, file: ObjectFile) -> io::Result<()> {
        self.change(file, Change::Remove)
    }

    fn sync(&self) -> io::Result<()> {
        let held = &mut *self.held.lock();
        self.work(held)?;
        held.synced.clone_from(&held.seen);
        held.unsynced.clear();
        Ok(())
    }

    fn sync_bucket(&self, instance: u64, bucket: u16) -> io::Result<()> {
        let held = &mut *self.held.lock();
        self.work(held)?;
        let is_removed = |file: &ObjectFile, change: &Change| {
            matches!(change, Change::Remove) && file.instance == instance && file.bucket() == bucket
        };
        let removed: BTreeSet<ObjectFile> = held
            .unsynced
            .iter()
            .filter(|(file, change)| is_removed(file, change))
            .map(|(file, _)| *file)
            .collect();
        held.synced.retain(|file, _| !removed.contains(file));
        held.unsynced.retain(|(file, _)| !removed.contains(file));
        Ok(())
    }

    fn apart(&self, read: Box<dyn FnOnce() + Send>) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let (least, most) = self.read_ms;
        let takes = self.held.lock().chance.millis(least, most);
        Box::pin(async move {
            if takes > Duration::ZERO {
                tokio::time::sleep(takes).await;
            }
            read();
        })
    }
}
