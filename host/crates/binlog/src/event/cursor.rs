use std::sync::Arc;

use mysync_change::position::FilePosition;

use super::{Event, EventError, EventKind, Heartbeat, Rotate};

/// Follows a stream through the server's files. Event headers know offsets modulo 4 GiB only; a file can be larger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    file: Arc<str>,
    offset: u64,
}

impl Cursor {
    /// Begins at what was asked for; with GTIDs at an empty name, the first event names the file.
    pub fn new(from: FilePosition) -> Self {
        Self { file: from.file, offset: from.offset }
    }

    /// Moves behind `event`, and answers the offset it begins at. Not for the events inside a payload: those are in no file.
    #[inline]
    pub fn follow(&mut self, event: &Event<'_>) -> Result<u64, EventError> {
        match event.header.kind {
            EventKind::Rotate => {
                let rotate = Rotate::parse(event)?;
                let begin = self.offset;
                self.enter(rotate.file, rotate.offset);
                return Ok(begin);
            }
            EventKind::Heartbeat | EventKind::HeartbeatV2 => {
                let beat = Heartbeat::parse(event)?;
                let begin = self.offset;
                if event.header.kind == EventKind::HeartbeatV2 {
                    self.enter(beat.file, beat.offset);
                } else {
                    self.offset = self.unwrapped(event.header.end);
                }
                return Ok(begin);
            }
            _ => {}
        }
        if event.header.end == 0 || event.header.is_artificial() {
            return Ok(self.offset);
        }
        self.offset = self.unwrapped(event.header.end);
        Ok(self.offset.saturating_sub(u64::from(event.header.size)))
    }

    /// Where the next event begins.
    pub fn position(&self) -> FilePosition {
        FilePosition { file: Arc::clone(&self.file), offset: self.offset }
    }

    pub fn file(&self) -> &Arc<str> {
        &self.file
    }

    pub fn offset(&self) -> u64 {
        self.offset
    }

    fn enter(&mut self, file: &str, offset: u64) {
        if *self.file != *file {
            self.file = Arc::from(file);
        }
        self.offset = offset;
    }

    /// Offsets only grow in a file, and no event is as large as 4 GiB.
    #[inline]
    fn unwrapped(&self, end: u32) -> u64 {
        let offset = self.offset & !u64::from(u32::MAX) | u64::from(end);
        if offset < self.offset { offset + (1 << 32) } else { offset }
    }
}
