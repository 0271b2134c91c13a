//! The table of `docs/interop.md`: a row a client, a column a cell.
//!
//! Invariant: a cell says `yes` if and only if the client's script has it; anything else points to a
//! note under the table that says why not.

use anyhow::{Context, ensure};

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

/// Checks the rows of these clients.
pub(crate) fn agrees(offers: &[(&str, Vec<String>)]) -> anyhow::Result<()> {
    let rows: Vec<Vec<&str>> = DOCUMENT.lines().filter_map(row).collect();
    let head = rows.first().context("no table in docs/interop.md")?;
    let named: Vec<&str> = COLUMNS.iter().map(|(column, _)| *column).collect();
    ensure!(head.get(1..) == Some(named.as_slice()), "columns {head:?}, expected {named:?}");
    for (client, cells) in offers {
        let row = rows.iter().find(|row| row.first() == Some(client));
        let row = row.with_context(|| format!("no row for {client}"))?;
        for (said, (column, cell)) in row.iter().skip(1).zip(COLUMNS) {
            let offered = cells.iter().any(|own| own == cell);
            ensure!((*said == "yes") == offered, "{client}, {column}: the table says `{said}`, its script: {offered}");
            let note = format!("- {said}: ");
            ensure!(offered || DOCUMENT.contains(&note), "{client}, {column}: no note `{note}`");
        }
        let unknown = cells.iter().find(|own| COLUMNS.iter().all(|(_, cell)| cell != own));
        ensure!(unknown.is_none(), "{client} has {unknown:?}, which is no column");
        ensure!(row.len() == COLUMNS.len() + 1, "{client}: {} columns", row.len());
    }
    Ok(())
}

fn row(line: &str) -> Option<Vec<&str>> {
    let inner = line.strip_prefix("| ")?.strip_suffix(" |")?;
    Some(inner.split('|').map(str::trim).collect())
}
