//! Statements and rows that are the same for both databases.

use super::Session;
use crate::StoreError;
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{
    Arguments, AssertSqlSafe, ColumnIndex, Decode, Postgres, Row as _, SqlSafeStr, SqlStr, Sqlite, Type,
};
use std::borrow::Cow;
use std::fmt::Write;

/// A value to bind.
#[derive(Clone, Debug)]
pub(crate) enum Value<'v> {
    Int(Option<i64>),
    Text(Option<Cow<'v, str>>),
    Bool(bool),
    Bytes(Cow<'v, [u8]>),
}

impl From<i64> for Value<'_> {
    fn from(number: i64) -> Self {
        Self::Int(Some(number))
    }
}

impl From<u32> for Value<'_> {
    fn from(number: u32) -> Self {
        Self::Int(Some(number.into()))
    }
}

impl From<u16> for Value<'_> {
    fn from(number: u16) -> Self {
        Self::Int(Some(number.into()))
    }
}

impl From<bool> for Value<'_> {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl<'v> From<&'v str> for Value<'v> {
    fn from(text: &'v str) -> Self {
        Self::Text(Some(text.into()))
    }
}

impl From<String> for Value<'_> {
    fn from(text: String) -> Self {
        Self::Text(Some(text.into()))
    }
}

impl<'v> From<Option<&'v str>> for Value<'v> {
    fn from(text: Option<&'v str>) -> Self {
        Self::Text(text.map(Cow::from))
    }
}

impl<'v> From<Option<Cow<'v, str>>> for Value<'v> {
    fn from(text: Option<Cow<'v, str>>) -> Self {
        Self::Text(text)
    }
}

impl From<Vec<u8>> for Value<'_> {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes.into())
    }
}

/// The values of one statement.
pub(super) enum Bound<'v> {
    /// `$1`, `$2` and so on.
    Each(&'v [Value<'v>]),
    /// One array for each column, which only PostgreSQL has.
    Arrays(&'v [(&'static str, Column)], &'v [Vec<Value<'v>>]),
}

impl Bound<'_> {
    pub(super) fn for_sqlite(&self) -> Result<SqliteArguments, sqlx::Error> {
        let mut arguments = SqliteArguments::default();
        let Self::Each(values) = self else {
            return Err(sqlx::Error::InvalidArgument("SQLite has no arrays".into()));
        };
        for value in *values {
            match value {
                Value::Int(number) => arguments.add(*number),
                Value::Text(text) => arguments.add(text.as_deref().map(str::to_owned)),
                Value::Bool(value) => arguments.add(*value),
                Value::Bytes(bytes) => arguments.add(bytes.to_vec()),
            }
            .map_err(sqlx::Error::Encode)?;
        }
        Ok(arguments)
    }

    pub(super) fn for_postgres(&self) -> Result<PgArguments, sqlx::Error> {
        let mut arguments = PgArguments::default();
        match self {
            Self::Each(values) => {
                for value in *values {
                    match value {
                        Value::Int(number) => arguments.add(*number),
                        Value::Text(text) => arguments.add(text.as_deref().map(storable)),
                        Value::Bool(value) => arguments.add(*value),
                        Value::Bytes(bytes) => arguments.add(bytes.as_ref()),
                    }
                    .map_err(sqlx::Error::Encode)?;
                }
            }
            Self::Arrays(columns, rows) => {
                for (index, (_, column)) in columns.iter().enumerate() {
                    let values = rows.iter().map(|row| row.get(index));
                    match column {
                        Column::Int => arguments.add(
                            values
                                .map(
                                    |value| if let Some(Value::Int(number)) = value { *number } else { None },
                                )
                                .collect::<Vec<_>>(),
                        ),
                        Column::Text => arguments.add(
                            values
                                .map(|value| {
                                    if let Some(Value::Text(text)) = value {
                                        text.as_deref().map(storable)
                                    } else {
                                        None
                                    }
                                })
                                .collect::<Vec<_>>(),
                        ),
                    }
                    .map_err(sqlx::Error::Encode)?;
                }
            }
        }
        Ok(arguments)
    }
}

/// PostgreSQL's texts hold every character but U+0000: whoever gives one finds the replacement character.
fn storable(text: &str) -> Cow<'_, str> {
    if text.contains('\0') { text.replace('\0', "\u{fffd}").into() } else { text.into() }
}

/// What a column of rows that are inserted together holds.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Column {
    Int,
    Text,
}

impl Column {
    pub(super) const fn array_type(self) -> &'static str {
        match self {
            Self::Int => "bigint[]",
            Self::Text => "text[]",
        }
    }
}

/// A statement in parts, with its values.
#[derive(Debug, Default)]
pub(crate) struct Sql<'v> {
    pub(super) text: String,
    pub(super) values: Vec<Value<'v>>,
}

impl<'v> Sql<'v> {
    pub(crate) fn new(text: &'static str) -> Self {
        Self { text: text.into(), values: Vec::new() }
    }

    /// Adds text, which must not come from outside.
    pub(crate) fn push(&mut self, text: &'static str) -> &mut Self {
        self.text.push_str(text);
        self
    }

