//! A volume in memory that knows what was synced. It loses the rest when the power fails, or an arbitrary part of it, and
//! it fails when it is told to.

use crate::disk::volume::{ObjectFile, Volume};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::pin::Pin;

/// What becomes of the volume's operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    None,
    /// So many more operations that change something succeed, and then none.
    From(u64, io::ErrorKind),
    /// So many more succeed, then one fails.
    Once(u64, io::ErrorKind),
}

#[derive(Clone)]
enum Change {
    Put(Vec<u8>),
    Over(Vec<u8>),
    Remove,
}

type Files = BTreeMap<ObjectFile, Vec<u8>>;

#[derive(Clone, Default)]
struct Held {
    state: Option<Vec<u8>>,
    instances: BTreeSet<u64>,
    /// What reads see.
    seen: Files,
    /// What the power can't take.
    synced: Files,
    /// What has been done since, in order.
    unsynced: Vec<(ObjectFile, Change)>,
}

pub(super) struct Simulated {
    held: Mutex<Held>,
    trouble: Mutex<Trouble>,
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

    /// What is left of it if only a part of its bytes came to the disk. What is missing of a new file was never written:
    /// the file is shorter, or there are zeros.
    fn torn(&self, kept: usize, is_zeroed: bool) -> Self {
        let front = |bytes: &[u8]| bytes[..kept.min(bytes.len())].to_vec();
        match self {
            Self::Put(bytes) if is_zeroed => {
                let mut torn = front(bytes);
                torn.resize(bytes.len(), 0);
                Self::Put(torn)
            }
            Self::Put(bytes) => Self::Put(front(bytes)),
            Self::Over(bytes) => Self::Over(front(bytes)),
            Self::Remove => Self::Remove,
        }
    }
}

impl Simulated {
    pub(super) fn new() -> Self {
        Self { held: Mutex::default(), trouble: Mutex::new(Trouble::None) }
    }

    /// Another volume that holds the same.
    pub(super) fn copy(&self) -> Self {
        Self { held: Mutex::new(self.held.lock().clone()), trouble: Mutex::new(Trouble::None) }
    }

    /// From here on the volume has this trouble.
    pub(super) fn set(&self, trouble: Trouble) {
        *self.trouble.lock() = trouble;
    }

    /// The machine loses its power. Each change that was not synced is kept, lost or torn, as `fates` say in turn; a
    /// kept removal may come with an earlier change that is lost, and the other way round.
    pub(super) fn lose_power(&self, fates: &[u8]) {
        self.set(Trouble::None);
        let mut held = self.held.lock();
        let mut files = std::mem::take(&mut held.synced);
        let mut fates = fates.iter().copied().cycle();
        for (file, change) in std::mem::take(&mut held.unsynced) {
            match fates.next().unwrap_or(0) {
                fate if fate < 96 => change.apply(file, &mut files),
                fate if fate < 192 => {}
                fate => change.torn(usize::from(fate - 192) * 4, fate % 2 == 0).apply(file, &mut files),
            }
        }
        held.seen = files.clone();
        held.synced = files;
    }

    fn work(&self) -> io::Result<()> {
        let mut trouble = self.trouble.lock();
        match *trouble {
            Trouble::None => Ok(()),
            Trouble::From(0, kind) => Err(kind.into()),
            Trouble::Once(0, kind) => {
                *trouble = Trouble::None;
                Err(kind.into())
            }
            Trouble::From(left, kind) => {
                *trouble = Trouble::From(left - 1, kind);
                Ok(())
            }
            Trouble::Once(left, kind) => {
                *trouble = Trouble::Once(left - 1, kind);
                Ok(())
            }
        }
    }

    fn change(&self, file: ObjectFile, change: Change) -> io::Result<()> {
        self.work()?;
        let mut held = self.held.lock();
        change.apply(file, &mut held.seen);
        held.unsynced.push((file, change));
        Ok(())
    }
}

impl Volume for Simulated {
    fn state(&self) -> io::Result<Option<Vec<u8>>> {
        Ok(self.held.lock().state.clone())
    }

    fn put_state(&self, bytes: &[u8]) -> io::Result<()> {
        self.work()?;
        self.held.lock().state = Some(bytes.to_vec());
        Ok(())
    }

    fn instances(&self) -> io::Result<Vec<u64>> {
        Ok(self.held.lock().instances.iter().copied().collect())
    }

    fn make_instance(&self, instance: u64) -> io::Result<()> {
        self.work()?;
        self.held.lock().instances.insert(instance);
        Ok(())
    }

    fn remove_instance(&self, instance: u64) -> io::Result<()> {
        self.work()?;
        let mut held = self.held.lock();
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
        let held = self.held.lock();
        let bytes = held.seen.get(&file).ok_or(io::ErrorKind::NotFound)?;
        let read = usize::try_from(bytes_max).unwrap_or(usize::MAX).min(bytes.len());
        Ok((bytes[..read].to_vec(), bytes.len() as u64))
    }

    fn remove(&self, file: ObjectFile) -> io::Result<()> {
        self.change(file, Change::Remove)
    }

    fn sync(&self) -> io::Result<()> {
        self.work()?;
        let mut held = self.held.lock();
        held.synced = held.seen.clone();
        held.unsynced.clear();
        Ok(())
    }

    fn sync_bucket(&self, instance: u64, bucket: u16) -> io::Result<()> {
        self.work()?;
        let held = &mut *self.held.lock();
        let removed: BTreeSet<ObjectFile> = held
            .unsynced
            .iter()
            .filter(|(file, change)| {
                matches!(change, Change::Remove) && file.instance == instance && file.bucket() == bucket
            })
            .map(|(file, _)| *file)
            .collect();
        held.synced.retain(|file, _| !removed.contains(file));
        held.unsynced.retain(|(file, _)| !removed.contains(file));
        Ok(())
    }

    /// At once: nothing here waits for a disk.
    fn apart(&self, read: Box<dyn FnOnce() + Send>) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        read();
        Box::pin(std::future::ready(()))
    }
}
