//! Opening the database: one process at a time, migrations, and the check of the master key.

use crate::master_key::MasterKey;
use crate::quota::QUOTA_DAY_OFFSET_SECS;
use crate::{StoreError, keys, log};
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{SqlSafeStr, Sqlite, Transaction};
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

const DATABASE_FILE: &str = "everfresh.db";
const LOCK_FILE: &str = "everfresh.lock";
const READERS_MAX: u32 = 4;
/// How long a statement waits for a connection, and a connection for the database.
const WAIT: Duration = Duration::from_secs(10);

/// What [`Store::open`] needs.
#[derive(Debug)]
pub struct StoreOptions {
    /// The directory that holds the database; made when it is not there.
    pub dir: PathBuf,
    /// Seals the secret keys.
    pub master_key: MasterKey,
    /// When a quota's day begins: seconds that the local day is ahead of UTC.
    pub quota_day_offset_secs: i32,
}

impl StoreOptions {
    /// The defaults, in `dir`: quotas begin anew at 00:00 UTC+8.
    pub fn new(dir: impl Into<PathBuf>, master_key: MasterKey) -> Self {
        Self { dir: dir.into(), master_key, quota_day_offset_secs: QUOTA_DAY_OFFSET_SECS }
    }
}

/// The store on SQLite. Clones share it.
#[derive(Clone, Debug)]
pub struct Store {
    /// One connection: SQLite has one writer, and a queue here is fairer than its busy handler.
    writer: SqlitePool,
    readers: SqlitePool,
    pub(crate) master_key: Arc<MasterKey>,
    pub(crate) quota_day_offset_secs: i32,
    /// Held for as long as the store lives.
    _lock: Arc<File>,
}

/// Why a store did not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory is missing and cannot be made, or files in it cannot be written.
    #[error("cannot write to the data directory {dir}")]
    NotWritable {
        /// The directory.
        dir: PathBuf,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
    /// Another process has it open.
    #[error(
        "the data directory {0} is in use by another everfresh process; stop that one or choose another --data"
    )]
    InUse(PathBuf),
    /// A newer everfresh has changed the database.
    #[error(
        "the database in {dir} was written by a newer everfresh (its schema is version {found}, this one knows up to {known})"
    )]
    NewerSchema {
        /// The directory.
        dir: PathBuf,
        /// The version found.
        found: i64,
        /// The newest version known here.
        known: i64,
    },
    /// The keys in the database are sealed under another master key.
    #[error("the master key is not the one the keys in {0} are sealed under")]
    WrongMasterKey(PathBuf),
    /// The file is no database of ours, or it failed.
    #[error("cannot open the database in {dir}")]
    Database {
        /// The directory.
        dir: PathBuf,
        /// What SQLite said.
        #[source]
        source: StoreError,
    },
}

impl Store {
    /// Opens the store in `options.dir`, making or migrating its database as needed.
    pub async fn open(options: StoreOptions) -> Result<Self, OpenError> {
        let dir = options.dir;
        let lock = lock_dir(&dir)?;
        let failed = |source: StoreError| OpenError::Database { dir: dir.clone(), source };
        let connect = SqliteConnectOptions::new()
            .filename(dir.join(DATABASE_FILE))
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // An answered commit survives a power cut.
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(WAIT);
        let pool = |max| {
            SqlitePoolOptions::new()
                .max_connections(max)
                .acquire_timeout(WAIT)
                .idle_timeout(None)
                .max_lifetime(None)
                .test_before_acquire(false)
        };
        let writer = pool(1).connect_with(connect.clone()).await.map_err(|error| failed(error.into()))?;
        migrate(&writer, &dir).await?;
        let readers = pool(READERS_MAX)
            .connect_with(connect.pragma("query_only", "on"))
            .await
            .map_err(|error| failed(error.into()))?;
        let store = Self {
            writer,
            readers,
            master_key: Arc::new(options.master_key),
            quota_day_offset_secs: options.quota_day_offset_secs,
            _lock: Arc::new(lock),
        };
        log::ensure_row(&store).await.map_err(&failed)?;
        if !keys::master_key_fits(&store).await.map_err(&failed)? {
            return Err(OpenError::WrongMasterKey(dir));
        }
        Ok(store)
    }

    /// Closes the database once what is under way has ended.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }

    /// A transaction that may write. Taken at once (`IMMEDIATE`), so that it never fails half-way for a lock.
    pub(crate) async fn write(&self) -> Result<Transaction<'static, Sqlite>, StoreError> {
        Ok(self.writer.begin_with("BEGIN IMMEDIATE").await?)
    }

    /// A transaction that reads one state of the database, at least as new as every commit before this call.
    pub(crate) async fn read(&self) -> Result<Transaction<'static, Sqlite>, StoreError> {
        Ok(self.readers.begin().await?)
    }
}

/// Commits; a failure here leaves open whether it happened.
pub(crate) async fn commit(tx: Transaction<'static, Sqlite>) -> Result<(), StoreError> {
    tx.commit().await.map_err(StoreError::Unconfirmed)
}

fn lock_dir(dir: &Path) -> Result<File, OpenError> {
    let not_writable = |source| OpenError::NotWritable { dir: dir.to_owned(), source };
    std::fs::create_dir_all(dir).map_err(not_writable)?;
    let lock = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(dir.join(LOCK_FILE))
        .map_err(not_writable)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse(dir.to_owned())),
        Err(TryLockError::Error(source)) => Err(not_writable(source)),
    }
}

async fn migrate(writer: &SqlitePool, dir: &Path) -> Result<(), OpenError> {
    const MIGRATIONS: [(i64, &str, &str); 3] = [
        (1, "start", include_str!("../migrations/0001_start.sql")),
        (2, "cache settings", include_str!("../migrations/0002_cache_settings.sql")),
        (3, "prefetch", include_str!("../migrations/0003_prefetch.sql")),
    ];
    let migrator = Migrator::with_migrations(
        MIGRATIONS
            .into_iter()
            .map(|(version, name, sql)| {
                Migration::new(version, name.into(), MigrationType::Simple, sql.into_sql_str(), false)
            })
            .collect(),
    );
    migrator.run(writer).await.map_err(|error| match error {
        sqlx::migrate::MigrateError::VersionMissing(found) => {
            OpenError::NewerSchema { dir: dir.to_owned(), found, known: MIGRATIONS[MIGRATIONS.len() - 1].0 }
        }
        other => OpenError::Database {
            dir: dir.to_owned(),
            source: StoreError::Database(sqlx::Error::Migrate(Box::new(other))),
        },
    })
}

/// `N` random bytes of the operating system.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], StoreError> {
    let mut bytes = [0; N];
    ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut bytes)
        .map_err(|_| StoreError::NoRandomness)?;
    Ok(bytes)
}
