//! The checkers are tested before they are believed.

mod agreement;
mod forge;
mod maker;

use crate::dice::Salt;

/// Forged histories.
const FORGERY: Salt = Salt(9 << 32);
