//! The optional fields behind a TABLE_MAP event's fixed part. `binlog_row_metadata=FULL` writes all of them.

use crate::event::Bytes;

/// The fields, unread. An absent field is empty, which is also what MySQL means by leaving one out.
#[derive(Debug, Clone, Copy, Default)]
pub struct Metadata<'a> {
    /// One bit for each numeric column, from the highest: it is unsigned.
    pub signedness: &'a [u8],
    pub charsets: Collations<'a>,
    pub names: Option<&'a [u8]>,
    pub set_labels: &'a [u8],
    pub enum_labels: &'a [u8],
    pub geometry_kinds: &'a [u8],
    pub primary_key: &'a [u8],
    /// Column and prefix length (0: all of it), pair by pair.
    pub primary_key_with_prefix: &'a [u8],
    pub label_charsets: Collations<'a>,
    /// One bit for each column, from the highest.
    pub visible: Option<&'a [u8]>,
    pub vector_dimensions: &'a [u8],
}

/// Collations of the character columns, in either of two forms.
#[derive(Debug, Clone, Copy, Default)]
pub struct Collations<'a> {
    /// A default, then pairs of a character column's place and its collation.
    pub with_default: Option<&'a [u8]>,
    /// One for each character column.
    pub each: &'a [u8],
}

impl<'a> Metadata<'a> {
    /// `None`: a field ends behind the event. Fields that are not known are left alone: they only ever add.
    pub fn parse(mut rest: Bytes<'a>) -> Option<Self> {
        let mut fields = Self::default();
        while !rest.is_empty() {
            let kind = rest.u8()?;
            let len = usize::try_from(rest.lenenc()?).ok()?;
            let value = rest.take(len)?;
            match kind {
                1 => fields.signedness = value,
                2 => fields.charsets.with_default = Some(value),
                3 => fields.charsets.each = value,
                4 => fields.names = Some(value),
                5 => fields.set_labels = value,
                6 => fields.enum_labels = value,
                7 => fields.geometry_kinds = value,
                8 => fields.primary_key = value,
                9 => fields.primary_key_with_prefix = value,
                10 => fields.label_charsets.with_default = Some(value),
                11 => fields.label_charsets.each = value,
                12 => fields.visible = Some(value),
                13 => fields.vector_dimensions = value,
                _ => {}
            }
        }
        Some(fields)
    }
}

impl<'a> Collations<'a> {
    /// Hands out the collations of `columns` character columns, in order.
    pub fn expand(&self, columns: usize) -> Option<Vec<u64>> {
        let Some(with_default) = self.with_default else {
            let mut each = Bytes(self.each);
            return (0..columns).map(|_| each.lenenc()).collect();
        };
        let mut rest = Bytes(with_default);
        let mut all = vec![rest.lenenc()?; columns];
        while !rest.is_empty() {
            let place = usize::try_from(rest.lenenc()?).ok()?;
            *all.get_mut(place)? = rest.lenenc()?;
        }
        Some(all)
    }
}

/// Whether bit `at`, counted from the highest of the first byte, is set.
pub fn high_bit(bits: &[u8], at: usize) -> bool {
    bits.get(at / 8).is_some_and(|byte| byte << (at % 8) & 0x80 != 0)
}
