//! Server-sent events, read as their bytes come. Pure.

/// Longest line, in bytes.
const LINE_MAX: usize = 256 * 1024;

/// An event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerEvent {
    /// Its kind.
    pub kind: String,
    /// What it says.
    pub data: String,
    /// The id that it carries itself.
    pub id: Option<String>,
}

/// A line that does not end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a line of the event stream is longer than {LINE_MAX} bytes")]
pub struct EndlessLine;

/// Reads a stream.
#[derive(Debug, Default)]
pub struct EventReader {
    line: Vec<u8>,
    /// The last byte was a CR: an LF that follows ends no line of its own.
    after_cr: bool,
    kind: String,
    data: Option<String>,
    id: Option<String>,
}

impl EventReader {
    /// Takes the next bytes; gives the events that they complete.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<Vec<ServerEvent>, EndlessLine> {
        let mut events = Vec::new();
        for byte in bytes {
            let second = std::mem::replace(&mut self.after_cr, *byte == b'\r') && *byte == b'\n';
            match byte {
                b'\n' if second => {}
                b'\r' | b'\n' => {
                    let line = std::mem::take(&mut self.line);
                    events.extend(self.take(&String::from_utf8_lossy(&line)));
                }
                other if self.line.len() < LINE_MAX => self.line.push(*other),
                _ => return Err(EndlessLine),
            }
        }
        Ok(events)
    }

    fn take(&mut self, line: &str) -> Option<ServerEvent> {
        if line.is_empty() {
            let (kind, id) = (std::mem::take(&mut self.kind), self.id.take());
            let data = self.data.take()?;
            let kind = if kind.is_empty() { "message".to_owned() } else { kind };
            return Some(ServerEvent { kind, data, id });
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field.trim_start_matches('\u{feff}') {
            "event" => value.clone_into(&mut self.kind),
            "id" => self.id = Some(value.to_owned()),
            "data" => match &mut self.data {
                // Events of many lines are bounded as lines are.
                Some(data) if data.len() < LINE_MAX => {
                    data.push('\n');
                    data.push_str(value);
                }
                Some(_) => {}
                None => self.data = Some(value.to_owned()),
            },
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = ": hello\r\n\r\nevent: chat\rid: 7\ndata: {\ndata:}\n\ndata: x\nunknown: y\nretry: 5\n\n\
        id: 9\n\nevent: lost\ndata: no end";

    fn event(kind: &str, data: &str, id: Option<&str>) -> ServerEvent {
        ServerEvent { kind: kind.to_owned(), data: data.to_owned(), id: id.map(str::to_owned) }
    }

    #[test]
    fn events_are_the_same_however_their_bytes_come() {
        let expected = [event("chat", "{\n}", Some("7")), event("message", "x", None)];
        assert_eq!(EventReader::default().feed(TEXT.as_bytes()).unwrap(), expected);
        for size in 1..7 {
            let mut reader = EventReader::default();
            let events: Vec<ServerEvent> =
                TEXT.as_bytes().chunks(size).flat_map(|piece| reader.feed(piece).unwrap()).collect();
            assert_eq!(events, expected, "{size}");
        }
    }

    #[test]
    fn a_line_without_end_is_refused() {
        assert_eq!(EventReader::default().feed(&vec![b'x'; LINE_MAX + 1]), Err(EndlessLine));
    }
}
