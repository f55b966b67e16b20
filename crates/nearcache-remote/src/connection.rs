//! A connection that blocks.

use std::io::{self, Write};
use std::time::Duration;

use redis::{Cmd, ConnectionAddr, Value};

use crate::config::Config;
use crate::error::Error;
use crate::failure::{self, Failure};
use crate::handshake::{Handshake, Introduction};
use crate::resp::Reader;
use crate::stream::Stream;

/// Up to this size, the memory of commands is kept for the next.
const KEPT_OUTPUT: usize = 64 * 1024;

/// A connection that blocks.
///
/// It is used again only if every command that was sent has its reply: otherwise a late reply would be taken for that of
/// another command.
pub(crate) struct Connection {
    reader: Reader<Stream>,
    output: Vec<u8>,
    /// How many replies are to come.
    outstanding: usize,
    is_broken: bool,
    /// Whether it served a request before this one.
    pub(crate) is_reused: bool,
    response_timeout: Duration,
    pub(crate) introduction: Introduction,
}

impl Connection {
    /// Connects and introduces itself.
    pub(crate) fn open(
        address: &ConnectionAddr,
        handshake: &Handshake,
        config: &Config,
        timeout: Duration,
    ) -> Result<Self, Error> {
        let name = address.to_string();
        let mut connection = Self {
            reader: Reader::new(Stream::connect(address, config, timeout)?),
            output: Vec::new(),
            outstanding: 0,
            is_broken: false,
            is_reused: false,
            response_timeout: config.response_timeout,
            introduction: Introduction::default(),
        };
        let replies = connection
            .request(&handshake.commands, &name)
            .map_err(failure::handshake)?;
        connection.introduction = handshake.finish(&replies, &name)?;
        Ok(connection)
    }

    /// Sends commands and waits for all replies.
    pub(crate) fn request(&mut self, commands: &[Cmd], name: &str) -> Result<Vec<Value>, Error> {
        self.send(commands.iter(), name)
            .map_err(|failure| failure.error)?;
        commands
            .iter()
            .map(|_| self.receive(name).map_err(|failure| failure.error))
            .collect()
    }

    /// Sends commands.
    pub(crate) fn send<'a>(
        &mut self,
        commands: impl Iterator<Item = &'a Cmd>,
        name: &str,
    ) -> Result<(), Failure> {
        self.output.clear();
        for command in commands {
            command.write_packed_command(&mut self.output);
            self.outstanding += 1;
        }
        let stream = &mut self.reader.source;
        let result = stream.write_all(&self.output).and_then(|()| stream.flush());
        if self.output.capacity() > KEPT_OUTPUT {
            self.output = Vec::new();
        }
        result.map_err(|error| self.fail(&error, name))
    }

    /// Waits for the reply to the oldest command that has none.
    pub(crate) fn receive(&mut self, name: &str) -> Result<Value, Failure> {
        match self.reader.read() {
            Ok(value) => {
                self.outstanding -= 1;
                Ok(value)
            }
            Err(error) => Err(self.fail(&error, name)),
        }
    }

    fn fail(&mut self, error: &io::Error, name: &str) -> Failure {
        self.is_broken = true;
        Failure {
            error: failure::exchange(name, error, self.response_timeout),
            is_sent: true,
            is_reused: self.is_reused,
            is_refused: false,
        }
    }

    /// Returns whether it may serve another request.
    pub(crate) fn is_usable(&self) -> bool {
        !self.is_broken && self.outstanding == 0 && self.reader.is_empty()
    }

    /// Returns whether the server closed it while nobody used it. A system call.
    pub(crate) fn is_stale(&self) -> bool {
        self.reader.source.is_stale()
    }
}
