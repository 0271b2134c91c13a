//! What went wrong with Bedrock, by the name of its exception: never by the words, which mislead
//! ("Too many tokens, please wait" is a throttle and no context that overflowed).

use aws_sdk_bedrockruntime::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_types::error::display::DisplayErrorContext;
use causeway_wire::Code;

/// Longest piece of Bedrock's own words that is passed on, bytes.
const LONGEST: usize = 300;

/// Why a call to Bedrock gave no whole answer.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{}", self.words())]
pub struct Fault {
    /// What it is.
    pub kind: Kind,
    /// Bedrock's own words, shortened.
    pub detail: String,
}

/// What went wrong, as far as it matters for what to do.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Kind {
    /// Too many requests or tokens a minute.
    Throttled,
    /// The model is not loaded there yet.
    NotReady,
    /// The service is down, or failed within.
    Unavailable,
    /// The model took too long, or said nothing for long.
    Timeout,
    /// The model failed.
    Model,
    /// The stream broke off, or said something that cannot be read.
    Broken,
    /// It is not reached at all.
    Unreachable,
    /// It refuses the request.
    Invalid,
    /// The model answers only through an inference profile.
    OnDemand,
    /// The account may not use the model, or its keys are not good.
    Denied,
    /// No such model in this region.
    NotFound,
    /// A quota that waiting does not fill.
    Quota,
    /// There are no credentials.
    Credentials,
    /// The budget is spent, or the grant too small: said by who keeps it.
    Budget,
}

impl Kind {
    /// By the exception's name, which may come with an address before or after it, in either case.
    #[must_use]
    pub fn of(name: &str, message: &str) -> Option<Self> {
        let name = name.split(':').next().unwrap_or_default();
        let name = name.rsplit_once('#').map_or(name, |(_, name)| name);
        let mut letters = name.chars();
        let first = letters.next()?.to_ascii_uppercase();
        let name = format!("{first}{}", letters.as_str());
        Some(match name.as_str() {
            "ThrottlingException" | "TooManyRequestsException" => Self::Throttled,
            "ModelNotReadyException" => Self::NotReady,
            "ServiceUnavailableException" | "InternalServerException" => Self::Unavailable,
            "ModelTimeoutException" => Self::Timeout,
            "ModelErrorException" => Self::Model,
            "ModelStreamErrorException" => Self::Broken,
            // The cases that the operator cures by another id or region; the exceptions have no names of their own.
            "ValidationException" if message.contains("on-demand throughput") => Self::OnDemand,
            // Said of a model that this region does not have.
            "ValidationException" if message.contains("model identifier is invalid") => Self::NotFound,
            "ValidationException" => Self::Invalid,
            "AccessDeniedException"
            | "UnrecognizedClientException"
            | "InvalidSignatureException"
            | "ExpiredTokenException"
            | "MissingAuthenticationTokenException"
            | "IncompleteSignatureException" => Self::Denied,
            "ResourceNotFoundException" => Self::NotFound,
            "ServiceQuotaExceededException" => Self::Quota,
            _ => return None,
        })
    }

    /// The same call may succeed if it is made again a little later.
    #[must_use]
    pub const fn may_pass(self) -> bool {
        match self {
            Self::Throttled | Self::NotReady | Self::Unavailable | Self::Timeout | Self::Model => true,
            Self::Broken | Self::Unreachable => true,
            Self::Invalid | Self::OnDemand | Self::Denied | Self::NotFound | Self::Quota => false,
            Self::Credentials | Self::Budget => false,
        }
    }

    /// Calls that one request may make, count, this one included: a model that failed is billed all the same.
    #[must_use]
    pub const fn tries(self) -> u32 {
        match self {
            Self::Throttled | Self::NotReady | Self::Unavailable | Self::Broken | Self::Unreachable => 3,
            Self::Timeout | Self::Model => 2,
            Self::Invalid | Self::OnDemand | Self::Denied | Self::NotFound | Self::Quota => 1,
            Self::Credentials | Self::Budget => 1,
        }
    }