    /// Adds a value.
    pub(crate) fn bind(&mut self, value: impl Into<Value<'v>>) -> &mut Self {
        self.values.push(value.into());
        // Writing to a string cannot fail.
        let _ = write!(self.text, "${}", self.values.len());
        self
    }

    /// Adds values in parentheses; there must be at least one.
    pub(crate) fn bind_list<V: Into<Value<'v>>>(&mut self, values: impl IntoIterator<Item = V>) -> &mut Self {
        for (index, value) in values.into_iter().enumerate() {
            self.push(if index == 0 { "(" } else { ", " }).bind(value);
        }
        self.push(")")
    }
}

/// The text of a statement.
pub(super) struct Text {
    pub(super) sql: SqlStr,
    /// Whether the database is to keep it prepared: there are few such texts.
    pub(super) is_kept: bool,
}

/// A statement about to be sent.
pub(crate) struct Statement<'s, 'v> {
    session: &'s mut Session,
    text: Text,
    values: Vec<Value<'v>>,
}

impl Session {
    /// A statement of fixed text, with `$1`, `$2` and so on where values go.
    pub(crate) fn query<'v>(&mut self, text: &'static str) -> Statement<'_, 'v> {
        let text = Text { sql: text.into_sql_str(), is_kept: true };
        Statement { session: self, text, values: Vec::new() }
    }

    /// A statement that was put together.
    pub(crate) fn run<'v>(&mut self, sql: Sql<'v>) -> Statement<'_, 'v> {
        // Put together of texts in this crate: `Sql::push` takes no other.
        let text = Text { sql: AssertSqlSafe(sql.text).into_sql_str(), is_kept: false };
        Statement { session: self, text, values: sql.values }
    }
}

impl<'v> Statement<'_, 'v> {
    /// The next value.
    pub(crate) fn bind(mut self, value: impl Into<Value<'v>>) -> Self {
        self.values.push(value.into());
        self
    }

    /// Carries it out and says how many rows it changed.
    pub(crate) async fn execute(self) -> Result<u64, StoreError> {
        self.session.execute(&self.text, &Bound::Each(&self.values)).await
    }

    /// Every row.
    pub(crate) async fn all(self) -> Result<Vec<Row>, StoreError> {
        self.session.rows(&self.text, &Bound::Each(&self.values)).await
    }

    /// The first row, if there is one.
    pub(crate) async fn optional(self) -> Result<Option<Row>, StoreError> {
        Ok(self.all().await?.into_iter().next())
    }

    /// The first row.
    pub(crate) async fn one(self) -> Result<Row, StoreError> {
        self.optional().await?.ok_or(StoreError::Database(sqlx::Error::RowNotFound))
    }
}

impl Statement<'_, '_> {
    /// The first column of the first row.
    pub(crate) async fn scalar<T: OfBoth>(self) -> Result<T, StoreError> {
        self.one().await?.get(0)
    }

    /// The first column of the first row, if there is one.
    pub(crate) async fn optional_scalar<T: OfBoth>(self) -> Result<Option<T>, StoreError> {
        self.optional().await?.map(|row| row.get(0)).transpose()
    }

    /// The first column of every row.
    pub(crate) async fn scalars<T: OfBoth>(self) -> Result<Vec<T>, StoreError> {
        self.all().await?.iter().map(|row| row.get(0)).collect()
    }
}

/// What both databases have, and does not borrow from its row.
pub(crate) trait OfBoth:
    for<'r> Decode<'r, Sqlite> + Type<Sqlite> + for<'r> Decode<'r, Postgres> + Type<Postgres>
{
}

impl<T> OfBoth for T where
    T: for<'r> Decode<'r, Sqlite> + Type<Sqlite> + for<'r> Decode<'r, Postgres> + Type<Postgres>
{
}

/// One row of an answer.
pub(crate) enum Row {
    Sqlite(SqliteRow),
    Postgres(PgRow),
}

impl Row {
    /// The value of a column, by its name or its place.
    pub(crate) fn get<'r, T, I>(&'r self, column: I) -> Result<T, StoreError>
    where
        T: Decode<'r, Sqlite> + Type<Sqlite> + Decode<'r, Postgres> + Type<Postgres>,
        I: ColumnIndex<SqliteRow> + ColumnIndex<PgRow>,
    {
        let value = match self {
            Self::Sqlite(row) => row.try_get(column),
            Self::Postgres(row) => row.try_get(column),
        };
        value.map_err(StoreError::Database)
    }

    /// A number of a smaller range than the column has.
    pub(crate) fn number<T: TryFrom<i64>>(&self, column: &'static str) -> Result<T, StoreError> {
        let number: i64 = self.get(column)?;
        T::try_from(number).map_err(|_| StoreError::corrupt(column, number.to_string()))
    }

    /// The same of a column that may be empty.
    pub(crate) fn optional_number<T: TryFrom<i64>>(
        &self,
        column: &'static str,
    ) -> Result<Option<T>, StoreError> {
        let number: Option<i64> = self.get(column)?;
        let parse =
            |number: i64| T::try_from(number).map_err(|_| StoreError::corrupt(column, number.to_string()));
        number.map(parse).transpose()
    }
}
