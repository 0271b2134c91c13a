//! stub
use super::Frame;
/// stub
#[derive(Debug, thiserror::Error)]
#[error("stub")]
pub struct CodecError;
/// stub
pub fn encode(_frame: &Frame) -> String { String::new() }
/// stub
pub fn decode(_text: &str) -> Result<Frame, CodecError> { Err(CodecError) }
