//! Rows of a table as one SELECT found them, encoded as the log keeps them, each with its key.

use super::keys;
use crate::decode::KeySpans;

/// What one SELECT found.
#[derive(Debug, Default)]
pub struct Chunk {
    images: Vec<u8>,
    /// Each row's key, as [`keys`] writes it.
    keys: Vec<u8>,
    /// Where each row's image and key end.
    ends: Vec<(usize, usize)>,
    /// For finding a key: its hash with its row, in order of the hashes. Made when it is first needed.
    index: Option<Vec<(u64, u32)>>,
    /// Rows that the stream has changed meanwhile.
    left_out: Vec<bool>,
}

impl Chunk {
    /// Appends a row. `write` appends its image and notes where its key stands; after an error the chunk is of no more use.
    pub fn push<E>(
        &mut self,
        write: impl FnOnce(&mut Vec<u8>, &mut KeySpans) -> Result<(), E>,
        spans: &mut KeySpans,
    ) -> Result<(), E> {
        write(&mut self.images, spans)?;
        keys::write(spans.parts(&self.images), &mut self.keys);
        self.ends.push((self.images.len(), self.keys.len()));
        Ok(())
    }

    /// Rows, those left out included.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Bytes of memory that its rows take.
    pub fn bytes(&self) -> usize {
        self.images.len() + self.keys.len()
    }

    /// A row's image and key; none: there is no such row, or the stream has changed it since.
    pub fn row(&self, at: usize) -> Option<(&[u8], &[u8])> {
        if self.left_out.get(at).copied().unwrap_or(false) { None } else { self.stored(at) }
    }

    fn stored(&self, at: usize) -> Option<(&[u8], &[u8])> {
        let (image_end, key_end) = *self.ends.get(at)?;
        let (image, key) = at.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or_default();
        Some((self.images.get(image..image_end)?, self.keys.get(key..key_end)?))
    }

    /// The stream has a newer change of this key.
    pub fn leave_out(&mut self, key: &[u8]) {
        let index = match self.index.take() {
            Some(index) => index,
            None => self.sorted(),
        };
        let hash = keys::hash(key);
        let first = index.partition_point(|(other, _)| *other < hash);
        let same = index.get(first..).unwrap_or_default().iter().take_while(|(other, _)| *other == hash);
        for row in same.map(|(_, row)| *row as usize) {
            if self.stored(row).is_some_and(|(_, other)| other == key) {
                self.left_out.resize(self.ends.len(), false);
                self.left_out[row] = true;
            }
        }
        self.index = Some(index);
    }

    fn sorted(&self) -> Vec<(u64, u32)> {
        let hash = |at: u32| self.stored(at as usize).map(|(_, key)| (keys::hash(key), at));
        let mut index: Vec<_> = (0..self.ends.len() as u32).filter_map(hash).collect();
        index.sort_unstable();
        index
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(keys: &[&str]) -> Chunk {
        let (mut chunk, mut spans) = (Chunk::default(), KeySpans::default());
        for key in keys {
            let write = |image: &mut Vec<u8>, spans: &mut KeySpans| {
                let start = image.len();
                image.extend_from_slice(key.as_bytes());
                spans.reset(1);
                spans.set(0, start, image.len());
                Ok::<_, ()>(())
            };
            chunk.push(write, &mut spans).unwrap();
        }
        chunk
    }

    fn key(text: &str) -> Vec<u8> {
        let mut key = Vec::new();
        keys::write([text.as_bytes()].into_iter(), &mut key);
        key
    }

    #[test]
    fn what_was_streamed_is_left_out_and_nothing_else() {
        let mut chunk = chunk(&["a", "b", "A", "b", ""]);
        for streamed in ["b", "c", "a"] {
            chunk.leave_out(&key(streamed));
        }
        let left: Vec<Option<&[u8]>> = (0..6).map(|at| chunk.row(at).map(|(image, _)| image)).collect();
        assert_eq!(left, [None, None, Some(&b"A"[..]), None, Some(&b""[..]), None]);
    }
}
