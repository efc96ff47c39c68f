//! Conditional requests (RFC 9110 section 13): `If-Match` and `If-None-Match`.

use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue};

use crate::problem::Problem;

/// Most entity tags that are read in one header.
const TAGS_MAX: usize = 16;

/// An entity tag without its quotes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntityTag {
    /// `W/`: equal in meaning only. It never matches where bytes or a session must be the same.
    pub weak: bool,
    /// The text between the quotes.
    pub value: String,
}

/// What a condition names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// `*`. Also `"*"`: the examples of RFC 9725 quote it, and clients copied them.
    Any,
    /// One of these.
    Tags(Vec<EntityTag>),
}

impl Condition {
    /// The tags that can match strongly.
    pub fn strong(&self) -> impl Iterator<Item = &str> {
        let tags = match self {
            Self::Any => &[][..],
            Self::Tags(tags) => tags.as_slice(),
        };
        tags.iter().filter(|t| !t.weak).map(|t| t.value.as_str())
    }
}

/// Reads `If-Match`; `None` when it is absent, 400 when it is not of the grammar.
pub fn if_match(headers: &HeaderMap) -> Result<Option<Condition>, Problem> {
    read(headers, &header::IF_MATCH)
}

/// Reads `If-None-Match`; `None` when it is absent, 400 when it is not of the grammar.
pub fn if_none_match(headers: &HeaderMap) -> Result<Option<Condition>, Problem> {
    read(headers, &header::IF_NONE_MATCH)
}

/// The strong `ETag` of a value without quotes. `None` when the value has characters that a tag cannot have.
pub fn etag(value: &str) -> Option<HeaderValue> {
    let plain = value.bytes().all(is_etagc);
    plain.then(|| HeaderValue::from_str(&format!("\"{value}\"")).ok()).flatten()
}

/// `etagc` of RFC 9110 section 8.8.3, without its obsolete part.
fn is_etagc(byte: u8) -> bool {
    byte == 0x21 || (0x23..=0x7e).contains(&byte)
}

fn read(headers: &HeaderMap, name: &HeaderName) -> Result<Option<Condition>, Problem> {
    let mut tags = Vec::new();
    let mut any = false;
    for value in headers.get_all(name) {
        let text = value.to_str().map_err(|_| malformed(name))?;
        match text.trim() {
            "*" | "\"*\"" => any = true,
            list => parse_list(list, &mut tags).ok_or_else(|| malformed(name))?,
        }
    }
    match (any, tags.is_empty()) {
        (true, true) => Ok(Some(Condition::Any)),
        (false, false) => Ok(Some(Condition::Tags(tags))),
        (true, false) => Err(malformed(name)),
        (false, true) if headers.contains_key(name) => Err(malformed(name)),
        (false, true) => Ok(None),
    }
}

fn parse_list(text: &str, tags: &mut Vec<EntityTag>) -> Option<()> {
    let mut rest = text.trim_start_matches([' ', '\t', ',']);
    while !rest.is_empty() {
        let (weak, after) = match rest.strip_prefix("W/") {
            Some(after) => (true, after),
            None => (false, rest),
        };
        let (value, after) = after.strip_prefix('"')?.split_once('"')?;
        if !value.bytes().all(is_etagc) || tags.len() >= TAGS_MAX {
            return None;
        }
        tags.push(EntityTag { weak, value: value.to_owned() });
        rest = after.trim_start_matches([' ', '\t']);
        if !rest.is_empty() {
            rest = rest.strip_prefix(',')?.trim_start_matches([' ', '\t', ',']);
        }
    }
    Some(())
}

fn malformed(name: &HeaderName) -> Problem {
    Problem::bad_request(format!("{name} must be * or entity tags in quotes, such as \"abc\""))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(values: &[&str]) -> Result<Option<Condition>, u16> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::IF_MATCH, HeaderValue::from_str(value).unwrap());
        }
        if_match(&headers).map_err(|p| p.status().as_u16())
    }

    fn tags(list: &[(bool, &str)]) -> Result<Option<Condition>, u16> {
        let tag = |(weak, value): &(bool, &str)| EntityTag { weak: *weak, value: (*value).to_owned() };
        Ok(Some(Condition::Tags(list.iter().map(tag).collect())))
    }

    #[test]
    fn conditions_are_read_as_rfc_9110_writes_them() {
        assert_eq!(parse(&[]), Ok(None));
        assert_eq!(parse(&["*"]), Ok(Some(Condition::Any)));
        assert_eq!(parse(&["\"*\""]), Ok(Some(Condition::Any)));
        assert_eq!(parse(&["\"a\""]), tags(&[(false, "a")]));
        assert_eq!(parse(&["\"a\", W/\"b,c\" ,,\"\""]), tags(&[(false, "a"), (true, "b,c"), (false, "")]));
        assert_eq!(parse(&["\"a\"", "\"b\""]), tags(&[(false, "a"), (false, "b")]));
        for bad in ["", ",", "abc", "\"a", "\"a\"\"b\"", "\"a b\"", "w/\"a\"", "\"a\" x"] {
            assert_eq!(parse(&[bad]), Err(400), "{bad:?}");
        }
        assert_eq!(parse(&["*", "\"a\""]), Err(400));
    }

    #[test]
    fn weak_tags_never_match_strongly() {
        let read = parse(&["W/\"a\", \"b\""]).unwrap().unwrap();
        assert_eq!(read.strong().collect::<Vec<_>>(), ["b"]);
    }

    #[test]
    fn a_tag_is_quoted_and_nothing_gets_out_of_the_quotes() {
        assert_eq!(etag("x-1").unwrap(), "\"x-1\"");
        assert_eq!(etag("a\"b"), None);
        assert_eq!(etag("a\r\nb"), None);
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[\"W/,* a-z\\t]{0,40}") {
            let _any = parse(&[&text]);
        }
    }
}
