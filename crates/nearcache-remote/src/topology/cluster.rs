//! The slots of a Cluster and its primaries.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redis::{ConnectionAddr, cmd};

use super::discovered::Discovered;
use super::slots::{SlotRange, parse_slots};
use crate::error::{Error, ErrorKind};
use crate::hash_slot::SLOTS;
use crate::job::Target;
use crate::node::Node;
use crate::request::Route;
use crate::site::Site;

/// Marks a slot that nobody serves.
const NOBODY: u16 = u16::MAX;

/// The slots of a Cluster and its primaries.
pub(crate) struct Cluster {
    map: Discovered<SlotMap>,
    seeds: Vec<Arc<Node>>,
    /// All servers that were named, so that connections and breakers survive a new map.
    known: Mutex<Vec<Arc<Node>>>,
    site: Arc<Site>,
}

/// Which primary serves which slot.
struct SlotMap {
    /// Numbers of primaries, by slot.
    slots: Vec<u16>,
    primaries: Vec<Arc<Node>>,
}

impl Cluster {
    pub(super) fn new(seeds: &[ConnectionAddr], site: Arc<Site>) -> Self {
        let node = |address: &ConnectionAddr| Arc::new(Node::new(address.clone(), Arc::clone(&site), false));
        let seeds: Vec<Arc<Node>> = seeds.iter().map(node).collect();
        Self {
            map: Discovered::new(Arc::clone(&site)),
            known: Mutex::new(seeds.clone()),
            seeds,
            site,
        }
    }

    /// Returns a Cluster whose slots are known without asking.
    #[cfg(test)]
    pub(crate) fn with_ranges(ranges: Vec<SlotRange>, site: Arc<Site>) -> Result<Self, Error> {
        let cluster = Self::new(&[], site);
        cluster.map.refresh(None, |_| Ok(cluster.build(ranges)))?;
        Ok(cluster)
    }

    pub(super) fn version(&self) -> Option<u64> {
        self.map.number()
    }

    pub(super) fn primaries(&self) -> usize {
        self.map.get().map_or(0, |map| map.value.primaries.len())
    }

    pub(super) fn nodes(&self) -> Vec<Arc<Node>> {
        self.known().clone()
    }

    pub(super) fn route(&self, route: Route, target: &Target) -> Result<Arc<Node>, Error> {
        if let Target::Moved(address) | Target::Asked(address) = target {
            return Ok(self.node(address));
        }
        let nobody =
            |what: String| Error::new(ErrorKind::Connection, format!("no server of the Cluster {what}"));
        let Some(map) = self.map.get() else {
            return Err(nobody("was asked yet".to_owned()));
        };
        let SlotMap { slots, primaries } = &map.value;
        let found = match route {
            Route::Slot(slot) => slots
                .get(usize::from(slot))
                .and_then(|&number| primaries.get(usize::from(number))),
            Route::Primary(number) => primaries.get(number),
        };
        found.map(Arc::clone).ok_or_else(|| match route {
            Route::Slot(slot) => nobody(format!("serves slot {slot}")),
            // The caller counted the primaries of another map: it has to begin again.
            Route::Primary(number) => Error::new(
                ErrorKind::Response,
                format!(
                    "the Cluster has no primary {number} any more: it has {}",
                    primaries.len()
                ),
            ),
        })
    }

    /// Returns the server at an address.
    fn node(&self, address: &ConnectionAddr) -> Arc<Node> {
        let mut known = self.known();
        if let Some(node) = known.iter().find(|node| node.address == *address) {
            return Arc::clone(node);
        }
        let node = Arc::new(Node::new(address.clone(), Arc::clone(&self.site), false));
        known.push(Arc::clone(&node));
        node
    }

    fn known(&self) -> MutexGuard<'_, Vec<Arc<Node>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn refresh(&self, seen: Option<u64>) -> Result<(), Error> {
        self.map.refresh(seen, |current| {
            let ranges = self.find(current)?;
            let map = self.build(ranges);
            let is_kept = |node: &Arc<Node>| {
                let same = |other: &Arc<Node>| Arc::ptr_eq(node, other);
                map.primaries.iter().any(same) || self.seeds.iter().any(same)
            };
            self.known().retain(is_kept);
            Ok(map)
        })
    }

    /// Asks the primaries of the current map in turn, then the nodes of the URL.
    fn find(&self, current: Option<&SlotMap>) -> Result<Vec<SlotRange>, Error> {
        let primaries = current.into_iter().flat_map(|map| &map.primaries);
        let mut problems = Vec::new();
        let mut kind = ErrorKind::Connection;
        for node in primaries.chain(&self.seeds) {
            match ask(node) {
                Ok(ranges) => return Ok(ranges),
                // Asking another node would not help.
                Err(error) if matches!(error.kind, ErrorKind::Config | ErrorKind::Authentication) => {
                    return Err(error);
                }
                Err(error) => {
                    kind = error.kind;
                    let problem = error.to_string();
                    if !problems.contains(&problem) {
                        problems.push(problem);
                    }
                }
            }
        }
        let message = format!("no node of the Cluster tells its slots: {}", problems.join("; "));
        Err(Error::new(kind, message))
    }

    /// Primaries are in the order of their first slot: every process numbers them alike.
    fn build(&self, mut ranges: Vec<SlotRange>) -> SlotMap {
        ranges.sort_by_key(|range| range.start);
        let mut map = SlotMap {
            slots: vec![NOBODY; usize::from(SLOTS)],
            primaries: Vec::new(),
        };
        for range in ranges {
            let position = map
                .primaries
                .iter()
                .position(|node| node.address == range.primary);
            let number = position.unwrap_or_else(|| {
                map.primaries.push(self.node(&range.primary));
                map.primaries.len() - 1
            });
            let number = u16::try_from(number).unwrap_or(NOBODY);
            map.slots[usize::from(range.start)..=usize::from(range.end)].fill(number);
        }
        map
    }
}

fn ask(node: &Node) -> Result<Vec<SlotRange>, Error> {
    let mut question = cmd("CLUSTER");
    question.arg("SLOTS");
    let ranges = parse_slots(&node.ask(&question)?, &node.address)?;
    if ranges.is_empty() {
        let message = format!("{} says that nobody serves any slot", node.name);
        return Err(Error::new(ErrorKind::Connection, message));
    }
    Ok(ranges)
}
