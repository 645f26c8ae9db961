//! Opening the database: one process at a time where it is a file, migrations, and the check of the master key.

use crate::database::{Database, Mode, SQLITE_WAIT, Session, Source};
use crate::master_key::MasterKey;
use crate::quota::QUOTA_DAY_OFFSET_SECS;
use crate::{StoreError, keys, log, random};
use sqlx::SqlSafeStr;
use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::postgres::PgConnectOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use std::fmt;
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

const DATABASE_FILE: &str = "everfresh.db";
const LOCK_FILE: &str = "everfresh.lock";

const SQLITE_MIGRATIONS: &[(i64, &str, &str)] = &[
    (1, "start", include_str!("../migrations/sqlite/0001_start.sql")),
    (2, "cache settings", include_str!("../migrations/sqlite/0002_cache_settings.sql")),
    (3, "prefetch", include_str!("../migrations/sqlite/0003_prefetch.sql")),
    (4, "several instances", include_str!("../migrations/sqlite/0004_several_instances.sql")),
    (5, "lease", include_str!("../migrations/sqlite/0005_lease.sql")),
    (6, "edges", include_str!("../migrations/sqlite/0006_edges.sql")),
];

const POSTGRES_MIGRATIONS: &[(i64, &str, &str)] = &[
    (1, "start", include_str!("../migrations/postgres/0001_start.sql")),
    (2, "lease", include_str!("../migrations/postgres/0002_lease.sql")),
    (3, "edges", include_str!("../migrations/postgres/0003_edges.sql")),
];

/// Where a store keeps everything.
#[derive(Clone, Debug)]
pub enum Place {
    /// SQLite, in this directory; made when it is not there. One process at a time.
    Directory(PathBuf),
    /// A database on a PostgreSQL server, which any number of processes may share.
    Postgres(PostgresPlace),
}

/// A database on a PostgreSQL server.
#[derive(Clone)]
pub struct PostgresPlace(Arc<PgConnectOptions>);

impl PostgresPlace {
    /// Reads `postgres://USER:PASSWORD@HOST:PORT/DATABASE`, with `?host=DIRECTORY` for a Unix socket and `?sslmode=…`.
    /// What is not there comes from `PGHOST`, `PGUSER` and so on, as with PostgreSQL's own clients.
    pub fn parse(url: &str) -> Result<Self, OpenError> {
        if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
            return Err(OpenError::NoPostgresUrl { source: None });
        }
        let options = PgConnectOptions::from_str(url)
            .map_err(|error| OpenError::NoPostgresUrl { source: Some(StoreError::Database(error)) })?;
        Ok(Self(Arc::new(options)))
    }
}

/// Without the password.
impl fmt::Display for PostgresPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let database = self.0.get_database().unwrap_or_else(|| self.0.get_username());
        match self.0.get_socket() {
            Some(socket) => write!(f, "{database} at {}:{}", socket.display(), self.0.get_port()),
            None => write!(f, "{database} at {}:{}", self.0.get_host(), self.0.get_port()),
        }
    }
}

impl fmt::Debug for PostgresPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PostgresPlace({self})")
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(directory) => directory.display().fmt(f),
            Self::Postgres(place) => place.fmt(f),
        }
    }
}

/// What [`Store::open`] needs.
#[derive(Debug)]
pub struct StoreOptions {
    /// Where it is.
    pub place: Place,
    /// Seals the secret keys.
    pub master_key: MasterKey,
    /// When a quota's day begins: seconds that the local day is ahead of UTC.
    pub quota_day_offset_secs: i32,
    /// On SQLite: whether each call is done on the thread that first polls it, which waits for the database's own, so
    /// that no other task runs and no time passes on a simulated clock meanwhile. Off by default: it blocks the thread.
    pub in_step: bool,
}

impl StoreOptions {
    /// The defaults, on SQLite in `directory`: quotas begin anew at 00:00 UTC+8.
    pub fn new(directory: impl Into<PathBuf>, master_key: MasterKey) -> Self {
        Self::at(Place::Directory(directory.into()), master_key)
    }

    /// The defaults, at `place`.
    pub fn at(place: Place, master_key: MasterKey) -> Self {
        Self { place, master_key, quota_day_offset_secs: QUOTA_DAY_OFFSET_SECS, in_step: false }
    }
}

