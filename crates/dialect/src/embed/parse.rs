//! From a caller's body to a request for vectors.

use super::{Encoding, Request, Route};
use crate::chat::BadRequest;
use crate::fields::{Dropped, Fields, Item, Kind, expected};
use crate::ollama::parse::{check_others, keep_alive, model};

/// Texts of one request, count: OpenAI's own limit.
pub const MAX_INPUTS: usize = 2_048;

/// Largest `dimensions`: over any embedder's, and Ollama reads a 64-bit number.
const MAX_DIMENSIONS: i64 = 65_536;

/// Reads a body of one of the three routes.
///
/// # Errors
///
/// No model, no texts where the route wants some, tokens instead of texts, an unknown encoding, over
/// [`MAX_INPUTS`] texts; the message names the place.
pub fn parse(route: Route, body: &[u8]) -> Result<Request, BadRequest> {
    let known: &[&str] = match route {
        Route::Embed => &["model", "name", "input", "keep_alive", "truncate", "dimensions", "options"],
        Route::Embeddings => &["model", "name", "prompt", "keep_alive", "options"],
        Route::OpenAi => &["model", "name", "input", "dimensions", "encoding_format", "user"],
    };
    let mut fields = Fields::of_body(body, known)?;
    let mut request = Request {
        route,
        model: model(&mut fields)?,
        input: Vec::new(),
        dimensions: None,
        encoding: Encoding::Float,
        truncate: None,
        keep_alive: None,
        options: serde_json::Map::new(),
        dropped: Vec::new(),
    };
    match route {
        Route::Embed => {
            request.input = input(&mut fields, true)?;
        }
        Route::Embeddings => request.input = fields.some_text("prompt")?.into_iter().collect(),
        Route::OpenAi => {
            request.input = input(&mut fields, false)?;
            if request.input.is_empty() {
                return Err(expected("input", "a string or an array of strings, not empty"));
            }
            request.encoding = encoding(&mut fields)?;
            // Says who asks, and changes nothing of the answer: not worth a strict refusal.
            fields.take("user");
        }
    }
    match route {
        Route::Embed => {
            request.dimensions = dimensions(&mut fields)?;
            request.truncate = fields.flag("truncate")?;
        }
        Route::OpenAi => request.dimensions = dimensions(&mut fields)?,
        Route::Embeddings => {}
    }
    if route != Route::OpenAi {
        request.keep_alive = keep_alive(&mut fields)?;
        request.options = fields.object("options")?.unwrap_or_default();
        check_others(&request.options)?;
    }
    let mut dropped = Dropped::default();
    fields.drop_rest(&mut dropped);
    request.dropped = dropped.into_names();
    Ok(request)
}

/// `drop_empty`: an empty text on its own asks for nothing (`/api/embed`).
fn input(fields: &mut Fields<'_>, drop_empty: bool) -> Result<Vec<String>, BadRequest> {
    let Some(item) = fields.take("input") else { return Ok(Vec::new()) };
    if item.kind() == Kind::List {
        return item.list(MAX_INPUTS)?.map(|item| text(&item)).collect();
    }
    let text = item.text().map_err(|_| item.expected("a string or an array of strings"))?;
    Ok(if drop_empty && text.is_empty() { Vec::new() } else { vec![text.into_owned()] })
}

fn text(item: &Item<'_>) -> Result<String, BadRequest> {
    let what = "a string (tokens are not taken: each model has its own)";
    item.text().map(std::borrow::Cow::into_owned).map_err(|_| item.expected(what))
}

fn encoding(fields: &mut Fields<'_>) -> Result<Encoding, BadRequest> {
    let word = fields.text("encoding_format")?.unwrap_or_default().to_ascii_lowercase();
    match word.as_str() {
        "" | "float" => Ok(Encoding::Float),
        "base64" => Ok(Encoding::Base64),
        _ => Err(expected("encoding_format", "`float` or `base64`")),
    }
}

/// 0 and below mean the model's own length, as in Ollama.
fn dimensions(fields: &mut Fields<'_>) -> Result<Option<u32>, BadRequest> {
    let Some(asked) = fields.whole("dimensions")? else { return Ok(None) };
    if asked > MAX_DIMENSIONS {
        return Err(expected("dimensions", "a whole number up to 65536"));
    }
    Ok(u32::try_from(asked).ok().filter(|asked| *asked > 0))
}
