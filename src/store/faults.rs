//! Which database errors are worth another try.
//!
//! Only an error that is surely about the request itself is [`StoreError::Refused`]: a caller may set the rows of a
//! refused batch apart, so a doubt counts as [`StoreError::Unavailable`], after which the same batch is written again.

use sqlx::error::DatabaseError;

use super::StoreError;

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> StoreError {
        let refused = match &error {
            sqlx::Error::Database(database) => is_about_the_request(&**database),
            // Columns, types, configuration: our program and the database's tables do not fit.
            sqlx::Error::Configuration(_)
            | sqlx::Error::InvalidArgument(_)
            | sqlx::Error::RowNotFound
            | sqlx::Error::TypeNotFound { .. }
            | sqlx::Error::ColumnIndexOutOfBounds { .. }
            | sqlx::Error::ColumnNotFound(_)
            | sqlx::Error::ColumnDecode { .. }
            | sqlx::Error::Encode(_)
            | sqlx::Error::Decode(_)
            | sqlx::Error::Migrate(_) => true,
            // Connections, pools, a transaction that is not where sqlx takes it to be.
            _ => false,
        };
        match refused {
            true => StoreError::Refused(error.to_string()),
            false => StoreError::Unavailable(error.to_string()),
        }
    }
}

fn is_about_the_request(error: &dyn DatabaseError) -> bool {
    let code = error.code().unwrap_or_default();
    match error.try_downcast_ref::<sqlx::postgres::PgDatabaseError>() {
        Some(_) => postgres_refuses(&code),
        None => code.parse().is_ok_and(sqlite_refuses),
    }
}

/// By the class of the SQLSTATE, <https://www.postgresql.org/docs/current/errcodes-appendix.html>.
fn postgres_refuses(code: &str) -> bool {
    const NOT_SUPPORTED: &str = "0A";
    const CARDINALITY: &str = "21";
    const DATA: &str = "22";
    const INTEGRITY: &str = "23";
    /// Our tables have no checks: a row on its way into the default partition met the making of its own day's.
    const CHECK_VIOLATED: &str = "23514";
    const SYNTAX_OR_ACCESS: &str = "42";
    const PROGRAM_LIMIT: &str = "54";
    let refusing = [NOT_SUPPORTED, CARDINALITY, DATA, INTEGRITY, SYNTAX_OR_ACCESS, PROGRAM_LIMIT];
    code.len() == 5 && code != CHECK_VIOLATED && refusing.contains(&&code[..2])
}

/// By the primary code in the low byte, <https://www.sqlite.org/rescode.html>.
fn sqlite_refuses(code: u32) -> bool {
    const ERROR: u32 = 1;
    const CORRUPT: u32 = 11;
    const TOO_BIG: u32 = 18;
    const CONSTRAINT: u32 = 19;
    const MISMATCH: u32 = 20;
    const RANGE: u32 = 25;
    const NOT_A_DATABASE: u32 = 26;
    [ERROR, CORRUPT, TOO_BIG, CONSTRAINT, MISMATCH, RANGE, NOT_A_DATABASE].contains(&(code & 0xff))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn postgres_errors_are_told_apart_by_class() {
        let retried = [
            ("40P01", "deadlock"),
            ("40001", "serialization failure"),
            ("57P01", "administrator's shutdown"),
            ("57P03", "starting up"),
            ("57014", "statement timeout"),
            ("53100", "disk full"),
            ("53300", "too many connections"),
            ("25006", "read-only after a failover"),
            ("25P03", "idle in transaction"),
            ("55P03", "lock timeout"),
            ("08006", "connection lost"),
            ("58030", "I/O error"),
            ("23514", "the row's day was given a partition meanwhile"),
            ("28P01", "password changed under us"),
            ("", "no code"),
        ];
        for (code, what) in retried {
            assert!(!postgres_refuses(code), "{code} {what}");
        }
        let refused = [
            ("22021", "NUL in text"),
            ("23502", "null in a column that takes none"),
            ("42P01", "table missing"),
            ("54000", "index entry too long"),
        ];
        for (code, what) in refused {
            assert!(postgres_refuses(code), "{code} {what}");
        }
    }

    #[test]
    fn sqlite_errors_are_told_apart_by_primary_code() {
        for (code, what) in
            [(5, "busy"), (517, "busy snapshot"), (13, "full"), (10, "I/O"), (778, "I/O write"), (8, "read-only")]
        {
            assert!(!sqlite_refuses(code), "{code} {what}");
        }
        for (code, what) in
            [(1, "no such table"), (19, "constraint"), (2067, "unique"), (18, "too big"), (26, "no database")]
        {
            assert!(sqlite_refuses(code), "{code} {what}");
        }
    }

    #[test]
    fn a_lost_connection_is_retried_and_a_missing_column_is_not() {
        let lost: StoreError = sqlx::Error::Io(std::io::ErrorKind::ConnectionReset.into()).into();
        assert!(matches!(lost, StoreError::Unavailable(_)));
        let astray: StoreError = sqlx::Error::InvalidSavePointStatement.into();
        assert!(matches!(astray, StoreError::Unavailable(_)), "it says nothing of the rows");
        let missing: StoreError = sqlx::Error::ColumnNotFound("day".to_owned()).into();
        assert!(matches!(missing, StoreError::Refused(_)));
    }
}
