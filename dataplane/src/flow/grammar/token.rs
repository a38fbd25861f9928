//! `key`, `key=value`, `key:value`, `key(value)` and `"quoted"`, separated by commas and white space.

use super::Fault;

/// One piece of a flow's text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Token<'a> {
    /// What stands before the value.
    pub key: &'a str,
    /// The value and where it starts.
    value: Option<(&'a str, usize)>,
    /// Where the token starts.
    pub at: usize,
}

impl<'a> Token<'a> {
    pub(super) fn value(&self) -> Option<&'a str> {
        self.value.map(|(value, _)| value)
    }

    /// The value, which must be there.
    pub(super) fn text(&self) -> Result<&'a str, Fault> {
        self.value().ok_or_else(|| self.without_value())
    }

    pub(super) fn value_start(&self) -> Result<usize, Fault> {
        self.value.map(|(_, start)| start).ok_or_else(|| self.without_value())
    }

    fn without_value(&self) -> Fault {
        Fault::new(self.at, format!("{} without a value", self.key), format!("{}=VALUE", self.key))
    }

    /// The value is not what it should be.
    pub(super) fn wrong(&self, expected: &str) -> Fault {
        match self.value {
            Some((value, start)) => Fault::new(start, format!("{} is \"{value}\"", self.key), expected),
            None => self.without_value(),
        }
    }

    /// The value as a number up to `max`.
    pub(super) fn limited(&self, max: u64, expected: &str) -> Result<u64, Fault> {
        number(self.text()?).filter(|&number| number <= max).ok_or_else(|| self.wrong(expected))
    }
}

/// Decimal, hexadecimal with 0x, or octal with 0 in front: what Open vSwitch takes, because C does.
pub(super) fn number(text: &str) -> Option<u64> {
    let (digits, radix) = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => (digits, 16),
        None if text.len() > 1 && text.starts_with('0') => (text, 8),
        None => (text, 10),
    };
    // The standard parser takes a sign too.
    digits.starts_with(|first: char| first.is_digit(radix)).then(|| u64::from_str_radix(digits, radix).ok())?
}

pub(super) struct Tokens<'a> {
    text: &'a str,
    at: usize,
    /// What to add to positions: the text may be the end of a longer one.
    base: usize,
}

fn separates(byte: char) -> bool {
    byte == ',' || byte.is_ascii_whitespace()
}

impl<'a> Tokens<'a> {
    pub(super) fn new(text: &'a str, base: usize) -> Self {
        Self { text, at: 0, base }
    }

    pub(super) fn next_token(&mut self) -> Result<Option<Token<'a>>, Fault> {
        let rest = &self.text[self.at..];
        self.at += rest.len() - rest.trim_start_matches(separates).len();
        if self.at == self.text.len() {
            return Ok(None);
        }
        let at = self.base + self.at;
        let (key, _) = self.piece(|byte| separates(byte) || matches!(byte, ':' | '=' | '('))?;
        let value = match self.text[self.at..].chars().next() {
            Some(':' | '=') => {
                self.at += 1;
                Some(self.piece(separates)?)
            }
            Some('(') => {
                self.at += 1;
                let value = self.piece(|byte| byte == ')')?;
                if self.at == self.text.len() {
                    return Err(Fault::new(at, format!("{key}(... without an end"), "a closing parenthesis"));
                }
                self.at += 1;
                Some(value)
            }
            _ => None,
        };
        if key.is_empty() {
            return Err(Fault::new(at, "a value without a name", "NAME=VALUE, with no space around the sign"));
        }
        Ok(Some(Token { key, value, at }))
    }

    /// The text up to what `ends` it, or between quotes.
    fn piece(&mut self, ends: impl Fn(char) -> bool) -> Result<(&'a str, usize), Fault> {
        let rest = &self.text[self.at..];
        let (piece, skipped) = match rest.strip_prefix('"') {
            Some(quoted) => match quoted.split_once('"') {
                Some((piece, _)) => (piece, 1),
                None => return Err(Fault::new(self.base + self.at, "a quote without an end", "a closing quote")),
            },
            None => (&rest[..rest.find(ends).unwrap_or(rest.len())], 0),
        };
        let start = self.base + self.at + skipped;
        self.at += piece.len() + 2 * skipped;
        Ok((piece, start))
    }
}
