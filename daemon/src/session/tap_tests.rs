//! The tap over answers of each shape, cut at every place.

use super::*;

const NATIVE: &str = concat!(
    "{\"message\":{\"content\":\"Hel\"},\"done\":false}\n",
    "{\"message\":{\"content\":\"lo \\\"done\\\":true\"},\"done\":false}\n",
    "{\"message\":{\"content\":\"\"},\"done\":true,\"prompt_eval_count\":26,\"eval_count\":298}\n",
);

const RESPONSES: &str = concat!(
    "event: response.created\ndata: {\"usage\":null}\n\n",
    "event: response.completed\n",
    "data: {\"response\":{\"usage\":{\"input_tokens\":7,\"output_tokens\":9}}}\n\n",
);

const ANTHROPIC: &str = concat!(
    "event: message_start\ndata: {\"message\":{\"usage\":{\"input_tokens\":11,\"output_tokens\":0}}}\n\n",
    "event: message_delta\ndata: {\"delta\":{},\"usage\":{\"output_tokens\":5}}\n\n",
    "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
);

fn tap_of(route: Upstream, shape: Shape, text: &str, step: usize) -> Tap {
    let mut tap = Tap::new(route, shape);
    for part in text.as_bytes().chunks(step) {
        tap.observe(part).unwrap();
    }
    tap
}

#[test]
fn a_native_stream_is_complete_with_its_done_line_however_it_is_cut() {
    for step in 1..NATIVE.len() {
        let mut tap = tap_of(Upstream::OllamaChat, Shape::Ndjson, NATIVE, step);
        assert!(tap.is_complete(), "cut every {step} bytes");
        assert_eq!(tap.tokens(), Tokens { input: Some(26), output: Some(298) });
    }
}

#[test]
fn a_done_line_without_its_newline_counts() {
    let mut tap = tap_of(Upstream::OllamaChat, Shape::Ndjson, NATIVE.trim_end(), 64);
    assert!(tap.is_complete());
}

#[test]
fn a_native_stream_that_stops_before_its_done_line_is_incomplete_and_its_lines_are_counted() {
    let cut = NATIVE.find("{\"message\":{\"content\":\"\"}").unwrap();
    for step in [1, 7, 64, 4_096] {
        let mut tap = tap_of(Upstream::OllamaChat, Shape::Ndjson, &NATIVE[..cut], step);
        assert!(!tap.is_complete());
        assert_eq!(tap.tokens().output, Some(2));
    }
}

#[test]
fn an_error_line_ends_a_native_stream() {
    let mut tap = tap_of(Upstream::OllamaChat, Shape::Ndjson, "{\"a\":1}\n{\"error\":\"no\"}\n", 5);
    assert!(tap.is_complete());
}

#[test]
fn an_openai_stream_is_complete_with_done_and_its_usage_is_read() {
    let text = concat!(
        "data: {\"choices\":[{\"delta\":{\"content\":\"hi\"}}]}\n\n",
        "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":4}}\n\n",
        "data: [DONE]\n\n",
    );
    for step in 1..text.len() {
        let mut tap = tap_of(Upstream::OpenAiChat, Shape::Sse, text, step);
        assert!(tap.is_complete(), "cut every {step} bytes");
        assert_eq!(tap.tokens(), Tokens { input: Some(3), output: Some(4) });
    }
}

#[test]
fn an_openai_stream_without_done_is_incomplete() {
    let mut tap = tap_of(Upstream::OpenAiChat, Shape::Sse, "data: {\"x\":\"data: [DONE]\"}\n\n", 9);
    assert!(!tap.is_complete());
    assert_eq!(tap.tokens().output, Some(1));
}

#[test]
fn a_responses_stream_ends_with_its_completed_event() {
    for step in [1, 10, 1_000] {
        let mut tap = tap_of(Upstream::OpenAiResponses, Shape::Sse, RESPONSES, step);
        assert!(tap.is_complete());
        assert_eq!(tap.tokens(), Tokens { input: Some(7), output: Some(9) });
    }
}

#[test]
fn an_anthropic_stream_ends_with_message_stop_and_its_last_usage_counts() {
    for step in [1, 10, 1_000] {
        let mut tap = tap_of(Upstream::AnthropicMessages, Shape::Sse, ANTHROPIC, step);
        assert!(tap.is_complete());
        assert_eq!(tap.tokens(), Tokens { input: Some(11), output: Some(5) });
    }
}

#[test]
fn a_single_answer_tells_its_usage_at_its_end() {
    let body = format!("{{\"response\":\"{}\",\"prompt_eval_count\":5,\"eval_count\":8}}", "x".repeat(5_000));
    for step in [1, 700, 10_000] {
        let mut tap = tap_of(Upstream::OllamaGenerate, Shape::Whole, &body, step);
        assert!(tap.is_complete());
        assert_eq!(tap.tokens(), Tokens { input: Some(5), output: Some(8) });
    }
}

#[test]
fn a_line_without_end_is_refused_at_its_limit() {
    let mut tap = Tap::new(Upstream::OllamaChat, Shape::Ndjson);
    let part = vec![b'x'; 1024 * 1024];
    let refused = (0..9).find_map(|_| tap.observe(&part).err());
    assert_eq!(refused, Some(EndlessLine));
}

#[test]
fn a_long_line_is_forgotten_once_it_ended() {
    let mut tap = Tap::new(Upstream::OllamaChat, Shape::Ndjson);
    tap.observe(&vec![b'x'; 1024 * 1024]).unwrap();
    tap.observe(b"\n{\"done\":true}\n").unwrap();
    assert!(tap.is_complete());
    assert!(tap.line.capacity() <= KEPT_BUFFER);
}