/// The store, on either database. Clones share it.
#[derive(Clone, Debug)]
pub struct Store {
    pub(crate) database: Database,
    /// Which of the processes that share the database this is; drawn anew at each opening.
    pub(crate) instance: Arc<str>,
    pub(crate) master_key: Arc<MasterKey>,
    pub(crate) quota_day_offset_secs: i32,
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
    /// The text is no URL of a database.
    #[error("a database is written postgres://USER:PASSWORD@HOST:PORT/DATABASE")]
    NoPostgresUrl {
        /// What is wrong with it, if it begins like one.
        #[source]
        source: Option<StoreError>,
    },
    /// A newer everfresh has changed the database.
    #[error(
        "the database in {place} was written by a newer everfresh (its schema is version {found}, this one knows up to {known})"
    )]
    NewerSchema {
        /// Where it is.
        place: Place,
        /// The version found.
        found: i64,
        /// The newest version known here.
        known: i64,
    },
    /// The keys in the database are sealed under another master key.
    #[error(
        "the master key is not the one the keys in {0} are sealed under; all control planes of one database need the same"
    )]
    WrongMasterKey(Place),
    /// The file is no database of ours, the server is away, or it failed.
    #[error("cannot open the database in {place}")]
    Database {
        /// Where it is.
        place: Place,
        /// What the database said.
        #[source]
        source: StoreError,
    },
}

impl Store {
    /// Opens the store, making or migrating its tables as needed. Several processes may do so at once on PostgreSQL.
    pub async fn open(options: StoreOptions) -> Result<Self, OpenError> {
        let place = options.place;
        let failed = |source: StoreError| OpenError::Database { place: place.clone(), source };
        let bytes: [u8; 8] = random().map_err(failed)?;
        let instance = format!("everfresh-{:016x}", u64::from_ne_bytes(bytes));
        let source = match &place {
            Place::Directory(dir) => {
                let _lock = lock_dir(dir)?;
                let options_of_file = sqlite_options(dir);
                Source::Sqlite { options: options_of_file, _lock, in_step: options.in_step }
            }
            Place::Postgres(PostgresPlace(server)) => {
                Source::Postgres(PgConnectOptions::clone(server).application_name(&instance))
            }
        };
        let store = Self {
            database: Database::new(source),
            instance: instance.into(),
            master_key: Arc::new(options.master_key),
            quota_day_offset_secs: options.quota_day_offset_secs,
        };
        let migrations = if store.database.is_shared() { POSTGRES_MIGRATIONS } else { SQLITE_MIGRATIONS };
        store.database.migrate(&migrator(migrations)).await.map_err(|error| match error {
            StoreError::Database(sqlx::Error::Migrate(error)) => match *error {
                MigrateError::VersionMissing(found) => {
                    let known = migrations.last().map_or(0, |(version, _, _)| *version);
                    OpenError::NewerSchema { place: place.clone(), found, known }
                }
                other => failed(StoreError::Database(sqlx::Error::Migrate(Box::new(other)))),
            },
            other => failed(other),
        })?;
        log::ensure_row(&store).await.map_err(failed)?;
        if !keys::master_key_fits(&store).await.map_err(failed)? {
            return Err(OpenError::WrongMasterKey(place));
        }
        Ok(store)
    }

    /// Closes the database once what is under way has ended.
    pub async fn close(&self) {
        self.database.close().await;
    }

    /// For a call that writes what depends on what it reads: no other of these runs at the same time, on any instance.
    pub(crate) async fn write(&self) -> Result<Session, StoreError> {
        self.database.session(Mode::Alone).await
    }

    /// For a call whose statements are right beside any others.
    pub(crate) async fn write_beside(&self) -> Result<Session, StoreError> {
        self.database.session(Mode::Beside).await
    }

    /// For a call that reads one state of the database, at least as new as every commit before this call.
    pub(crate) async fn read(&self) -> Result<Session, StoreError> {
        self.database.session(Mode::Snapshot).await
    }

    /// The same for a call that reads with one statement.
    pub(crate) async fn glance(&self) -> Result<Session, StoreError> {
        self.database.session(Mode::Glance).await
    }
}

fn sqlite_options(dir: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(dir.join(DATABASE_FILE))
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        // An answered commit survives a power cut.
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(SQLITE_WAIT)
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

fn migrator(migrations: &[(i64, &'static str, &'static str)]) -> Migrator {
    Migrator::with_migrations(
        migrations
            .iter()
            .map(|&(version, name, sql)| {
                Migration::new(version, name.into(), MigrationType::Simple, sql.into_sql_str(), false)
            })
            .collect(),
    )
}
