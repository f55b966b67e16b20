//! A small executor: it polls the tasks that were woken, in the order in which they were, on one thread.
#![allow(dead_code)] // each test uses its part

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

type Task<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;

/// The tasks that were woken.
#[derive(Default)]
struct Ready {
    queue: Mutex<VecDeque<usize>>,
    added: Condvar,
}

impl Ready {
    fn push(&self, task: usize) {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        if !queue.contains(&task) {
            queue.push_back(task);
        }
        self.added.notify_one();
    }

    /// Takes the task that was woken first. Waits for another thread to wake one.
    fn pop(&self) -> usize {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(task) = queue.pop_front() {
                return task;
            }
            queue = self.added.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn try_pop(&self) -> Option<usize> {
        self.queue
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop_front()
    }
}

struct TaskWaker {
    ready: Arc<Ready>,
    task: usize,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.ready.push(self.task);
    }
}

#[derive(Default)]
pub(crate) struct Executor<'a> {
    tasks: Vec<Option<Task<'a>>>,
    ready: Arc<Ready>,
}

impl<'a> Executor<'a> {
    /// Adds a task and returns its number.
    pub(crate) fn spawn(&mut self, task: impl Future<Output = ()> + 'a) -> usize {
        let number = self.tasks.len();
        self.tasks.push(Some(Box::pin(task)));
        self.ready.push(number);
        number
    }

    /// Drops a task.
    pub(crate) fn cancel(&mut self, task: usize) {
        self.tasks[task] = None;
    }

    /// Polls the tasks until none is woken. Returns whether all have ended.
    pub(crate) fn run_until_idle(&mut self) -> bool {
        while let Some(task) = self.ready.try_pop() {
            self.poll(task);
        }
        self.tasks.iter().all(Option::is_none)
    }

    /// Polls the tasks until all have ended.
    pub(crate) fn run(&mut self) {
        while self.tasks.iter().any(Option::is_some) {
            let task = self.ready.pop();
            self.poll(task);
        }
    }

    fn poll(&mut self, number: usize) {
        let ready = Arc::clone(&self.ready);
        let waker = Waker::from(Arc::new(TaskWaker { ready, task: number }));
        if let Some(task) = &mut self.tasks[number]
            && task.as_mut().poll(&mut Context::from_waker(&waker)).is_ready()
        {
            self.tasks[number] = None;
        }
    }
}

/// A future that is pending until it is opened. Tasks that wait for it are woken.
#[derive(Default)]
pub(crate) struct Gate(Mutex<(bool, Vec<Waker>)>);

impl Gate {
    pub(crate) fn open(&self) {
        let wakers = {
            let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            state.0 = true;
            std::mem::take(&mut state.1)
        };
        wakers.into_iter().for_each(Waker::wake);
    }

    pub(crate) async fn passed(&self) {
        std::future::poll_fn(|context| {
            let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if state.0 {
                return Poll::Ready(());
            }
            state.1.push(context.waker().clone());
            Poll::Pending
        })
        .await;
    }
}
