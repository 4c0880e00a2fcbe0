//! Check sums of records: CRC-32 as zip has it, and CRC-32C, eight bytes at a time.

type Tables = [[u32; 256]; 8];

const fn tables(polynomial: u32) -> Tables {
    let mut tables = [[0u32; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut sum = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            sum = if sum & 1 == 1 { (sum >> 1) ^ polynomial } else { sum >> 1 };
            bit += 1;
        }
        tables[0][byte] = sum;
        byte += 1;
    }
    let mut table = 1;
    while table < 8 {
        let mut byte = 0;
        while byte < 256 {
            let before = tables[table - 1][byte];
            tables[table][byte] = (before >> 8) ^ tables[0][(before & 0xff) as usize];
            byte += 1;
        }
        table += 1;
    }
    tables
}

static ZIP: Tables = tables(0xedb8_8320);
static CASTAGNOLI: Tables = tables(0x82f6_3b78);

fn sum(tables: &Tables, begin: u32, bytes: &[u8]) -> u32 {
    let mut crc = !begin;
    let (eights, rest) = bytes.as_chunks::<8>();
    for eight in eights {
        let low = u32::from_le_bytes([eight[0], eight[1], eight[2], eight[3]]) ^ crc;
        crc = tables[7][(low & 0xff) as usize]
            ^ tables[6][(low >> 8 & 0xff) as usize]
            ^ tables[5][(low >> 16 & 0xff) as usize]
            ^ tables[4][(low >> 24) as usize]
            ^ tables[3][usize::from(eight[4])]
            ^ tables[2][usize::from(eight[5])]
            ^ tables[1][usize::from(eight[6])]
            ^ tables[0][usize::from(eight[7])];
    }
    for byte in rest {
        crc = (crc >> 8) ^ tables[0][((crc ^ u32::from(*byte)) & 0xff) as usize];
    }
    !crc
}

/// CRC-32 of bytes that follow others whose sum is `begin`; 0 where nothing came before.
pub(super) fn zip(begin: u32, bytes: &[u8]) -> u32 {
    sum(&ZIP, begin, bytes)
}

/// CRC-32C, turned and shifted as TFRecord files have it.
pub(super) fn masked(bytes: &[u8]) -> u32 {
    sum(&CASTAGNOLI, 0, bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_those_of_the_standards() {
        assert_eq!(zip(0, b"123456789"), 0xcbf4_3926);
        assert_eq!(zip(zip(0, b"1234"), b"56789"), 0xcbf4_3926);
        assert_eq!(sum(&CASTAGNOLI, 0, b"123456789"), 0xe306_9283);
        assert_eq!(sum(&CASTAGNOLI, 0, &[0; 32]), 0x8a91_36aa);
    }
}
