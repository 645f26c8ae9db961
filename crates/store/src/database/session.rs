//! One connection, taken for one call of the store.

use super::pool::{Database, Lane};
use super::statement::{Bound, Row, Text, Value};
use super::{Column, is_away, timed_out};
use crate::StoreError;
use sqlx::sqlite::SqliteTransactionManager;
use sqlx::{AssertSqlSafe, PgConnection, SqlSafeStr, SqliteConnection};
use sqlx_core::transaction::TransactionManager;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;

/// How long a statement may take on PostgreSQL, until its connection is given up.
pub(crate) const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// The same for one that may touch very many rows, which no caller waits for.
pub(crate) const LONG_ANSWER_TIMEOUT: Duration = Duration::from_secs(120);

/// Rows one `INSERT` carries on SQLite: far below its 32766 values, and few distinct statements.
const ROWS_PER_INSERT: usize = 200;

/// A connection to either database.
pub(super) enum Connection {
    Sqlite(SqliteConnection),
    Postgres(Box<PgConnection>),
}

/// How a session begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Alone: no other session of this mode, of whatever instance, runs at the same time. It sees every commit made
    /// before, and other instances hear of its commit.
    Alone,
    /// Beside others: for statements that are right whatever else happens meanwhile.
    Beside,
    /// Sees one state of the database, at least as new as every commit before it began, and may write what it sees.
    Snapshot,
    /// For one statement, which reads.
    Glance,
}

/// A connection out of the pool.
pub(crate) struct Session {
    database: Database,
    lane: Lane,
    /// `None` when nothing is known about it any more.
    connection: Option<Connection>,
    permit: Option<OwnedSemaphorePermit>,
    /// It comes from an earlier session, so that the database may be gone without it having been noticed.
    was_used: bool,
    in_transaction: bool,
    in_flight: bool,
    has_failed: bool,
    answer_timeout: Duration,
}

impl Session {
    pub(super) fn new(
        database: Database,
        lane: Lane,
        permit: OwnedSemaphorePermit,
        connection: Connection,
        was_used: bool,
    ) -> Self {
        Self {
            database,
            lane,
            connection: Some(connection),
            permit: Some(permit),
            was_used,
            in_transaction: false,
            in_flight: false,
            has_failed: false,
            answer_timeout: ANSWER_TIMEOUT,
        }
    }

    /// Lets statements take [`LONG_ANSWER_TIMEOUT`] from here on.
    pub(crate) fn be_patient(&mut self) {
        self.answer_timeout = LONG_ANSWER_TIMEOUT;
    }

    /// Whether other processes may have this database open.
    pub(crate) fn is_shared(&self) -> bool {
        self.database.is_shared()
    }

    pub(super) async fn begin(&mut self, mode: Mode) -> Result<(), StoreError> {
        if mode == Mode::Glance {
            return Ok(());
        }
        let begun = self.request(Request::Begin(mode)).await;
        match begun {
            // The connection may have been lost while nobody used it, and others with it. Nothing was done yet.
            Err(StoreError::Away(_)) if self.was_used => {
                self.replace().await?;
                self.request(Request::Begin(mode)).await?;
            }
            begun => {
                begun?;
            }
        }
        self.in_transaction = true;
        Ok(())
    }

    pub(super) async fn execute(&mut self, sql: &Text, values: &Bound<'_>) -> Result<u64, StoreError> {
        match self.request(Request::Execute(sql, values)).await? {
            Reply::Changed(count) => Ok(count),
            Reply::Rows(_) => Ok(0),
        }
    }

    pub(super) async fn rows(&mut self, sql: &Text, values: &Bound<'_>) -> Result<Vec<Row>, StoreError> {
        let mut reply = self.request(Request::Rows(sql, values)).await;
        if matches!(reply, Err(StoreError::Away(_))) && self.was_used && !self.in_transaction {
            self.replace().await?;
            reply = self.request(Request::Rows(sql, values)).await;
        }
        match reply? {
            Reply::Rows(rows) => Ok(rows),
            Reply::Changed(_) => Ok(Vec::new()),
        }
    }

