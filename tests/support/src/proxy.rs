//! What lies between a client and a server: it can be slow, silent, cut, closed, late with what was sent before a cut, say everything
//! twice, change answers, and be good again.
//!
//! It runs on threads of its own, so that it goes on while a test blocks.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// Pieces under way in each direction: with a delay, they are the bandwidth.
const PIECES_MAX: usize = 256;
const PIECE_BYTES: usize = 64 << 10;

/// Between clients and a server, both on this machine.
pub struct Proxy {
    pub port: u16,
    line: Arc<Line>,
}

#[derive(Default)]
struct Line {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// The server's port.
    to: u16,
    delay: Duration,
    held: bool,
    refused: bool,
    /// How much later than itself the copy arrives of what is sent over a new connection; none: there is no copy.
    twice: Option<Duration>,
    /// Answers that still pass before their connection is cut.
    cut_after: Option<usize>,
    edit: Option<Edit>,
    /// What is connected, by number.
    connections: HashMap<u64, Connection>,
    connected: u64,
}

struct Connection {
    client: TcpStream,
    server: TcpStream,
    stage: Stage,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Whole,
    /// The client is gone, and what it sent waits.
    Stranded,
    /// The client is gone, and what it sent reaches the server all the same.
    Late,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// To the server.
    There,
    /// The same once more, so much later.
    Again(Duration),
    /// To the client: answers.
    Back,
}

/// Changes a piece of an answer.
type Edit = Arc<dyn Fn(&mut [u8]) + Send + Sync>;

/// What was read, and when.
type Piece = (Instant, Vec<u8>);

impl Proxy {
    pub fn start(to: u16) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").context("cannot listen")?;
        let port = listener.local_addr()?.port();
        let line = Arc::new(Line::default());
        line.change(|state| state.to = to);
        let accepting = line.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                // Whoever cannot be connected finds the connection closed.
                let _ = connect(client, &accepting);
            }
        });
        Ok(Self { port, line })
    }

    /// Another server has taken the place of the one that was there: what is connected is cut.
    pub fn lead_to(&self, to: u16) {
        self.line.change(|state| {
            state.to = to;
            state.cut();
        });
    }

    /// Everything takes this much longer, in each direction.
    pub fn delay(&self, delay: Duration) {
        self.line.change(|state| state.delay = delay);
    }

    /// Nothing passes, and nobody is told.
    pub fn hold(&self) {
        self.line.change(|state| state.held = true);
    }

    /// Cuts what is connected; new connections are let through.
    pub fn cut(&self) {
        self.line.change(State::cut);
    }

    /// Cuts clients off from connections that go on for the server: what is on its way to it (after [`Proxy::hold`]: all that was sent since)
    /// stays on its way, while new connections are let through.
    pub fn strand(&self) {
        self.line.change(|state| {
            state.held = false;
            for connection in state.connections.values_mut().filter(|connection| connection.stage == Stage::Whole) {
                connection.stage = Stage::Stranded;
                let _ = connection.client.shutdown(Shutdown::Both);
            }
        });
    }

    /// Lets what was stranded reach the server, after whatever came by newer connections. Its answers go nowhere.
    pub fn arrive_late(&self) {
        self.line.change(|state| {
            let connections = state.connections.values_mut();
            connections.filter(|found| found.stage == Stage::Stranded).for_each(|found| found.stage = Stage::Late);
        });
    }

    /// What clients send over connections that they open from now on reaches the server once more, so much later, over one of its own, whose
    /// answers go nowhere. A cut does not keep back what is on its way there.
    pub fn duplicate(&self, later: Duration) {
        self.line.change(|state| state.twice = Some(later));
    }

    /// Cuts one connection, in the middle of an answer, when so many more bytes have come from the server.
    pub fn cut_after(&self, bytes: usize) {
        self.line.change(|state| state.cut_after = Some(bytes));
    }

    /// Changes whatever the server answers, as it comes: an answer may come in pieces, and a piece may hold several.
    pub fn edit(&self, edit: impl Fn(&mut [u8]) + Send + Sync + 'static) {
        self.line.change(|state| state.edit = Some(Arc::new(edit)));
    }

    /// Cuts what is connected, and closes new connections at once.
    pub fn refuse(&self) {
        self.line.change(|state| {
            state.refused = true;
            state.cut();
        });
    }

    /// Everything passes again, at once, but for what is stranded. New connections say everything once.
    pub fn restore(&self) {
        self.line.change(|state| {
            (state.delay, state.held, state.refused) = (Duration::ZERO, false, false);
            (state.cut_after, state.twice, state.edit) = (None, None, None);
        });
    }

    /// Connections that were ever let through.
    pub fn connected(&self) -> u64 {
        self.line.state().connected
    }
}

