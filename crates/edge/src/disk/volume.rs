//! The files of the disk tier, and nothing of what they mean.
//!
//! A trait, because what must hold when the power fails can only be tested on files that lose what was not synced:
//! the tests bring such a volume, and one that is full or broken. [`Directory`] is the real one.

use crate::shelf::ObjectKey;
use parking_lot::Mutex;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::pin::Pin;

/// How many directories the files lie in.
pub(crate) const BUCKETS: u16 = 256;

/// The largest state that is read, in bytes: thirty million marks.
pub(crate) const STATE_BYTES_MAX: u64 = 1 << 30;

const STATE: &str = "state";
const LOCK: &str = "lock";
const TEMPORARY: &str = ".new";
const OBJECTS: &str = "objects-";

/// The name of a stored object: no two have the same, so that whoever opens one reads no other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectFile {
    /// Which state the file belongs to; see [`super::state_file::Tier`].
    pub instance: u64,
    /// The object's key.
    pub key: ObjectKey,
    /// Counts the writes of an instance.
    pub serial: u64,
}

impl ObjectFile {
    /// Which part of its instance it belongs to.
    pub fn bucket(self) -> u16 {
        u16::from(self.key.to_bytes()[0])
    }

    fn name(self) -> String {
        format!("{:032x}-{:016x}", u128::from_be_bytes(self.key.to_bytes()), self.serial)
    }

    fn parse(instance: u64, name: &str) -> Option<Self> {
        let (key, serial) =
            name.split_once('-').filter(|(key, serial)| (key.len(), serial.len()) == (32, 16))?;
        let key = ObjectKey::from_bytes(u128::from_str_radix(key, 16).ok()?.to_be_bytes());
        let file = Self { instance, key, serial: u64::from_str_radix(serial, 16).ok()? };
        (file.name() == name).then_some(file)
    }
}

/// Where the tier keeps its files. What a call did is seen by later calls at once; it outlives the machine's end only
/// after a sync, and until then each change may be undone by itself, a write also in part.
pub trait Volume: Send + Sync + 'static {
    /// The state as it was put last; `None` if there is none.
    fn state(&self) -> io::Result<Option<Vec<u8>>>;

    /// Replaces the state. Once it returns, the new one outlives anything; before, one of the two does.
    fn put_state(&self, bytes: &[u8]) -> io::Result<()>;

    /// Which instances have files.
    fn instances(&self) -> io::Result<Vec<u64>>;

    /// Makes room for the files of an instance.
    fn make_instance(&self, instance: u64) -> io::Result<()>;

    /// Removes all files of an instance.
    fn remove_instance(&self, instance: u64) -> io::Result<()>;

    /// The files of one bucket. Clears away what an interrupted write left there, if `clear`.
    fn list(&self, instance: u64, bucket: u16, clear: bool) -> io::Result<Vec<ObjectFile>>;

    /// Makes a file of these parts: it is there whole, or not at all.
    fn put(&self, file: ObjectFile, parts: &[&[u8]]) -> io::Result<()>;

    /// Writes over the beginning of a file.
    fn write_over(&self, file: ObjectFile, bytes: &[u8]) -> io::Result<()>;

    /// The first `bytes_max` bytes of a file, and how many it has.
    fn read(&self, file: ObjectFile, bytes_max: u64) -> io::Result<(Vec<u8>, u64)>;

    /// Removes a file. One that isn't there is no error.
    fn remove(&self, file: ObjectFile) -> io::Result<()>;

    /// Makes everything done so far durable.
    fn sync(&self) -> io::Result<()>;

    /// Makes the removals of one bucket durable.
    fn sync_bucket(&self, instance: u64, bucket: u16) -> io::Result<()>;

    /// Lets another edge open it. Whoever calls changes nothing there any more.
    fn release(&self) {}

    /// Runs a read for a request, on a thread that may wait for the disk.
    fn apart(&self, read: Box<dyn FnOnce() + Send>) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let reading = tokio::task::spawn_blocking(read);
        // Whether it came to its end, it tells by itself.
        Box::pin(async move { drop(reading.await) })
    }
}

/// A directory of the file system.
pub(crate) struct Directory {
    root: PathBuf,
    handle: File,
    /// Held until it is released, or the process ends; `None` for whoever only looks.
    lock: Mutex<Option<File>>,
}

/// Why a directory can't be used.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// It can't be made or opened.
    #[error("the cache directory {} can't be used", .path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Another edge uses it.
    #[error("the cache directory {} is used by another edge; each needs one of its own", .0.display())]
    InUse(PathBuf),
}

