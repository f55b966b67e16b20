//! Votes: what several servers answer to the same question.

use crate::error::Error;

/// The answers to a question, with how many servers gave each.
pub(super) struct Votes<T> {
    answers: usize,
    counts: Vec<(T, usize)>,
    error: Option<Error>,
}

impl<T: PartialEq + Clone> Votes<T> {
    pub(super) const fn new() -> Self {
        Self {
            answers: 0,
            counts: Vec::new(),
            error: None,
        }
    }

    /// Counts an answer, or keeps the error of a server that gave none.
    pub(super) fn add(&mut self, result: Result<T, Error>) {
        let answer = match result {
            Ok(answer) => answer,
            Err(error) => return self.error = Some(error),
        };
        self.answers += 1;
        match self.counts.iter_mut().find(|(other, _)| *other == answer) {
            Some((_, count)) => *count += 1,
            None => self.counts.push((answer, 1)),
        }
    }

    /// Returns how many servers answered.
    pub(super) const fn answers(&self) -> usize {
        self.answers
    }

    /// Returns the answer that more than half of `of` servers gave.
    pub(super) fn majority(&self, of: usize) -> Option<T> {
        let (answer, _) = self.counts.iter().find(|(_, count)| count * 2 > of)?;
        Some(answer.clone())
    }

    /// Returns the most frequent answer.
    pub(super) fn most_frequent(&self) -> Option<T> {
        let (answer, _) = self.counts.iter().max_by_key(|(_, count)| *count)?;
        Some(answer.clone())
    }

    /// Returns the error of the last server that did not answer.
    pub(super) fn into_error(self) -> Option<Error> {
        self.error
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn the_majority_of_those_that_answer_decides() {
        let mut votes = Votes::new();
        assert_eq!(votes.majority(0), None);
        votes.add(Ok('a'));
        votes.add(Err(Error::new(ErrorKind::Timeout, "no answer")));
        assert_eq!(
            (votes.majority(3), votes.majority(votes.answers())),
            (None, Some('a'))
        );
        votes.add(Ok('b'));
        assert_eq!(votes.majority(votes.answers()), None);
        votes.add(Ok('b'));
        assert_eq!(votes.majority(votes.answers()), Some('b'));
        assert_eq!(votes.most_frequent(), Some('b'));
        assert_eq!(
            votes.into_error().map(|error| error.kind),
            Some(ErrorKind::Timeout)
        );
    }
}
