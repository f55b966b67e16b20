//! Glob patterns with the rules of Redis, applied to characters.
//!
//! - `*` matches any text, `?` any one character.
//! - `[abc]` and `[a-z]` match one of these characters, `[^...]` one of all others. A range may be written in either order;
//!   its end is whatever follows the `-`, even a `]`. `[]` matches nothing and `[^]` any character. A class that is not
//!   closed extends to the end of the pattern.
//! - `\` makes the next character literal, in classes too. At the end of a pattern it matches itself.
//!
//! Matching backtracks to the last `*` only, so it takes at most pattern length times text length steps.

use pyo3::PyResult;

use crate::memory::push;

/// A compiled pattern.
pub(crate) struct Glob(Vec<Token>);

/// A character: a Unicode scalar value, or a lone surrogate, which a Python `str` may contain.
type Char = u32;

enum Token {
    AnyText,
    AnyChar,
    Char(Char),
    Class {
        negated: bool,
        ranges: Vec<(Char, Char)>,
    },
}

impl Token {
    /// Returns whether the token matches this one character. `*` does not.
    fn is(&self, character: Char) -> bool {
        match self {
            Self::AnyText => false,
            Self::AnyChar => true,
            Self::Char(own) => *own == character,
            Self::Class { negated, ranges } => {
                let among = ranges
                    .iter()
                    .any(|&(first, last)| (first..=last).contains(&character));
                among != *negated
            }
        }
    }
}

impl Glob {
    /// Compiles a pattern, encoded as [`Text`] is. Every text is a pattern.
    pub(crate) fn new(pattern: &[u8]) -> PyResult<Self> {
        let mut rest = Text(pattern);
        let mut tokens = Vec::new();
        while let Some(character) = rest.take() {
            let token = match char::from_u32(character) {
                Some('*') if matches!(tokens.last(), Some(Token::AnyText)) => continue,
                Some('*') => Token::AnyText,
                Some('?') => Token::AnyChar,
                Some('[') => class(&mut rest)?,
                Some('\\') => Token::Char(rest.take().unwrap_or(character)),
                _ => Token::Char(character),
            };
            push(&mut tokens, token)?;
        }
        Ok(Self(tokens))
    }

    /// Returns whether the pattern matches a whole text, encoded as [`Text`] is.
    pub(crate) fn matches(&self, text: &[u8]) -> bool {
        let tokens = self.0.as_slice();
        let (mut at, mut rest) = (0, Text(text));
        // For the last `*` so far: the token after it, and the text that it has not consumed.
        let mut retry: Option<(usize, Text<'_>)> = None;
        loop {
            if let Some(Token::AnyText) = tokens.get(at) {
                at += 1;
                if at == tokens.len() {
                    return true;
                }
                retry = Some((at, rest));
                continue;
            }
            match (tokens.get(at), rest.take()) {
                (None, None) => return true,
                (Some(token), Some(character)) if token.is(character) => at += 1,
                // The text is too short, and would be shorter if the `*` consumed more.
                (Some(_), None) => return false,
                _ => {
                    let Some((after, untaken)) = &mut retry else {
                        return false;
                    };
                    untaken.take();
                    (at, rest) = (*after, *untaken);
                }
            }
        }
    }
}

/// Parses a class, after its `[`.
fn class(rest: &mut Text<'_>) -> PyResult<Token> {
    let negated = rest.take_if('^');
    let mut ranges = Vec::new();
    while let Some(character) = rest.take() {
        let range = match char::from_u32(character) {
            Some(']') => break,
            Some('\\') => {
                let escaped = rest.take().unwrap_or(character);
                (escaped, escaped)
            }
            _ => range(character, rest),
        };
        push(&mut ranges, range)?;
    }
    Ok(Token::Class { negated, ranges })
}

/// Parses a range that starts with this character; the character alone if no `-` follows.
fn range(first: Char, rest: &mut Text<'_>) -> (Char, Char) {
    let mut ahead = *rest;
    if ahead.take_if('-')
        && let Some(last) = ahead.take()
    {
        *rest = ahead;
        return (first.min(last), first.max(last));
    }
    (first, first)
}

/// The characters of a text in UTF-8, in which lone surrogates may be encoded too.
#[derive(Clone, Copy)]
struct Text<'a>(&'a [u8]);

impl Text<'_> {
    /// Takes the next character.
    fn take(&mut self) -> Option<Char> {
        let (&first, rest) = self.0.split_first()?;
        let (bits, following) = match first {
            0..0x80 => (first, 0),
            0x80..0xe0 => (first & 0x1f, 1),
            0xe0..0xf0 => (first & 0x0f, 2),
            0xf0.. => (first & 0x07, 3),
        };
        let (following, rest) = rest.split_at(following.min(rest.len()));
        self.0 = rest;
        let join = |bits: Char, byte: &u8| bits << 6 | Char::from(byte & 0x3f);
        Some(following.iter().fold(Char::from(bits), join))
    }

    /// Takes the next character if it is this one.
    fn take_if(&mut self, wanted: char) -> bool {
        let mut ahead = *self;
        let taken = ahead.take() == Some(Char::from(wanted));
        if taken {
            *self = ahead;
        }
        taken
    }
}