impl Directory {
    /// Opens a directory for an edge, and makes it if it isn't there.
    pub(crate) fn open(root: &Path) -> Result<Self, DirectoryError> {
        let failed = |source| DirectoryError::Io { path: root.to_owned(), source };
        fs::create_dir_all(root).map_err(failed)?;
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(root.join(LOCK))
            .map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(DirectoryError::InUse(root.to_owned())),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        let handle = File::open(root).map_err(failed)?;
        Ok(Self { root: root.to_owned(), handle, lock: Mutex::new(Some(lock)) })
    }

    /// Opens a directory to look at it, whether an edge uses it or not.
    pub(crate) fn look(root: &Path) -> Result<Self, DirectoryError> {
        let handle =
            File::open(root).map_err(|source| DirectoryError::Io { path: root.to_owned(), source })?;
        Ok(Self { root: root.to_owned(), handle, lock: Mutex::new(None) })
    }

    /// How many bytes the file system has left for this process.
    pub(crate) fn free_bytes(&self) -> io::Result<u64> {
        let stat = rustix::fs::fstatvfs(&self.handle)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    fn instance(&self, instance: u64) -> PathBuf {
        self.root.join(format!("{OBJECTS}{instance:016x}"))
    }

    fn bucket(&self, instance: u64, bucket: u16) -> PathBuf {
        self.instance(instance).join(format!("{bucket:02x}"))
    }

    fn path(&self, file: ObjectFile) -> PathBuf {
        self.bucket(file.instance, file.bucket()).join(file.name())
    }
}

impl Volume for Directory {
    fn state(&self) -> io::Result<Option<Vec<u8>>> {
        let file = match File::open(self.root.join(STATE)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut bytes = Vec::new();
        file.take(STATE_BYTES_MAX).read_to_end(&mut bytes)?;
        Ok(Some(bytes))
    }

    fn put_state(&self, bytes: &[u8]) -> io::Result<()> {
        let temporary = self.root.join(format!("{STATE}{TEMPORARY}"));
        // It holds the hash keys.
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, self.root.join(STATE))?;
        self.handle.sync_all()
    }

    fn instances(&self) -> io::Result<Vec<u64>> {
        let mut instances = Vec::new();
        for entry in fs::read_dir(&self.root)? {
            let name = entry?.file_name();
            let number = name.to_str().and_then(|name| name.strip_prefix(OBJECTS));
            instances.extend(number.and_then(|number| u64::from_str_radix(number, 16).ok()));
        }
        Ok(instances)
    }

    fn make_instance(&self, instance: u64) -> io::Result<()> {
        for bucket in 0..BUCKETS {
            fs::create_dir_all(self.bucket(instance, bucket))?;
        }
        Ok(())
    }

    fn remove_instance(&self, instance: u64) -> io::Result<()> {
        fs::remove_dir_all(self.instance(instance))
    }

    fn list(&self, instance: u64, bucket: u16, clear: bool) -> io::Result<Vec<ObjectFile>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(self.bucket(instance, bucket))? {
            let entry = entry?;
            let name = entry.file_name();
            match name.to_str().and_then(|name| ObjectFile::parse(instance, name)) {
                Some(file) if file.bucket() == bucket => files.push(file),
                // Of a write that was interrupted.
                _ if clear && name.to_str().is_some_and(|name| name.ends_with(TEMPORARY)) => {
                    fs::remove_file(entry.path())?;
                }
                _ => {}
            }
        }
        Ok(files)
    }

    fn put(&self, file: ObjectFile, parts: &[&[u8]]) -> io::Result<()> {
        let path = self.path(file);
        let temporary = path.with_extension(&TEMPORARY[1..]);
        let write = || -> io::Result<()> {
            let mut writing =
                OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
            for part in parts {
                writing.write_all(part)?;
            }
            fs::rename(&temporary, &path)
        };
        write().inspect_err(|_| {
            // What is left of it takes room that the next one may need.
            let _ = fs::remove_file(&temporary);
        })
    }

    fn write_over(&self, file: ObjectFile, bytes: &[u8]) -> io::Result<()> {
        OpenOptions::new().write(true).open(self.path(file))?.write_all_at(bytes, 0)
    }

    fn read(&self, file: ObjectFile, bytes_max: u64) -> io::Result<(Vec<u8>, u64)> {
        let file = File::open(self.path(file))?;
        let length = file.metadata()?.len();
        let mut bytes = Vec::with_capacity(usize::try_from(bytes_max.min(length)).unwrap_or(0));
        file.take(bytes_max).read_to_end(&mut bytes)?;
        Ok((bytes, length))
    }

    fn remove(&self, file: ObjectFile) -> io::Result<()> {
        match fs::remove_file(self.path(file)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn sync(&self) -> io::Result<()> {
        Ok(rustix::fs::syncfs(&self.handle)?)
    }

    fn sync_bucket(&self, instance: u64, bucket: u16) -> io::Result<()> {
        File::open(self.bucket(instance, bucket))?.sync_all()
    }

    fn release(&self) {
        *self.lock.lock() = None;
    }
}
