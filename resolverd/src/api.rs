//! What requests, answers and errors look like on the socket, and the one table of error codes.

/// One HTTP call, as the client sends it and the server takes it.
#[derive(Debug, Clone)]
pub struct Call {
    /// `GET` or `POST`.
    pub method: &'static str,
    /// Path and query, percent-encoded.
    pub target: String,
    /// The JSON body of a `POST`.
    pub body: Vec<u8>,
}

/// The answer to a [`Call`].
#[derive(Debug, Clone)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// `application/json` or `application/problem+json`.
    pub content_type: &'static str,
    /// The body.
    pub body: Vec<u8>,
}
