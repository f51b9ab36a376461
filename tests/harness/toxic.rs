//! What networks do to an answer, by the names that Toxiproxy gave them, at a place in the answer. Asserts nothing.

use std::io::{self, Write};
use std::net::TcpStream;
use std::time::Duration;

use socket2::SockRef;

use crate::harness::poll;

/// How long an answer is held up that comes all the same.
const DELAY: Duration = Duration::from_millis(150);
/// How long one byte takes where there is no bandwidth.
const DRIP: Duration = Duration::from_millis(80);
/// How many bytes pass at once where an answer is sliced, and how long the next ones take.
const SLICE: (usize, Duration) = (9, Duration::from_millis(1));
/// How many bytes are the end of an answer.
const END: usize = 8;

/// What happens to an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Toxic {
    /// The rest comes later.
    Latency,
    /// The server goes away, and nobody listens there any more.
    Down,
    /// The rest comes byte by byte.
    Bandwidth,
    /// Nothing more comes, and the connection ends later, as one ends that is in order.
    SlowClose,
    /// Nothing more comes, and the connection stays.
    Timeout,
    /// Nothing more comes, and the connection is reset.
    ResetPeer,
    /// The rest comes in small pieces.
    Slicer,
    /// Nothing more comes, and the connection ends at once, without a farewell.
    LimitData,
}

/// Every one of them.
pub(crate) const TOXICS: [Toxic; 8] = [
    Toxic::Timeout,
    Toxic::Bandwidth,
    Toxic::Latency,
    Toxic::Down,
    Toxic::SlowClose,
    Toxic::ResetPeer,
    Toxic::Slicer,
    Toxic::LimitData,
];

/// Where in an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Position {
    /// Before all of it, or in its first line.
    Head,
    /// In the middle of the body.
    Middle,
    /// At the end of the body.
    End,
}

/// Every one of them.
pub(crate) const POSITIONS: [Position; 3] = [Position::Head, Position::Middle, Position::End];

impl Toxic {
    /// Returns how many bytes of an answer pass before it strikes.
    pub(crate) fn after(self, position: Position, head: usize, body: usize) -> usize {
        match (position, self) {
            // Inside the first line.
            (Position::Head, Toxic::LimitData) => 12.min(head),
            (Position::Head, _) => 0,
            (Position::Middle, _) => head + body / 2,
            (Position::End, Toxic::SlowClose) => head + body,
            (Position::End, Toxic::Bandwidth | Toxic::Slicer) => head + body.saturating_sub(END),
            // What is missing is one byte.
            (Position::End, _) => head + body.saturating_sub(1),
        }
    }

    /// Does to `rest`, which `send` sends, what it does; returns whether the connection goes on. `silence` returns when the client
    /// gives up. What ends the whole server is not done here.
    pub(crate) fn strike<S>(
        self,
        rest: &[u8],
        out: &mut S,
        send: impl Fn(&mut S, &[u8]) -> io::Result<()>,
        tcp: impl Fn(&mut S) -> &TcpStream,
        silence: impl Fn(&mut S),
    ) -> io::Result<bool> {
        match self {
            Toxic::Latency => {
                poll::pause(DELAY);
                send(out, rest)?;
                return Ok(true);
            }
            Toxic::Bandwidth => {
                for byte in rest {
                    poll::pause(DRIP);
                    send(out, &[*byte])?;
                }
                return Ok(true);
            }
            Toxic::Slicer => {
                for piece in rest.chunks(SLICE.0) {
                    poll::pause(SLICE.1);
                    send(out, piece)?;
                }
                return Ok(true);
            }
            Toxic::SlowClose => poll::pause(DELAY),
            Toxic::Timeout => silence(out),
            Toxic::ResetPeer => SockRef::from(tcp(out)).set_linger(Some(Duration::ZERO))?,
            Toxic::Down | Toxic::LimitData => {}
        }
        Ok(false)
    }
}

/// Takes the length away from a head: the end of the connection is the end of the body.
pub(crate) fn unmeasured(head: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for line in head.split_inclusive(|byte| *byte == b'\n') {
        if !line.to_ascii_lowercase().starts_with(b"content-length:") {
            let _ = out.write_all(line);
        }
    }
    out
}