    /// It stands until somebody changes the configuration or the account: every call fails alike.
    #[must_use]
    pub const fn stands(self) -> bool {
        matches!(self, Self::OnDemand | Self::Denied | Self::NotFound | Self::Quota | Self::Credentials)
    }

    /// For metrics and the audit.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Throttled => "throttled",
            Self::NotReady => "not_ready",
            Self::Unavailable => "unavailable",
            Self::Timeout => "timeout",
            Self::Model => "model",
            Self::Broken => "broken",
            Self::Unreachable => "unreachable",
            Self::Invalid => "invalid",
            Self::OnDemand => "on_demand",
            Self::Denied => "denied",
            Self::NotFound => "not_found",
            Self::Quota => "quota",
            Self::Credentials => "credentials",
            Self::Budget => "budget",
        }
    }

    /// What a caller is told whom nobody else can serve either.
    #[must_use]
    pub const fn code(self) -> Code {
        match self {
            Self::Throttled | Self::NotReady | Self::Quota => Code::Saturated,
            Self::Timeout | Self::Model | Self::Broken => Code::UpstreamIncomplete,
            Self::Invalid => Code::InvalidRequest,
            Self::Budget => Code::BudgetExhausted,
            Self::Unavailable | Self::Unreachable | Self::OnDemand | Self::Denied | Self::NotFound => {
                Code::LocalUnavailable
            }
            Self::Credentials => Code::LocalUnavailable,
        }
    }
}

impl Fault {
    /// A fault that was found on this side.
    #[must_use]
    pub fn new(kind: Kind, detail: &str) -> Self {
        Self { kind, detail: shortened(detail) }
    }

    /// Of one of the SDK's calls or streams.
    pub(crate) fn of<E, R>(error: &SdkError<E, R>) -> Self
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
        R: std::fmt::Debug + 'static,
    {
        match error {
            SdkError::ServiceError(service) => {
                let (name, message) = (service.err().code(), service.err().message().unwrap_or_default());
                let kind = name.and_then(|name| Kind::of(name, message)).unwrap_or(Kind::Unavailable);
                let detail = if message.is_empty() { name.unwrap_or("an error without a name") } else { message };
                Self::new(kind, detail)
            }
            SdkError::TimeoutError(_) => Self::new(Kind::Timeout, "no answer in time"),
            SdkError::DispatchFailure(failure) if failure.is_timeout() => {
                Self::new(Kind::Unreachable, "no connection in time")
            }
            // Only what failed in connecting surely never reached it.
            SdkError::DispatchFailure(_) => {
                let kind = if is_in_connecting(error) { Kind::Unreachable } else { Kind::Broken };
                Self::new(kind, &chain(error))
            }
            SdkError::ResponseError(_) => Self::new(Kind::Broken, "its answer was cut off or cannot be read"),
            SdkError::ConstructionFailure(_) => Self::new(Kind::Invalid, &chain(error)),
            _ => Self::new(Kind::Unavailable, "an error of a kind that is not known"),
        }
    }

