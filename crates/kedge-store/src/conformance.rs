//! What every implementation must do.
