//! The SDP fragments of trickle ICE (RFC 8840 section 9).
//!
//! A fragment is read leniently where RFC 8840 says that unknown lines are ignored, and strictly where a wrong reading
//! would set a wrong ICE state: one user fragment, one password, candidates of the grammar, all of them bounded.

use std::fmt;

pub use crate::media_type::{FRAGMENT, SDP, is_type, require_fragment, require_sdp};
use crate::problem::Problem;

/// Most different candidates that are read in one fragment, usable or not.
pub const CANDIDATES_MAX: usize = 256;
/// Longest line of a fragment, in bytes.
pub const LINE_MAX: usize = 1024;

/// What a fragment says.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Fragment {
    /// `a=ice-ufrag`.
    pub ufrag: Option<String>,
    /// `a=ice-pwd`. Never logged.
    pub pwd: Option<String>,
    /// `a=candidate` lines without `a=`, each once, in their order.
    pub candidates: Vec<String>,
    /// `a=end-of-candidates` was there.
    pub end: bool,
}

impl fmt::Debug for Fragment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fragment")
            .field("ufrag", &self.ufrag)
            .field("candidates", &self.candidates.len())
            .field("end", &self.end)
            .finish_non_exhaustive()
    }
}

/// Why a text is no fragment. Shows line numbers, never the text: it may hold a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FragmentError {
    /// A line is not `<letter>=<value>`.
    #[error("line {line} is not of the form <letter>=<value>")]
    Line {
        /// Counted from 1.
        line: usize,
    },
    /// A line is too long.
    #[error("line {line} is longer than {LINE_MAX} bytes")]
    TooLong {
        /// Counted from 1.
        line: usize,
    },
    /// Not an ICE user fragment or password (RFC 8839 section 5.4).
    #[error("line {line}: {name} must be {min} to 256 letters, digits, '+' or '/'")]
    Credential {
        /// Counted from 1.
        line: usize,
        /// The attribute.
        name: &'static str,
        /// Fewest characters.
        min: usize,
    },
    /// Two values for one ICE session.
    #[error("line {line}: a second, different {name}: bundled media has one")]
    Twice {
        /// Counted from 1.
        line: usize,
        /// The attribute.
        name: &'static str,
    },
    /// Not a candidate (RFC 8839 section 5.1).
    #[error("line {line} is not a candidate")]
    Candidate {
        /// Counted from 1.
        line: usize,
    },
    /// Too many candidates.
    #[error("more than {CANDIDATES_MAX} candidates")]
    TooMany,
    /// None of ufrag, password, candidate and end-of-candidates.
    #[error("it holds neither ICE credentials nor candidates")]
    Nothing,
}

impl From<FragmentError> for Problem {
    fn from(error: FragmentError) -> Self {
        Problem::bad_request(format!(
            "the body is not a usable SDP fragment: {error} (see RFC 8840 section 9)"
        ))
        .reason("bad-fragment")
    }
}

impl Fragment {
    /// Reads a fragment.
    pub fn parse(text: &str) -> Result<Self, FragmentError> {
        let mut read = Self::default();
        for (line, content) in (1..).zip(text.split('\n')) {
            read.take_line(line, content.strip_suffix('\r').unwrap_or(content))?;
        }
        let nothing = read.ufrag.is_none() && read.pwd.is_none() && read.candidates.is_empty() && !read.end;
        if nothing { Err(FragmentError::Nothing) } else { Ok(read) }
    }

    fn take_line(&mut self, line: usize, content: &str) -> Result<(), FragmentError> {
        if content.is_empty() {
            return Ok(());
        }
        if content.len() > LINE_MAX {
            return Err(FragmentError::TooLong { line });
        }
        let (letter, value) = content.split_once('=').ok_or(FragmentError::Line { line })?;
        if letter.len() != 1 || !letter.bytes().all(|b| b.is_ascii_lowercase()) || has_control(value) {
            return Err(FragmentError::Line { line });
        }
        if letter != "a" {
            return Ok(());
        }
        if let Some(ufrag) = value.strip_prefix("ice-ufrag:") {
            credential(&mut self.ufrag, ufrag, line, "ice-ufrag", 4)
        } else if let Some(pwd) = value.strip_prefix("ice-pwd:") {
            credential(&mut self.pwd, pwd, line, "ice-pwd", 22)
        } else if value.starts_with("candidate:") {
            self.take_candidate(line, value)
        } else {
            self.end |= value == "end-of-candidates";
            Ok(())
        }
    }

    fn take_candidate(&mut self, line: usize, value: &str) -> Result<(), FragmentError> {
        if !is_candidate(value) {
            return Err(FragmentError::Candidate { line });
        }
        if self.candidates.iter().any(|c| c == value) {
            return Ok(());
        }
        if self.candidates.len() >= CANDIDATES_MAX {
            return Err(FragmentError::TooMany);
        }
        self.candidates.push(value.to_owned());
        Ok(())
    }

    /// Writes a fragment with its lines in session scope, ended by CRLF.
    pub fn write(&self) -> String {
        let mut text = String::new();
        let mut line = |name: &str, value: &str| {
            text.push_str("a=");
            text.push_str(name);
            text.push_str(value);
            text.push_str("\r\n");
        };
        if let Some(ufrag) = &self.ufrag {
            line("ice-ufrag:", ufrag);
        }
        if let Some(pwd) = &self.pwd {
            line("ice-pwd:", pwd);
        }
        for candidate in &self.candidates {
            line("", candidate);
        }
        if self.end {
            line("end-of-candidates", "");
        }
        text
    }
}

fn has_control(value: &str) -> bool {
    value.chars().any(char::is_control)
}

fn credential(
    slot: &mut Option<String>,
    value: &str,
    line: usize,
    name: &'static str,
    min: usize,
) -> Result<(), FragmentError> {
    let ice_char = |b: u8| b.is_ascii_alphanumeric() || b == b'+' || b == b'/';
    if value.len() < min || value.len() > 256 || !value.bytes().all(ice_char) {
        return Err(FragmentError::Credential { line, name, min });
    }
    match slot {
        Some(known) if known != value => Err(FragmentError::Twice { line, name }),
        _ => {
            *slot = Some(value.to_owned());
            Ok(())
        }
    }
}

/// `candidate:foundation component transport priority address port "typ" type …`. Whether the transport and the address
/// can be used is not asked here: RFC 9725 section 4.3.2 has those discarded silently.
fn is_candidate(value: &str) -> bool {
    let mut words = value.strip_prefix("candidate:").unwrap_or_default().split(' ');
    let mut next = || words.next().filter(|w| !w.is_empty());
    let foundation = next().is_some_and(|w| w.len() <= 32);
    let component = next().is_some_and(|w| w.parse::<u16>().is_ok());
    let transport = next().is_some();
    let priority = next().is_some_and(|w| w.parse::<u32>().is_ok());
    let address = next().is_some();
    let port = next().is_some_and(|w| w.parse::<u16>().is_ok());
    let typ = next() == Some("typ") && next().is_some();
    foundation && component && transport && priority && address && port && typ
}

#[cfg(test)]
mod tests;
