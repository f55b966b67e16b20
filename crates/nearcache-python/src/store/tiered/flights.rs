//! Single flight for the entries of a server.

use nearcache::Condition;
use pyo3::prelude::*;

use super::super::entry_store::{EntryStore, SetOutcome};
use super::super::flights::{Computed, EarlyRead, Flight, Joined};
use super::tiered_store::TieredStore;
use crate::context::CallContext;

impl TieredStore {
    pub(super) fn read_early(
        &'static self,
        context: &CallContext<'_, '_>,
        key: &[u8],
    ) -> PyResult<EarlyRead> {
        let found = self.read(context, key, false)?;
        Ok(found.map_or(EarlyRead::Missing, EarlyRead::Value))
    }

    pub(super) fn join_flight(&'static self, context: &CallContext<'_, '_>, key: &[u8]) -> PyResult<Joined> {
        let joined = self.flights.join(key);
        if let Joined::Leader(..) = joined
            && let Some(value) = self.read(context, key, false)?
        {
            return Ok(Joined::Hit(value));
        }
        Ok(joined)
    }

    pub(super) fn complete_flight(
        &'static self,
        context: &CallContext<'_, '_>,
        flight: &Flight,
        computed: &Computed<'_, '_>,
    ) -> PyResult<bool> {
        let added = EntryStore::set(
            self,
            context,
            &flight.key,
            computed.value,
            computed.timeout,
            Condition::IfAbsent,
        )?;
        let lead = flight.take(context.py())?;
        lead.finish(computed.value, context.settings.pickle_protocol)?;
        Ok(added == SetOutcome::Stored)
    }
}
