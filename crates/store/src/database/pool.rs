//! The connections, and who waits for them.

use super::session::{Connection, Mode, Session};
use super::step::run_in_step;
use super::timed_out;
use crate::StoreError;
use parking_lot::Mutex;
use sqlx::migrate::Migrator;
use sqlx::postgres::PgConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{Connection as _, PgConnection, Row as _, SqliteConnection};
use std::fmt;
use std::fs::File;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::Instant;

/// How many sessions read from SQLite at once.
const SQLITE_READERS_MAX: usize = 4;

/// How many sessions write to PostgreSQL at once, and how many read, each on a connection of its own.
const POSTGRES_SESSIONS_MAX: usize = 8;

/// How long a session waits for SQLite's one writer, or a reader.
pub(crate) const SQLITE_WAIT: Duration = Duration::from_secs(10);

/// How long a session waits for a connection to PostgreSQL.
const POSTGRES_WAIT: Duration = Duration::from_secs(3);

/// How long migrations may take, and the wait for those of another instance.
const MIGRATE_TIMEOUT: Duration = Duration::from_secs(300);

/// How long a connection to PostgreSQL may take to open.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a connection to PostgreSQL is kept without a use: what lies between may forget it without a word.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// Where connections lead.
pub(crate) enum Source {
    /// A file of this machine. One writer: SQLite has no more, and a queue here is fairer than its busy handler.
    Sqlite {
        /// How to open it.
        options: SqliteConnectOptions,
        /// Held for as long as the store lives.
        _lock: File,
        /// Whether each session waits on the calling thread.
        in_step: bool,
    },
    /// A server.
    Postgres(PgConnectOptions),
}

/// Which connections a session is taken from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lane {
    Writers,
    Readers,
}

/// The database with its connections. Clones share it.
#[derive(Clone)]
pub(crate) struct Database {
    shared: Arc<Shared>,
}

struct Shared {
    source: Source,
    writers: Connections,
    readers: Connections,
}

struct Connections {
    permits: Arc<Semaphore>,
    count: usize,
    /// The one that was used last is last.
    idle: Mutex<Vec<(Connection, Instant)>>,
}

impl Connections {
    fn new(count: usize) -> Self {
        Self { permits: Arc::new(Semaphore::new(count)), count, idle: Mutex::default() }
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.shared.source {
            Source::Sqlite { .. } => "Database(SQLite)",
            Source::Postgres(_) => "Database(PostgreSQL)",
        })
    }
}

impl Database {
    pub(crate) fn new(source: Source) -> Self {
        let (writers, readers) = match source {
            Source::Sqlite { .. } => (1, SQLITE_READERS_MAX),
            Source::Postgres(_) => (POSTGRES_SESSIONS_MAX, POSTGRES_SESSIONS_MAX),
        };
        let (writers, readers) = (Connections::new(writers), Connections::new(readers));
        Self { shared: Arc::new(Shared { source, writers, readers }) }
    }

    /// Whether other processes may have it open.
    pub(crate) fn is_shared(&self) -> bool {
        self.server().is_some()
    }

    /// Where the server is, if there is one.
    pub(crate) fn server(&self) -> Option<&PgConnectOptions> {
        match &self.shared.source {
            Source::Sqlite { .. } => None,
            Source::Postgres(options) => Some(options),
        }
    }

    /// Takes a connection and begins.
    pub(crate) async fn session(&self, mode: Mode) -> Result<Session, StoreError> {
        let lane = match mode {
            Mode::Alone | Mode::Beside => Lane::Writers,
            Mode::Snapshot | Mode::Glance => Lane::Readers,
        };
        let wait = if self.is_shared() { POSTGRES_WAIT } else { SQLITE_WAIT };
        let mut session = match self.in_step() {
            true => run_in_step(self.take(lane)),
            false => tokio::time::timeout(wait, self.take(lane))
                .await
                .unwrap_or_else(|_| Err(timed_out("no connection came free in time"))),
        }?;
        session.begin(mode).await?;
        Ok(session)
    }

    /// Brings the tables up to date. Instances that start at the same time take turns, by an advisory lock.
    pub(crate) async fn migrate(&self, migrator: &Migrator) -> Result<(), StoreError> {
        let mut connection = self.connect(Lane::Writers).await?;
        let migrated = match &mut connection {
            Connection::Sqlite(connection) => {
                self.bounded(MIGRATE_TIMEOUT, migrator.run_direct(None, connection, false)).await
            }
            Connection::Postgres(connection) => {
                self.bounded(MIGRATE_TIMEOUT, migrator.run_direct(None, &mut **connection, false)).await
            }
        };
        let migrated = migrated.ok_or_else(|| timed_out("no migration within 5 minutes"))?;
        migrated.map_err(|error| StoreError::Database(sqlx::Error::Migrate(Box::new(error))))?;
        self.give_back(Lane::Writers, connection);
        Ok(())
    }

    /// Closes every connection once the sessions under way have ended. There are no others then.
    pub(crate) async fn close(&self) {
        if self.in_step() { run_in_step(self.close_all()) } else { self.close_all().await }
    }

