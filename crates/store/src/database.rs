//! One way to speak to SQLite and to PostgreSQL.
//!
//! Owns the connections. A [`Session`] is one of them, taken for one call of the store: for writing, for reading one
//! state of the database, or for a single statement. Statements are written once, in the SQL that both databases share;
//! where they differ, it is here. Invariants: a session that ends without [`commit`] leaves nothing behind, and a
//! connection of which nothing is known any more is never used again.

mod pool;
mod session;
mod statement;
mod step;

pub(crate) use pool::{Database, SQLITE_WAIT, Source};
pub(crate) use session::{Mode, Session, commit};
pub(crate) use statement::{Column, Row, Sql, Value};

use crate::StoreError;

/// Whether a failure says that the database is not there (any more), or not the one that may be written to, rather
/// than that it disliked a statement. What is known of the connection is then worth nothing.
fn is_away(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::WorkerCrashed
        | sqlx::Error::BeginFailed => true,
        sqlx::Error::Database(error) => error.code().is_some_and(|code| is_away_code(&code)),
        _ => false,
    }
}

/// SQLSTATEs (PostgreSQL, Appendix A), of which SQLite's numbers never are: connection exceptions, insufficient
/// resources, operator intervention and system errors by their classes; a standby (25006), a transaction that was ended
/// for its idleness (25P03), a lock that was waited for too long (55P03), and a plan made before another instance
/// migrated (0A000).
fn is_away_code(code: &str) -> bool {
    let of_class = |class| code.len() == 5 && code.starts_with(class);
    ["08", "53", "57", "58", "XX"].into_iter().any(of_class)
        || ["25006", "25P03", "55P03", "0A000"].contains(&code)
}

/// The database did not answer in time.
fn timed_out(what: &'static str) -> StoreError {
    StoreError::Away(sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, what)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_that_say_that_the_database_is_away() {
        for code in ["57P01", "08006", "53300", "25006", "55P03", "XX000"] {
            assert!(is_away_code(code), "{code}");
        }
        for code in ["23505", "42601", "40001", "5", "1555", "57", "08"] {
            assert!(!is_away_code(code), "{code}");
        }
    }
}
