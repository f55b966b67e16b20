//! Rebuilding a value from its graph, as an unpickler does from a pickle.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple, PyType};

use super::node::{Make, Node, RUN_LEN, Reduced, State};
use crate::classes;
use crate::memory::{push, vec};
use crate::objects::{dict, frozen_set, interned, list, list_of, set, tuple_of};

/// The state of rebuilding one value.
pub(super) struct Builder<'a, 'py> {
    py: Python<'py>,
    nodes: &'a [Node],
    marks: &'a [u32],
    /// The position of the next node.
    position: usize,
    /// How many of the marked nodes have been visited.
    visited_marks: usize,
    /// The objects that the marked nodes built.
    marked: Vec<Option<Bound<'py, PyAny>>>,
    /// Parts of objects that are not complete.
    parts: Vec<Bound<'py, PyAny>>,
}

impl<'a, 'py> Builder<'a, 'py> {
    pub(super) fn new(py: Python<'py>, nodes: &'a [Node], marks: &'a [u32]) -> PyResult<Self> {
        let mut marked = vec(marks.len())?;
        marked.resize(marks.len(), None);
        Ok(Self {
            py,
            nodes,
            marks,
            position: 0,
            visited_marks: 0,
            marked,
            parts: Vec::new(),
        })
    }

