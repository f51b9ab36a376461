//! Inflates the zlib stream of one loose Git object, never past a size that the caller sets.
//!
//! Ours, because libgit2 1.9.7 spins without end on a loose object whose stream is cut off (2026-11-21:
//! `git_zstream_get_output` takes "no progress" for success), and a power cut leaves such files behind. Favours clarity over
//! speed: large histories lie in packs. Never compresses, knows no preset dictionary.
//! **Source**: RFC 1950 and RFC 1951.

/// Why a stream was not inflated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InflateError {
    /// The input ends before the stream does.
    #[error("its compressed stream is cut off")]
    Cut,
    /// The input is no zlib stream, or its checksum does not match.
    #[error("its compressed stream is damaged")]
    Damaged,
    /// The stream holds more or fewer bytes than it should.
    #[error("its size is not what its header says")]
    OtherSize,
}

/// Returns the first `bytes_max` bytes of a stream, or all where it is shorter. Checks no checksum.
pub(crate) fn prefix(input: &[u8], bytes_max: usize) -> Result<Vec<u8>, InflateError> {
    let mut stream = Stream::open(input, bytes_max)?;
    stream.run()?;
    Ok(stream.out)
}

/// Returns the content of a stream that must hold exactly `bytes` bytes and end with its checksum and the input.
pub(crate) fn whole(input: &[u8], bytes: usize) -> Result<Vec<u8>, InflateError> {
    // One byte more, so that a stream that is too long shows.
    let mut stream = Stream::open(input, bytes.saturating_add(1))?;
    if stream.run()? == Reached::Limit || stream.out.len() != bytes {
        return Err(InflateError::OtherSize);
    }
    let checksum = stream.rest().split_first_chunk::<4>().ok_or(InflateError::Cut)?;
    match checksum {
        (sum, []) if u32::from_be_bytes(*sum) == adler32(&stream.out) => Ok(stream.out),
        _ => Err(InflateError::Damaged),
    }
}

/// RFC 1950, section 9.
fn adler32(bytes: &[u8]) -> u32 {
    let (mut low, mut high) = (1u32, 0u32);
    // 5552 is the most bytes whose sums fit into 32 bits.
    for part in bytes.chunks(5552) {
        for byte in part {
            low += u32::from(*byte);
            high += low;
        }
        low %= 65521;
        high %= 65521;
    }
    high << 16 | low
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reached {
    End,
    Limit,
}

struct Stream<'a> {
    input: &'a [u8],
    /// Next unread byte of the input.
    at: usize,
    /// Bits taken from the input and not used yet, the next one lowest.
    bits: u32,
    count: u32,
    out: Vec<u8>,
    bytes_max: usize,
}

