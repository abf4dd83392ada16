//! What users may do, told to a cluster in its own protocol: no client library of ours knows these requests.

use std::io::{Read, Write};
use std::net::TcpStream;

use anyhow::{Result, ensure};

use super::{ASK_TIME, Kafka, START_TIME};
use crate::waiting::until_blocking;

const DESCRIBE: i16 = 29;
const CREATE: i16 = 30;
/// The same form for both of them.
const VERSION: i16 = 1;
/// Answers are a few hundred bytes.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// What a right is about. A name stands for everything that begins with it; `*` for everything.
#[derive(Debug, Clone, Copy)]
pub enum Resource<'a> {
    Topic(&'a str),
    Group(&'a str),
    Cluster,
    Transactions(&'a str),
}

#[derive(Debug, Clone, Copy)]
pub enum Operation {
    All = 2,
    Read = 3,
    Write = 4,
    Create = 5,
    Delete = 6,
    Alter = 7,
    Describe = 8,
    DescribeConfigs = 10,
    AlterConfigs = 11,
    IdempotentWrite = 12,
}

impl Kafka {
    /// Lets a user do this. In force at every node that runs when this returns.
    pub fn allow(&self, user: &str, on: Resource, operation: Operation) -> Result<()> {
        self.set_right(user, on, operation, 3)
    }

    /// Keeps a user from doing this, whatever else is allowed.
    pub fn deny(&self, user: &str, on: Resource, operation: Operation) -> Result<()> {
        self.set_right(user, on, operation, 2)
    }

    fn set_right(&self, user: &str, on: Resource, operation: Operation, kind: u8) -> Result<()> {
        let (resource, name) = match on {
            Resource::Topic(name) => (2, name),
            Resource::Group(name) => (3, name),
            Resource::Cluster => (4, "kafka-cluster"),
            Resource::Transactions(name) => (5, name),
        };
        let literal = name == "*" || matches!(on, Resource::Cluster);
        let mut right = vec![resource];
        right.extend(string(name)?);
        right.push(if literal { 3 } else { 4 });
        right.extend(string(&format!("User:{user}"))?);
        right.extend(string("*")?);
        right.extend([operation as u8, kind]);

        let ports: Vec<u16> = self.running().map(|(_, node)| node.ports.inner).collect();
        let one = [&1_i32.to_be_bytes()[..], &right].concat();
        until_blocking("a right is set", START_TIME, || {
            let answer = ask(ports.first().copied().unwrap_or_default(), CREATE, &one)?;
            ensure!(matches!(answer[..], [_, _, _, _, 0, 0, 0, 1, 0, 0, ..]), "refused: {answer:?}");
            Ok(())
        })?;
        until_blocking("a right is in force", START_TIME, || {
            for port in &ports {
                let answer = ask(*port, DESCRIBE, &right)?;
                ensure!(matches!(answer[..], [_, _, _, _, 0, 0, _, _, 0, 0, 0, 1, ..]), "not yet: {answer:?}");
            }
            Ok(())
        })
    }
}

/// One request on a connection of its own: its answer, from the time for which it was held back on.
fn ask(port: u16, request: i16, body: &[u8]) -> Result<Vec<u8>> {
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

fn string(text: &str) -> Result<Vec<u8>> {
    Ok([&i16::try_from(text.len())?.to_be_bytes()[..], text.as_bytes()].concat())
}
