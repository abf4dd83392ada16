//! Requests of Kafka's protocol that no client library of ours knows, in the version that has the plainest form.

use std::io::{Read, Write};
use std::net::TcpStream;

use anyhow::{Result, ensure};

use super::ASK_TIME;

pub const FIND_COORDINATOR: i16 = 10;
pub const API_VERSIONS: i16 = 18;
pub const DESCRIBE_ACLS: i16 = 29;
pub const CREATE_ACLS: i16 = 30;
const VERSION: i16 = 1;
/// Answers are some hundred bytes.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// One request on a connection of its own. Most answers begin with four bytes for how long it was held back, and two for
/// an error.
pub fn ask(port: u16, request: i16, body: &[u8]) -> Result<Vec<u8>> {
    let header = [&request.to_be_bytes()[..], &VERSION.to_be_bytes(), &7_i32.to_be_bytes(), &string("tests")?].concat();
    let size = u32::try_from(header.len() + body.len())?;
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(ASK_TIME))?;
    stream.write_all(&[&size.to_be_bytes()[..], &header, body].concat())?;
    let mut size = [0; 4];
    stream.read_exact(&mut size)?;
    let size = u32::from_be_bytes(size) as usize;
    ensure!((4..ANSWER_BYTES_MAX).contains(&size), "an answer of {size} bytes");
    let mut answer = vec![0; size];
    stream.read_exact(&mut answer)?;
    Ok(answer.split_off(4))
}

pub fn string(text: &str) -> Result<Vec<u8>> {
    Ok([&i16::try_from(text.len())?.to_be_bytes()[..], text.as_bytes()].concat())
}
