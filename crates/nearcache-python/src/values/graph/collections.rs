//! Recording exact `dict`, `list`, `tuple`, `set`, `frozenset` and `bytearray`.

use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyDict, PyFrozenSet, PyIterator, PyList, PySet, PyString, PyTuple};

use super::flat::Flat;
use super::node::Node;
use super::recorder::{LARGE, Recorder, Seen};
use super::stop::Stop;
use crate::memory::no_memory;
use crate::objects::{Items, bytes_of, items, list_copy, set_copy};
use crate::values::atoms::atom_size;
use crate::values::counted_names;
use crate::values::sizes::{bytes_size, dict_size, list_size, set_size, str_size, tuple_size};

/// How deep the tuples may be nested in a dict's key or a set's member that is shared.
const MAX_KEY_DEPTH: usize = 8;

impl<'py> Recorder<'py> {
    /// Records an object if it is exactly of a builtin collection's type. A mutable one is copied first, atomically.
    pub(super) fn collection(&mut self, value: &Bound<'py, PyAny>) -> Option<Result<(), Stop>> {
        Some(if let Ok(dict) = value.cast_exact::<PyDict>() {
            self.dict(dict)
        } else if let Ok(list) = value.cast_exact::<PyList>() {
            self.list(list)
        } else if let Ok(tuple) = value.cast_exact::<PyTuple>() {
            self.tuple(tuple)
        } else if let Ok(set) = value.cast_exact::<PySet>() {
            self.set(set)
        } else if let Ok(set) = value.cast_exact::<PyFrozenSet>() {
            self.frozen_set(set)
        } else if let Ok(bytes) = value.cast_exact::<PyByteArray>() {
            self.byte_array(bytes)
        } else {
            return None;
        })
    }

    fn dict(&mut self, dict: &Bound<'py, PyDict>) -> Result<(), Stop> {
        let copy = dict.copy()?;
        let position = self.open_before_parts(dict)?;
        let before = self.size;
        let mut rest = items(&copy);
        let first_changed = loop {
            let here = rest.clone();
            let Some((key, inner)) = rest.next() else {
                break None;
            };
            if !self.count_key(&key)? {
                self.size = before;
                return self.dict_items(&copy, position);
            }
            match atom_size(&inner)? {
                Some(size) => self.count(&inner, size)?,
                None => break Some(here),
            }
        };
        // Recording a part calls functions of the program, so all keys are examined before.
        for (key, _) in rest {
            if !self.count_key(&key)? {
                self.size = before;
                return self.dict_items(&copy, position);
            }
        }
        // One key is enough for an estimate.
        let has_names = items(&copy)
            .next()
            .is_some_and(|(key, _)| key.is_exact_instance_of::<PyString>());
        self.size += dict_size(copy.len(), has_names);
        let changes = match first_changed {
            Some(here) => self.changed_values(here, &copy)?,
            None => 0,
        };
        self.close_dict(position, copy, changes);
        Ok(())
    }

    /// Records the values that are not shared, and removes them from the dict; returns how many there are. The keys are
    /// shared.
    pub(super) fn changed_values(
        &mut self,
        values: Items<'_, 'py>,
        copy: &Bound<'py, PyDict>,
    ) -> Result<u32, Stop> {
        let mut changes = 0;
        for (key, inner) in values {
            if let Some(size) = atom_size(&inner)? {
                self.count(&inner, size)?;
                continue;
            }
            let before = self.nodes.len();
            self.shared(&key)?;
            self.object(&inner)?;
            if matches!(self.nodes.last(), Some(Node::Shared(_))) && self.nodes.len() == before + 2 {
                self.nodes.truncate(before);
            } else {
                // Assigning to an existing key does not disturb the iteration.
                copy.set_item(key, copy.py().None())?;
                changes += 1;
            }
        }
        Ok(changes)
    }

    /// Sets the node at a position to a dict whose changed values follow.
    pub(super) fn close_dict(&mut self, position: u32, copy: Bound<'py, PyDict>, changes: u32) {
        let node = if changes == 0 {
            Node::Flat(Flat::new(copy))
        } else {
            Node::Dict {
                shared: copy.unbind(),
                changes,
            }
        };
        self.close(position, node);
    }

    /// Records a dict with keys that have to be rebuilt.
    fn dict_items(&mut self, copy: &Bound<'py, PyDict>, position: u32) -> Result<(), Stop> {
        let mut len = 0;
        for (key, inner) in items(copy) {
            self.object(&key)?;
            self.object(&inner)?;
            len += 1;
        }
        self.close(position, Node::DictItems(len));
        Ok(())
    }

    /// Adds the size of a dict's key; returns whether it is shared.
    #[inline]
    pub(super) fn count_key(&mut self, key: &Bound<'py, PyAny>) -> PyResult<bool> {
        if let Ok(name) = key.cast_exact::<PyString>() {
            if counted_names::contains(name) {
                return Ok(true);
            }
            let size = str_size(name);
            if size < LARGE {
                counted_names::insert(name);
                self.size += size;
                return Ok(true);
            }
        }
        self.count_immutable(key, MAX_KEY_DEPTH)
    }

