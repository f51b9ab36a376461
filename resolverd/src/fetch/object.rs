//! Git objects as bytes: commits and trees taken apart, and the walk from a commit to a path.
