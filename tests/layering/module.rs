//! One source file as the import rules see it: its modules, what each names, and how.
//!
//! Everything under `#[cfg(test)]` is left out: tests may read clocks and reach anywhere.

use crate::lexer::{Kind, Token, tokens};

/// One name that a `use` brings into a module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Import {
    pub path: Vec<String>,
    /// The name it has here; `*` for a glob.
    pub alias: String,
    pub public: bool,
    pub line: usize,
}

/// A path as written in code, outside a `use`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mention {
    pub path: Vec<String>,
    pub line: usize,
}

/// A module: the file's own, or an inline `mod x { … }` inside it.
#[derive(Debug, Default)]
pub struct Scope {
    /// Names of the inline modules that lead here; empty for the file itself.
    pub inside: Vec<String>,
    pub imports: Vec<Import>,
    pub mentions: Vec<Mention>,
    /// Names of the items defined here, methods included.
    pub items: Vec<String>,
    /// `mod x;`: the names of child files.
    pub children: Vec<String>,
    /// Child files that exist for tests only.
    pub test_children: Vec<String>,
    /// Words that matter by themselves: `async`, `unsafe`, `.elapsed()`.
    pub words: Vec<(String, usize)>,
}

/// Reads a file into its scopes, the file's own first. A file that is all test has only that one, empty.
pub fn parse(source: &str) -> Vec<Scope> {
    let mut parser =
        Parser { tokens: tokens(source), at: 0, scopes: vec![Scope::default()], open: vec![(0, 0)] };
    parser.run();
    parser.scopes
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
    scopes: Vec<Scope>,
    /// Scope index and the brace depth at which it was opened, innermost last.
    open: Vec<(usize, usize)>,
}

const ITEM_WORDS: [&str; 9] = ["fn", "struct", "enum", "trait", "type", "const", "static", "union", "macro"];

impl Parser {
    fn run(&mut self) {
        let mut depth = 0;
        while let Some(token) = self.tokens.get(self.at).cloned() {
            match &token.kind {
                Kind::Mark('#') => {
                    let inner = self.peek(1).is_some_and(|t| t.is('!'));
                    if self.attribute_is_test() {
                        if inner {
                            self.scopes.truncate(1);
                            self.scopes[0] = Scope::default();
                            return;
                        }
                        self.skip_item();
                    }
                }
                Kind::Mark('{') => {
                    depth += 1;
                    self.at += 1;
                }
                Kind::Mark('}') => {
                    depth -= 1;
                    if self.open.len() > 1 && self.open[self.open.len() - 1].1 == depth {
                        self.open.pop();
                    }
                    self.at += 1;
                }
                Kind::Mark('.') => {
                    if self.peek(1).is_some_and(|t| t.is_word("elapsed"))
                        && self.peek(2).is_some_and(|t| t.is('('))
                        && self.peek(3).is_some_and(|t| t.is(')'))
                    {
                        self.scope().words.push((".elapsed()".to_owned(), token.line));
                    }
                    self.at += 1;
                }
                Kind::Ident(word) => self.word(word, token.line, depth),
                Kind::Sep => self.absolute_or_associated(),
                _ => self.at += 1,
            }
        }
    }

    fn word(&mut self, word: &str, line: usize, depth: usize) {
        match word {
            "use" if !self.peek(1).is_some_and(|t| t.is('<')) => self.import(line),
            "mod" if self.peek(1).and_then(Token::ident).is_some() => self.module(depth),
            "async" | "unsafe" | "await" => {
                self.scope().words.push((word.to_owned(), line));
                self.at += 1;
            }
            word if ITEM_WORDS.contains(&word) => {
                if let Some(name) = self.peek(1).and_then(Token::ident).map(str::to_owned) {
                    self.scope().items.push(name);
                }
                self.at += 1;
            }
            _ => self.mention(line),
        }
    }

    fn peek(&self, ahead: usize) -> Option<&Token> {
        self.tokens.get(self.at + ahead)
    }

    fn scope(&mut self) -> &mut Scope {
        let (index, _) = self.open[self.open.len() - 1];
        &mut self.scopes[index]
    }

    /// `mod x;` or `mod x {`.
    fn module(&mut self, depth: usize) {
        let name = self.peek(1).and_then(Token::ident).unwrap_or_default().to_owned();
        let is_block = self.peek(2).is_some_and(|t| t.is('{'));
        let is_file = self.peek(2).is_some_and(|t| t.is(';'));
        self.at += 2;
        if is_file {
            self.scope().children.push(name);
        } else if is_block {
            let mut inside = self.scope().inside.clone();
            inside.push(name);
            self.scopes.push(Scope { inside, ..Scope::default() });
            self.open.push((self.scopes.len() - 1, depth));
        }
    }

    /// Reads the attribute at the cursor and moves behind it.
    /// True for `cfg(test)` and `cfg(all(…, test, …))`; an `any(test, …)` is also built without tests.
    fn attribute_is_test(&mut self) -> bool {
        self.at += 1;
        if self.peek(0).is_some_and(|t| t.is('!')) {
            self.at += 1;
        }
        if !self.peek(0).is_some_and(|t| t.is('[')) {
            return false;
        }
        let mut depth = 0;
        let mut words = Vec::new();
        while let Some(token) = self.peek(0).cloned() {
            self.at += 1;
            match &token.kind {
                Kind::Mark('[' | '(') => depth += 1,
                Kind::Mark(']' | ')') => {
                    depth -= 1;
                    if depth == 0 {
                        break;
                    }
                }
                Kind::Ident(word) => words.push(word.clone()),
                _ => {}
            }
        }
        let has = |word: &str| words.iter().any(|w| w == word);
        words.first().is_some_and(|w| w == "cfg") && has("test") && !has("any") && !has("not")
    }

