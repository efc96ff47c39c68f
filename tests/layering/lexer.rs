//! Rust source as a flat list of words and marks, with comments and literals out of the way.
//!
//! Only what the import rules need: identifiers, `::` and single punctuation marks. A path that
//! stands in a comment, a doc test or a string is not an import and never reaches the rules.

/// One word or mark and the line it stands on, counted from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    pub kind: Kind,
    pub line: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    Ident(String),
    /// `::`
    Sep,
    Mark(char),
    /// A string, character or number, its text dropped.
    Literal,
}

impl Token {
    pub fn is(&self, mark: char) -> bool {
        self.kind == Kind::Mark(mark)
    }

    pub fn ident(&self) -> Option<&str> {
        match &self.kind {
            Kind::Ident(name) => Some(name),
            _ => None,
        }
    }

    pub fn is_word(&self, word: &str) -> bool {
        self.ident() == Some(word)
    }
}

/// Cuts `source` into tokens. Never fails: what is not understood becomes a mark.
pub fn tokens(source: &str) -> Vec<Token> {
    Lexer { chars: source.chars().collect(), at: 0, line: 1, out: Vec::new() }.run()
}

struct Lexer {
    chars: Vec<char>,
    at: usize,
    line: usize,
    out: Vec<Token>,
}

impl Lexer {
    fn run(mut self) -> Vec<Token> {
        while let Some(c) = self.peek(0) {
            match c {
                '/' if self.peek(1) == Some('/') => self.skip_while(|c| c != '\n'),
                '/' if self.peek(1) == Some('*') => self.block_comment(),
                '"' => self.string(),
                '\'' => self.quote(),
                ':' if self.peek(1) == Some(':') => {
                    self.push(Kind::Sep);
                    self.bump();
                    self.bump();
                }
                c if c.is_ascii_digit() => {
                    self.push(Kind::Literal);
                    self.skip_while(|c| c.is_alphanumeric() || c == '_');
                }
                c if c.is_alphabetic() || c == '_' => self.word(),
                c if c.is_whitespace() => self.bump(),
                c => {
                    self.push(Kind::Mark(c));
                    self.bump();
                }
            }
        }
        self.out
    }

    fn peek(&self, ahead: usize) -> Option<char> {
        self.chars.get(self.at + ahead).copied()
    }

    fn bump(&mut self) {
        if self.peek(0) == Some('\n') {
            self.line += 1;
        }
        self.at += 1;
    }

    fn push(&mut self, kind: Kind) {
        self.out.push(Token { kind, line: self.line });
    }

    fn skip_while(&mut self, keep: impl Fn(char) -> bool) {
        while self.peek(0).is_some_and(&keep) {
            self.bump();
        }
    }

    fn block_comment(&mut self) {
        let mut depth = 0;
        while self.peek(0).is_some() {
            match (self.peek(0), self.peek(1)) {
                (Some('/'), Some('*')) => {
                    depth += 1;
                    self.bump();
                }
                (Some('*'), Some('/')) => {
                    depth -= 1;
                    self.bump();
                }
                _ => {}
            }
            self.bump();
            if depth == 0 {
                return;
            }
        }
    }

    fn string(&mut self) {
        self.push(Kind::Literal);
        self.bump();
        while let Some(c) = self.peek(0) {
            self.bump();
            match c {
                '\\' => self.bump(),
                '"' => return,
                _ => {}
            }
        }
    }

    /// `r"…"`, `r#"…"#`, `br##"…"##`: `self.at` stands on the first `#` or the quote.
    fn raw_string(&mut self) {
        self.push(Kind::Literal);
        let mut hashes = 0;
        while self.peek(0) == Some('#') {
            hashes += 1;
            self.bump();
        }
        self.bump();
        while let Some(c) = self.peek(0) {
            self.bump();
            if c == '"' && (0..hashes).all(|i| self.peek(i) == Some('#')) {
                (0..hashes).for_each(|_| self.bump());
                return;
            }
        }
    }

    /// A lifetime is dropped; a character literal is a literal.
    fn quote(&mut self) {
        let named = self.peek(1).is_some_and(|c| c.is_alphabetic() || c == '_');
        if named && self.peek(2) != Some('\'') {
            self.bump();
            self.skip_while(|c| c.is_alphanumeric() || c == '_');
            return;
        }
        self.push(Kind::Literal);
        self.bump();
        while let Some(c) = self.peek(0) {
            self.bump();
            match c {
                '\\' => self.bump(),
                '\'' => return,
                _ => {}
            }
        }
    }

    fn word(&mut self) {
        let start = self.at;
        let line = self.line;
        self.skip_while(|c| c.is_alphanumeric() || c == '_');
        let word: String = self.chars[start..self.at].iter().collect();
        let prefix = matches!(word.as_str(), "r" | "b" | "br" | "c" | "cr");
        match self.peek(0) {
            Some('"') if prefix && word.contains('r') => self.raw_string(),
            Some('"') if prefix => self.string(),
            Some('\'') if word == "b" => self.quote(),
            Some('#') if prefix && word.contains('r') && self.opens_raw() => self.raw_string(),
            Some('#') if word == "r" => self.bump(), // a raw identifier: the word itself follows
            _ => self.out.push(Token { kind: Kind::Ident(word), line }),
        }
    }

    fn opens_raw(&self) -> bool {
        self.chars[self.at..].iter().find(|c| **c != '#') == Some(&'"')
    }
}
