//! The tables of `docs/interop.md`: a row a client, a column a cell.
//!
//! Invariant: a cell says `yes` if and only if the client's script has it; anything else points to a
//! note under the table that says why not.

use anyhow::{Context, ensure};

use crate::backend::AWAY;

const DOCUMENT: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/interop.md"));

/// Column heads by the names of the scripts' functions.
const COLUMNS: [(&str, &str); 11] = [
    ("chat", "chat"),
    ("stream", "stream"),
    ("tools", "tools_over_two_turns"),
    ("structured", "structured"),
    ("images", "images"),
    ("thinking", "thinking"),
    ("errors", "errors"),
    ("broken", "broken"),
    ("lists", "lists"),
    ("embeddings", "embeddings"),
    ("overload", "overload"),
];

/// Heads of the tables' first columns.
const BESIDE: &str = "client";
const OVERFLOWING: &str = "client, overflowing";

/// The last column of the second table.
const HOPS: (&str, &str) = ("hops", "hops");

/// Checks the rows of these clients, in front of a machine that has time and of a full one; `hops`: the
/// functions of the script whose conversations change sides.
pub(crate) fn agrees(offers: &[(&str, Vec<String>)], hops: &[String]) -> anyhow::Result<()> {
    holds(BESIDE, &COLUMNS, offers)?;
    let away = COLUMNS.into_iter().filter(|(_, cell)| AWAY.contains(cell)).chain([HOPS]);
    let hopping = offers.iter().map(|(client, cells)| {
        let hops = hops.iter().any(|name| name.replace('_', "-") == *client);
        (*client, cells.iter().cloned().chain(hops.then(|| HOPS.1.to_owned())).collect())
    });
    holds(OVERFLOWING, &away.collect::<Vec<_>>(), &hopping.collect::<Vec<_>>())?;
    for (client, cells) in offers {
        let unknown = cells.iter().find(|own| COLUMNS.iter().all(|(_, cell)| cell != own));
        ensure!(unknown.is_none(), "{client} has {unknown:?}, which is no column");
    }
    Ok(())
}

/// One table against what the scripts have of its columns.
fn holds(head: &str, columns: &[(&str, &str)], offers: &[(&str, Vec<String>)]) -> anyhow::Result<()> {
    let mut lines =
        DOCUMENT.lines().map(row).skip_while(|row| row.as_ref().is_none_or(|row| row.first() != Some(&head)));
    let first = lines.next().flatten().with_context(|| format!("no table `{head}` in docs/interop.md"))?;
    let named: Vec<&str> = columns.iter().map(|(column, _)| *column).collect();
    ensure!(first.get(1..) == Some(named.as_slice()), "columns {first:?}, expected {named:?}");
    let rows: Vec<Vec<&str>> = lines.skip(1).map_while(|row| row).collect();
    for (client, cells) in offers {
        let row = rows.iter().find(|row| row.first() == Some(client));
        let row = row.with_context(|| format!("no row for {client} in the table `{head}`"))?;
        for (said, (column, cell)) in row.iter().skip(1).zip(columns) {
            let offered = cells.iter().any(|own| own == cell);
            ensure!((*said == "yes") == offered, "{client}, {column}: the table says `{said}`, its script: {offered}");
            let note = format!("- {said}: ");
            ensure!(offered || DOCUMENT.contains(&note), "{client}, {column}: no note `{note}`");
        }
        ensure!(row.len() == columns.len() + 1, "{client}: {} columns", row.len());
    }
    Ok(())
}

fn row(line: &str) -> Option<Vec<&str>> {
    let inner = line.strip_prefix('|')?.strip_suffix('|')?;
    Some(inner.split('|').map(str::trim).collect())
}
