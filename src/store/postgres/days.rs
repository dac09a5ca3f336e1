//! Days of attempts as partitions: made ahead, dropped whole.
//!
//! Whoever calls holds the lock on days, so that two processes do not make the same partition. A row whose day has no
//! partition is in the default one; it goes when its *attempt* is older than the oldest day kept, because an event may
//! claim any day and its row is needed for as long as the log may bring its delivery again.

use std::collections::BTreeSet;

use sqlx::{AssertSqlSafe, PgConnection};
use tidings_core::domain::Day;

use super::{ANSWER_TIMEOUT, within};
use crate::store::StoreError;

/// Rows deleted from the default partition in one statement.
const DROP_SLICE_ROWS: i64 = 10_000;

pub async fn keep(connection: &mut PgConnection, oldest: Day, newest: Day) -> Result<Vec<Day>, StoreError> {
    let list = sqlx::query_scalar::<_, String>(include_str!("../queries/postgres/list_days.sql"));
    let names = within(ANSWER_TIMEOUT, async { Ok(list.fetch_all(&mut *connection).await?) }).await?;
    let existing: BTreeSet<Day> = names.iter().filter_map(|name| day_of(name)).collect();
    for day in (oldest.0..=newest.0).map(Day).filter(|day| !existing.contains(day)) {
        run(connection, include_str!("../queries/postgres/create_day.sql"), day).await?;
    }
    let old: Vec<Day> = existing.into_iter().filter(|day| *day < oldest).collect();
    for day in &old {
        run(connection, include_str!("../queries/postgres/drop_day.sql"), *day).await?;
    }
    loop {
        let slice = sqlx::query(include_str!("../queries/postgres/drop_strays.sql"));
        let slice = slice.bind(oldest.start().0).bind(DROP_SLICE_ROWS);
        let dropped = within(ANSWER_TIMEOUT, async { Ok(slice.execute(&mut *connection).await?) }).await?;
        if dropped.rows_affected() < DROP_SLICE_ROWS as u64 {
            return Ok(old);
        }
    }
}

/// Runs a script about one day. Nothing but a date and a number is put into it.
async fn run(connection: &mut PgConnection, script: &str, day: Day) -> Result<(), StoreError> {
    let script = script.replace("{partition}", &partition_of(day)).replace("{day}", &day.0.to_string());
    within(ANSWER_TIMEOUT, async { Ok(sqlx::raw_sql(AssertSqlSafe(script)).execute(connection).await?) }).await?;
    Ok(())
}

fn partition_of(day: Day) -> String {
    format!("attempts_{}", day.to_string().replace('-', "_"))
}

fn day_of(partition: &str) -> Option<Day> {
    Day::parse(&partition.strip_prefix("attempts_")?.replace('_', "-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_is_named_after_its_day() {
        for day in [Day(0), Day(-1), Day(20_780), Day(-719_162), Day(2_932_531)] {
            assert_eq!(day_of(&partition_of(day)), Some(day));
        }
        assert_eq!(partition_of(Day(20_780)), "attempts_2026_11_23");
        assert_eq!(day_of("attempts_default"), None);
    }
}
