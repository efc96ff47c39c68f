//! What a client picks of a track's layers: the members of WHEP's layer extension, and what is said of wrong ones.

use freshet_edge::Problem;
use serde_json::{Map, Value};

use crate::service::Choice;

/// Longest RID or number of an m-line, in bytes.
const ID_MAX: usize = 255;
/// Highest temporal layer that a VP8 payload can name (RFC 7741 section 4.2).
const TEMPORAL_MAX: u64 = 3;
/// What is shown of a name that we do not know, in characters.
const SHOWN: usize = 40;
/// The members that are taken: `encodingId` is what drafts before 02 called `rid`.
const TAKEN: [&str; 5] = ["mediaId", "rid", "encodingId", "temporalLayerId", "maxTemporalLayerId"];
/// Those of spatial layers and sizes, of which there are none to pick.
const REFUSED: [&str; 4] = ["spatialLayerId", "maxSpatialLayerId", "maxWidth", "maxHeight"];

fn bad(detail: String) -> Problem {
    Problem::bad_request(detail).reason("bad-json")
}

fn none(detail: String) -> Problem {
    Problem::unprocessable(detail).reason("no-such-layer")
}

/// Reads JSON; 400 when it is none.
pub(super) fn json(body: &[u8]) -> Result<Value, Problem> {
    if body.is_empty() {
        return Err(bad("the body is empty: send JSON".to_owned()));
    }
    serde_json::from_slice(body).map_err(|e| {
        bad(format!("the body is not JSON: it cannot be read at line {}, column {}", e.line(), e.column()))
    })
}

/// 400: JSON, and not what is wanted.
pub(super) fn not(wanted: &str, found: &Value) -> Problem {
    let found = match found {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    };
    bad(format!("the body must be {wanted}: there is {found} instead"))
}

/// The m-line that is meant, by its place in the SDP, and what is wanted of it.
pub(super) fn read(body: &[u8]) -> Result<(Option<String>, Choice), Problem> {
    let members = match json(body)? {
        Value::Object(members) => members,
        other => {
            return Err(not(
                "a JSON object, such as {\"rid\": \"h\"}, or {} to leave the choice to us",
                &other,
            ));
        }
    };
    for (name, value) in &members {
        if TAKEN.contains(&name.as_str()) {
            continue;
        }
        if !REFUSED.contains(&name.as_str()) {
            let name: String = name.chars().take(SHOWN).collect();
            return Err(bad(format!("{name:?} is no member of a pick: it has {}", TAKEN.join(", "))));
        }
        if !value.is_null() {
            return Err(none(format!("layers are not picked by {name} here: pick one by its rid")));
        }
    }
    let (media_id, rid) = (text(&members, "mediaId")?, text(&members, "rid")?);
    let encoding_id = text(&members, "encodingId")?;
    let temporal = [layer(&members, "temporalLayerId")?, layer(&members, "maxTemporalLayerId")?];
    if rid.is_some() && encoding_id.is_some() && rid != encoding_id {
        return Err(bad("rid and encodingId name different layers: send rid alone".to_owned()));
    }
    let max_temporal = temporal.into_iter().flatten().min();
    Ok((media_id, Choice { rid: rid.or(encoding_id), max_temporal }))
}

/// A member that is a string, where it is there.
fn text(members: &Map<String, Value>, name: &str) -> Result<Option<String>, Problem> {
    match members.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.len() <= ID_MAX => Ok(Some(text.clone())),
        Some(Value::String(_)) => Err(bad(format!("{name} is too long: {ID_MAX} bytes at most"))),
        Some(_) => Err(bad(format!("{name} must be a string, such as \"1\""))),
    }
}