    async fn close_all(&self) {
        for connections in [&self.shared.readers, &self.shared.writers] {
            let all = u32::try_from(connections.count).unwrap_or(u32::MAX);
            // An error means that it is closed already.
            let ended = connections.permits.acquire_many(all).await;
            connections.permits.close();
            drop(ended);
            let idle = std::mem::take(&mut *connections.idle.lock());
            for (connection, _) in idle {
                // One that is lost need not be closed.
                let _ = match connection {
                    Connection::Sqlite(connection) => connection.close().await,
                    Connection::Postgres(connection) => connection.close().await,
                };
            }
        }
    }

    /// Waits for `answer`: for a bounded time on PostgreSQL, and for as long as SQLite needs, which has its own bound for
    /// what it waits for.
    pub(super) async fn bounded<F: Future>(&self, limit: Duration, answer: F) -> Option<F::Output> {
        match &self.shared.source {
            Source::Sqlite { in_step: true, .. } => Some(run_in_step(answer)),
            Source::Sqlite { in_step: false, .. } => Some(answer.await),
            Source::Postgres(_) => tokio::time::timeout(limit, answer).await.ok(),
        }
    }

    pub(super) async fn connect(&self, lane: Lane) -> Result<Connection, StoreError> {
        match &self.shared.source {
            Source::Sqlite { options, .. } => {
                let options = match lane {
                    Lane::Writers => options.clone(),
                    Lane::Readers => options.clone().pragma("query_only", "on"),
                };
                let connecting = SqliteConnection::connect_with(&options);
                let connected = if self.in_step() { run_in_step(connecting) } else { connecting.await };
                Ok(Connection::Sqlite(connected.map_err(StoreError::Away)?))
            }
            Source::Postgres(options) => {
                let connected = tokio::time::timeout(CONNECT_TIMEOUT, connect_to_postgres(options)).await;
                let connected = connected.map_err(|_| timed_out("no connection within 2 seconds"))?;
                Ok(Connection::Postgres(Box::new(connected?)))
            }
        }
    }

    /// Closes what no session holds: it was opened when the one was that has just been lost.
    pub(super) fn forget_idle(&self) {
        if self.is_shared() {
            self.shared.writers.idle.lock().clear();
            self.shared.readers.idle.lock().clear();
        }
    }

    pub(super) fn give_back(&self, lane: Lane, connection: Connection) {
        let connections = self.of(lane);
        if !connections.permits.is_closed() {
            connections.idle.lock().push((connection, Instant::now()));
        }
    }

    async fn take(&self, lane: Lane) -> Result<Session, StoreError> {
        let connections = self.of(lane);
        let permit = Arc::clone(&connections.permits).acquire_owned().await;
        let permit = permit.map_err(|_| StoreError::Away(sqlx::Error::PoolClosed))?;
        let idle = {
            let mut idle = connections.idle.lock();
            if self.is_shared() {
                idle.retain(|(_, since)| since.elapsed() < IDLE_TIMEOUT);
            }
            idle.pop().map(|(connection, _)| connection)
        };
        let was_used = idle.is_some();
        let connection = match idle {
            Some(connection) => connection,
            None => self.connect(lane).await?,
        };
        Ok(Session::new(self.clone(), lane, permit, connection, was_used))
    }

    fn of(&self, lane: Lane) -> &Connections {
        match lane {
            Lane::Writers => &self.shared.writers,
            Lane::Readers => &self.shared.readers,
        }
    }

    fn in_step(&self) -> bool {
        matches!(self.shared.source, Source::Sqlite { in_step: true, .. })
    }
}

/// A connection on which commits are durable: whatever the server's or the role's defaults are. A commit that was cut
/// short while it waited for a standby would look as if it had been confirmed, so that no statement may be cut short
/// by the server; who waits here gives up by itself. A session that stops in the midst of a transaction must not hold
/// the others up for long.
async fn connect_to_postgres(options: &PgConnectOptions) -> Result<PgConnection, StoreError> {
    let mut connection = PgConnection::connect_with(options).await.map_err(StoreError::Away)?;
    let settings = sqlx::query(
        "SELECT set_config('synchronous_commit', CASE current_setting('synchronous_commit') \
         WHEN 'remote_apply' THEN 'remote_apply' ELSE 'on' END, false), \
         set_config('statement_timeout', '0', false), set_config('lock_timeout', '4s', false), \
         set_config('idle_in_transaction_session_timeout', '5s', false), \
         set_config('client_min_messages', 'warning', false), pg_is_in_recovery() AS is_standby",
    )
    .persistent(false)
    .fetch_one(&mut connection)
    .await
    .map_err(StoreError::Away)?;
    if settings.try_get("is_standby").map_err(StoreError::Away)? {
        return Err(StoreError::Away(sqlx::Error::Configuration(
            "the server is a standby, which takes no writes: name the primary".into(),
        )));
    }
    Ok(connection)
}
