//! The book of dumps: what was ordered, and how far each has come.
//!
//! An order changes the book at once and is answered once the checkpoint with that change is in the log. After an error of the log nobody
//! knows what it has: the book is then what the stored checkpoint says, and open orders stay without an answer.

use std::collections::BTreeMap;
use std::future::pending;
use std::sync::Arc;

use mysync_change::dump::{Dump, DumpState, Dumps, Progress};
use mysync_pipeline::dump::{Answer, Change, Order, OrderBook, Request, Wish};
use mysync_pipeline::failure::Failure;
use mysync_pipeline::status::now_us;
use tracing::info;

pub struct Book {
    orders: OrderBook,
    /// Came while something else was waited for.
    ordered: Option<Order>,
    dumps: Arc<Dumps>,
    /// Told once the log has what they came to.
    answers: Vec<(Answer, Vec<u64>)>,
    /// Dumps that wait for somebody to mend something.
    stopped: BTreeMap<u64, Failure>,
}

impl Book {
    pub fn new(orders: OrderBook) -> Self {
        Self { orders, ordered: None, dumps: Arc::default(), answers: Vec::new(), stopped: BTreeMap::new() }
    }

    /// Goes on from what the log has.
    pub fn open(&mut self, dumps: Arc<Dumps>) {
        self.dumps = dumps;
        self.answers.clear();
    }

    /// As the next checkpoint shall have it.
    pub fn dumps(&self) -> &Arc<Dumps> {
        &self.dumps
    }

    /// The log has what was handed out.
    pub fn stored(&mut self) {
        // Whoever has given up waiting need not be told.
        self.answers.drain(..).for_each(|(answer, numbers)| _ = answer.send(Ok(numbers)));
    }

    /// Whether there is nothing to do, now or later.
    pub fn is_idle(&self) -> bool {
        self.ordered.is_none()
            && self.orders.is_empty()
            && self.dumps.list.iter().all(|dump| dump.state != DumpState::Open)
    }

    /// Waits for an order.
    pub async fn order(&mut self) {
        if self.ordered.is_none() {
            self.ordered = self.orders.recv().await;
        }
        if self.ordered.is_none() {
            // Nobody is left who could give one.
            pending::<()>().await;
        }
    }

    /// Carries out the orders that have come. `lasts`: the last number in each partition of the log. True if there were any.
    pub fn carry_out(&mut self, lasts: impl Fn() -> Vec<u64>) -> bool {
        let mut any = false;
        while let Some(Order { wish, answer }) = self.ordered.take().or_else(|| self.orders.try_recv().ok()) {
            any = true;
            // Whoever has given up waiting must not be surprised by it later.
            if answer.is_closed() {
                continue;
            }
            match wish {
                Wish::Start(request) => self.start(request, answer, lasts()),
                Wish::Begin { request, begun } => self.begin(request, begun, answer, lasts()),
                Wish::Change { number, change } => self.change(number, change, answer),
            }
        }
        any
    }

    fn start(&mut self, request: Request, answer: Answer, lasts: Vec<u64>) {
        let running = self.dumps.list.iter().find(|dump| dump.is_open() && dump.writer == request.writer);
        if let Some(dump) = running {
            let message = format!(
                "{dump} is not over, and does not load again what it has loaded: follow it with 'mysync dump status'; if its store was emptied \
                 since it began, 'mysync dump cancel {}' and order it again",
                dump.number
            );
            let _ = answer.send(Err(Failure::definite("DUMP_RUNNING", message)));
            return;
        }
        let number = self.add(request, lasts);
        self.tell_later(answer, vec![number]);
    }

    fn begin(&mut self, request: Request, begun: bool, answer: Answer, lasts: Vec<u64>) {
        let tables = texts(&request);
        let known = self.dumps.list.iter().find(|dump| dump.writer == request.writer).map(|dump| dump.number);
        let number = known.unwrap_or_else(|| self.add(request, lasts));
        let Some(dump) = self.get_mut(number) else { return };
        // It has begun without a dump. Where it has never written it takes everything: a dump may be cancelled.
        if begun && !dump.begun {
            dump.from.clear();
        }
        dump.begun = true;
        // It has not begun to write, so what it was going to write by another file counts for nothing.
        if dump.tables != tables && dump.state != DumpState::Cancelled {
            (dump.tables, dump.progress, dump.state) = (tables, Progress::default(), DumpState::Open);
            info!(tables = dump.tables.join(", "), "{dump} has other tables, and begins with the first of them");
        }
        let from = dump.from.clone();
        self.tell_later(answer, from);
    }

