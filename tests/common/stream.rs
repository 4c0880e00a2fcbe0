//! What may be sent to a terminal: the workbench's own few codes, and text.
#![allow(dead_code, unreachable_pub, reason = "each test uses a part of it")]

/// Modes that are switched on and off.
const MODES: [&str; 6] = ["?1049", "?2004", "?25", "?2026", "?1000", "?1006"];

/// What of these bytes should never have been sent, with what stands around it; none if all is well.
/// A code or character that is cut off at the end may yet become a good one.
pub fn fault(bytes: &[u8]) -> Option<String> {
    let mut at = 0;
    while at < bytes.len() {
        match good(&bytes[at..]) {
            Some(0) => return None,
            Some(length) => at += length,
            None => {
                let around = &bytes[at.saturating_sub(40)..bytes.len().min(at + 40)];
                return Some(format!("byte {at}: {}", String::from_utf8_lossy(around).escape_debug()));
            }
        }
    }
    None
}

/// Bytes of the good thing at the start: 0 if it is not all there.
fn good(bytes: &[u8]) -> Option<usize> {
    match bytes[0] {
        0x1b => match bytes.get(1) {
            None => Some(0),
            Some(b'[') => csi(bytes),
            Some(b']') => notice(bytes).or_else(|| clipboard(bytes)),
            Some(_) => None,
        },
        b'\r' => match bytes.get(1) {
            None => Some(0),
            Some(next) => (*next == b'\n').then_some(2),
        },
        0x20..=0x7e => Some(1),
        0x80.. => character(bytes),
        _ => None,
    }
}

fn csi(bytes: &[u8]) -> Option<usize> {
    let Some(end) = bytes[2..].iter().position(|b| matches!(b, 0x40..=0x7e)) else {
        return (bytes.len() < 64).then_some(0);
    };
    let parameters = std::str::from_utf8(&bytes[2..2 + end]).ok()?;
    let numbers = parameters.bytes().all(|b| b.is_ascii_digit() || b == b';');
    let fits = match bytes[2 + end] {
        b'H' | b'm' => numbers,
        b'C' => numbers && !parameters.contains(';'),
        b'J' => parameters == "2",
        b'h' | b'l' => MODES.contains(&parameters),
        _ => false,
    };
    fits.then_some(end + 3)
}

/// `OSC 9 ; text BEL`, which tells that something is wrong with a run.
fn notice(bytes: &[u8]) -> Option<usize> {
    const BEGIN: &[u8] = b"\x1b]9;";
    if !bytes.starts_with(BEGIN) {
        return BEGIN.starts_with(bytes).then_some(0);
    }
    match bytes[BEGIN.len()..].iter().position(|b| *b < 0x20 || *b == 0x7f) {
        None => Some(0),
        Some(end) => (bytes[BEGIN.len() + end] == 7).then_some(BEGIN.len() + end + 1),
    }
}

/// `OSC 52 ; c ; base64 BEL`, which only copying sends.
fn clipboard(bytes: &[u8]) -> Option<usize> {
    const BEGIN: &[u8] = b"\x1b]52;c;";
    if !bytes.starts_with(BEGIN) {
        return BEGIN.starts_with(bytes).then_some(0);
    }
    let base64 = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'=');
    match bytes[BEGIN.len()..].iter().position(|b| !base64(b)) {
        None => Some(0),
        Some(end) => (bytes[BEGIN.len() + end] == 7).then_some(BEGIN.len() + end + 1),
    }
}

/// A character that terminals show and do not obey.
fn character(bytes: &[u8]) -> Option<usize> {
    let length = match bytes[0] {
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf4 => 4,
        _ => return None,
    };
    if bytes.len() < length {
        return Some(0);
    }
    let c = std::str::from_utf8(&bytes[..length]).ok()?.chars().next()?;
    let obeyed = c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    (!obeyed).then_some(length)
}

#[test]
fn faults_are_found() {
    for fine in [
        "",
        "a漢\x1b[1;2H\x1b[0;38;2;1;2;3m\r\n",
        "\x1b[?25l\x1b[2J",
        "\x1b]52;c;Zg==\x07",
        "\x1b[",
        "\x1b]52",
        "\r",
        "\x1b]9;loss is NaN\x07",
    ] {
        assert_eq!(fault(fine.as_bytes()), None);
    }
    for bad in [
        "\t",
        "\r",
        "\x07",
        "\x1b[?7h",
        "\x1b]0;x\x07",
        "\x1b]9;a\x1b",
        "\x1b]52;c;\x1b",
        "\x1bc",
        "\u{9b}",
        "\u{202e}",
        "\x1b[1A",
    ] {
        assert!(fault(format!("x{bad}yz").as_bytes()).is_some(), "{bad:?}");
    }
    assert!(fault(b"\xff").is_some() && fault(b"\xc3").is_none());
}
