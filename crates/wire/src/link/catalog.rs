//! The catalog in parts: cut at the edge, put together at the relay.
//!
//! Invariants: a part is a JSON array of at most 24 KB; at most 64 parts; the higher `rev` wins;
//! only whole catalogs are reported.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::limits::{CATALOG_PART, CATALOG_PARTS};
use crate::{Frame, ModelInfo};

/// Edge: the catalog as it was last set, ready to be sent on any connection.
#[derive(Debug, Default)]
pub(super) struct CatalogOut {
    models: Option<Vec<ModelInfo>>,
    rev: u64,
    parts: Vec<Bytes>,
}

impl CatalogOut {
    /// Returns whether the catalog changed; `skipped` counts models that no part can hold.
    pub(super) fn set(&mut self, models: Vec<ModelInfo>) -> (bool, usize) {
        if self.models.as_ref() == Some(&models) {
            return (false, 0);
        }
        let (parts, skipped) = cut(&models);
        self.rev += 1;
        self.parts = parts;
        self.models = Some(models);
        (true, skipped)
    }

    /// The frames that say it all; none before the first `set`.
    pub(super) fn frames(&self) -> impl Iterator<Item = Frame> + '_ {
        let of = u32::try_from(self.parts.len()).unwrap_or(CATALOG_PARTS);
        (0..of).zip(&self.parts).map(move |(part, body)| Frame::Catalog { rev: self.rev, part, of, body: body.clone() })
    }
}

fn cut(models: &[ModelInfo]) -> (Vec<Bytes>, usize) {
    let mut parts = Vec::new();
    let mut part = String::from("[");
    let mut skipped = 0;
    for model in models {
        let Ok(text) = serde_json::to_string(model) else {
            continue;
        };
        if text.len() + 2 > CATALOG_PART {
            skipped += 1;
            continue;
        }
        if part.len() + text.len() + 2 > CATALOG_PART {
            part.push(']');
            parts.push(Bytes::from(std::mem::replace(&mut part, String::from("["))));
        }
        if part.len() > 1 {
            part.push(',');
        }
        part.push_str(&text);
    }
    part.push(']');
    parts.push(Bytes::from(part));
    let most = usize::try_from(CATALOG_PARTS).unwrap_or(usize::MAX);
    if parts.len() > most {
        parts.truncate(most);
        skipped += 1;
    }
    (parts, skipped)
}

/// Relay: the newest catalog's parts as they come.
#[derive(Debug, Default)]
pub(super) struct CatalogIn {
    rev: u64,
    of: u32,
    complete: bool,
    parts: BTreeMap<u32, Vec<ModelInfo>>,
}

/// A part that no edge of this protocol sends.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BadCatalog;

impl CatalogIn {
    pub(super) fn part(
        &mut self,
        rev: u64,
        part: u32,
        of: u32,
        body: &[u8],
    ) -> Result<Option<Vec<ModelInfo>>, BadCatalog> {
        if of == 0 || of > CATALOG_PARTS || part >= of || body.len() > CATALOG_PART {
            return Err(BadCatalog);
        }
        if rev < self.rev || (rev == self.rev && (self.complete || of != self.of)) {
            return Ok(None);
        }
        let models: Vec<ModelInfo> = serde_json::from_slice(body).map_err(|_| BadCatalog)?;
        if rev > self.rev {
            *self = Self { rev, of, complete: false, parts: BTreeMap::new() };
        }
        self.parts.insert(part, models);
        if self.parts.len() < usize::try_from(self.of).unwrap_or(usize::MAX) {
            return Ok(None);
        }
        self.complete = true;
        Ok(Some(std::mem::take(&mut self.parts).into_values().flatten().collect()))
    }
}
