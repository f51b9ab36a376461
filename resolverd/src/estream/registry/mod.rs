//! A registry from the side of those who keep it: an empty one made, publishers registered, what it holds checked, versions
//! withdrawn.

pub mod check;
pub mod keep;
pub mod submit;
pub mod view;
