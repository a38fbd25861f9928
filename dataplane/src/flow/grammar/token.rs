//! `key`, `key=value`, `key:value`, `key(value)`, `key(value)->more`, separated by commas and white space.

use super::Fault;

/// One piece of a text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Token<'a> {
    /// What stands before the value.
    pub key: &'a str,
    /// The value and where it starts.
    value: Option<(&'a str, usize)>,
    /// What stands behind `)->`.
    pub arrow: Option<(&'a str, usize)>,
    /// True when the key was in quotes: then it can only be a name.
    pub quoted: bool,
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

    /// The pieces of the value.
    pub(super) fn inner(&self) -> Result<Tokens<'a>, Fault> {
        Ok(Tokens::new(self.text()?, self.value_start()?))
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

    /// A number of 16 bits.
    pub(super) fn number16(&self) -> Result<u16, Fault> {
        Ok(self.limited(0xffff, "a number, 0 to 65535")? as u16)
    }

    /// A number of 32 bits.
    pub(super) fn number32(&self) -> Result<u32, Fault> {
        Ok(self.limited(0xffff_ffff, "a number, 0 to 4294967295")? as u32)
    }

    /// A word that stands for itself.
    pub(super) fn without(&self) -> Result<(), Fault> {
        match self.value() {
            None | Some("") => Ok(()),
            Some(_) => Err(self.wrong("no value")),
        }
    }
}

/// Decimal, hexadecimal with 0x, or octal with 0 in front: what Open vSwitch takes, because C does.
pub(super) fn number(text: &str) -> Option<u64> {
    wide_number(text).and_then(|number| u64::try_from(number).ok())
}

/// The same, up to 128 bits.
pub(super) fn wide_number(text: &str) -> Option<u128> {
    let (digits, radix) = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => (digits, 16),
        None if text.len() > 1 && text.starts_with('0') => (text, 8),
        None => (text, 10),
    };
    // The standard parser takes a sign too.
    digits.starts_with(|first: char| first.is_digit(radix)).then(|| u128::from_str_radix(digits, radix).ok())?
}

#[derive(Clone)]
pub(super) struct Tokens<'a> {
    text: &'a str,
    at: usize,
    /// What to add to positions: the text may be a part of a longer one.
    base: usize,
}

fn separates(byte: char) -> bool {
    byte == ',' || byte.is_ascii_whitespace()
}

impl<'a> Tokens<'a> {
    pub(super) fn new(text: &'a str, base: usize) -> Self {
        Self { text, at: 0, base }
    }

    /// Where the next token is looked for.
    pub(super) fn position(&self) -> usize {
        self.base + self.at
    }

    pub(super) fn next_token(&mut self) -> Result<Option<Token<'a>>, Fault> {
        let rest = &self.text[self.at..];
        self.at += rest.len() - rest.trim_start_matches(separates).len();
        if self.at == self.text.len() {
            return Ok(None);
        }
        let at = self.position();
        let quoted = self.text[self.at..].starts_with('"');
        let (piece, _) = self.piece(|byte| separates(byte) || matches!(byte, ':' | '=' | '('))?;
        let key = if quoted { piece.trim_matches('"') } else { piece };
        let mut arrow = None;
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
                if self.text[self.at..].starts_with("->") {
                    self.at += 2;
                    arrow = Some(self.piece(separates)?);
                }
                Some(value)
            }
            _ => None,
        };
        if key.is_empty() {
            return Err(Fault::new(at, "a value without a name", "NAME=VALUE, with no space around the sign"));
        }
        Ok(Some(Token { key, value, arrow, quoted, at }))
    }

    /// The text up to what `ends` it outside of quotes and brackets.
    fn piece(&mut self, ends: impl Fn(char) -> bool) -> Result<(&'a str, usize), Fault> {
        let rest = &self.text[self.at..];
        let start = self.position();
        let (mut depth, mut quote) = (0_usize, None);
        let mut len = rest.len();
        for (at, byte) in rest.char_indices() {
            match byte {
                '"' => quote = if quote.is_some() { None } else { Some(at) },
                _ if quote.is_some() => {}
                _ if depth == 0 && ends(byte) => {
                    len = at;
                    break;
                }
                '(' | '[' => depth += 1,
                ')' | ']' => depth = depth.saturating_sub(1),
                _ => {}
            }
        }
        if let Some(at) = quote {
            return Err(Fault::new(start + at, "a quote without an end", "a closing quote"));
        }
        self.at += len;
        Ok((&rest[..len], start))
    }
}
