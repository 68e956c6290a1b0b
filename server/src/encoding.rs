//! Postcard at the end of a buffer that is already there.
//!
//! postcard's own flavor for that, `to_extend`, copies byte by byte.

use std::io;

use bytes::BufMut;
use postcard::ser_flavors::Flavor;
use serde::Serialize;

/// Appends the encoding of a value to a buffer.
///
/// # Errors
///
/// The type has no encoding, which is a bug; the buffer may end with a part of it.
pub(crate) fn append<T: Serialize>(value: &T, buffer: &mut impl BufMut) -> io::Result<()> {
    postcard::serialize_with_flavor(value, Appending(buffer)).map_err(io::Error::other)
}

struct Appending<'a, B>(&'a mut B);

impl<B: BufMut> Flavor for Appending<'_, B> {
    type Output = ();

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.put_u8(byte);
        Ok(())
    }

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.0.put_slice(bytes);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_what_postcard_writes_elsewhere() {
        let value = ("key", vec![1_u64, 300], Some(b"bytes".as_slice()));
        let mut buffer = b"before".to_vec();
        append(&value, &mut buffer).unwrap();
        let whole = postcard::to_stdvec(&value).unwrap();
        assert_eq!(buffer, [b"before".as_slice(), &whole].concat());
    }
}