impl Drop for Proxy {
    /// The thread that accepts stays, and closes what comes.
    fn drop(&mut self) {
        self.refuse();
    }
}

impl State {
    fn cut(&mut self) {
        let numbers: Vec<u64> = self.connections.keys().copied().collect();
        numbers.into_iter().for_each(|number| self.close(number));
    }

    fn close(&mut self, number: u64) {
        if let Some(Connection { client, server, .. }) = self.connections.remove(&number) {
            let _ = (client.shutdown(Shutdown::Both), server.shutdown(Shutdown::Both));
        }
    }

    fn is(&self, number: u64, stage: Stage) -> bool {
        self.connections.get(&number).is_some_and(|connection| connection.stage == stage)
    }
}

impl Line {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state());
        self.changed.notify_all();
    }

    /// How many of the bytes of an answer may pass.
    fn passes(&self, bytes: usize) -> usize {
        let mut state = self.state();
        match state.cut_after {
            Some(left) if left < bytes => {
                state.cut_after = None;
                left
            }
            Some(left) => {
                state.cut_after = Some(left - bytes);
                bytes
            }
            None => bytes,
        }
    }
}

fn open(to: u16) -> Result<TcpStream> {
    let server = TcpStream::connect(("127.0.0.1", to))?;
    server.set_nodelay(true)?;
    Ok(server)
}

fn connect(client: TcpStream, line: &Arc<Line>) -> Result<()> {
    let (to, twice) = {
        let state = line.state();
        (state.to, state.twice)
    };
    let server = open(to)?;
    let copy = match twice {
        Some(later) => Some((open(to)?, later)),
        None => None,
    };
    client.set_nodelay(true)?;
    let number = {
        let mut state = line.state();
        if state.refused {
            return Ok(());
        }
        state.connected += 1;
        let number = state.connected;
        let (client, server) = (client.try_clone()?, server.try_clone()?);
        state.connections.insert(number, Connection { client, server, stage: Stage::Whole });
        number
    };
    let mut there = vec![write(server.try_clone()?, line, number, Way::There)];
    if let Some((copy, later)) = copy {
        let mut answers = copy.try_clone()?;
        std::thread::spawn(move || std::io::copy(&mut answers, &mut std::io::sink()));
        there.push(write(copy, line, number, Way::Again(later)));
    }
    let back = vec![write(client.try_clone()?, line, number, Way::Back)];
    read(client, line, there, false);
    read(server, line, back, true);
    Ok(())
}

/// Reads on while what was read waits its time.
fn read(mut from: TcpStream, line: &Arc<Line>, to: Vec<SyncSender<Piece>>, answers: bool) {
    let line = line.clone();
    std::thread::spawn(move || read_pieces(&mut from, &line, to, answers));
}

fn read_pieces(from: &mut TcpStream, line: &Line, mut to: Vec<SyncSender<Piece>>, answers: bool) {
    let mut bytes = vec![0; PIECE_BYTES];
    while let Ok(size @ 1..) = from.read(&mut bytes) {
        let passed = if answers { line.passes(size) } else { size };
        let edit = if answers { line.state().edit.clone() } else { None };
        if let Some(edit) = edit {
            edit(&mut bytes[..passed]);
        }
        let piece = (Instant::now(), bytes[..passed].to_vec());
        to.retain(|to| to.send(piece.clone()).is_ok());
        if to.is_empty() || passed < size {
            return;
        }
    }
}

/// Writes what it is sent, each piece in its time.
fn write(to: TcpStream, line: &Arc<Line>, number: u64, way: Way) -> SyncSender<Piece> {
    let (pieces, sent) = sync_channel(PIECES_MAX);
    let line = line.clone();
    std::thread::spawn(move || {
        write_pieces(to, &line, &sent, number, way);
        // A client that has sent all may still wait for answers; without answers there is nothing to wait for.
        if way == Way::Back {
            line.state().close(number);
        }
    });
    pieces
}

fn write_pieces(mut to: TcpStream, line: &Line, pieces: &Receiver<Piece>, number: u64, way: Way) {
    let later = if let Way::Again(later) = way { later } else { Duration::ZERO };
    for (since, piece) in pieces {
        let mut state = line.state();
        loop {
            let left = (since + state.delay + later).saturating_duration_since(Instant::now());
            let held = state.held || (way == Way::There && state.is(number, Stage::Stranded));
            state = match (held, left.is_zero()) {
                (true, _) => line.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                (false, false) => line.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0,
                (false, true) => break,
            };
        }
        // The server is to be done with what comes late, so its answers are taken from it.
        let nobody = way == Way::Back && (state.is(number, Stage::Stranded) || state.is(number, Stage::Late));
        drop(state);
        if !nobody && to.write_all(&piece).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}
