//! Which transaction came last, told from the next one without spelling either.

use crate::envelope::TransactionRef;
use crate::position::is_same_tag;

/// A transaction's id in memory that is used again and again.
#[derive(Debug, Default)]
pub struct LastTransaction {
    uuid: [u8; 16],
    tag: String,
    /// 0: it has no GTID.
    number: u64,
    file: String,
    offset: u64,
}

impl LastTransaction {
    pub fn set(&mut self, id: &TransactionRef<'_>) {
        let (uuid, tag, number) = id.gtid.unwrap_or_default();
        (self.uuid, self.number, self.offset) = (uuid, number, id.offset);
        for (ours, theirs) in [(&mut self.tag, tag), (&mut self.file, id.file)] {
            ours.clear();
            ours.push_str(theirs);
        }
    }

    /// A GTID names a transaction wherever it stands.
    pub fn is(&self, id: &TransactionRef<'_>) -> bool {
        match id.gtid {
            Some((uuid, tag, number)) => self.number == number && self.uuid == uuid && is_same_tag(&self.tag, tag),
            None => self.number == 0 && self.offset == id.offset && self.file == id.file,
        }
    }

    pub fn id(&self) -> TransactionRef<'_> {
        let gtid = (self.number > 0).then_some((self.uuid, &*self.tag, self.number));
        TransactionRef { gtid, file: &self.file, offset: self.offset }
    }
}
