//! Errors in the caller's dialect, before the headers (status and body) and within a broken stream.
//!
//! Types follow what Ollama itself sends in each dialect (`openai/openai.go`,
//! `anthropic/anthropic.go`), so that clients take the paths they already have.

use causeway_wire::Code;
use serde_json::{Map, Value, json};

use crate::route::{Dialect, Shape};
use crate::tail::Tail;
use crate::write;

/// JSON body of a refusal, in the dialect: `{"error":"…"}` (Ollama), `{"error":{message,type,param,code}}`
/// (OpenAI), `{"type":"error","error":{type,message}}` (Anthropic). Message first names what happened,
/// then what to do.
#[must_use]
pub fn body(dialect: Dialect, code: Code, message: &str) -> Vec<u8> {
    format!("{{{}}}", members(dialect, code, message)).into_bytes()
}

/// The same for a single answer that broke off after its headers were committed, with the members of
/// `x_causeway` where they say something.
#[must_use]
pub fn body_with(dialect: Dialect, code: Code, message: &str, trailer: Map<String, Value>) -> Vec<u8> {
    let mut out = format!("{{{}", members(dialect, code, message)).into_bytes();
    write::trailer(&trailer, &mut out);
    out.push(b'}');
    out
}

/// The members of the error object, without its braces.
fn members(dialect: Dialect, code: Code, message: &str) -> String {
    match dialect {
        Dialect::Ollama => format!(r#""error":{}"#, Value::from(message)),
        Dialect::OpenAi => {
            let error = json!({
                "message": message,
                "type": openai_type(code),
                "param": Value::Null,
                "code": code.as_str(),
            });
            format!(r#""error":{error}"#)
        }
        Dialect::Anthropic => {
            let error = json!({ "type": anthropic_type(code), "message": message });
            format!(r#""type":"error","error":{error}"#)
        }
    }
}

fn openai_type(code: Code) -> &'static str {
    match code.http_status() {
        400 => "invalid_request_error",
        404 => "not_found_error",
        _ => "api_error",
    }
}

fn anthropic_type(code: Code) -> &'static str {
    match code.http_status() {
        400 => "invalid_request_error",
        401 => "authentication_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        503 => "overloaded_error",
        _ => "api_error",
    }
}

/// Watches the bytes of a streamed answer so that a break can be completed: a half-written line or
/// event is ended, then the dialect's own error follows.
///
/// A half-written JSON object is closed with the error inside: clients that look at every line or
/// event (all do) meet the error there, instead of a text they cannot parse.
#[derive(Debug, Default)]
pub struct StreamTail {
    tail: Tail,
}

impl StreamTail {
    /// Takes note of answer bytes in the order in which they go to the caller.
    pub fn observe(&mut self, bytes: &[u8]) {
        self.tail.observe(bytes);
    }

    /// The bytes that end the broken answer properly; empty where the shape has no in-stream error
    /// (`Shape::Whole`: the connection is cut instead).
    #[must_use]
    pub fn complete(&self, dialect: Dialect, shape: Shape, code: Code, message: &str) -> Vec<u8> {
        let members = members(dialect, code, message);
        match shape {
            Shape::Whole => Vec::new(),
            Shape::Ndjson => {
                let mut out = self.tail.end_ndjson(&members);
                out.extend_from_slice(format!("{{{members}}}\n").as_bytes());
                out
            }
            Shape::Sse => {
                let event = match dialect {
                    Dialect::Anthropic => "event: error",
                    Dialect::Ollama | Dialect::OpenAi => "",
                };
                let end = self.tail.end_event(&members, event);
                let mut out = end.bytes;
                if !end.finished {
                    let event = if event.is_empty() { String::new() } else { format!("{event}\n") };
                    out.extend_from_slice(format!("{event}data: {{{members}}}\n\n").as_bytes());
                }
                out
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(dialect: Dialect, code: Code) -> Value {
        serde_json::from_slice(&body(dialect, code, "a \"b\"\n")).unwrap()
    }

    #[test]
    fn each_dialect_gets_the_error_body_its_clients_read() {
        assert_eq!(parsed(Dialect::Ollama, Code::Unauthorized), json!({ "error": "a \"b\"\n" }));
        assert_eq!(
            parsed(Dialect::OpenAi, Code::ForbiddenModel),
            json!({ "error": {
                "message": "a \"b\"\n", "type": "api_error", "param": null, "code": "forbidden_model",
            } })
        );
        assert_eq!(
            parsed(Dialect::Anthropic, Code::EdgeOffline),
            json!({ "type": "error", "error": { "type": "overloaded_error", "message": "a \"b\"\n" } })
        );
    }

    #[test]
    fn every_code_has_a_body_in_every_dialect() {
        for code in Code::ALL {
            for dialect in [Dialect::Ollama, Dialect::OpenAi, Dialect::Anthropic] {
                assert!(parsed(dialect, code).get("error").is_some());
            }
        }
    }

    #[test]
    fn an_answer_that_is_one_object_has_no_error_inside() {
        let tail = StreamTail::default();
        assert!(tail.complete(Dialect::OpenAi, Shape::Whole, Code::LinkLost, "m").is_empty());
    }
}
