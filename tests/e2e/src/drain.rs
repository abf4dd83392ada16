//! The least that a client can do with a result: take it off the wire. What a dump's speed is compared with.

use std::io::{Read, Write};
use std::net::TcpStream;

use anyhow::{Context, Result, bail, ensure};

/// What the client can: protocol 4.1, long answers to the login, plugins by name.
const CAPABILITIES: u32 = 1 << 9 | 1 << 15 | 1 << 19;
const UTF8MB4: u8 = 45;
const ROOM: usize = 1 << 20;

/// Runs a query as root, which has no password, and answers how many rows came.
pub fn drain(port: u16, query: &str) -> Result<u64> {
    let mut server =
        Packets { stream: TcpStream::connect(("127.0.0.1", port))?, bytes: vec![0; ROOM], begin: 0, end: 0 };
    server.skip()?;
    let mut login = CAPABILITIES.to_le_bytes().to_vec();
    login.extend_from_slice(&u32::MAX.to_le_bytes());
    login.push(UTF8MB4);
    login.extend_from_slice(&[0; 23]);
    login.extend_from_slice(b"root\0\0caching_sha2_password\0");
    server.send(1, &login)?;
    ensure!(server.skip()? == 0, "root may not log in without a password");
    server.send(0, &[b"\x03", query.as_bytes()].concat())?;
    // How many columns, each column, and the end of them.
    let columns = server.skip()?;
    ensure!(columns < 0xfb, "{query} is refused");
    for _ in 0..=columns {
        server.skip()?;
    }
    let mut rows = 0;
    while !server.is_end()? {
        server.skip()?;
        rows += 1;
    }
    Ok(rows)
}

struct Packets {
    stream: TcpStream,
    bytes: Vec<u8>,
    begin: usize,
    end: usize,
}

impl Packets {
    fn send(&mut self, number: u8, payload: &[u8]) -> Result<()> {
        let [a, b, c, _] = u32::try_from(payload.len())?.to_le_bytes();
        Ok(self.stream.write_all(&[&[a, b, c, number], payload].concat())?)
    }

    /// Reads on until so many bytes are there.
    fn have(&mut self, bytes: usize) -> Result<()> {
        ensure!(bytes <= ROOM, "a packet of {bytes} bytes is too long");
        if self.begin + bytes > ROOM {
            self.bytes.copy_within(self.begin..self.end, 0);
            (self.begin, self.end) = (0, self.end - self.begin);
        }
        while self.end - self.begin < bytes {
            match self.stream.read(&mut self.bytes[self.end..])? {
                0 => bail!("the server closed the connection"),
                came => self.end += came,
            }
        }
        Ok(())
    }

    fn length(&mut self) -> Result<usize> {
        self.have(4)?;
        let [a, b, c, _] = *self.bytes[self.begin..].first_chunk().context("no header")?;
        Ok(u32::from_le_bytes([a, b, c, 0]) as usize)
    }

    /// Goes past a packet, and answers its first byte.
    fn skip(&mut self) -> Result<u8> {
        let length = self.length()?;
        self.have(4 + length)?;
        let first = self.bytes[self.begin + 4];
        self.begin += 4 + length;
        Ok(first)
    }

    /// Whether the next packet ends the rows.
    fn is_end(&mut self) -> Result<bool> {
        let length = self.length()?;
        self.have(4 + length)?;
        Ok(length < 9 && self.bytes[self.begin + 4] == 0xfe)
    }
}
