//! Reads the body of an answer: under a cap, at a minimum rate, decoded at most once. Trusts no declared length.

use std::io::{self, Write};
use std::time::Duration;

use flate2::write::GzDecoder;
use http_body_util::BodyExt as _;
use hyper::HeaderMap;
use hyper::body::Incoming;
use hyper::header::CONTENT_ENCODING;
use tokio::time::{Instant, timeout_at};

/// How a body is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Coding {
    Identity,
    Gzip,
}

/// What bounds a body.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// The largest decoded body, and the largest packed one.
    pub(super) bytes_max: u64,
    /// How long nothing may arrive, and over which time the rate is measured.
    pub(super) stall: Duration,
    /// The fewest bytes that may arrive in one second, on the average.
    pub(super) rate_bytes_s: u64,
}

/// Why there is no body.
#[derive(Debug)]
pub(super) enum BodyFault {
    /// It is larger than the cap: at least so many bytes.
    TooLarge(u64),
    /// Nothing arrived for a while.
    Stalled,
    /// So many bytes arrived in the time over which the rate is measured.
    TooSlow(u64),
    /// It ended before its end.
    Cut(hyper::Error),
    /// It is not packed as it says.
    Packing(String),
}

/// Tells how a body is packed.
///
/// **Errors**: the header's text, for another packing or several on top of each other.
pub(super) fn coding(headers: &HeaderMap) -> Result<Coding, String> {
    let mut found = headers.get_all(CONTENT_ENCODING).iter();
    let text = |value: &hyper::header::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let Some(first) = found.next().map(text) else { return Ok(Coding::Identity) };
    if let Some(second) = found.next() {
        return Err(format!("{first}, {}", text(second)));
    }
    match first.trim().to_ascii_lowercase().as_str() {
        "identity" | "" => Ok(Coding::Identity),
        "gzip" | "x-gzip" => Ok(Coding::Gzip),
        _ => Err(first),
    }
}

/// Reads a body to its end; `arrived` hears of each piece as it comes, before it is decoded.
///
/// **Errors**: see [`BodyFault`].
pub(super) async fn read(
    mut incoming: Incoming,
    coding: Coding,
    bounds: Bounds,
    arrived: impl Fn(usize),
) -> Result<Vec<u8>, BodyFault> {
    let mut sink = Sink::new(coding, bounds.bytes_max);
    let mut pace = Pace::new(bounds);
    loop {
        let frame = match timeout_at(pace.next_check(), incoming.frame()).await {
            Err(_) => {
                pace.check()?;
                continue;
            }
            Ok(None) => return sink.finish(),
            Ok(Some(frame)) => frame.map_err(BodyFault::Cut)?,
        };
        // Trailers say nothing that we read.
        if let Some(data) = frame.data_ref() {
            pace.arrived(data.len() as u64);
            arrived(data.len());
            sink.take(data)?;
        }
        // A server whose bytes drip never lets the wait above end.
        if Instant::now() >= pace.next_check() {
            pace.check()?;
        }
    }
}

/// How fast a body arrives.
struct Pace {
    bounds: Bounds,
    window_started: Instant,
    window_bytes: u64,
    last_arrival: Instant,
}

impl Pace {
    fn new(bounds: Bounds) -> Pace {
        let now = Instant::now();
        Pace { bounds, window_started: now, window_bytes: 0, last_arrival: now }
    }

    fn next_check(&self) -> Instant {
        self.window_started + self.bounds.stall
    }

    fn arrived(&mut self, bytes: u64) {
        if bytes > 0 {
            self.last_arrival = Instant::now();
            self.window_bytes = self.window_bytes.saturating_add(bytes);
        }
    }

    /// Judges the window that ends now and begins the next.
    fn check(&mut self) -> Result<(), BodyFault> {
        let bytes = self.window_bytes;
        let wanted = self.bounds.rate_bytes_s.saturating_mul(self.bounds.stall.as_secs());
        let silence = self.last_arrival.elapsed();
        if bytes == 0 || silence >= self.bounds.stall {
            return Err(BodyFault::Stalled);
        }
        if bytes < wanted {
            // What came at the window's start and then stopped is a stall that has begun.
            let stalled = silence * 2 >= self.bounds.stall;
            return Err(if stalled { BodyFault::Stalled } else { BodyFault::TooSlow(bytes) });
        }
        (self.window_started, self.window_bytes) = (Instant::now(), 0);
        Ok(())
    }
}

/// Where a body goes.
enum Sink {
    Plain(Capped),
    Gzip { decoder: Box<GzDecoder<Capped>>, packed: u64 },
}

/// Bytes up to a cap.
struct Capped {
    bytes: Vec<u8>,
    bytes_max: u64,
    is_over: bool,
}

