//! Asks the running process over its admin address: one request, one connection, no async.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde::de::DeserializeOwned;

use crate::admin::Refusal;
use crate::fault::Fault;

/// The other side is this machine.
const CONNECT_TIME: Duration = Duration::from_secs(2);
/// Longer than a command may take there.
const ANSWER_TIME: Duration = Duration::from_secs(35);
/// A status of thousands of writers.
const ANSWER_BYTES_MAX: u64 = 16 << 20;

/// An answer's status and body.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub body: String,
}

impl Answer {
    pub fn is_good(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// Why nothing was done.
    pub fn refusal(&self) -> String {
        match serde_json::from_str(&self.body) {
            Ok(Refusal { code, message }) => format!("[{code}] {message}"),
            Err(_) => format!("it answers with status {}", self.status),
        }
    }

    pub fn read<T: DeserializeOwned>(&self, address: SocketAddr) -> Result<T, Fault> {
        serde_json::from_str(&self.body).map_err(|error| {
            let message = format!("what answers on {address} is no mysync of this version: {error}");
            Fault::unusable("ADMIN_UNREACHABLE", message)
        })
    }
}

pub fn get(address: SocketAddr, path: &str) -> Result<Answer, Fault> {
    ask(address, "GET", path)
}

pub fn post(address: SocketAddr, path: &str) -> Result<Answer, Fault> {
    ask(address, "POST", path)
}

fn ask(address: SocketAddr, method: &str, path: &str) -> Result<Answer, Fault> {
    let unreachable = |reason: &dyn std::fmt::Display| {
        Fault::unusable("ADMIN_UNREACHABLE", format!("no mysync answers on {address}: {reason}: is it running?"))
    };
    // HTTP/1.0: the server answers in one piece and closes.
    let request = format!("{method} {path} HTTP/1.0\r\nHost: {address}\r\nContent-Length: 0\r\n\r\n");
    let asked = TcpStream::connect_timeout(&address, CONNECT_TIME).and_then(|mut stream| {
        stream.set_read_timeout(Some(ANSWER_TIME))?;
        stream.write_all(request.as_bytes())?;
        let mut text = String::new();
        stream.take(ANSWER_BYTES_MAX).read_to_string(&mut text)?;
        Ok(text)
    });
    let text = asked.map_err(|error| unreachable(&error))?;
    parse(&text).ok_or_else(|| unreachable(&"the answer is not one of mysync"))
}

fn parse(text: &str) -> Option<Answer> {
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()?;
    Some(Answer { status, body: body.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_answer_is_an_answer() {
        let answer = parse("HTTP/1.0 503 Service Unavailable\r\na: b\r\n\r\nbody\r\n\r\nmore").unwrap();
        assert_eq!((answer.status, answer.body.as_str()), (503, "body\r\n\r\nmore"));
        for text in ["", "-ERR unknown command\r\n", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 x\r\n\r\n"] {
            assert!(parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn nobody_there_is_said_with_the_address() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let fault = get(free, "/api/status").unwrap_err();
        assert_eq!((fault.code, fault.exit), ("ADMIN_UNREACHABLE", 2));
        assert!(fault.message.contains(&free.to_string()));
    }
}
