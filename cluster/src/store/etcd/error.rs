//! What an error of etcd means to a caller.

use etcd_client::Error;

use crate::secret::addresses;
use crate::store::{LeaseId, StoreError};

/// Why a call failed, before the caller's own knowledge is added.
#[derive(Debug, Clone)]
pub(super) enum Failure {
    /// Not reached, or no answer in time.
    Away(String),
    /// The lease does not exist.
    Lease(String),
    /// Our token is not known any longer: authenticate again.
    Token(String),
    /// Refused for good.
    Refused(String),
}

/// gRPC status codes by number, as etcd uses them (the type behind them is not exported by name).
mod code {
    pub(super) const INVALID_ARGUMENT: i32 = 3;
    pub(super) const NOT_FOUND: i32 = 5;
    pub(super) const PERMISSION_DENIED: i32 = 7;
    pub(super) const FAILED_PRECONDITION: i32 = 9;
    pub(super) const OUT_OF_RANGE: i32 = 11;
    pub(super) const UNIMPLEMENTED: i32 = 12;
    pub(super) const UNAUTHENTICATED: i32 = 16;
}

pub(super) fn classify(error: &Error) -> Failure {
    match error {
        Error::GRpcStatus(status) => {
            let text = status.message().to_owned();
            match status.code() as i32 {
                code::NOT_FOUND if text.contains("lease") => Failure::Lease(text),
                code::UNAUTHENTICATED => Failure::Token(text),
                // A wrong user name or password comes as InvalidArgument too, under its own text.
                code::INVALID_ARGUMENT if text.contains("invalid auth token") => Failure::Token(text),
                code::INVALID_ARGUMENT
                | code::NOT_FOUND
                | code::PERMISSION_DENIED
                | code::FAILED_PRECONDITION
                | code::OUT_OF_RANGE
                | code::UNIMPLEMENTED => Failure::Refused(text),
                _ => Failure::Away(text),
            }
        }
        Error::LeaseKeepAliveError(text) if text.contains("not found") => Failure::Lease(text.clone()),
        Error::InvalidArgs(_) | Error::InvalidUri(_) | Error::InvalidMetadataValue(_) => {
            Failure::Refused(error.to_string())
        }
        other => Failure::Away(other.to_string()),
    }
}

impl Failure {
    pub(super) fn into_error(self) -> StoreError {
        self.into_lease_error(None)
    }

    /// The error for a call that named a lease.
    pub(super) fn into_lease_error(self, lease: Option<LeaseId>) -> StoreError {
        match (self, lease) {
            (Self::Lease(_), Some(lease)) => StoreError::LeaseGone(lease),
            (Self::Away(text), _) => StoreError::Unavailable(format!("etcd: {text}")),
            (Self::Lease(text) | Self::Token(text) | Self::Refused(text), _) => {
                StoreError::Refused(format!("etcd: {text}"))
            }
        }
    }

    /// The same, with where etcd was looked for.
    pub(super) fn at(self, endpoints: &[String]) -> Self {
        match self {
            Self::Away(text) => Self::Away(format!("{text} (at {})", addresses(endpoints))),
            other => other,
        }
    }

    pub(super) fn text(&self) -> &str {
        match self {
            Self::Away(text) | Self::Lease(text) | Self::Token(text) | Self::Refused(text) => text,
        }
    }
}
