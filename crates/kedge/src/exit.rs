//! Exit codes.

/// What a shell learns of a command's end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum Exit {
    /// The hub said no: no policy, or not an administrator.
    Denied = 5,
    /// Anything else went wrong.
    Failure = 1,
    /// Somebody pressed Ctrl-C.
    Interrupted = 130,
    /// There is no login at this hub, or the hub does not take it any more.
    LoginNeeded = 4,
    /// There is no such object, or the server is offline.
    NotFound = 6,
    /// `kedge ssh` and `kedge proxy` failed before or beside the remote command, as `ssh` itself.
    Ssh = 255,
    /// All went well.
    Success = 0,
    /// The command line or the configuration makes no sense.
    Usage = 2,
}

impl Exit {
    /// The number.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// Every code, with what it means: the reference page's table.
    pub const ALL: [(Self, &'static str); 8] = [
        (Self::Success, "success"),
        (Self::Failure, "failure"),
        (
            Self::Usage,
            "wrong usage, or a configuration that cannot be read",
        ),
        (
            Self::LoginNeeded,
            "not logged in, or the hub no longer takes the login",
        ),
        (
            Self::Denied,
            "the hub's policy does not allow it; `kedge agent`: for root only",
        ),
        (
            Self::NotFound,
            "not found, or the server is offline; `kedge agent`: no agent, or not connected in time",
        ),
        (Self::Interrupted, "interrupted with Ctrl-C"),
        (
            Self::Ssh,
            "`kedge ssh` and `kedge proxy` only: anything of ours that failed; every other status \
             of `kedge ssh` is the remote command's",
        ),
    ];
}
