//! The checksum of PROXY headers: CRC-32C (Castagnoli; RFC 3720 §12.1).

/// The polynomial, its bits reversed.
const POLYNOMIAL: u32 = 0x82f6_3b78;

/// The remainder of each byte.
const TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut byte = 0u32;
    while byte < 256 {
        let mut remainder = byte;
        let mut bit = 0;
        while bit < 8 {
            let divides = remainder & 1 != 0;
            remainder = remainder >> 1 ^ if divides { POLYNOMIAL } else { 0 };
            bit += 1;
        }
        table[byte as usize] = remainder;
        byte += 1;
    }
    table
};

/// The checksum of `pieces`, one after another.
pub(super) fn of<const N: usize>(pieces: [&[u8]; N]) -> u32 {
    let bytes = pieces.into_iter().flatten();
    !bytes.fold(!0, |sum: u32, &byte| sum >> 8 ^ TABLE[usize::from(sum.to_le_bytes()[0] ^ byte)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_sums() {
        // RFC 3720 §B.4, and the check value of the catalogues.
        assert_eq!(of([b"123456789"]), 0xe306_9283);
        assert_eq!(of([&[0; 32]]), 0x8a91_36aa);
        assert_eq!(of([&[0xff; 32]]), 0x62a8_ab43);
        assert_eq!(of([b"1234", b"", b"56789"]), 0xe306_9283);
    }
}