impl<'a> Stream<'a> {
    fn open(input: &'a [u8], bytes_max: usize) -> Result<Stream<'a>, InflateError> {
        let ([method, flags], _) = input.split_first_chunk::<2>().ok_or(InflateError::Cut)?;
        let sound = method & 0x0f == 8 && method >> 4 <= 7 && flags & 0x20 == 0;
        if !sound || u16::from_be_bytes([*method, *flags]) % 31 != 0 {
            return Err(InflateError::Damaged);
        }
        Ok(Stream { input, at: 2, bits: 0, count: 0, out: Vec::new(), bytes_max })
    }

    /// Inflates to the end of the last block or to the limit; each turn uses input or ends.
    fn run(&mut self) -> Result<Reached, InflateError> {
        loop {
            let last = self.take(1)? == 1;
            let reached = match self.take(2)? {
                0 => self.stored()?,
                1 => {
                    let lengths: Vec<u8> = (0..288u16)
                        .map(|symbol| match symbol {
                            0..144 => 8,
                            144..256 => 9,
                            256..280 => 7,
                            _ => 8,
                        })
                        .collect();
                    self.coded(&Code::new(&lengths)?, &Code::new(&[5; 30])?)?
                }
                2 => {
                    let (literals, distances) = self.codes()?;
                    self.coded(&literals, &distances)?
                }
                _ => return Err(InflateError::Damaged),
            };
            if reached == Reached::Limit || last {
                return Ok(reached);
            }
        }
    }

    /// RFC 1951, section 3.2.4.
    fn stored(&mut self) -> Result<Reached, InflateError> {
        self.at -= (self.count / 8) as usize;
        (self.bits, self.count) = (0, 0);
        let head = self.input.get(self.at..self.at + 4).ok_or(InflateError::Cut)?;
        let length = u16::from_le_bytes([head[0], head[1]]);
        if length != !u16::from_le_bytes([head[2], head[3]]) {
            return Err(InflateError::Damaged);
        }
        self.at += 4;
        for _ in 0..length {
            if self.out.len() >= self.bytes_max {
                return Ok(Reached::Limit);
            }
            self.out.push(*self.input.get(self.at).ok_or(InflateError::Cut)?);
            self.at += 1;
        }
        Ok(self.reached())
    }

    /// RFC 1951, section 3.2.7: the codes of a block, themselves written in a code.
    fn codes(&mut self) -> Result<(Code, Code), InflateError> {
        const ORDER: [usize; 19] = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];
        let literals = self.take(5)? as usize + 257;
        let distances = self.take(5)? as usize + 1;
        let mut own = [0u8; 19];
        let written = self.take(4)? as usize + 4;
        for index in &ORDER[..written] {
            own[*index] = self.take(3)? as u8;
        }
        let code = Code::new(&own)?;
        let mut lengths: Vec<u8> = Vec::new();
        while lengths.len() < literals + distances {
            let (length, times) = match self.symbol(&code)? {
                16 => (*lengths.last().ok_or(InflateError::Damaged)?, 3 + self.take(2)?),
                17 => (0, 3 + self.take(3)?),
                18 => (0, 11 + self.take(7)?),
                length => (length as u8, 1),
            };
            lengths.extend(std::iter::repeat_n(length, times as usize));
        }
        // A repetition may not run over the end, and a block without an end has no meaning.
        if lengths.len() != literals + distances || lengths[256] == 0 {
            return Err(InflateError::Damaged);
        }
        Ok((Code::new(&lengths[..literals])?, Code::new(&lengths[literals..])?))
    }

    /// RFC 1951, section 3.2.5.
    fn coded(&mut self, literals: &Code, distances: &Code) -> Result<Reached, InflateError> {
        loop {
            let symbol = self.symbol(literals)?;
            if symbol == 256 {
                return Ok(self.reached());
            }
            if self.out.len() >= self.bytes_max {
                return Ok(Reached::Limit);
            }
            if let Ok(literal) = u8::try_from(symbol) {
                self.out.push(literal);
                continue;
            }
            let length = self.length(symbol)?;
            let distance = self.distance(distances)?;
            let from = self.out.len().checked_sub(distance).ok_or(InflateError::Damaged)?;
            for index in from..from + length.min(self.bytes_max - self.out.len()) {
                self.out.push(self.out[index]);
            }
        }
    }

    fn length(&mut self, symbol: u16) -> Result<usize, InflateError> {
        match symbol {
            257..=264 => Ok(usize::from(symbol) - 254),
            265..=284 => {
                let extra = u32::from(symbol - 261) / 4;
                Ok(3 + ((4 + (usize::from(symbol) - 261) % 4) << extra) + self.take(extra)? as usize)
            }
            285 => Ok(258),
            _ => Err(InflateError::Damaged),
        }
    }

    fn distance(&mut self, code: &Code) -> Result<usize, InflateError> {
        match self.symbol(code)? {
            symbol @ 0..=3 => Ok(usize::from(symbol) + 1),
            symbol @ 4..=29 => {
                let extra = u32::from(symbol) / 2 - 1;
                Ok(1 + ((2 + usize::from(symbol) % 2) << extra) + self.take(extra)? as usize)
            }
            _ => Err(InflateError::Damaged),
        }
    }

