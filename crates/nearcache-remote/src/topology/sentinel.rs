//! The primary that Sentinels name.

use std::sync::{Arc, Mutex, PoisonError};

use redis::{ConnectionAddr, RedisConnectionInfo, Value, cmd, from_redis_value};

use super::discovered::Discovered;
use crate::connection::Connection;
use crate::error::{Error, ErrorKind};
use crate::handshake::Handshake;
use crate::node::Node;
use crate::site::Site;
use crate::tls::with_host;

/// The primary that Sentinels name.
pub(crate) struct Sentinel {
    /// The one that answered last is the first.
    sentinels: Mutex<Vec<ConnectionAddr>>,
    settings: RedisConnectionInfo,
    service: String,
    primary: Discovered<Arc<Node>>,
    site: Arc<Site>,
}

impl Sentinel {
    pub(super) fn new(
        sentinels: Vec<ConnectionAddr>,
        settings: &RedisConnectionInfo,
        service: &str,
        site: Arc<Site>,
    ) -> Self {
        Self {
            sentinels: Mutex::new(sentinels),
            settings: settings.clone(),
            service: service.to_owned(),
            primary: Discovered::new(Arc::clone(&site)),
            site,
        }
    }

    pub(super) fn version(&self) -> Option<u64> {
        self.primary.number()
    }

    pub(super) fn primary(&self) -> Result<Arc<Node>, Error> {
        let version = self.primary.get();
        let node = version.map(|version| Arc::clone(&version.value));
        node.ok_or_else(|| Error::new(ErrorKind::Connection, "no Sentinel was asked yet"))
    }

    pub(super) fn refresh(&self, seen: Option<u64>) -> Result<(), Error> {
        self.primary.refresh(seen, |current| {
            let address = self.find()?;
            match current {
                Some(node) if node.address == address => Ok(Arc::clone(node)),
                current => {
                    if let Some(former) = current {
                        former.reset();
                    }
                    Ok(Arc::new(Node::new(address, Arc::clone(&self.site), true)))
                }
            }
        })
    }

    /// Asks the Sentinels in turn.
    fn find(&self) -> Result<ConnectionAddr, Error> {
        let sentinels = self
            .sentinels
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let mut problems = Vec::with_capacity(sentinels.len());
        let mut kind = ErrorKind::Connection;
        for sentinel in sentinels {
            match self.ask(&sentinel) {
                Ok(primary) => {
                    self.prefer(&sentinel);
                    return Ok(primary);
                }
                Err(error) => {
                    // A Sentinel that knows no such service is a mistake, whatever the others say.
                    if kind != ErrorKind::Config {
                        kind = error.kind;
                    }
                    problems.push(error.to_string());
                }
            }
        }
        let message = format!(
            "no Sentinel names the primary of {:?}: {}",
            self.service,
            problems.join("; ")
        );
        Err(Error::new(kind, message))
    }

    fn ask(&self, sentinel: &ConnectionAddr) -> Result<ConnectionAddr, Error> {
        let config = &self.site.config;
        let name = sentinel.to_string();
        let handshake = Handshake::with_sentinel(&self.settings);
        let mut connection = Connection::open(sentinel, &handshake, config, config.connect_timeout)?;
        let mut question = cmd("SENTINEL");
        question.arg("GET-MASTER-ADDR-BY-NAME").arg(&self.service);
        match connection.request(&[question], &name)?.pop() {
            Some(Value::ServerError(error)) => Err(Error::from_reply(&error, &name)),
            Some(Value::Nil) | None => {
                let message = format!("the Sentinel {name} does not know the service {:?}", self.service);
                Err(Error::new(ErrorKind::Config, message))
            }
            Some(value) => match from_redis_value::<(String, u16)>(value) {
                Ok((host, port)) => Ok(with_host(sentinel, host, port)),
                Err(_) => Err(Error::new(
                    ErrorKind::Response,
                    format!("the reply of {name} is not an address"),
                )),
            },
        }
    }

    fn prefer(&self, sentinel: &ConnectionAddr) {
        let mut sentinels = self.sentinels.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(position) = sentinels.iter().position(|other| other == sentinel) {
            sentinels[..=position].rotate_right(1);
        }
    }
}