    /// Adds the size of an object if it is an atom, or a tuple or frozenset of atoms; returns whether it is.
    fn count_immutable(&mut self, value: &Bound<'py, PyAny>, depth: usize) -> PyResult<bool> {
        if let Some(size) = atom_size(value)? {
            self.count(value, size)?;
            return Ok(true);
        }
        if depth == 0 {
            return Ok(false);
        }
        if let Ok(tuple) = value.cast_exact::<PyTuple>() {
            for item in tuple {
                if !self.count_immutable(&item, depth - 1)? {
                    return Ok(false);
                }
            }
            self.size += tuple_size(tuple.len());
            return Ok(true);
        }
        if let Ok(set) = value.cast_exact::<PyFrozenSet>() {
            return self.count_members(set.len(), set.try_iter()?, depth - 1);
        }
        Ok(false)
    }

    /// Adds the size of a set of immutable members; returns whether all are.
    fn count_members(&mut self, len: usize, members: Bound<'py, PyIterator>, depth: usize) -> PyResult<bool> {
        for member in members {
            if !self.count_immutable(&member?, depth)? {
                return Ok(false);
            }
        }
        self.size += set_size(len);
        Ok(true)
    }

    fn list(&mut self, list: &Bound<'py, PyList>) -> Result<(), Stop> {
        let copy = list_copy(list)?;
        let position = self.open_before_parts(list)?;
        let atoms = self.count_first_atoms(&copy)?;
        let Some(first) = copy.iter().nth(atoms) else {
            self.size += list_size(atoms);
            self.close(position, Node::Flat(Flat::new(copy)));
            return Ok(());
        };
        self.expect_parts(&first, copy.len())?;
        for atom in copy.iter().take(atoms) {
            self.shared(&atom)?;
        }
        let rest = self.items(copy.iter().skip(atoms))?;
        if self.only_shared_after(position) {
            self.size += list_size(copy.len());
            self.close_without_parts(position, Node::Flat(Flat::new(copy)));
        } else {
            let len = u32::try_from(atoms).map_err(no_memory)? + rest;
            self.close(position, Node::List(len));
        }
        Ok(())
    }

    /// Adds the sizes of the atoms at the start of a list; returns how many there are. A list of atoms alone needs no
    /// nodes.
    fn count_first_atoms(&mut self, list: &Bound<'py, PyList>) -> PyResult<usize> {
        let mut atoms = 0;
        for item in list {
            let Some(size) = atom_size(&item)? else {
                break;
            };
            self.count(&item, size)?;
            atoms += 1;
        }
        Ok(atoms)
    }

    fn tuple(&mut self, tuple: &Bound<'py, PyTuple>) -> Result<(), Stop> {
        let position = self.open()?;
        let len = self.items(tuple.iter())?;
        if self.only_shared_after(position) {
            self.size += tuple_size(tuple.len());
            return self.share_without_parts(tuple, position);
        }
        let superseded = self.finish_after_parts(tuple, position)?;
        self.close(position, Node::Tuple { len, superseded });
        Ok(())
    }

    /// Records items; returns how many there are.
    fn items(&mut self, items: impl Iterator<Item = Bound<'py, PyAny>>) -> Result<u32, Stop> {
        let mut len = 0;
        for item in items {
            self.object(&item)?;
            len += 1;
        }
        Ok(len)
    }

    fn set(&mut self, set: &Bound<'py, PySet>) -> Result<(), Stop> {
        let copy = set_copy(set)?;
        let position = self.open_before_parts(set)?;
        let before = self.size;
        if self.count_members(copy.len(), copy.try_iter()?, MAX_KEY_DEPTH)? {
            self.close(position, Node::Flat(Flat::new(copy)));
            return Ok(());
        }
        self.size = before;
        let members = self.members(copy.try_iter()?)?;
        self.close(position, Node::Set(members));
        Ok(())
    }

    fn frozen_set(&mut self, set: &Bound<'py, PyFrozenSet>) -> Result<(), Stop> {
        let position = self.open()?;
        let before = self.size;
        if self.count_members(set.len(), set.try_iter()?, MAX_KEY_DEPTH)? {
            return self.share_without_parts(set, position);
        }
        self.size = before;
        let len = self.members(set.try_iter()?)?;
        let superseded = self.finish_after_parts(set, position)?;
        self.close(position, Node::FrozenSet { len, superseded });
        Ok(())
    }

    /// Records the members of a set; returns how many there are.
    fn members(&mut self, members: Bound<'py, PyIterator>) -> Result<u32, Stop> {
        let mut len = 0;
        for member in members {
            self.object(&member?)?;
            len += 1;
        }
        Ok(len)
    }

    fn byte_array(&mut self, bytes: &Bound<'py, PyByteArray>) -> Result<(), Stop> {
        let content = bytes_of(bytes)?;
        let position = self.open_before_parts(bytes)?;
        self.size += bytes_size(content.as_bytes().len());
        self.close(position, Node::Flat(Flat::new(content)));
        Ok(())
    }

    /// Sets the node at a position to an object itself, of which the nodes after it are parts.
    pub(super) fn share_without_parts(
        &mut self,
        value: &Bound<'py, PyAny>,
        position: u32,
    ) -> Result<(), Stop> {
        self.remember(value, Seen::Shared)?;
        self.close_without_parts(position, Node::Shared(value.clone().unbind()));
        Ok(())
    }
}
