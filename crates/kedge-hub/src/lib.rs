//! The hub: it relays ciphertext, decides who may connect, and keeps the books.