impl Write for Capped {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if (self.bytes.len() as u64).saturating_add(bytes.len() as u64) > self.bytes_max {
            self.is_over = true;
            return Err(io::Error::other("over the cap"));
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sink {
    fn new(coding: Coding, bytes_max: u64) -> Sink {
        let capped = Capped { bytes: Vec::new(), bytes_max, is_over: false };
        match coding {
            Coding::Identity => Sink::Plain(capped),
            Coding::Gzip => Sink::Gzip { decoder: Box::new(GzDecoder::new(capped)), packed: 0 },
        }
    }

    fn take(&mut self, data: &[u8]) -> Result<(), BodyFault> {
        match self {
            Sink::Plain(capped) => {
                let over = BodyFault::TooLarge(capped.bytes_max.saturating_add(1));
                capped.write_all(data).map_err(|_| over)
            }
            Sink::Gzip { decoder, packed } => {
                let bytes_max = decoder.get_ref().bytes_max;
                *packed = packed.saturating_add(data.len() as u64);
                // Blocks without content would never reach the cap on what is decoded.
                if *packed > bytes_max.saturating_add(1024) {
                    return Err(BodyFault::TooLarge(*packed));
                }
                decoder.write_all(data).map_err(|error| match decoder.get_ref().is_over {
                    true => BodyFault::TooLarge(bytes_max.saturating_add(1)),
                    false => BodyFault::Packing(error.to_string()),
                })
            }
        }
    }

    fn finish(self) -> Result<Vec<u8>, BodyFault> {
        match self {
            Sink::Plain(capped) => Ok(capped.bytes),
            Sink::Gzip { mut decoder, .. } => {
                let finished = decoder.try_finish();
                let is_over = decoder.get_ref().is_over;
                let bytes_max = decoder.get_ref().bytes_max;
                match finished.and_then(|()| decoder.finish()) {
                    Ok(capped) => Ok(capped.bytes),
                    Err(_) if is_over => Err(BodyFault::TooLarge(bytes_max.saturating_add(1))),
                    Err(error) => Err(BodyFault::Packing(error.to_string())),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use hyper::header::HeaderValue;

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn decoded(packed: &[u8], step: usize, bytes_max: u64) -> Result<Vec<u8>, BodyFault> {
        let mut sink = Sink::new(Coding::Gzip, bytes_max);
        for chunk in packed.chunks(step) {
            sink.take(chunk)?;
        }
        sink.finish()
    }

    #[test]
    fn one_packing_is_read_and_others_are_refused() {
        let check = |values: &[&str], expected: Result<Coding, &str>| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(CONTENT_ENCODING, HeaderValue::from_str(value).unwrap());
            }
            assert_eq!(coding(&headers), expected.map_err(str::to_owned), "{values:?}");
        };
        check(&[], Ok(Coding::Identity));
        check(&["identity"], Ok(Coding::Identity));
        check(&["GZIP"], Ok(Coding::Gzip));
        check(&["x-gzip"], Ok(Coding::Gzip));
        for text in ["br", "deflate", "zstd", "gzip, gzip", "gzip,identity", "compress"] {
            check(&[text], Err(text));
        }
        check(&["gzip", "gzip"], Err("gzip, gzip"));
    }

    #[test]
    fn packed_bytes_are_decoded_under_the_cap() {
        let text = b"{\"a\":1}".repeat(1000);
        let packed = gzip(&text);
        for step in [1, 7, 4096] {
            assert_eq!(decoded(&packed, step, text.len() as u64).unwrap(), text);
            let over = decoded(&packed, step, text.len() as u64 - 1);
            assert!(matches!(over, Err(BodyFault::TooLarge(_))), "{over:?}");
        }
        let bomb = gzip(&vec![0; 64 << 20]);
        assert!(bomb.len() < 100_000);
        assert!(matches!(decoded(&bomb, 4096, 1 << 20), Err(BodyFault::TooLarge(_))));
    }

    #[test]
    fn damaged_packing_is_refused() {
        let packed = gzip(b"some text, and some more text");
        for cut in 0..packed.len() {
            let found = decoded(&packed[..cut], 5, 1 << 20);
            assert!(matches!(found, Err(BodyFault::Packing(_))), "cut at {cut}: {found:?}");
        }
        let mut flipped = packed.clone();
        let checksum = flipped.len() - 6;
        flipped[checksum] ^= 1;
        assert!(matches!(decoded(&flipped, 5, 1 << 20), Err(BodyFault::Packing(_))));
        let twice = [packed.clone(), packed].concat();
        assert!(matches!(decoded(&twice, 5, 1 << 20), Err(BodyFault::Packing(_))), "one body is one stream");
    }
}
