//! The parts' answers, put together in order, and written in the caller's dialect.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::{Encoding, Part, Request, Route};
use crate::write::{self, json};

/// All vectors of one answer, bytes of JSON: 2,048 texts at 4,096 numbers of 12 bytes, with room.
pub const MAX_VECTORS: usize = 128 * 1024 * 1024;

/// An answer of Ollama that is none; the message is for people.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct BadAnswer(pub String);

/// Gathers the answers of a request's parts.
#[derive(Debug)]
pub struct Gather {
    route: Route,
    model: String,
    encoding: Encoding,
    /// Texts of each part; once it has answered, its vectors as JSON in the caller's encoding: to write
    /// them all at the end would take a second of a thread that others need.
    parts: Vec<(usize, Option<Vec<String>>)>,
    size: usize,
    figures: Figures,
}

/// Sums over the parts.
#[derive(Debug, Default)]
struct Figures {
    total_duration: u64,
    load_duration: u64,
    prompt_eval_count: u64,
}

/// An answer of `/api/embed` or `/api/embeddings`. Figures that cannot be any count as 0.
#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow)]
    embeddings: Option<Vec<&'a RawValue>>,
    #[serde(borrow)]
    embedding: Option<&'a RawValue>,
    #[serde(default)]
    total_duration: Value,
    #[serde(default)]
    load_duration: Value,
    #[serde(default)]
    prompt_eval_count: Value,
}

impl Gather {
    /// For the parts of `request`.
    #[must_use]
    pub fn new(request: &Request, parts: &[Part]) -> Self {
        let parts = parts.iter().map(|part| (part.texts, None)).collect();
        let (route, model, encoding) = (request.route, request.model.clone(), request.encoding);
        Self { route, model, encoding, parts, size: 0, figures: Figures::default() }
    }

    /// Takes the answer (status 200) of the part of this number, in any order.
    ///
    /// # Errors
    ///
    /// No JSON of the right form, another count of vectors than of texts, all vectors together over
    /// [`MAX_VECTORS`], a part that is unknown or has answered.
    pub fn take(&mut self, number: usize, body: &[u8]) -> Result<(), BadAnswer> {
        let bad = |what: &str| BadAnswer(format!("Ollama's embeddings cannot be used: {what}"));
        let answer: Answer<'_> =
            serde_json::from_slice(body).map_err(|_| bad("the answer is not what it should be"))?;
        let Some((texts, vectors @ None)) = self.parts.get_mut(number) else {
            return Err(bad("a part answered that nobody waits for"));
        };
        let single = answer.embedding.filter(|vector| *texts > 0 || vector.get().len() > 2);
        let came = answer.embeddings.unwrap_or_else(|| single.into_iter().collect());
        if came.len() != *texts {
            return Err(bad(&format!("{} vectors for {texts} texts", came.len())));
        }
        let written: Option<Vec<String>> = came.iter().map(|vector| written(vector, self.encoding)).collect();
        let Some(written) = written else {
            return Err(bad("a vector holds something else than numbers"));
        };
        self.size += came.iter().map(|vector| vector.get().len()).sum::<usize>();
        if self.size > MAX_VECTORS {
            return Err(bad("they are too large; send fewer texts at once"));
        }
        *vectors = Some(written);
        let add = |sum: &mut u64, figure: &Value| {
            let figure = figure.as_i64().and_then(|figure| u64::try_from(figure).ok());
            *sum = sum.saturating_add(figure.unwrap_or_default());
        };
        add(&mut self.figures.total_duration, &answer.total_duration);
        add(&mut self.figures.load_duration, &answer.load_duration);
        add(&mut self.figures.prompt_eval_count, &answer.prompt_eval_count);
        Ok(())
    }

    /// Every part has answered.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.parts.iter().all(|(_, vectors)| vectors.is_some())
    }

    /// Tokens of all texts, as far as Ollama counted them.
    #[must_use]
    pub fn tokens(&self) -> u64 {
        self.figures.prompt_eval_count
    }

    /// The caller's answer: one JSON object. `trailer`: the members of `x_causeway`. Of parts that
    /// have not answered there is nothing in it.
    #[must_use]
    pub fn answer(&self, trailer: &Map<String, Value>) -> Vec<u8> {
        let vectors = self.parts.iter().filter_map(|(_, vectors)| vectors.as_ref()).flatten();
        let mut out = Vec::with_capacity(self.size + 1_024);
        match self.route {
            Route::Embed => self.embed(vectors, &mut out),
            Route::Embeddings => {
                out.extend_from_slice(br#"{"embedding":"#);
                out.extend_from_slice(vectors.map(String::as_str).next().unwrap_or("[]").as_bytes());
            }
            Route::OpenAi => self.open_ai(vectors, &mut out),
        }
        write::trailer(trailer, &mut out);
        out.push(b'}');
        out
    }

    fn embed<'a>(&'a self, vectors: impl Iterator<Item = &'a String>, out: &mut Vec<u8>) {
        out.extend_from_slice(br#"{"model":"#);
        json(&self.model, out);
        out.extend_from_slice(br#","embeddings":["#);
        for (number, vector) in vectors.enumerate() {
            if number > 0 {
                out.push(b',');
            }
            out.extend_from_slice(vector.as_bytes());
        }
        out.push(b']');
        let figures = &self.figures;
        for (name, figure) in [
            (&br#","total_duration":"#[..], figures.total_duration),
            (br#","load_duration":"#, figures.load_duration),
            (br#","prompt_eval_count":"#, figures.prompt_eval_count),
        ] {
            if figure > 0 {
                out.extend_from_slice(name);
                json(&figure, out);
            }
        }
    }

    fn open_ai<'a>(&'a self, vectors: impl Iterator<Item = &'a String>, out: &mut Vec<u8>) {
        out.extend_from_slice(br#"{"object":"list","data":["#);
        for (number, vector) in vectors.enumerate() {
            if number > 0 {
                out.push(b',');
            }
            out.extend_from_slice(br#"{"object":"embedding","index":"#);
            json(&number, out);
            out.extend_from_slice(br#","embedding":"#);
            out.extend_from_slice(vector.as_bytes());
            out.push(b'}');
        }
        out.extend_from_slice(br#"],"model":"#);
        json(&self.model, out);
        let tokens = self.figures.prompt_eval_count;
        out.extend_from_slice(format!(r#","usage":{{"prompt_tokens":{tokens},"total_tokens":{tokens}}}"#).as_bytes());
    }
}

/// A vector's JSON in this encoding; none unless it is a flat list of numbers that fit 32 bits, not
/// empty.
fn written(raw: &RawValue, encoding: Encoding) -> Option<String> {
    let numbers: Vec<f32> = serde_json::from_str(raw.get()).ok()?;
    if numbers.is_empty() || !numbers.iter().all(|number| number.is_finite()) {
        return None;
    }
    Some(match encoding {
        Encoding::Float => raw.get().to_owned(),
        Encoding::Base64 => {
            let bytes: Vec<u8> = numbers.into_iter().flat_map(f32::to_le_bytes).collect();
            format!("\"{}\"", STANDARD.encode(bytes))
        }
    })
}
