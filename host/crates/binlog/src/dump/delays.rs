//! Dumps that cannot go on at the moment. Others need not wait for that.

use std::collections::BTreeMap;
use std::time::Duration;

use mysync_change::dump::Dump;
use mysync_pipeline::retry::Backoff;
use mysync_pipeline::status::Board;
use tokio::time::Instant;

use super::ahead::Ahead;
use super::book::Book;

/// By number of the dump.
#[derive(Debug, Default)]
pub struct Delays {
    /// Its writers have to take rows of so many bytes first.
    aside: BTreeMap<u64, usize>,
    /// It is tried again, not before a certain time.
    retries: BTreeMap<u64, (Backoff, Option<Instant>)>,
}

impl Delays {
    /// A dump has failed; answers how long it waits.
    pub fn fail(&mut self, number: u64) -> Duration {
        let (backoff, at) =
            self.retries.entry(number).or_insert_with(|| (Backoff::new(&format!("dump {number}")), None));
        let wait = backoff.wait();
        *at = Some(Instant::now() + wait);
        wait
    }

    /// A dump has come on: its next failure is a new one.
    pub fn came_on(&mut self, number: u64) {
        self.retries.remove(&number);
    }

    pub fn set_aside(&mut self, number: u64, most: usize) {
        self.aside.insert(number, most);
    }

    /// The dump whose turn it is: the first that can go on; if none can, the first that its writers hold up.
    pub fn turn<'b>(&mut self, book: &'b Book, ahead: &mut Ahead, board: &Board) -> Option<&'b Dump> {
        self.aside.retain(|number, most| {
            let open = book.get(*number).filter(|dump| dump.is_open());
            open.is_some_and(|dump| ahead.held_by(board, *number, dump.writer.as_deref(), *most).is_some())
        });
        self.retries.retain(|number, _| book.get(*number).is_some_and(Dump::is_open));
        let now = Instant::now();
        let is_due = |dump: &&Dump| self.retries.get(&dump.number).is_none_or(|(_, at)| at.is_none_or(|at| at <= now));
        let mut due = book.ready().filter(is_due);
        let first = due.next()?;
        if !self.aside.contains_key(&first.number) {
            return Some(first);
        }
        due.find(|dump| !self.aside.contains_key(&dump.number)).or(Some(first))
    }

    /// When the next one that failed is to be tried again.
    pub fn next(&self) -> Option<Instant> {
        let now = Instant::now();
        self.retries.values().filter_map(|(_, at)| *at).filter(|at| *at > now).min()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use mysync_pipeline::dump::{Order, Request, Wish};
    use tokio::sync::{mpsc, oneshot};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_tried_again_or_held_up_lets_others_go_first() {
        let (orders, book) = mpsc::channel(4);
        let (mut book, mut delays, mut ahead, board) =
            (Book::new(book), Delays::default(), Ahead::default(), Board::default());
        for writer in ["a", "b"] {
            board.writer(writer, 0);
            let request = Request { writer: Some(Arc::from(writer)), tables: Vec::new(), rows_per_second: None };
            orders.try_send(Order { wish: Wish::Start(request), answer: oneshot::channel().0 }).unwrap();
        }
        // Nobody waits for an answer, so nothing is done.
        assert!(book.carry_out(|| vec![0]) && delays.turn(&book, &mut ahead, &board).is_none());
        let mut waiting = Vec::new();
        for writer in ["a", "b"] {
            let request = Request { writer: Some(Arc::from(writer)), tables: Vec::new(), rows_per_second: None };
            let (answer, answered) = oneshot::channel();
            waiting.push(answered);
            orders.try_send(Order { wish: Wish::Start(request), answer }).unwrap();
        }
        book.carry_out(|| vec![0]);
        let mut turn = |delays: &mut Delays| delays.turn(&book, &mut ahead, &board).map(|dump| dump.number);
        assert_eq!(turn(&mut delays), Some(1));
        let wait = delays.fail(1);
        assert_eq!((turn(&mut delays), delays.next()), (Some(2), Some(Instant::now() + wait)));
        tokio::time::advance(wait).await;
        assert_eq!((turn(&mut delays), delays.next()), (Some(1), None), "what is over wakes nobody");
        ahead.push(1, vec![9], 100);
        delays.set_aside(1, 100);
        let mut turn = |delays: &mut Delays| delays.turn(&book, &mut ahead, &board).map(|dump| dump.number);
        assert_eq!(turn(&mut delays), Some(2));
        delays.fail(2);
        assert_eq!(turn(&mut delays), Some(1), "nothing else can go on");
        board.writer("a", 0).seq.store(9, std::sync::atomic::Ordering::Relaxed);
        assert_eq!(turn(&mut delays), Some(1));
    }
}
