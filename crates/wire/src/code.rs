//! The one table from what went wrong to its name on the wire and its HTTP status.

use serde::{Deserialize, Serialize};

/// Why a request ended without its answer. Names and statuses: the error table of the outside contract.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "each variant is its own name in the contract's table")]
pub enum Code {
    Unauthorized,
    ForbiddenModel,
    RouteNotAllowed,
    RouteConflict,
    InvalidRequest,
    TooLarge,
    UnsupportedParameter,
    ContextExceeded,
    ModelNotFound,
    RateLimited,
    BudgetExhausted,
    Saturated,
    EdgeOffline,
    LocalUnavailable,
    DeadlineExceeded,
    UpstreamIncomplete,
    LinkLost,
    SlowReader,
    Draining,
    WrongInstance,
    UnknownStream,
    Cancelled,
    /// Also what a peer's code that this version does not know is read as.
    #[serde(other)]
    Internal,
}

impl Code {
    /// Every code, for tables and tests.
    pub const ALL: [Self; 23] = [
        Self::Unauthorized,
        Self::ForbiddenModel,
        Self::RouteNotAllowed,
        Self::RouteConflict,
        Self::InvalidRequest,
        Self::TooLarge,
        Self::UnsupportedParameter,
        Self::ContextExceeded,
        Self::ModelNotFound,
        Self::RateLimited,
        Self::BudgetExhausted,
        Self::Saturated,
        Self::EdgeOffline,
        Self::LocalUnavailable,
        Self::DeadlineExceeded,
        Self::UpstreamIncomplete,
        Self::LinkLost,
        Self::SlowReader,
        Self::Draining,
        Self::WrongInstance,
        Self::UnknownStream,
        Self::Cancelled,
        Self::Internal,
    ];

    /// The name on the wire and in error bodies.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unauthorized => "unauthorized",
            Self::ForbiddenModel => "forbidden_model",
            Self::RouteNotAllowed => "route_not_allowed",
            Self::RouteConflict => "route_conflict",
            Self::InvalidRequest => "invalid_request",
            Self::TooLarge => "too_large",
            Self::UnsupportedParameter => "unsupported_parameter",
            Self::ContextExceeded => "context_exceeded",
            Self::ModelNotFound => "model_not_found",
            Self::RateLimited => "rate_limited",
            Self::BudgetExhausted => "budget_exhausted",
            Self::Saturated => "saturated",
            Self::EdgeOffline => "edge_offline",
            Self::LocalUnavailable => "local_unavailable",
            Self::DeadlineExceeded => "deadline_exceeded",
            Self::UpstreamIncomplete => "upstream_incomplete",
            Self::LinkLost => "link_lost",
            Self::SlowReader => "slow_reader",
            Self::Draining => "draining",
            Self::WrongInstance => "wrong_instance",
            Self::UnknownStream => "unknown_stream",
            Self::Cancelled => "cancelled",
            Self::Internal => "internal",
        }
    }

    /// The HTTP status of an answer that ends with this code before its headers were committed.
    /// Codes of the link alone have no status in the contract; a caller who sees one all the same
    /// gets 502 (the answer was lost on the way) or 503 (it may be tried again).
    #[must_use]
    pub const fn http_status(self) -> u16 {
        match self {
            Self::Unauthorized => 401,
            Self::ForbiddenModel | Self::RouteNotAllowed | Self::RouteConflict => 403,
            Self::InvalidRequest | Self::UnsupportedParameter | Self::ContextExceeded => 400,
            Self::TooLarge => 413,
            Self::ModelNotFound => 404,
            Self::RateLimited | Self::BudgetExhausted => 429,
            Self::Saturated | Self::EdgeOffline | Self::LocalUnavailable | Self::Draining | Self::WrongInstance => 503,
            Self::DeadlineExceeded => 504,
            Self::UpstreamIncomplete | Self::LinkLost | Self::SlowReader | Self::UnknownStream | Self::Cancelled => 502,
            Self::Internal => 500,
        }
    }

    /// Whether the same request may succeed later without a change (else `x-should-retry: false`).
    #[must_use]
    pub const fn curable_by_retry(self) -> bool {
        !matches!(self.http_status(), 400 | 401 | 403 | 404 | 413)
    }
}
