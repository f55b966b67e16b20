//! Reads replies in RESP2, the protocol of the data connections.
//!
//! Nothing of RESP3 is needed for data, and every server and proxy speaks RESP2. A large value is read into its own memory
//! without a copy in between, which redis-rs's parser makes.

use std::io::{self, Read};

use redis::Value;

/// How deep arrays may be nested.
const MAX_DEPTH: usize = 32;
/// How long a line may be: a number, a status or an error.
const MAX_LINE: usize = 64 * 1024;
const BUFFER_SIZE: usize = 16 * 1024;

/// A source of bytes.
pub(crate) trait Source: Read {
    /// Reads exactly `len` bytes more into a vector.
    fn read_rest(&mut self, len: usize, into: &mut Vec<u8>) -> io::Result<()>;
}

/// Reads `len` bytes through the reader's own type, which can then fill uninitialised memory.
pub(crate) fn read_rest(reader: &mut impl Read, len: usize, into: &mut Vec<u8>) -> io::Result<()> {
    let count = reader.by_ref().take(len as u64).read_to_end(into)?;
    if count < len {
        Err(io::ErrorKind::UnexpectedEof.into())
    } else {
        Ok(())
    }
}

/// Reads replies from a source.
pub(crate) struct Reader<S> {
    pub(crate) source: S,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

/// The first line of a reply.
enum Head {
    Whole(Value),
    Bulk(usize),
    Array(usize),
}

impl<S: Source> Reader<S> {
    pub(crate) fn new(source: S) -> Self {
        Self {
            source,
            buffer: vec![0; BUFFER_SIZE],
            start: 0,
            end: 0,
        }
    }

    /// Returns whether all that was read has been returned.
    pub(crate) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Reads the next reply. Fails with [`io::ErrorKind::InvalidData`] if it is not RESP2.
    pub(crate) fn read(&mut self) -> io::Result<Value> {
        self.read_nested(0)
    }

    fn read_nested(&mut self, depth: usize) -> io::Result<Value> {
        match self.read_head()? {
            Head::Whole(value) => Ok(value),
            Head::Bulk(len) => self.read_bulk(len).map(Value::BulkString),
            Head::Array(_) if depth == MAX_DEPTH => Err(invalid("arrays are nested too deep")),
            Head::Array(len) => {
                // The length is the server's claim: memory is taken as the elements arrive.
                let mut values = Vec::with_capacity(len.min(1024));
                for _ in 0..len {
                    values.push(self.read_nested(depth + 1)?);
                }
                Ok(Value::Array(values))
            }
        }
    }

    fn read_head(&mut self) -> io::Result<Head> {
        let len = self.line_len()?;
        let line = &self.buffer[self.start..self.start + len];
        let head = parse_head(line);
        self.start += len + 2;
        head
    }

    /// Returns the length of the next line without its end, once all of it is in the buffer.
    fn line_len(&mut self) -> io::Result<usize> {
        let mut searched = 0;
        loop {
            let unread = &self.buffer[self.start..self.end];
            if let Some(at) = unread[searched..].windows(2).position(|pair| pair == b"\r\n") {
                return Ok(searched + at);
            }
            if unread.len() > MAX_LINE {
                return Err(invalid("a line is too long"));
            }
            searched = unread.len().saturating_sub(1);
            self.fill()?;
        }
    }

    fn read_bulk(&mut self, len: usize) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        bytes
            .try_reserve_exact(len)
            .map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
        let buffered = len.min(self.end - self.start);
        bytes.extend_from_slice(&self.buffer[self.start..self.start + buffered]);
        self.start += buffered;
        if buffered < len {
            self.source.read_rest(len - buffered, &mut bytes)?;
        }
        while self.end - self.start < 2 {
            self.fill()?;
        }
        if &self.buffer[self.start..self.start + 2] != b"\r\n" {
            return Err(invalid("a string has another length than it says"));
        }
        self.start += 2;
        Ok(bytes)
    }

