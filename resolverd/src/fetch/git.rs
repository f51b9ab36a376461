//! Git repositories on this machine, by git2: objects only.
