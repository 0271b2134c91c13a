//! The edges' words on which models may go to Bedrock, over a restart ([`crate::core::ceilings`]).

use rusqlite::params;

use super::{Store, StoreError};
use crate::core::ceilings::Word;

pub(super) const SCHEMA: &str = "
    CREATE TABLE ceilings (
        edge TEXT NOT NULL, model TEXT NOT NULL, bedrock INTEGER NOT NULL, PRIMARY KEY (edge, model)
    ) STRICT;";

impl Store {
    /// All words, each edge's last one of each model.
    pub(crate) fn ceilings(&self) -> Result<Vec<Word>, StoreError> {
        let read = || {
            let mut statement = self.connection.prepare("SELECT edge, model, bedrock FROM ceilings")?;
            let word =
                |row: &rusqlite::Row<'_>| Ok(Word { edge: row.get(0)?, model: row.get(1)?, may: Some(row.get(2)?) });
            statement.query_map([], word)?.collect::<rusqlite::Result<_>>()
        };
        read().map_err(|error| self.explain(&error))
    }

    /// Keeps new words, the last one of each model.
    pub(crate) fn keep_ceilings(&mut self, words: &[Word]) -> Result<(), StoreError> {
        let path = self.path.clone();
        let told = |error: rusqlite::Error| super::explain(&path, &error);
        match self.keep_raw(words).map_err(told) {
            Err(StoreError::Full(_)) => {
                self.forget_oldest().map_err(told)?;
                self.keep_raw(words).map_err(told)
            }
            outcome => outcome,
        }
    }

    fn keep_raw(&mut self, words: &[Word]) -> rusqlite::Result<()> {
        let step = self.connection.transaction()?;
        for Word { edge, model, may } in words {
            let sql = "INSERT INTO ceilings VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET bedrock = excluded.bedrock";
            match may {
                Some(may) => step.execute(sql, params![edge, model, may])?,
                None => step.execute("DELETE FROM ceilings WHERE edge = ?1 AND model = ?2", params![edge, model])?,
            };
        }
        step.commit()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(edge: &str, model: &str, may: bool) -> Word {
        Word { edge: edge.to_owned(), model: model.to_owned(), may: Some(may) }
    }

    #[test]
    fn the_last_word_of_each_edge_is_found_by_the_next_process() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s.db");
        let mut store = Store::create(&path).unwrap();
        store.keep_ceilings(&[word("a", "m", true), word("b", "m", true)]).unwrap();
        store.keep_ceilings(&[word("a", "m", false), word("a", "n", true), word("a", "gone", true)]).unwrap();
        store.keep_ceilings(&[Word { may: None, ..word("a", "gone", true) }]).unwrap();
        drop(store);
        let mut found = Store::open(&path).unwrap().ceilings().unwrap();
        found.sort_by_key(|word| (word.edge.clone(), word.model.clone()));
        assert_eq!(found, [word("a", "m", false), word("a", "n", true), word("b", "m", true)]);
    }
}
