//! Bytes as a reader of bytes wants them: place, hexadecimal, and what is printable.

/// Bytes of one row.
const ROW: usize = 16;

/// Writes bytes as rows of sixteen.
#[must_use]
pub fn dump(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len().div_ceil(ROW) * 78);
    for (row, bytes) in bytes.chunks(ROW).enumerate() {
        out.push_str(&format!("{:08x} ", row * ROW));
        for place in 0..ROW {
            if place % 8 == 0 {
                out.push(' ');
            }
            match bytes.get(place) {
                Some(byte) => out.push_str(&format!("{byte:02x} ")),
                None => out.push_str("   "),
            }
        }
        out.push_str(" |");
        let is_printable = |byte: &u8| byte.is_ascii_graphic() || *byte == b' ';
        out.extend(bytes.iter().map(|byte| {
            if is_printable(byte) {
                char::from(*byte)
            } else {
                '.'
            }
        }));
        out.push_str("|\n");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_as_hexdump_writes_them() {
        let bytes: Vec<u8> = (0..18).map(|n| n * 7 + 60).collect();
        let expected = "00000000  3c 43 4a 51 58 5f 66 6d  74 7b 82 89 90 97 9e a5  |<CJQX_fmt{......|\n\
                        00000010  ac b3                                             |..|\n";
        assert_eq!(dump(&bytes), expected);
        assert_eq!(dump(&[]), "");
    }
}
