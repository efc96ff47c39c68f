//! For tests: is a text XML in which every tag is closed, every attribute quoted and nothing smuggled in?

/// Says where a text is not well-formed. A `<!doctype …>` at its beginning is left out.
pub fn check(text: &str) -> Result<(), String> {
    let mut rest = text.strip_prefix("<!doctype html>").unwrap_or(text);
    let mut open: Vec<&str> = Vec::new();
    while let Some((before, after)) = rest.split_once('<') {
        entities(before)?;
        let (tag, behind) = after.split_once('>').ok_or_else(|| format!("no end: {after:.80}"))?;
        rest = behind;
        if let Some(name) = tag.strip_prefix('/') {
            let last = open.pop();
            if last != Some(name) {
                return Err(format!("</{name}> closes {last:?}"));
            }
            continue;
        }
        let (tag, closed) = tag.strip_suffix('/').map_or((tag, false), |tag| (tag, true));
        let (name, attributes) = tag.split_once(' ').unwrap_or((tag, ""));
        if name.is_empty() || !name.chars().all(|character| character.is_ascii_alphanumeric()) {
            return Err(format!("no name of a tag: {tag:.80}"));
        }
        self::attributes(attributes)?;
        if !closed {
            open.push(name);
        }
    }
    entities(rest)?;
    if open.is_empty() { Ok(()) } else { Err(format!("not closed: {open:?}")) }
}

fn attributes(text: &str) -> Result<(), String> {
    let mut rest = text.trim();
    let mut seen = Vec::new();
    while !rest.is_empty() {
        let (name, behind) = rest.split_once("=\"").ok_or_else(|| format!("no value: {rest:.80}"))?;
        if name.is_empty()
            || !name.chars().all(|character| character.is_ascii_alphanumeric() || character == '-')
        {
            return Err(format!("no name of an attribute: {name:.80}"));
        }
        if seen.contains(&name) {
            return Err(format!("{name} stands twice: {text:.80}"));
        }
        seen.push(name);
        let (value, behind) = behind.split_once('"').ok_or_else(|| format!("no quote: {behind:.80}"))?;
        entities(value)?;
        if !behind.is_empty() && !behind.starts_with(' ') {
            return Err(format!("no space: {behind:.80}"));
        }
        rest = behind.trim_start();
    }
    Ok(())
}

fn entities(text: &str) -> Result<(), String> {
    for after in text.split('&').skip(1) {
        if !["amp;", "lt;", "gt;", "quot;", "#39;"].iter().any(|entity| after.starts_with(entity)) {
            return Err(format!("no entity: &{after:.80}"));
        }
    }
    if text.chars().any(|character| character.is_control() && character != '\n') {
        return Err(format!("control characters: {text:.80}"));
    }
    Ok(())
}

/// All that stands between two texts, where the second follows the first.
pub fn all_between<'a>(text: &'a str, from: &str, to: &str) -> Vec<&'a str> {
    text.split(from).skip(1).filter_map(|after| after.split_once(to)).map(|(found, _)| found).collect()
}

#[test]
fn the_checker_tells_what_is_wrong() {
    for good in ["", "a &amp; b", "<a b=\"c\" d-e=\"&lt;\"><f/>g</a>", "<!doctype html>\n<html></html>"] {
        assert_eq!(check(good), Ok(()), "{good}");
    }
    for bad in ["<a>", "<a></b>", "</a>", "a & b", "<a b=c></a>", "<a b=\"c></a>", "<a b=\"c\"d=\"e\"/>", "<"]
    {
        assert!(check(bad).is_err(), "{bad}");
    }
    for bad in ["<a b=\"1\" b=\"2\"/>", "<<a/>", "&nbsp;", "\u{0}", "<a onclick/>"] {
        assert!(check(bad).is_err(), "{bad}");
    }
}