    /// Inserts rows, in order.
    pub(crate) async fn insert(
        &mut self,
        table: &'static str,
        columns: &[(&'static str, Column)],
        rows: &[Vec<Value<'_>>],
    ) -> Result<(), StoreError> {
        let names: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
        let into = format!("INSERT INTO {table} ({})", names.join(", "));
        if self.is_shared() {
            let arrays: Vec<String> = columns
                .iter()
                .enumerate()
                .map(|(index, (_, column))| format!("${}::{}", index + 1, column.array_type()))
                .collect();
            let sql = format!("{into} SELECT * FROM unnest({})", arrays.join(", "));
            let sql = Text { sql: AssertSqlSafe(sql).into_sql_str(), is_kept: true };
            self.execute(&sql, &Bound::Arrays(columns, rows)).await?;
            return Ok(());
        }
        for rows in rows.chunks(ROWS_PER_INSERT) {
            let values: Vec<Value<'_>> = rows.iter().flatten().cloned().collect();
            let mut sql = format!("{into} VALUES ");
            for row in 0..rows.len() {
                sql.push_str(if row == 0 { "(" } else { "), (" });
                let places: Vec<String> =
                    (1..=columns.len()).map(|place| format!("${}", row * columns.len() + place)).collect();
                sql.push_str(&places.join(", "));
            }
            sql.push(')');
            let is_kept = rows.len() == ROWS_PER_INSERT;
            let sql = Text { sql: AssertSqlSafe(sql).into_sql_str(), is_kept };
            self.execute(&sql, &Bound::Each(&values)).await?;
        }
        Ok(())
    }

    /// Another connection in place of one that was lost.
    async fn replace(&mut self) -> Result<(), StoreError> {
        self.connection = None;
        self.database.forget_idle();
        self.connection = Some(self.database.connect(self.lane).await?);
        self.was_used = false;
        self.has_failed = false;
        Ok(())
    }

    async fn request(&mut self, request: Request<'_>) -> Result<Reply, StoreError> {
        let Some(connection) = &mut self.connection else {
            return Err(timed_out("an earlier statement of the same call had no answer"));
        };
        self.in_flight = true;
        let answered = self.database.bounded(self.answer_timeout, connection.carry_out(request)).await;
        let Some(answered) = answered else {
            self.connection = None;
            return Err(timed_out("no answer in time"));
        };
        self.in_flight = false;
        answered.map_err(|error| {
            self.has_failed = true;
            if is_away(&error) {
                self.connection = None;
                StoreError::Away(error)
            } else {
                StoreError::Database(error)
            }
        })
    }
}

/// Commits; a failure here leaves open whether it happened.
pub(crate) async fn commit(mut session: Session) -> Result<(), StoreError> {
    if session.has_failed {
        // PostgreSQL would answer a COMMIT here with a rollback that looks like a success.
        return Err(StoreError::Database(sqlx::Error::Protocol("a commit after a failed statement".into())));
    }
    match session.request(Request::Commit).await {
        Ok(_) => {
            session.in_transaction = false;
            Ok(())
        }
        Err(StoreError::Database(error) | StoreError::Away(error)) => Err(StoreError::Unconfirmed(error)),
        Err(error) => Err(error),
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let Some(connection) = self.connection.take() else { return };
        match connection {
            Connection::Sqlite(mut connection) => {
                if self.in_transaction {
                    // Its thread does so after what is in flight, and before what comes next.
                    SqliteTransactionManager::start_rollback(&mut connection);
                }
                self.database.give_back(self.lane, Connection::Sqlite(connection));
            }
            // Its server notices that it is gone, and rolls back.
            Connection::Postgres(_) if self.in_flight => {}
            Connection::Postgres(mut connection) if self.in_transaction => {
                let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
                let (database, lane, permit) = (self.database.clone(), self.lane, self.permit.take());
                runtime.spawn(async move {
                    let rollback = sqlx::raw_sql("ROLLBACK").execute(&mut *connection);
                    if let Some(Ok(_)) = database.bounded(ANSWER_TIMEOUT, rollback).await {
                        database.give_back(lane, Connection::Postgres(connection));
                    }
                    drop(permit);
                });
            }
            connection @ Connection::Postgres(_) => self.database.give_back(self.lane, connection),
        }
    }
}

enum Request<'r> {
    Begin(Mode),
    Execute(&'r Text, &'r Bound<'r>),
    Rows(&'r Text, &'r Bound<'r>),
    Commit,
}

enum Reply {
    Changed(u64),
    Rows(Vec<Row>),
}

impl Connection {
    async fn carry_out(&mut self, request: Request<'_>) -> Result<Reply, sqlx::Error> {
        match self {
            Self::Sqlite(connection) => carry_out_on_sqlite(connection, request).await,
            Self::Postgres(connection) => carry_out_on_postgres(connection, request).await,
        }
    }
}

async fn carry_out_on_sqlite(
    connection: &mut SqliteConnection,
    request: Request<'_>,
) -> Result<Reply, sqlx::Error> {
    match request {
        Request::Begin(mode) => {
            // The one writer takes its lock at once, so that it never fails half-way for it.
            let immediate = matches!(mode, Mode::Alone | Mode::Beside);
            let begin = immediate.then(|| "BEGIN IMMEDIATE".into_sql_str());
            SqliteTransactionManager::begin(connection, begin).await?;
            Ok(Reply::Changed(0))
        }
        Request::Execute(text, values) => {
            let done = sqlx::query_with(text.sql.clone(), values.for_sqlite()?)
                .persistent(text.is_kept)
                .execute(connection)
                .await?;
            Ok(Reply::Changed(done.rows_affected()))
        }
        Request::Rows(text, values) => {
            let rows = sqlx::query_with(text.sql.clone(), values.for_sqlite()?)
                .persistent(text.is_kept)
                .fetch_all(connection)
                .await?;
            Ok(Reply::Rows(rows.into_iter().map(Row::Sqlite).collect()))
        }
        Request::Commit => {
            SqliteTransactionManager::commit(connection).await?;
            Ok(Reply::Changed(0))
        }
    }
}

async fn carry_out_on_postgres(
    connection: &mut PgConnection,
    request: Request<'_>,
) -> Result<Reply, sqlx::Error> {
    match request {
        Request::Begin(mode) => {
            sqlx::raw_sql(begin_on_postgres(mode)).execute(connection).await?;
            Ok(Reply::Changed(0))
        }
        Request::Execute(text, values) => {
            let done = sqlx::query_with(text.sql.clone(), values.for_postgres()?)
                .persistent(text.is_kept)
                .execute(connection)
                .await?;
            Ok(Reply::Changed(done.rows_affected()))
        }
        Request::Rows(text, values) => {
            let rows = sqlx::query_with(text.sql.clone(), values.for_postgres()?)
                .persistent(text.is_kept)
                .fetch_all(connection)
                .await?;
            Ok(Reply::Rows(rows.into_iter().map(Row::Postgres).collect()))
        }
        Request::Commit => {
            sqlx::raw_sql("COMMIT").execute(connection).await?;
            Ok(Reply::Changed(0))
        }
    }
}

/// One message to the server. Whoever writes alone locks the log's one row first: from then on each statement sees
/// what the one before committed, and positions follow the order of commits. Others hear of it when it commits.
const fn begin_on_postgres(mode: Mode) -> &'static str {
    match mode {
        Mode::Alone => {
            "BEGIN ISOLATION LEVEL READ COMMITTED; SELECT id FROM log FOR UPDATE; \
             SELECT pg_notify('everfresh', current_setting('application_name'))"
        }
        Mode::Beside => "BEGIN ISOLATION LEVEL READ COMMITTED",
        Mode::Snapshot | Mode::Glance => "BEGIN ISOLATION LEVEL REPEATABLE READ",
    }
}
