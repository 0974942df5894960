//! Black-box tests over the built binaries with real OpenSSH.