    fn add(&mut self, request: Request, lasts: Vec<u64>) -> u64 {
        let tables = texts(&request);
        let Request { writer, rows_per_second, .. } = request;
        let dumps = Arc::make_mut(&mut self.dumps);
        let former = dumps.list.iter().find(|dump| dump.begun && dump.writer == writer);
        let (from, begun) = former.map_or((lasts, false), |dump| (dump.from.clone(), true));
        // A writer's former dump has no more to tell than the new one.
        dumps.list.retain(|dump| dump.is_open() || dump.writer != writer);
        dumps.last += 1;
        let dump = Dump {
            number: dumps.last,
            writer,
            tables,
            state: DumpState::Open,
            rows_per_second,
            from,
            begun,
            asked_us: now_us(),
            progress: Progress::default(),
        };
        info!(tables = dump.tables.join(", "), "{dump} is ordered");
        dumps.list.push(dump);
        dumps.last
    }

    fn change(&mut self, number: Option<u64>, change: Change, answer: Answer) {
        let mut changed = Vec::new();
        for dump in &mut Arc::make_mut(&mut self.dumps).list {
            if !dump.is_open() || number.is_some_and(|number| number != dump.number) {
                continue;
            }
            dump.state = match change {
                Change::Pause => DumpState::Paused,
                Change::Resume => DumpState::Open,
                Change::Cancel => DumpState::Cancelled,
            };
            self.stopped.remove(&dump.number);
            info!("{dump} is {}", dump.state.name());
            changed.push(dump.number);
        }
        if changed.is_empty() {
            let what =
                number.map_or_else(|| "no dump is open".to_owned(), |number| format!("no dump {number} is open"));
            let _ = answer
                .send(Err(Failure::definite("DUMP_UNKNOWN", what + ": 'mysync dump status' shows those there are")));
            return;
        }
        self.tell_later(answer, changed);
    }

    fn tell_later(&mut self, answer: Answer, numbers: Vec<u64>) {
        self.answers.push((answer, numbers));
    }

    /// The dumps that can go on, in their order.
    pub fn ready(&self) -> impl Iterator<Item = &Dump> {
        let is_ready = |dump: &&Dump| dump.state == DumpState::Open && !self.stopped.contains_key(&dump.number);
        self.dumps.list.iter().filter(is_ready)
    }

    pub fn get(&self, number: u64) -> Option<&Dump> {
        self.dumps.list.iter().find(|dump| dump.number == number)
    }

    pub fn stop(&mut self, number: u64, failure: Failure) {
        self.stopped.insert(number, failure);
    }

    pub fn stopped(&self, number: u64) -> Option<&Failure> {
        self.stopped.get(&number)
    }

    pub fn get_mut(&mut self, number: u64) -> Option<&mut Dump> {
        Arc::make_mut(&mut self.dumps).list.iter_mut().find(|dump| dump.number == number)
    }

    /// Lets every open dump begin with its first table again; answers which have to.
    pub fn begin_anew(&mut self) -> Vec<u64> {
        let has_begun = |dump: &Dump| dump.is_open() && !dump.progress.table.is_empty();
        if !self.dumps.list.iter().any(has_begun) {
            return Vec::new();
        }
        let begun = Arc::make_mut(&mut self.dumps).list.iter_mut().filter(|dump| has_begun(dump));
        let anew = |dump: &mut Dump| {
            let Progress { chunks, rows, .. } = dump.progress;
            dump.progress = Progress { chunks, rows, ..Progress::default() };
            dump.number
        };
        begun.map(anew).collect()
    }

    /// What is over and of no use to anybody is not kept: a new writer's partitions each ask for where to begin.
    pub fn forget_done(&mut self) {
        let is_kept = |dump: &Dump| dump.is_open() || dump.writer.is_some();
        if !self.dumps.list.iter().all(is_kept) {
            Arc::make_mut(&mut self.dumps).list.retain(is_kept);
        }
    }
}

