//! Ollama's errors; the bodies are those of 0.24.0 where they are whole.

use proptest::prelude::*;

use super::*;

#[test]
fn each_error_of_ollama_has_the_code_that_callers_act_on() {
    for (status, body, code) in [
        (400, r#"{"error":"registry.ollama.ai/library/smol:latest does not support tools"}"#, Code::InvalidRequest),
        (400, r#"{"error":"\"smol\" does not support thinking"}"#, Code::InvalidRequest),
        (400, r#"{"error":"\"smol\" does not support chat"}"#, Code::InvalidRequest),
        (400, r#"{"error":"\"smol\" does not support generate"}"#, Code::InvalidRequest),
        (400, r#"{"error":"registry.ollama.ai/library/smol:latest does not support insert"}"#, Code::InvalidRequest),
        (501, r#"{"error":"this model does not support embeddings"}"#, Code::InvalidRequest),
        (500, r#"{"error":"this model does not support vision"}"#, Code::InvalidRequest),
        (400, r#"{"error":"the input length exceeds the context length"}"#, Code::ContextExceeded),
        (
            400,
            r#"{"error":"input exceeds maximum context length and cannot be truncated further"}"#,
            Code::ContextExceeded,
        ),
        (400, r#"{"error":"top_logprobs must be between 0 and 20"}"#, Code::InvalidRequest),
        (400, r#"{"error":"model is required"}"#, Code::ModelNotFound),
        (
            401,
            r#"{"error":"unauthorized","signin_url":"https://ollama.com/connect?key=secret"}"#,
            Code::LocalUnavailable,
        ),
        (403, r#"{"error":"ollama cloud is disabled: remote model is unavailable"}"#, Code::RouteConflict),
        (403, "", Code::LocalUnavailable),
        (404, r#"{"error":"model 'nope' not found"}"#, Code::ModelNotFound),
        (404, r#"{"error":"model \"nope\" not found, try pulling it first"}"#, Code::ModelNotFound),
        (404, "404 page not found", Code::LocalUnavailable),
        (405, "405 method not allowed", Code::LocalUnavailable),
        (413, "", Code::TooLarge),
        (429, r#"{"error":{"message":"slow down"}}"#, Code::RateLimited),
        (499, r#"{"error":"request canceled"}"#, Code::Cancelled),
        (500, r#"{"error":"option \"temperature\" must be of type float32"}"#, Code::InvalidRequest),
        (
            500,
            r#"{"error":"invalid format: \"\\\"xml\\\"\"; expected \"json\" or a valid JSON Schema object"}"#,
            Code::InvalidRequest,
        ),
        (500, r#"{"error":"llama runner process has terminated: exit status 2"}"#, Code::LocalUnavailable),
        (500, r#"{"error":"model requires more system memory (9 GiB) than is available"}"#, Code::LocalUnavailable),
        (502, "<html><body>Bad Gateway</body></html>", Code::LocalUnavailable),
        (503, r#"{"error":"server busy, please try again.  maximum pending requests exceeded"}"#, Code::Saturated),
        (504, "", Code::LocalUnavailable),
        (302, "", Code::Internal),
    ] {
        let (found, message) = fault(status, body.as_bytes());
        assert_eq!(found, code, "{status} {body}");
        assert!(!message.is_empty() && !message.contains("secret") && !message.contains('<'), "{message}");
    }
}

#[test]
fn ollamas_own_words_are_passed_on() {
    let (_, message) = fault(404, br#"{"error":" model 'nope' not found "}"#);
    assert_eq!(message, "model 'nope' not found");
    assert_eq!(fault(429, br#"{"error":{"message":"slow down"}}"#).1, "slow down");
    assert_eq!(fault(500, b" plain text ").1, "plain text");
}

#[test]
fn long_words_are_cut_between_characters() {
    let text = "\u{e9}".repeat(MAX_MESSAGE);
    let (_, message) = fault(500, format!("x{text}").as_bytes());
    assert_eq!(message.len(), MAX_MESSAGE - 1);
}

proptest! {
    #[test]
    fn any_status_and_body_have_a_code_and_a_message(status in any::<u16>(), body in proptest::collection::vec(any::<u8>(), 0..64)) {
        let (_, message) = fault(status, &body);
        prop_assert!(!message.is_empty() && message.len() <= MAX_MESSAGE + 64);
    }
}
