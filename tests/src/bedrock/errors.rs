//! How the service refuses: the rows of its error table, each with status, name and usual words,
//! and the ways in which the name is spelt in an answer.

/// An error of the service by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorName {
    /// No right to the model, or a credential that is not accepted for it.
    AccessDenied,
    /// The credential's time is over.
    ExpiredToken,
    /// The service failed.
    InternalServer,
    /// The model failed.
    ModelError,
    /// A custom or imported model is still loading.
    ModelNotReady,
    /// The model failed within a stream.
    ModelStreamError,
    /// The model took too long.
    ModelTimeout,
    /// The request carries no credential.
    MissingAuthenticationToken,
    /// No such model.
    ResourceNotFound,
    /// The account's quota is used up.
    ServiceQuotaExceeded,
    /// The service is overloaded.
    ServiceUnavailable,
    /// The account's rate is used up.
    Throttling,
    /// The credential is not known.
    UnrecognizedClient,
    /// The request is wrong.
    Validation,
}

impl ErrorName {
    /// Every row.
    pub const ALL: [Self; 14] = [
        Self::AccessDenied,
        Self::ExpiredToken,
        Self::InternalServer,
        Self::ModelError,
        Self::ModelNotReady,
        Self::ModelStreamError,
        Self::ModelTimeout,
        Self::MissingAuthenticationToken,
        Self::ResourceNotFound,
        Self::ServiceQuotaExceeded,
        Self::ServiceUnavailable,
        Self::Throttling,
        Self::UnrecognizedClient,
        Self::Validation,
    ];

    /// As in `x-amzn-ErrorType`; within a stream the first letter is small.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.row().0
    }

    /// As in the header `:exception-type` of a frame.
    #[must_use]
    pub fn name_in_stream(self) -> String {
        let name = self.name();
        name[..1].to_ascii_lowercase() + &name[1..]
    }

    /// The answer's HTTP status.
    #[must_use]
    pub fn status(self) -> u16 {
        self.row().1
    }

    /// What the service usually says.
    #[must_use]
    pub fn usual_message(self) -> &'static str {
        self.row().2
    }

    fn row(self) -> (&'static str, u16, &'static str) {
        match self {
            Self::AccessDenied => {
                ("AccessDeniedException", 403, "You don't have access to the model with the specified model ID.")
            }
            Self::ExpiredToken => {
                ("ExpiredTokenException", 403, "The security token included in the request is expired")
            }
            Self::InternalServer => (
                "InternalServerException",
                500,
                "The system encountered an unexpected error during processing. Try your request again.",
            ),
            Self::ModelError => {
                ("ModelErrorException", 424, "The request failed due to an error while processing the model.")
            }
            Self::ModelNotReady => (
                "ModelNotReadyException",
                429,
                "Model is not ready for inference. Please wait and try your request again.",
            ),
            Self::ModelStreamError => (
                "ModelStreamErrorException",
                424,
                "The system encountered an unexpected error during processing. Try your request again.",
            ),
            Self::ModelTimeout => {
                ("ModelTimeoutException", 408, "Model has timed out in processing the request. Try your request again.")
            }
            Self::MissingAuthenticationToken => {
                ("MissingAuthenticationTokenException", 403, "Missing Authentication Token")
            }
            Self::ResourceNotFound => (
                "ResourceNotFoundException",
                404,
                "Could not resolve the foundation model from the provided model identifier.",
            ),
            Self::ServiceQuotaExceeded => {
                ("ServiceQuotaExceededException", 400, "Your request exceeds the service quota for your account.")
            }
            Self::ServiceUnavailable => (
                "ServiceUnavailableException",
                503,
                "Bedrock is unable to process your request. Try again in a few minutes.",
            ),
            Self::Throttling => ("ThrottlingException", 429, "Too many requests, please wait before trying again."),
            Self::UnrecognizedClient => {
                ("UnrecognizedClientException", 403, "The security token included in the request is invalid.")
            }
            Self::Validation => ("ValidationException", 400, "The provided request is not valid"),
        }
    }
}

/// Where and how the name stands in an HTTP answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Spelling {
    /// `x-amzn-ErrorType: ThrottlingException`
    #[default]
    Plain,
    /// `x-amzn-ErrorType: ThrottlingException:http://internal.amazon.com/…`
    WithUri,
    /// `x-amzn-ErrorType: com.amazon.coral.service#ThrottlingException`
    WithNamespace,
    /// No header; `__type` in the body.
    InBody,
    /// Neither: only status and message.
    Nowhere,
}

/// A refusal: an error with its words.
#[derive(Debug, Clone)]
pub struct Refusal {
    pub(super) error: ErrorName,
    pub(super) message: String,
    pub(super) spelling: Spelling,
    pub(super) original: Option<(u16, String)>,
}

impl From<ErrorName> for Refusal {
    fn from(error: ErrorName) -> Self {
        Self { error, message: error.usual_message().to_owned(), spelling: Spelling::Plain, original: None }
    }
}

impl Refusal {
    /// An error in other words than the usual.
    #[must_use]
    pub fn new(error: ErrorName, message: impl Into<String>) -> Self {
        Self { message: message.into(), ..Self::from(error) }
    }

    /// The throttle whose words look like a context that is too long.
    #[must_use]
    pub fn too_many_tokens() -> Self {
        Self::new(ErrorName::Throttling, "Too many tokens, please wait before trying again.")
    }

    /// A model that answers only through an inference profile.
    #[must_use]
    pub fn on_demand_not_supported(model: &str) -> Self {
        Self::new(
            ErrorName::Validation,
            format!(
                "Invocation of model ID {model} with on-demand throughput isn\u{2019}t supported. Retry your request \
                 with the ID or ARN of an inference profile that contains this model."
            ),
        )
    }

    /// A model id that the region does not know.
    #[must_use]
    pub fn model_identifier_is_invalid() -> Self {
        Self::new(ErrorName::Validation, "The provided model identifier is invalid.")
    }

    /// The name spelt otherwise.
    #[must_use]
    pub fn spelt(mut self, spelling: Spelling) -> Self {
        self.spelling = spelling;
        self
    }

    /// `originalStatusCode` and `originalMessage`, which errors of the model carry.
    #[must_use]
    pub fn from_model(mut self, status: u16, message: impl Into<String>) -> Self {
        self.original = Some((status, message.into()));
        self
    }

    /// The answer's body, or the payload of a frame.
    pub(super) fn body(&self) -> serde_json::Value {
        let mut body = serde_json::json!({ "message": self.message });
        if self.spelling == Spelling::InBody {
            body["__type"] = self.error.name().into();
        }
        if let Some((status, message)) = &self.original {
            body["originalStatusCode"] = (*status).into();
            body["originalMessage"] = message.as_str().into();
        }
        body
    }

    /// The header `x-amzn-ErrorType`, if there is one.
    pub(super) fn header(&self) -> Option<String> {
        let name = self.error.name();
        match self.spelling {
            Spelling::Plain => Some(name.to_owned()),
            Spelling::WithUri => Some(format!("{name}:http://internal.amazon.com/coral/com.amazon.bedrock.runtime/")),
            Spelling::WithNamespace => Some(format!("com.amazon.coral.service#{name}")),
            Spelling::InBody | Spelling::Nowhere => None,
        }
    }
}
