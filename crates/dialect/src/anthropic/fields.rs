//! What this dialect demands of members, in its own words; the reading is [`crate::fields`]'s.

use std::borrow::Cow;

use crate::chat::{BadRequest, CacheTime};
use crate::fields::{ANY, Dropped, Fields, Item, Kind, List, NoList};

/// A text that must be there and say something.
pub(super) fn required_text<'a>(fields: &mut Fields<'a>, key: &str) -> Result<Cow<'a, str>, BadRequest> {
    match fields.text(key)? {
        Some(text) if !text.is_empty() => Ok(text),
        _ => Err(fields.fault(key, "a string that is not empty is required")),
    }
}

/// A number of 0 or more, at most `most`.
pub(super) fn number(fields: &mut Fields<'_>, key: &str, most: f64) -> Result<Option<f64>, BadRequest> {
    match fields.number(key)? {
        Some(number) if !(0.0..=most).contains(&number) => {
            Err(fields.fault(key, &format!("expected a number of 0 to {most}")))
        }
        number => Ok(number),
    }
}

/// The items of a member; none where it is absent.
pub(super) fn list<'a>(fields: &mut Fields<'a>, key: &str, most: usize) -> Result<List<'a>, BadRequest> {
    fields.take(key).map_or_else(|| Ok(List::default()), |item| items(&item, most))
}

/// The items of a list of bounded length.
pub(super) fn items<'a>(item: &Item<'a>, most: usize) -> Result<List<'a>, BadRequest> {
    item.items(most).map_err(|no_list| match no_list {
        NoList::Other => item.expected("a list"),
        NoList::Over(count) => item.fault(&format!("{count} items; at most {most} are taken")),
    })
}

/// Takes the mark that what stands before it is to be kept in a cache; one of another kind stays.
pub(super) fn cache_point(fields: &mut Fields<'_>) -> Option<CacheTime> {
    let mut mark = fields.get("cache_control").filter(|mark| mark.kind() == Kind::Object)?.fields(ANY).ok()?;
    if mark.text("type").ok()?.as_deref() != Some("ephemeral") {
        return None;
    }
    let time = match mark.text("ttl").ok()?.as_deref() {
        None | Some("5m") => CacheTime::FiveMinutes,
        Some("1h") => CacheTime::Hour,
        Some(_) => return None,
    };
    fields.take("cache_control");
    Some(time)
}

/// Ends the reading: what is left had no effect. `kind` names the kind of object and not its place,
/// so that a field that every message repeats is listed once; cache marks stand at any of them, also where
/// they mean nothing.
pub(super) fn finish(mut fields: Fields<'_>, kind: &str, dropped: &mut Dropped) {
    if fields.take("cache_control").is_some() {
        dropped.note("cache_control");
    }
    fields.drop_rest_as(kind, dropped);
}
