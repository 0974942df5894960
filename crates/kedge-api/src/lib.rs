//! Resource kinds, names and ids as types, policy evaluation.
