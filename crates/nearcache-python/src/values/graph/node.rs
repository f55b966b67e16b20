//! The nodes of a graph: what to do to rebuild one object.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyType};

use super::flat::Flat;

/// How one object is rebuilt. The nodes of its parts follow, in the order in which they are listed here.
pub(super) enum Node {
    /// The object itself, because it cannot change, or because pickle finds it by its name.
    Shared(Py<PyAny>),
    /// The object that another node built: its position while a value is recorded, its rank among the marks afterwards.
    Repeat(u32),
    /// A copy of a container of shared objects.
    Flat(Flat),
    /// A copy of the dict, in which `changes` values are replaced. Parts: for each, a [`Node::Shared`] for its key, and its
    /// value.
    Dict { shared: Py<PyDict>, changes: u32 },
    /// A dict. Parts: the key and the value of each item.
    DictItems(u32),
    /// A list. Parts: its items.
    List(u32),
    /// A set. Parts: its members.
    Set(u32),
    /// Parts: the members. If `superseded`, the set was already built among its own parts, and a [`Node::Repeat`] for it
    /// follows them.
    FrozenSet { len: u32, superseded: bool },
    /// As [`Node::FrozenSet`].
    Tuple { len: u32, superseded: bool },
    /// An instance whose attributes are a dict, and whose class adds nothing to making it. Part: the dict.
    Instance(Py<PyType>),
    /// An object that a call makes. Parts: see [`Reduced`].
    Reduced(Reduced),
    /// A number of items for a [`Node::Reduced`]. Parts: the items, or the keys and values.
    Run(u32),
}

/// What follows a [`Node::Reduced`], in this order.
#[derive(Clone, Copy)]
pub(super) struct Reduced {
    /// The callable, its arguments, and for [`Make::NewWithKeywords`] its keyword arguments.
    pub(super) make: Make,
    /// The call was made for an object that was already built among the call's own parts. A [`Node::Repeat`] for it
    /// follows, and nothing else.
    pub(super) superseded: bool,
    /// Runs of items to append. A run of [`RUN_LEN`] is followed by another run.
    pub(super) list_items: bool,
    /// Runs of keys and values to assign.
    pub(super) dict_items: bool,
    pub(super) state: State,
}

/// How an object is made.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Make {
    /// By calling the callable.
    Call,
    /// By `__new__` of the class.
    New,
    /// By `__new__` of the class, with keyword arguments, too.
    NewWithKeywords,
}

/// What is done with an object's state.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum State {
    /// There is none.
    None,
    /// Parts: the state, which is assigned to the attributes. The class has no `__setstate__`.
    Attributes,
    /// Parts: the state, which `__setstate__` is called with, if there is one.
    Build,
    /// Parts: a function, which is called with the object and the state, and the state.
    Setter,
}

/// How many items pickle adds at once.
pub(super) const RUN_LEN: usize = 1000;

const _: () = assert!(size_of::<Node>() == 16, "nodes are most of a graph's own memory");