fn texts(request: &Request) -> Vec<String> {
    request.tables.iter().map(|pattern| pattern.as_str().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use mysync_change::pattern::Pattern;
    use tokio::sync::{mpsc, oneshot};

    use super::*;

    fn request(writer: &str, tables: &str) -> Request {
        Request { writer: Some(writer.into()), tables: vec![Pattern::new(tables)], rows_per_second: None }
    }

    fn give(book: &mut Book, orders: &mpsc::Sender<Order>, lasts: &[u64], wish: Wish) -> Vec<u64> {
        let (answer, mut answered) = oneshot::channel();
        orders.try_send(Order { wish, answer }).unwrap();
        assert!(book.carry_out(|| lasts.to_vec()));
        assert!(answered.try_recv().is_err(), "it is not in the log yet");
        book.stored();
        answered.try_recv().unwrap().unwrap()
    }

    fn begin(book: &mut Book, orders: &mpsc::Sender<Order>, tables: &str, last: u64) -> Vec<u64> {
        give(book, orders, &[last], Wish::Begin { request: request("w", tables), begun: false })
    }

    /// In another partition it has a place in the log already.
    fn begin_later(book: &mut Book, orders: &mpsc::Sender<Order>, lasts: &[u64]) -> Vec<u64> {
        give(book, orders, lasts, Wish::Begin { request: request("w", "shop.*"), begun: true })
    }

    fn load_and_cancel(book: &mut Book, orders: &mpsc::Sender<Order>, lasts: &[u64]) {
        let number = give(book, orders, lasts, Wish::Start(request("w", "shop.*")));
        cancel(book, orders, number[0]);
    }

    fn cancel(book: &mut Book, orders: &mpsc::Sender<Order>, number: u64) {
        let cancel = Wish::Change { number: Some(number), change: Change::Cancel };
        assert_eq!(give(book, orders, &[], cancel), [number]);
    }

    #[test]
    fn every_partition_of_a_new_writer_begins_where_the_first_one_asked_and_with_the_tables_of_the_last() {
        let (orders, book) = mpsc::channel(4);
        let mut book = Book::new(book);
        assert_eq!(begin(&mut book, &orders, "shop.a", 7), [7]);
        book.get_mut(1).unwrap().progress.table = "shop.a".to_owned();
        assert_eq!(begin(&mut book, &orders, "shop.a", 9), [7]);
        assert_eq!(book.get(1).unwrap().progress.table, "shop.a");
        assert_eq!(begin(&mut book, &orders, "shop.*", 11), [7], "its file was mended before it wrote");
        let dump = book.get(1).unwrap();
        assert_eq!((&dump.tables[..], &dump.progress), (&["shop.*".to_owned()][..], &Progress::default()));
    }

    #[test]
    fn a_writer_that_was_loaded_again_in_vain_misses_nothing_of_a_topic_that_came_before() {
        let (orders, book) = mpsc::channel(4);
        let mut book = Book::new(book);
        begin(&mut book, &orders, "shop.*", 7);
        book.get_mut(1).unwrap().state = DumpState::Done;
        load_and_cancel(&mut book, &orders, &[70, 10]);
        load_and_cancel(&mut book, &orders, &[80, 20]);
        assert_eq!(begin_later(&mut book, &orders, &[90, 30]), [7], "the other partition begins with its first record");
        assert_eq!(book.get(3).map(|dump| dump.state), Some(DumpState::Cancelled), "it is not loaded a third time");
    }

    #[test]
    fn a_writer_that_began_without_a_dump_misses_nothing_of_a_later_topic_whatever_is_cancelled() {
        let (orders, book) = mpsc::channel(4);
        let mut book = Book::new(book);
        assert!(begin_later(&mut book, &orders, &[70, 10]).is_empty());
        cancel(&mut book, &orders, 1);
        assert!(begin_later(&mut book, &orders, &[80, 20, 5]).is_empty());

        let (orders, book) = mpsc::channel(4);
        let mut book = Book::new(book);
        load_and_cancel(&mut book, &orders, &[70, 10]);
        assert!(begin_later(&mut book, &orders, &[80, 20]).is_empty(), "it was rebased before it was loaded");
    }

    #[test]
    fn a_writer_that_was_loaded_before_it_ran_begins_with_that_dump() {
        let (orders, book) = mpsc::channel(4);
        let mut book = Book::new(book);
        give(&mut book, &orders, &[70, 10], Wish::Start(request("w", "shop.*")));
        assert_eq!(begin(&mut book, &orders, "shop.*", 80), [70, 10]);
        assert_eq!(begin_later(&mut book, &orders, &[80, 20]), [70, 10]);
    }

    #[test]
    fn an_order_that_the_log_did_not_take_is_not_answered() {
        let (orders, book) = mpsc::channel(4);
        let mut book = Book::new(book);
        let (answer, mut answered) = oneshot::channel();
        orders.try_send(Order { wish: Wish::Start(request("w", "shop.a")), answer }).unwrap();
        assert!(book.carry_out(|| vec![7]));
        book.open(Arc::default());
        book.stored();
        assert!(answered.try_recv().is_err() && book.get(1).is_none());
    }
}