    /// Builds the object of the next node.
    pub(super) fn build(&mut self) -> PyResult<Bound<'py, PyAny>> {
        let py = self.py;
        let mark = self.mark();
        let node = self.next()?;
        let object = match node {
            Node::Shared(object) => object.bind(py).clone(),
            Node::Flat(flat) => flat.copy(py)?,
            Node::Repeat(rank) => return self.repeated(*rank),
            // These exist before their parts.
            Node::Dict { shared, changes } => return self.dict(shared.bind(py), *changes, mark),
            Node::DictItems(len) => return self.dict_items(*len, mark),
            Node::List(len) => return self.list(*len, mark),
            Node::Set(len) => return self.set(*len, mark),
            Node::Instance(class) => return self.instance(class.bind(py), mark),
            Node::Reduced(reduced) => return self.reduced(*reduced, mark),
            // These exist after them.
            Node::Tuple { len, superseded } => {
                let start = self.build_parts(*len as usize)?;
                if *superseded {
                    self.parts.truncate(start);
                    return self.build();
                }
                tuple_of(py, self.parts.drain(start..))?.into_any()
            }
            Node::FrozenSet { len, superseded } => {
                let start = self.build_parts(*len as usize)?;
                if *superseded {
                    self.parts.truncate(start);
                    return self.build();
                }
                frozen_set(list_of(py, self.parts.drain(start..))?.as_any())?.into_any()
            }
            Node::Run(_) => return Err(malformed()),
        };
        self.remember(mark, &object);
        Ok(object)
    }

    fn next(&mut self) -> PyResult<&'a Node> {
        let node = self.nodes.get(self.position).ok_or_else(malformed)?;
        self.position += 1;
        Ok(node)
    }

    /// Returns the rank of the next node among the marked ones, if it is marked.
    fn mark(&mut self) -> Option<usize> {
        let rank = self.visited_marks;
        let is_marked = self
            .marks
            .get(rank)
            .is_some_and(|mark| *mark as usize == self.position);
        is_marked.then(|| {
            self.visited_marks += 1;
            rank
        })
    }

    fn remember(&mut self, mark: Option<usize>, object: &Bound<'py, PyAny>) {
        if let Some(marked) = mark.and_then(|rank| self.marked.get_mut(rank)) {
            *marked = Some(object.clone());
        }
    }

    fn repeated(&self, rank: u32) -> PyResult<Bound<'py, PyAny>> {
        let object = self.marked.get(rank as usize).cloned().flatten();
        object.ok_or_else(malformed)
    }

    /// Builds a number of parts; returns where they begin in `parts`.
    fn build_parts(&mut self, len: usize) -> PyResult<usize> {
        let start = self.parts.len();
        for _ in 0..len {
            let part = self.build()?;
            push(&mut self.parts, part)?;
        }
        Ok(start)
    }

    fn dict(
        &mut self,
        shared: &Bound<'py, PyDict>,
        changes: u32,
        mark: Option<usize>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let dict = shared.copy()?;
        self.remember(mark, &dict);
        for _ in 0..changes {
            let Node::Shared(key) = self.next()? else {
                return Err(malformed());
            };
            dict.set_item(key, self.build()?)?;
        }
        Ok(dict.into_any())
    }

    fn dict_items(&mut self, len: u32, mark: Option<usize>) -> PyResult<Bound<'py, PyAny>> {
        let dict = dict(self.py)?;
        self.remember(mark, &dict);
        self.in_runs(len, |this, len| this.set_items(dict.as_any(), len))?;
        Ok(dict.into_any())
    }

    fn list(&mut self, len: u32, mark: Option<usize>) -> PyResult<Bound<'py, PyAny>> {
        if mark.is_none() {
            let start = self.build_parts(len as usize)?;
            return list_of(self.py, self.parts.drain(start..)).map(Bound::into_any);
        }
        let list = list(self.py)?;
        self.remember(mark, &list);
        self.in_runs(len, |this, len| {
            let start = this.build_parts(len)?;
            this.parts.drain(start..).try_for_each(|item| list.append(item))
        })?;
        Ok(list.into_any())
    }

    fn set(&mut self, len: u32, mark: Option<usize>) -> PyResult<Bound<'py, PyAny>> {
        let set = set(self.py)?;
        self.remember(mark, &set);
        self.in_runs(len, |this, len| {
            let start = this.build_parts(len)?;
            this.parts.drain(start..).try_for_each(|member| set.add(member))
        })?;
        Ok(set.into_any())
    }

    /// Builds items as pickle does: a run of them before they are added.
    fn in_runs(&mut self, len: u32, mut add: impl FnMut(&mut Self, usize) -> PyResult<()>) -> PyResult<()> {
        let mut rest = len as usize;
        while rest > 0 {
            let run = rest.min(RUN_LEN);
            add(self, run)?;
            rest -= run;
        }
        Ok(())
    }

    /// Builds keys and values and assigns them.
    fn set_items(&mut self, target: &Bound<'py, PyAny>, len: usize) -> PyResult<()> {
        let start = self.build_parts(2 * len)?;
        let mut parts = self.parts.drain(start..);
        while let (Some(key), Some(value)) = (parts.next(), parts.next()) {
            target.set_item(key, value)?;
        }
        Ok(())
    }

    fn instance(&mut self, class: &Bound<'py, PyType>, mark: Option<usize>) -> PyResult<Bound<'py, PyAny>> {
        let object = classes::allocate(class)?;
        self.remember(mark, &object);
        let is_repeated = self
            .marks
            .get(self.visited_marks)
            .is_some_and(|mark| *mark as usize == self.position)
            || matches!(self.nodes.get(self.position), Some(Node::Repeat(_)));
        let attributes = self.build()?;
        let attributes = attributes.cast_exact::<PyDict>().map_err(|_| malformed())?;
        if is_repeated {
            // The object's attributes are a dict of their own.
            classes::replace_attributes(&object, &attributes.copy()?)?;
        } else {
            classes::replace_attributes(&object, attributes)?;
        }
        Ok(object)
    }

    fn reduced(&mut self, reduced: Reduced, mark: Option<usize>) -> PyResult<Bound<'py, PyAny>> {
        let callable = self.build()?;
        let arguments = self.build()?;
        let arguments = arguments.cast::<PyTuple>().map_err(|_| malformed())?;
        let object = match reduced.make {
            Make::Call => callable.call1(arguments)?,
            Make::New => classes::new(&callable, arguments, None)?,
            Make::NewWithKeywords => {
                let keywords = self.build()?;
                classes::new(
                    &callable,
                    arguments,
                    Some(keywords.cast::<PyDict>().map_err(|_| malformed())?),
                )?
            }
        };
        if reduced.superseded {
            return self.build();
        }
        self.remember(mark, &object);
        if reduced.list_items {
            self.each_run(|this, len| this.append_items(&object, len))?;
        }
        if reduced.dict_items {
            self.each_run(|this, len| this.set_items(&object, len))?;
        }
        self.set_state(&object, reduced.state)?;
        Ok(object)
    }

    fn each_run(&mut self, mut add: impl FnMut(&mut Self, usize) -> PyResult<()>) -> PyResult<()> {
        loop {
            let Node::Run(len) = self.next()? else {
                return Err(malformed());
            };
            let len = *len as usize;
            if len > 0 {
                add(self, len)?;
            }
            if len < RUN_LEN {
                return Ok(());
            }
        }
    }

    /// Builds items and appends them, by `extend` if the object has it.
    fn append_items(&mut self, target: &Bound<'py, PyAny>, len: usize) -> PyResult<()> {
        let py = self.py;
        let start = self.build_parts(len)?;
        if let Some(extend) = target.getattr_opt(interned!(py, "extend")?)? {
            let items = list_of(py, self.parts.drain(start..))?;
            return extend.call1((items,)).map(drop);
        }
        let append = target.getattr(interned!(py, "append")?)?;
        self.parts
            .drain(start..)
            .try_for_each(|item| append.call1((item,)).map(drop))
    }

    fn set_state(&mut self, object: &Bound<'py, PyAny>, state: State) -> PyResult<()> {
        match state {
            State::None => Ok(()),
            State::Setter => {
                let setter = self.build()?;
                let state = self.build()?;
                setter.call1((object, state)).map(drop)
            }
            State::Attributes => classes::set_attributes(object, &self.build()?),
            State::Build => {
                let state = self.build()?;
                match object.getattr_opt(interned!(self.py, "__setstate__")?)? {
                    Some(function) => function.call1((state,)).map(drop),
                    None => classes::set_attributes(object, &state),
                }
            }
        }
    }
}

/// Returns the error for a graph that breaks its invariants, which would be a bug here.
fn malformed() -> PyErr {
    pyo3::exceptions::PySystemError::new_err("nearcache: a stored value is malformed")
}