/// A member that is the number of a temporal layer, where it is there.
fn layer(members: &Map<String, Value>, name: &str) -> Result<Option<u8>, Problem> {
    let number = match members.get(name) {
        None | Some(Value::Null) => return Ok(None),
        Some(value) => value.as_u64(),
    };
    let number = number.ok_or_else(|| bad(format!("{name} must be a whole number, 0 to {TEMPORAL_MAX}")))?;
    match u8::try_from(number) {
        Ok(layer) if number <= TEMPORAL_MAX => Ok(Some(layer)),
        _ => {
            Err(none(format!("there is no temporal layer {number}: {name} names one of 0 to {TEMPORAL_MAX}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picked(body: &str) -> Result<(Option<String>, Choice), u16> {
        read(body.as_bytes()).map_err(|problem| problem.status().as_u16())
    }

    #[test]
    fn a_pick_names_a_layer_or_none() {
        let one = |media: Option<&str>, id: &str| {
            let choice = Choice { rid: Some(id.to_owned()), max_temporal: None };
            Ok((media.map(str::to_owned), choice))
        };
        assert_eq!(picked(r#"{"mediaId": "1", "rid": "hd"}"#), one(Some("1"), "hd"));
        assert_eq!(picked(r#"{"encodingId": "hd"}"#), one(None, "hd"));
        assert_eq!(picked(r#"{"rid": "hd", "encodingId": "hd"}"#), one(None, "hd"));
        assert_eq!(picked("{}"), Ok((None, Choice::default())));
        assert_eq!(picked(r#"{"mediaId": "0"}"#), Ok((Some("0".to_owned()), Choice::default())));
        assert_eq!(picked(r#"{"rid": null, "maxWidth": null}"#), Ok((None, Choice::default())));
        for other in REFUSED {
            assert_eq!(picked(&format!(r#"{{"rid": "hd", "{other}": 1}}"#)), Err(422), "{other}");
        }
    }

    #[test]
    fn each_wrong_pick_is_told_what_is_wrong_in_words_of_ours() {
        let long = format!(r#"{{"rid": "{}"}}"#, "x".repeat(256));
        let strange = format!(r#"{{"{}": 1}}"#, "y".repeat(5_000));
        for (body, told) in [
            ("", "the body is empty"),
            ("{", "the body is not JSON: it cannot be read at line 1, column 1"),
            ("{\"rid\":\n h}", "the body is not JSON: it cannot be read at line 2, column 2"),
            ("[]", "there is an array instead"),
            (r#"["h"]"#, "the body must be a JSON object, such as {\"rid\": \"h\"}"),
            ("7", "there is a number instead"),
            ("null", "there is null instead"),
            (r#""h""#, "there is a string instead"),
            ("true", "there is true or false instead"),
            (r#"{"rid": 7}"#, "rid must be a string"),
            (r#"{"rid": ["h"]}"#, "rid must be a string"),
            (r#"{"mediaId": 1}"#, "mediaId must be a string"),
            (r#"{"encodingId": {}}"#, "encodingId must be a string"),
            (r#"{"what": 1}"#, "\"what\" is no member of a pick: it has mediaId, rid,"),
            (&strange, "yyyyyyyyyy\" is no member of a pick"),
            (r#"{"rid": "a", "encodingId": "b"}"#, "rid and encodingId name different layers"),
            (&long, "rid is too long: 255 bytes at most"),
            (r#"{"maxTemporalLayerId": "1"}"#, "maxTemporalLayerId must be a whole number, 0 to 3"),
            (r#"{"temporalLayerId": 0.5}"#, "temporalLayerId must be a whole number, 0 to 3"),
        ] {
            let problem = read(body.as_bytes()).unwrap_err();
            assert_eq!((problem.status().as_u16(), problem.why()), (400, Some("bad-json")), "{body}");
            assert!(problem.detail().contains(told), "{body}: {problem}");
            assert!(problem.detail().len() < 200, "{problem}");
            for of_serde in ["expected", "invalid type", "struct", "unknown field", "EOF"] {
                assert!(!problem.detail().contains(of_serde), "{problem}");
            }
        }
    }

    #[test]
    fn a_pick_bounds_temporal_layers_or_lifts_the_bound() {
        let bound = |body: &str| picked(body).map(|(_, choice)| (choice.rid, choice.max_temporal));
        assert_eq!(bound(r#"{"maxTemporalLayerId": 0}"#), Ok((None, Some(0))));
        assert_eq!(bound(r#"{"temporalLayerId": 3}"#), Ok((None, Some(3))));
        assert_eq!(
            bound(r#"{"rid": "h", "temporalLayerId": 1, "maxTemporalLayerId": 2}"#),
            Ok((Some("h".to_owned()), Some(1)))
        );
        assert_eq!(bound(r#"{"temporalLayerId": 3, "maxTemporalLayerId": 2}"#), Ok((None, Some(2))));
        assert_eq!(bound(r#"{"maxTemporalLayerId": null}"#), Ok((None, None)));
        for name in ["temporalLayerId", "maxTemporalLayerId"] {
            for bad in ["-1", "0.5", r#""1""#, "[1]", "true"] {
                assert_eq!(bound(&format!(r#"{{"{name}": {bad}}}"#)), Err(400), "{name} {bad}");
            }
            for none in ["4", "256"] {
                assert_eq!(bound(&format!(r#"{{"{name}": {none}}}"#)), Err(422), "{name} {none}");
            }
        }
    }
}
