//! An answer with gaps: what differs from one session to the next is filled in.

use std::fmt::Write;

use super::sdp;

enum Piece {
    Text(String),
    /// The number of the SDP session.
    Number,
    Ufrag,
    Pwd,
    /// Media stream id and CNAME.
    Label,
    /// The id of the client's n-th m-line.
    Mid(usize),
    /// The SSRC of the answer's n-th m-line, and that of its retransmissions.
    Ssrc(usize),
    Rtx(usize),
}

/// An answer with gaps.
pub struct Template {
    pieces: Vec<Piece>,
    /// Room that an answer needs, about.
    length: usize,
}

/// What is filled in, and what stood there when the template was made.
pub struct Gaps<'a> {
    /// The number of the SDP session.
    pub number: u64,
    /// This side's ICE user fragment.
    pub ufrag: &'a str,
    /// This side's ICE password.
    pub pwd: &'a str,
    /// Media stream id and CNAME.
    pub label: &'a str,
    /// The ids of the client's m-lines in order.
    pub mids: &'a [&'a str],
}

struct Maker<'a> {
    pieces: Vec<Piece>,
    text: String,
    gaps: &'a Gaps<'a>,
    session: &'a sdp::Session,
    /// The answer's m-lines so far.
    media: usize,
}

impl Template {
    /// Of an answer that was given, and what was read of it. `None` when it has something in a place of a gap that
    /// is not understood.
    pub fn new(answer: &str, session: &sdp::Session, gaps: &Gaps) -> Option<Self> {
        let mut maker = Maker { pieces: Vec::new(), text: String::new(), gaps, session, media: 0 };
        for line in answer.lines() {
            maker.line(line)?;
            maker.text.push_str("\r\n");
        }
        maker.end_text();
        Some(Self { pieces: maker.pieces, length: answer.len() })
    }

    /// The answer for another session, whose SSRCs stand in `session`.
    pub fn fill(&self, session: &sdp::Session, gaps: &Gaps) -> String {
        let mut answer = String::with_capacity(self.length.saturating_add(256));
        let ssrc = |at: &usize| session.media.get(*at).and_then(|m| m.ssrc).unwrap_or_default();
        let rtx = |at: &usize| session.media.get(*at).and_then(|m| m.rtx_ssrc).unwrap_or_default();
        for piece in &self.pieces {
            let _always_fits = match piece {
                Piece::Text(text) => answer.write_str(text),
                Piece::Number => write!(answer, "{}", gaps.number),
                Piece::Ufrag => answer.write_str(gaps.ufrag),
                Piece::Pwd => answer.write_str(gaps.pwd),
                Piece::Label => answer.write_str(gaps.label),
                Piece::Mid(at) => answer.write_str(gaps.mids.get(*at).copied().unwrap_or_default()),
                Piece::Ssrc(at) => write!(answer, "{}", ssrc(at)),
                Piece::Rtx(at) => write!(answer, "{}", rtx(at)),
            };
        }
        answer
    }
}

impl Maker<'_> {
    fn end_text(&mut self) {
        if !self.text.is_empty() {
            self.pieces.push(Piece::Text(std::mem::take(&mut self.text)));
        }
    }

    fn gap(&mut self, piece: Piece) {
        self.end_text();
        self.pieces.push(piece);
    }

    fn line(&mut self, line: &str) -> Option<()> {
        let Some(attribute) = line.strip_prefix("a=") else {
            if line.starts_with("m=") {
                self.media = self.media.checked_add(1)?;
            }
            return match line.strip_prefix("o=") {
                Some(origin) => self.origin(origin),
                None => self.plain(line),
            };
        };
        let Some((name, value)) = attribute.split_once(':') else { return self.plain(line) };
        let open = |maker: &mut Self| {
            maker.text.push_str("a=");
            maker.text.push_str(name);
            maker.text.push(':');
        };
        match name {
            "ice-ufrag" if value == self.gaps.ufrag => {
                open(self);
                self.gap(Piece::Ufrag);
            }
            "ice-pwd" if value == self.gaps.pwd => {
                open(self);
                self.gap(Piece::Pwd);
            }
            "candidate" => {
                open(self);
                match value.strip_suffix(self.gaps.ufrag).filter(|rest| rest.ends_with(" ufrag ")) {
                    Some(rest) => {
                        self.plain(rest)?;
                        self.gap(Piece::Ufrag);
                    }
                    None => self.plain(value)?,
                }
            }
            "group" => {
                open(self);
                self.text.push_str("BUNDLE");
                for mid in value.strip_prefix("BUNDLE")?.split_ascii_whitespace() {
                    self.text.push(' ');
                    self.mid(mid)?;
                }
            }
            "mid" => {
                open(self);
                self.mid(value)?;
            }
            "msid" => {
                open(self);
                self.msid(value)?;
            }
            "msid-semantic" => {
                open(self);
                self.text.push_str("WMS ");
                (value.strip_prefix("WMS ")? == self.gaps.label).then(|| self.gap(Piece::Label))?;
            }
            "ssrc" => {
                open(self);
                let (number, of) = value.split_once(' ')?;
                self.ssrc(number)?;
                self.text.push(' ');
                let (name, value) = of.split_once(':')?;
                self.text.push_str(name);
                self.text.push(':');
                match name {
                    "cname" if value == self.gaps.label => self.gap(Piece::Label),
                    "msid" => self.msid(value)?,
                    _ => return None,
                }
            }
            "ssrc-group" => {
                open(self);
                self.text.push_str("FID ");
                let (main, rtx) = value.strip_prefix("FID ")?.split_once(' ')?;
                self.ssrc(main)?;
                self.text.push(' ');
                self.ssrc(rtx)?;
            }
            _ => self.plain(line)?,
        }
        Some(())
    }

    /// What is the same for all sessions; nothing of this session may be in it.
    fn plain(&mut self, text: &str) -> Option<()> {
        let Gaps { ufrag, pwd, label, .. } = self.gaps;
        if [ufrag, pwd, label].iter().any(|own| text.contains(**own)) {
            return None;
        }
        self.text.push_str(text);
        Some(())
    }

    fn origin(&mut self, origin: &str) -> Option<()> {
        let mut words = origin.splitn(3, ' ');
        let (user, number, rest) = (words.next()?, words.next()?, words.next()?);
        number.parse::<u64>().ok()?;
        self.text.push_str("o=");
        self.plain(user)?;
        self.text.push(' ');
        self.gap(Piece::Number);
        self.text.push(' ');
        self.plain(rest)
    }

    fn mid(&mut self, mid: &str) -> Option<()> {
        let at = self.gaps.mids.iter().position(|known| *known == mid)?;
        self.gap(Piece::Mid(at));
        Some(())
    }

    /// The track's id is the stream's with the m-line's number: unique, and no need to draw another.
    fn msid(&mut self, msid: &str) -> Option<()> {
        let (stream, _track) = msid.split_once(' ')?;
        if stream != self.gaps.label {
            return None;
        }
        self.gap(Piece::Label);
        self.text.push(' ');
        self.gap(Piece::Label);
        self.text.push_str(&format!("-{}", self.media));
        Some(())
    }

    fn ssrc(&mut self, number: &str) -> Option<()> {
        let number = number.parse::<u32>().ok()?;
        let at = self.media.checked_sub(1)?;
        let media = self.session.media.get(at)?;
        if media.ssrc == Some(number) {
            self.gap(Piece::Ssrc(at));
        } else if media.rtx_ssrc == Some(number) {
            self.gap(Piece::Rtx(at));
        } else {
            return None;
        }
        Some(())
    }
}
