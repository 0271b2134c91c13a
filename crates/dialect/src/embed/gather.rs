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
    /// Texts of each part; its answer once it has come.
    parts: Vec<(usize, Option<Vec<Box<RawValue>>>)>,
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
        if !came.iter().all(|vector| is_vector(vector)) {
            return Err(bad("a vector holds something else than numbers"));
        }
        self.size += came.iter().map(|vector| vector.get().len()).sum::<usize>();
        if self.size > MAX_VECTORS {
            return Err(bad("they are too large; send fewer texts at once"));
        }
        *vectors = Some(came.into_iter().map(ToOwned::to_owned).collect());
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
                out.extend_from_slice(vectors.map(|vector| vector.get()).next().unwrap_or("[]").as_bytes());
            }
            Route::OpenAi => self.open_ai(vectors, &mut out),
        }
        write::trailer(trailer, &mut out);
        out.push(b'}');
        out
    }

    fn embed<'a>(&'a self, vectors: impl Iterator<Item = &'a Box<RawValue>>, out: &mut Vec<u8>) {
        out.extend_from_slice(br#"{"model":"#);
        json(&self.model, out);
        out.extend_from_slice(br#","embeddings":["#);
        for (number, vector) in vectors.enumerate() {
            if number > 0 {
                out.push(b',');
            }
            out.extend_from_slice(vector.get().as_bytes());
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

    fn open_ai<'a>(&'a self, vectors: impl Iterator<Item = &'a Box<RawValue>>, out: &mut Vec<u8>) {
        out.extend_from_slice(br#"{"object":"list","data":["#);
        for (number, vector) in vectors.enumerate() {
            if number > 0 {
                out.push(b',');
            }
            out.extend_from_slice(br#"{"object":"embedding","index":"#);
            json(&number, out);
            out.extend_from_slice(br#","embedding":"#);
            match self.encoding {
                Encoding::Float => out.extend_from_slice(vector.get().as_bytes()),
                Encoding::Base64 => json(&base64_of(vector), out),
            }
            out.push(b'}');
        }
        out.extend_from_slice(br#"],"model":"#);
        json(&self.model, out);
        let tokens = self.figures.prompt_eval_count;
        out.extend_from_slice(format!(r#","usage":{{"prompt_tokens":{tokens},"total_tokens":{tokens}}}"#).as_bytes());
    }
}

/// A flat list of numbers that fit 32 bits, not empty.
fn is_vector(raw: &RawValue) -> bool {
    numbers(raw).is_some_and(|numbers| !numbers.is_empty() && numbers.iter().all(|number| number.is_finite()))
}

fn numbers(raw: &RawValue) -> Option<Vec<f32>> {
    serde_json::from_str(raw.get()).ok()
}

/// Empty for what is no vector, which [`Gather::take`] has ruled out.
fn base64_of(raw: &RawValue) -> String {
    let bytes: Vec<u8> = numbers(raw).unwrap_or_default().into_iter().flat_map(f32::to_le_bytes).collect();
    STANDARD.encode(bytes)
}
