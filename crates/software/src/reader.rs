//! Little-endian fields from a slice; never past its end.

/// The log ended inside a field, or a field is over its limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Short;

/// What is left of a log.
#[derive(Clone, Copy)]
pub(crate) struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8], Short> {
        let (head, tail) = self.0.split_at_checked(count).ok_or(Short)?;
        self.0 = tail;
        Ok(head)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, Short> {
        let bytes = self.take(2)?.try_into().map_err(|_| Short)?;
        Ok(u16::from_le_bytes(bytes))
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Short> {
        let bytes = self.take(4)?.try_into().map_err(|_| Short)?;
        Ok(u32::from_le_bytes(bytes))
    }

    /// A field after its length, which is at most `limit`.
    pub(crate) fn sized(&mut self, limit: usize) -> Result<&'a [u8], Short> {
        let length = usize::try_from(self.u32()?).map_err(|_| Short)?;
        if length > limit {
            return Err(Short);
        }
        self.take(length)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