    fn symbol(&mut self, code: &Code) -> Result<u16, InflateError> {
        let (mut value, mut first, mut index) = (0i32, 0i32, 0i32);
        for count in &code.counts[1..] {
            value |= self.take(1)? as i32;
            let count = i32::from(*count);
            if value - count < first {
                return code
                    .symbols
                    .get((index + value - first) as usize)
                    .copied()
                    .ok_or(InflateError::Damaged);
            }
            index += count;
            first = (first + count) << 1;
            value <<= 1;
        }
        Err(InflateError::Damaged)
    }

    fn take(&mut self, count: u32) -> Result<u32, InflateError> {
        while self.count < count {
            let byte = self.input.get(self.at).ok_or(InflateError::Cut)?;
            self.bits |= u32::from(*byte) << self.count;
            self.at += 1;
            self.count += 8;
        }
        let taken = self.bits & ((1 << count) - 1);
        self.bits >>= count;
        self.count -= count;
        Ok(taken)
    }

    fn reached(&self) -> Reached {
        if self.out.len() >= self.bytes_max { Reached::Limit } else { Reached::End }
    }

    /// The input behind the last block, from the next whole byte on.
    fn rest(&self) -> &'a [u8] {
        &self.input[self.at - (self.count / 8) as usize..]
    }
}

/// A Huffman code: how many symbols each length has, and the symbols in the order of their codes.
struct Code {
    counts: [u16; 16],
    symbols: Vec<u16>,
}

impl Code {
    /// RFC 1951, section 3.2.2. An incomplete code is accepted: its gaps are refused when they are met.
    fn new(lengths: &[u8]) -> Result<Code, InflateError> {
        let mut counts = [0u16; 16];
        for length in lengths {
            *counts.get_mut(usize::from(*length)).ok_or(InflateError::Damaged)? += 1;
        }
        let mut left = 1i32;
        for count in &counts[1..] {
            left = (left << 1) - i32::from(*count);
            if left < 0 {
                return Err(InflateError::Damaged);
            }
        }
        let mut symbols: Vec<u16> =
            (0u16..).take(lengths.len()).filter(|at| lengths[usize::from(*at)] > 0).collect();
        symbols.sort_by_key(|symbol| lengths[usize::from(*symbol)]);
        Ok(Code { counts, symbols })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use catalogue_schema::digest::unhex;

    use super::*;

    /// `aaaaaaaaaa` in a block with the fixed code, as zlib writes it.
    const FIXED: &str = "789c4b4c840100 14e103cb";

    fn sample(hex: &str) -> Vec<u8> {
        unhex(&hex.replace(' ', "")).unwrap()
    }

    #[test]
    fn streams_are_inflated() {
        let rows = [
            (FIXED, &b"aaaaaaaaaa"[..]),
            ("789c 01 0300 fcff 616263 024d0127", b"abc"),
            ("789c 0300 00000001", b""),
        ];
        for (hex, expected) in rows {
            assert_eq!(whole(&sample(hex), expected.len()).unwrap(), expected, "{hex}");
        }
        assert_eq!(prefix(&sample(FIXED), 4).unwrap(), b"aaaa");
    }

    #[test]
    fn cut_damaged_and_long_streams_are_refused() {
        let good = sample(FIXED);
        for length in 0..good.len() {
            assert_eq!(whole(&good[..length], 10), Err(InflateError::Cut), "{length}");
        }
        assert_eq!(whole(&[&good[..], b"x"].concat(), 10), Err(InflateError::Damaged));
        assert_eq!(whole(&good, 9), Err(InflateError::OtherSize));
        assert_eq!(whole(&good, 11), Err(InflateError::OtherSize));
        assert_eq!(whole(&sample("789c 07 00000001"), 0), Err(InflateError::Damaged));
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic_or_grow(mut bytes: Vec<u8>, bytes_max in 0usize..300) {
            bytes.splice(0..0, [0x78, 0x9c]);
            if let Ok(out) = prefix(&bytes, bytes_max) {
                proptest::prop_assert!(out.len() <= bytes_max);
            }
            let _ = whole(&bytes, bytes_max);
        }
    }
}