    /// What happened and what to do.
    fn words(&self) -> String {
        let detail = &self.detail;
        match self.kind {
            Kind::Throttled => format!("Bedrock throttles this account ({detail}): try again, or raise its quota"),
            Kind::NotReady => format!("the Bedrock model is being loaded ({detail}): try again"),
            Kind::Unavailable => format!("Bedrock is not available ({detail}): try again"),
            Kind::Timeout => format!("Bedrock took too long ({detail}): try again"),
            Kind::Model => format!("the model on Bedrock failed ({detail}): try again"),
            Kind::Broken => format!("Bedrock's answer broke off ({detail}): try again"),
            Kind::Unreachable => {
                format!("Bedrock is not reached ({detail}): see overflow.region and overflow.endpoint")
            }
            Kind::Invalid => format!("Bedrock refuses the request ({detail})"),
            Kind::OnDemand => format!(
                "the mapped model answers only through an inference profile ({detail}): set overflow.model.bedrock to \
                 the profile's id, such as us.MODEL"
            ),
            Kind::Denied => format!(
                "Bedrock denies access ({detail}): grant bedrock:InvokeModelWithResponseStream and access to \
                 the model, or mend the credentials and overflow.region"
            ),
            Kind::NotFound => format!(
                "Bedrock does not know the mapped model in this region ({detail}): set overflow.region to one that has \
                 it, or overflow.model.bedrock to an id of this one"
            ),
            Kind::Quota => format!("a quota of the account is used up ({detail})"),
            Kind::Credentials => format!("there are no credentials for Bedrock ({detail})"),
            Kind::Budget => format!("the budget for Bedrock does not reach ({detail})"),
        }
    }
}

/// The connection was never made.
fn is_in_connecting(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(cause) = next {
        if cause.downcast_ref().is_some_and(hyper_util::client::legacy::Error::is_connect) {
            return true;
        }
        next = cause.source();
    }
    false
}

/// All that an error says, its causes too.
fn chain<E: std::error::Error + 'static, R: std::fmt::Debug>(error: &SdkError<E, R>) -> String {
    let text = DisplayErrorContext(error).to_string();
    // The debug form behind it is for developers.
    text.split_once(" (").map_or(text.clone(), |(words, _)| words.to_owned())
}

/// One line, no longer than [`LONGEST`].
fn shortened(text: &str) -> String {
    let clean: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    clean.get(..clean.floor_char_boundary(LONGEST)).unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exception_is_told_by_its_name_in_every_form_it_comes_in() {
        for name in [
            "ThrottlingException",
            "throttlingException",
            "ThrottlingException:http://internal.amazon.com/coral/com.amazon.bedrock/",
            "com.amazon.coral.service#ThrottlingException",
        ] {
            assert_eq!(Kind::of(name, "Too many tokens, please wait"), Some(Kind::Throttled), "{name}");
        }
        assert_eq!(Kind::of("SomethingNew", ""), None);
        assert_eq!(Kind::of("", ""), None);
    }

    #[test]
    fn words_about_tokens_do_not_make_a_throttle_of_anything_else() {
        assert_eq!(Kind::of("ValidationException", "Too many tokens, please wait"), Some(Kind::Invalid));
        let message = "Invocation of model ID x with on-demand throughput isn't supported.";
        assert_eq!(Kind::of("ValidationException", message), Some(Kind::OnDemand));
        let message = "The provided model identifier is invalid.";
        assert_eq!(Kind::of("ValidationException", message), Some(Kind::NotFound));
    }

    #[test]
    fn each_row_of_the_table_of_errors_is_retried_or_not_as_it_says() {
        for (name, may_pass, stands) in [
            ("ThrottlingException", true, false),
            ("ModelNotReadyException", true, false),
            ("ServiceUnavailableException", true, false),
            ("InternalServerException", true, false),
            ("ModelTimeoutException", true, false),
            ("ModelStreamErrorException", true, false),
            ("ModelErrorException", true, false),
            ("ValidationException", false, false),
            ("AccessDeniedException", false, true),
            ("ResourceNotFoundException", false, true),
            ("ServiceQuotaExceededException", false, true),
        ] {
            let kind = Kind::of(name, "").unwrap();
            assert_eq!((kind.may_pass(), kind.stands()), (may_pass, stands), "{name}");
        }
    }

    #[test]
    fn what_bedrock_says_is_shortened_to_one_line() {
        let fault = Fault::new(Kind::Denied, &format!("no\nentry {}", "é".repeat(400)));
        assert!(fault.detail.len() <= LONGEST && fault.detail.starts_with("no entry é"));
        assert!(fault.to_string().contains("grant bedrock:InvokeModelWithResponseStream"));
    }
}
