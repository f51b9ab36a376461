//! What the client says before it has connected.