    /// Moves behind the item, field, variant, arm or statement at the cursor.
    fn skip_item(&mut self) {
        while self.peek(0).is_some_and(|t| t.is('#')) {
            self.attribute_is_test();
        }
        let mut first = self.at;
        while self
            .tokens
            .get(first)
            .is_some_and(|t| t.is_word("pub") || t.is_word("unsafe") || t.is_word("async"))
        {
            first += 1;
            if self.tokens.get(first).is_some_and(|t| t.is('(')) {
                while self.tokens.get(first).is_some_and(|t| !t.is(')')) {
                    first += 1;
                }
                first += 1;
            }
        }
        let word = self.tokens.get(first).and_then(Token::ident).unwrap_or_default().to_owned();
        if word == "mod" && self.tokens.get(first + 2).is_some_and(|t| t.is(';')) {
            let name = self.tokens.get(first + 1).and_then(Token::ident).unwrap_or_default().to_owned();
            self.scope().test_children.push(name);
        }
        let to_semicolon = matches!(word.as_str(), "use" | "const" | "static" | "type" | "let");
        let to_block =
            matches!(word.as_str(), "fn" | "impl" | "trait" | "mod" | "enum" | "struct" | "macro_rules");
        let mut depth = 0usize;
        while let Some(token) = self.peek(0).cloned() {
            match token.kind {
                Kind::Mark('(' | '[' | '{') => depth += 1,
                Kind::Mark(')' | ']' | '}') if depth == 0 => return,
                Kind::Mark(')' | ']') => depth -= 1,
                Kind::Mark('}') => {
                    depth -= 1;
                    if depth == 0 && !to_semicolon {
                        self.at += 1;
                        return;
                    }
                }
                Kind::Mark(';') if depth == 0 => {
                    self.at += 1;
                    return;
                }
                Kind::Mark(',') if depth == 0 && !to_semicolon && !to_block => {
                    self.at += 1;
                    return;
                }
                _ => {}
            }
            self.at += 1;
        }
    }

    fn import(&mut self, line: usize) {
        let public = self.is_public();
        self.at += 1;
        let mut found = Vec::new();
        self.tree(&mut Vec::new(), &mut found);
        for (path, alias) in found {
            self.scope().imports.push(Import { path, alias, public, line });
        }
    }

    /// Whether `pub`, `pub(crate)` or `pub(in …)` stands before the cursor.
    fn is_public(&self) -> bool {
        let Some(mut before) = self.at.checked_sub(1) else { return false };
        if self.tokens[before].is(')') {
            while before > 0 && !self.tokens[before].is('(') {
                before -= 1;
            }
            before = before.saturating_sub(1);
        }
        self.tokens[before].is_word("pub")
    }

    /// One branch of a `use`: `a::b`, `a::{b, c::*}`, `a as b`. Stops at `,`, `}` or `;`.
    fn tree(&mut self, prefix: &mut Vec<String>, found: &mut Vec<(Vec<String>, String)>) {
        let depth = prefix.len();
        while let Some(token) = self.peek(0).cloned() {
            match &token.kind {
                Kind::Ident(word) if word == "as" => {
                    let alias = self.peek(1).and_then(Token::ident).unwrap_or("_").to_owned();
                    if prefix.last().is_some_and(|word| word == "self") && prefix.len() > 1 {
                        prefix.pop();
                    }
                    found.push((prefix.clone(), alias));
                    self.at += 2;
                    prefix.truncate(depth);
                    return;
                }
                Kind::Ident(word) => {
                    prefix.push(word.clone());
                    self.at += 1;
                }
                Kind::Sep | Kind::Mark('$') => self.at += 1,
                Kind::Mark('*') => {
                    found.push((prefix.clone(), "*".to_owned()));
                    self.at += 1;
                    prefix.truncate(depth);
                    return;
                }
                Kind::Mark('{') => {
                    self.at += 1;
                    while self.peek(0).is_some_and(|t| !t.is('}')) {
                        self.tree(prefix, found);
                        if self.peek(0).is_some_and(|t| t.is(',')) {
                            self.at += 1;
                        }
                    }
                    self.at += 1;
                    prefix.truncate(depth);
                    return;
                }
                _ => break,
            }
        }
        if prefix.last().is_some_and(|word| word == "self") && prefix.len() > 1 {
            prefix.pop();
        }
        if let Some(alias) = prefix.last().cloned() {
            found.push((prefix.clone(), alias));
        } else {
            self.at += 1; // not a `use` that we understand: never stand still
        }
        prefix.truncate(depth);
    }

    /// `a::b::c` as far as it goes; a lone word names nothing that a `use` did not.
    fn mention(&mut self, line: usize) {
        let mut path = Vec::new();
        while let Some(word) = self.peek(0).and_then(Token::ident) {
            path.push(word.to_owned());
            self.at += 1;
            let goes_on = self.peek(0).is_some_and(|t| t.kind == Kind::Sep)
                && self.peek(1).and_then(Token::ident).is_some();
            if !goes_on {
                break;
            }
            self.at += 1;
        }
        if path.len() > 1 {
            self.scope().mentions.push(Mention { path, line });
        }
    }

    /// `::std::fs` is a path; the `::now` of `<T>::now` is not one.
    fn absolute_or_associated(&mut self) {
        let after_type = self.at.checked_sub(1).is_some_and(|i| self.tokens[i].is('>'));
        self.at += 1;
        if after_type {
            while self.peek(0).and_then(Token::ident).is_some() {
                self.at += 1;
                if !self.peek(0).is_some_and(|t| t.kind == Kind::Sep) {
                    break;
                }
                self.at += 1;
            }
        }
    }
}
