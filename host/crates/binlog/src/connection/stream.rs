use std::time::Duration;

use mysync_change::position::{FilePosition, GtidSet, GtidSource};
use tokio::io::AsyncReadExt;
use tokio::time::{Instant, timeout_at};

use super::handshake::{expect_ok, server_error};
use super::packets::PacketBuffer;
use super::transport::Transport;
use super::{Connection, SourceError};
use crate::event::{Checksum, Event, Framing, encode_gtid_set};

/// Silence of this many heartbeats ends a connection.
const HEARTBEATS_MISSED_MAX: u32 = 3;
/// While our log is full we do not read, and the server waits this long before it gives up, in seconds.
const NET_TIMEOUT_SECONDS: u32 = 600;
/// Asks for heartbeats that carry offsets of 64 bits. Servers before 8.0.26 send the old ones.
const FLAG_HEARTBEAT_V2: u16 = 1 << 1;
/// Offset of the first event in a file.
const FIRST_OFFSET: u64 = 4;

/// Where a stream begins.
#[derive(Debug, Clone, Copy)]
pub enum StreamFrom<'a> {
    /// With the first transaction that is not in the set.
    Gtids(&'a GtidSet),
    /// With the event at a place, which must be where one begins.
    File(&'a FilePosition),
}

/// The binlog as it comes.
pub struct EventStream {
    transport: Transport,
    packets: PacketBuffer,
    framing: Framing,
    silence_max: Duration,
    /// When the server was last heard, be it by a part of an event.
    heard: Instant,
}

impl Connection {
    /// Sets up the session and has the server send its binlog.
    pub async fn stream(mut self, from: StreamFrom<'_>) -> Result<EventStream, SourceError> {
        self.prepare().await?;
        self.register().await?;
        match from {
            StreamFrom::Gtids(gtids) => self.ask_from_gtids(gtids).await?,
            StreamFrom::File(position) => self.ask_from_file(position).await?,
        }
        // One byte before each event says that it is one.
        self.packets.set_packet_bytes_max(self.settings.event_bytes_max.saturating_add(1));
        Ok(EventStream {
            transport: self.transport,
            packets: self.packets,
            framing: Framing::new(Checksum::Crc32),
            silence_max: self.settings.heartbeat * HEARTBEATS_MISSED_MAX,
            heard: Instant::now(),
        })
    }

    /// Old and new names of each variable: a server reads the ones it knows.
    async fn prepare(&mut self) -> Result<(), SourceError> {
        let heartbeat = self.settings.heartbeat.as_nanos();
        let uuid = GtidSource::untagged(self.settings.replica_uuid);
        self.query(&format!(
            "SET @master_binlog_checksum='CRC32', @source_binlog_checksum='CRC32', \
             @master_heartbeat_period={heartbeat}, @source_heartbeat_period={heartbeat}, \
             @slave_uuid='{uuid}', @replica_uuid='{uuid}', \
             SESSION net_write_timeout={NET_TIMEOUT_SECONDS}, SESSION net_read_timeout={NET_TIMEOUT_SECONDS}"
        ))
        .await
        .map(drop)
    }

    /// Makes this connection visible in SHOW REPLICAS, so that others can see the server_id that is taken.
    async fn register(&mut self) -> Result<(), SourceError> {
        const REGISTER_REPLICA: u8 = 0x15;
        const HOST: &[u8] = b"mysync";
        let mut command = self.settings.server_id.to_le_bytes().to_vec();
        command.push(HOST.len() as u8);
        command.extend_from_slice(HOST);
        // No user, password, port, rank or source of its own.
        command.extend_from_slice(&[0; 1 + 1 + 2 + 4 + 4]);
        self.command(REGISTER_REPLICA, &command).await?;
        expect_ok(&self.read().await?)
    }

    async fn ask_from_gtids(&mut self, gtids: &GtidSet) -> Result<(), SourceError> {
        const DUMP_GTID: u8 = 0x1e;
        const FLAG_THROUGH_GTID: u16 = 1 << 2;
        let set = encode_gtid_set(gtids);
        let mut command = (FLAG_HEARTBEAT_V2 | FLAG_THROUGH_GTID).to_le_bytes().to_vec();
        command.extend_from_slice(&self.settings.server_id.to_le_bytes());
        // No file name: the server finds the file.
        command.extend_from_slice(&0u32.to_le_bytes());
        command.extend_from_slice(&FIRST_OFFSET.to_le_bytes());
        // Longer sets than a packet can hold are refused where the command is written.
        command.extend_from_slice(&(set.len() as u32).to_le_bytes());
        command.extend_from_slice(&set);
        self.command(DUMP_GTID, &command).await
    }

    async fn ask_from_file(&mut self, position: &FilePosition) -> Result<(), SourceError> {
        const DUMP: u8 = 0x12;
        let offset = u32::try_from(position.offset.max(FIRST_OFFSET))
            .map_err(|_| SourceError::OffsetTooLarge { file: position.file.to_string(), offset: position.offset })?;
        let mut command = offset.to_le_bytes().to_vec();
        command.extend_from_slice(&FLAG_HEARTBEAT_V2.to_le_bytes());
        command.extend_from_slice(&self.settings.server_id.to_le_bytes());
        command.extend_from_slice(position.file.as_bytes());
        self.command(DUMP, &command).await
    }
}

impl EventStream {
    /// Waits until more bytes have come. Can be dropped at any time without losing any. Silence counts from when the server was last heard,
    /// however often somebody has begun to wait since; after a pause of ours its heartbeats are at hand.
    pub async fn fill(&mut self) -> Result<(), SourceError> {
        let read = self.transport.read(self.packets.room());
        match timeout_at(self.heard + self.silence_max, read).await {
            Err(_) => Err(SourceError::Silent(self.silence_max)),
            Ok(Err(error)) => Err(error.into()),
            Ok(Ok(0)) => Err(SourceError::Closed),
            Ok(Ok(bytes)) => {
                self.packets.came(bytes);
                self.heard = Instant::now();
                Ok(())
            }
        }
    }

    /// The next event that has come whole; `None`: call [`Self::fill`].
    #[inline]
    pub fn next_event(&mut self) -> Result<Option<Event<'_>>, SourceError> {
        let Some(packet) = self.packets.next_packet()? else { return Ok(None) };
        match packet.split_first() {
            Some((0x00, bytes)) => Ok(Some(self.framing.event(bytes)?)),
            Some((0xff, _)) => Err(server_error(packet)),
            // An end of file packet is short; an event never begins with this byte.
            Some((0xfe, _)) => Err(SourceError::Ended),
            _ => Err(SourceError::Protocol("it sent something that is no event")),
        }
    }
}