    /// Reads more into the buffer.
    fn fill(&mut self) -> io::Result<()> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.end == self.buffer.len() {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
            if self.end == self.buffer.len() {
                self.buffer.resize(self.buffer.len() * 2, 0);
            }
        }
        loop {
            match self.source.read(&mut self.buffer[self.end..]) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => {
                    self.end += count;
                    return Ok(());
                }
                // By a signal, whose handler runs when the caller is back in Python.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

fn parse_head(line: &[u8]) -> io::Result<Head> {
    let Some((&kind, rest)) = line.split_first() else {
        return Err(invalid("a line is empty"));
    };
    Ok(match kind {
        b'+' if rest == b"OK" => Head::Whole(Value::Okay),
        b'+' => Head::Whole(Value::SimpleString(text(rest)?.to_owned())),
        b':' => Head::Whole(Value::Int(number(rest)?)),
        b'-' => Head::Whole(parse_error(line)?),
        b'$' | b'*' => match usize::try_from(number(rest)?) {
            Err(_) => Head::Whole(Value::Nil),
            Ok(len) if kind == b'$' => Head::Bulk(len),
            Ok(len) => Head::Array(len),
        },
        _ => return Err(invalid("a reply has an unknown type")),
    })
}

/// Errors are rare; redis-rs alone can make its error.
fn parse_error(line: &[u8]) -> io::Result<Value> {
    let line = String::from_utf8_lossy(line) + "\r\n";
    redis::parse_redis_value(line.as_bytes()).map_err(|_| invalid("an error is not text"))
}

fn text(bytes: &[u8]) -> io::Result<&str> {
    std::str::from_utf8(bytes).map_err(|_| invalid("a status is not text"))
}

fn number(bytes: &[u8]) -> io::Result<i64> {
    text(bytes)?.parse().map_err(|_| invalid("a number is not one"))
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A source that returns a few bytes at a time.
    struct Drip<'a>(&'a [u8], usize);

    impl Read for Drip<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let len = buffer.len().min(self.1);
            self.0.read(&mut buffer[..len])
        }
    }

    impl Source for Drip<'_> {
        fn read_rest(&mut self, len: usize, into: &mut Vec<u8>) -> io::Result<()> {
            read_rest(self, len, into)
        }
    }

    fn read_all(bytes: &[u8], step: usize) -> io::Result<Vec<Value>> {
        let mut reader = Reader::new(Drip(bytes, step));
        let mut values = Vec::new();
        loop {
            match reader.read() {
                Ok(value) => values.push(value),
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof && reader.is_empty() => {
                    return Ok(values);
                }
                Err(error) => return Err(error),
            }
        }
    }

    #[test]
    fn replies_are_read_however_they_arrive() {
        let large = vec![b'x'; 3 * BUFFER_SIZE];
        let mut bytes =
            b"+OK\r\n+PONG\r\n:-5\r\n$-1\r\n*-1\r\n$0\r\n\r\n$4\r\na\r\nb\r\n*2\r\n:1\r\n*1\r\n$1\r\nz\r\n"
                .to_vec();
        bytes.extend_from_slice(format!("${}\r\n", large.len()).as_bytes());
        bytes.extend_from_slice(&large);
        bytes.extend_from_slice(b"\r\n-ERR no\r\n");
        let bulk = |bytes: &[u8]| Value::BulkString(bytes.to_vec());
        for step in [1, 2, 3, 7, usize::MAX] {
            let mut values = read_all(&bytes, step).unwrap();
            let error = values.pop();
            assert!(matches!(error, Some(Value::ServerError(error)) if error.details() == Some("no")));
            let expected = [
                Value::Okay,
                Value::SimpleString("PONG".to_owned()),
                Value::Int(-5),
                Value::Nil,
                Value::Nil,
                bulk(b""),
                bulk(b"a\r\nb"),
                Value::Array(vec![Value::Int(1), Value::Array(vec![bulk(b"z")])]),
                bulk(&large),
            ];
            assert_eq!(values, expected);
        }
    }

    #[test]
    fn what_is_not_resp2_is_an_error() {
        let deep = b"*1\r\n".repeat(MAX_DEPTH + 1);
        let long = vec![b'+'; 2 * MAX_LINE];
        let invalid: [&[u8]; 8] = [
            b"HTTP/1.1\r\n",
            b"\r\n",
            b":x\r\n",
            b"$1\r\nabc",
            b"+\xff\r\n",
            b"$x\r\n",
            &deep,
            &long,
        ];
        for bytes in invalid {
            assert_eq!(
                read_all(bytes, 5).unwrap_err().kind(),
                io::ErrorKind::InvalidData,
                "{bytes:?}"
            );
        }
    }

    #[test]
    fn a_reply_that_ends_early_is_an_error() {
        for bytes in [&b"+O"[..], b"$5\r\nab", b"$2\r\nab\r", b"*2\r\n:1\r\n"] {
            assert!(Reader::new(Drip(bytes, 9)).read().is_err());
        }
    }
}
