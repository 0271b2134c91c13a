//! Canonical chat to Amazon Bedrock Converse and back.
