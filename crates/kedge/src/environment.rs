//! What the process found around it, taken once, so that nothing reads it behind anybody's back.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use kedge_tunnel::ProxyEnvironment;

use crate::cli::Globals;

/// Folders, search path and proxies of the person who runs `kedge`.
#[derive(Debug)]
pub struct Environment {
    /// The home folder.
    pub home: PathBuf,
    /// `$XDG_CONFIG_HOME`, when it is set to an absolute path.
    pub config_home: Option<PathBuf>,
    /// `$XDG_STATE_HOME`, likewise.
    pub state_home: Option<PathBuf>,
    /// `$XDG_RUNTIME_DIR`, likewise, when it is there.
    pub runtime_folder: Option<PathBuf>,
    /// `$SSH_AUTH_SOCK`: the socket of the person's own agent.
    pub own_agent: Option<PathBuf>,
    /// `$PATH`.
    pub search_path: OsString,
    /// This program's file, with links resolved.
    pub program: PathBuf,
    /// Proxies on the way to a hub.
    pub proxies: ProxyEnvironment,
    /// Where a page can be shown.
    pub desktop: Desktop,
}

/// Where a page can be shown to the person, if anywhere.
#[derive(Clone, Debug, Default)]
pub struct Desktop {
    /// `$BROWSER`.
    pub browser: Option<OsString>,
    /// Whether there is a screen that programs of this process can draw on.
    pub has_display: bool,
    /// Whether the person came over SSH, and so sits at another machine's screen.
    pub is_remote: bool,
}

impl Desktop {
    fn read(variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        Self {
            browser: set("BROWSER"),
            has_display: cfg!(target_os = "macos")
                || set("DISPLAY").is_some()
                || set("WAYLAND_DISPLAY").is_some(),
            is_remote: set("SSH_CONNECTION").is_some(),
        }
    }

    /// Whether a browser would appear before the person. Whoever sets `$BROWSER` means it.
    #[must_use]
    pub fn can_show(&self) -> bool {
        self.browser.is_some() || (self.has_display && !self.is_remote)
    }
}

impl Environment {
    /// Reads it from the process.
    #[must_use]
    pub fn from_process() -> Self {
        let absolute = |name: &str| {
            // The XDG specification has relative paths ignored.
            std::env::var_os(name)
                .map(PathBuf::from)
                .filter(|path| path.is_absolute())
        };
        Self {
            home: std::env::home_dir().unwrap_or_else(|| PathBuf::from("/")),
            config_home: absolute("XDG_CONFIG_HOME"),
            state_home: absolute("XDG_STATE_HOME"),
            runtime_folder: absolute("XDG_RUNTIME_DIR").filter(|folder| folder.is_dir()),
            own_agent: absolute("SSH_AUTH_SOCK"),
            search_path: std::env::var_os("PATH").unwrap_or_default(),
            program: std::env::current_exe().unwrap_or_else(|_| PathBuf::from("kedge")),
            proxies: ProxyEnvironment::read(|name| std::env::var(name).ok()),
            desktop: Desktop::read(|name| std::env::var_os(name)),
        }
    }

    /// `~/.config/kedge`, or where `$XDG_CONFIG_HOME` says.
    #[must_use]
    pub fn config_folder(&self) -> PathBuf {
        match &self.config_home {
            Some(folder) => folder.join("kedge"),
            None => self.usual_config_folder(),
        }
    }

    /// `~/.local/state/kedge`, or where `$XDG_STATE_HOME` says.
    #[must_use]
    pub fn state_folder(&self) -> PathBuf {
        match &self.state_home {
            Some(folder) => folder.join("kedge"),
            None => self.usual_state_folder(),
        }
    }

    /// The folder of the agents' sockets: below `$XDG_RUNTIME_DIR`, which goes with the person's last session, or below
    /// kedge's state.
    #[must_use]
    pub fn agent_folder(&self) -> PathBuf {
        match &self.runtime_folder {
            Some(folder) => folder.join("kedge"),
            None => self.state_folder().join(crate::defaults::AGENT_FOLDER),
        }
    }

    /// A path under which this program will still be found after an upgrade: where `$PATH` has it,
    /// when that is the same file, rather than what a link there points to today.
    #[must_use]
    pub fn lasting_program(&self) -> PathBuf {
        std::env::split_paths(&self.search_path)
            .filter(|folder| folder.is_absolute())
            .filter_map(|folder| Some(folder.join(self.program.file_name()?)))
            .find(|candidate| {
                candidate
                    .canonicalize()
                    .is_ok_and(|file| Some(file) == self.program.canonicalize().ok())
            })
            .unwrap_or_else(|| self.program.clone())
    }

    /// The global options that a command needs, run later by `ssh` in an environment that may lack
    /// this one's variables (an editor started from a desktop), to find the same files.
    #[must_use]
    pub fn lasting_globals(&self, globals: &Globals) -> Vec<(&'static str, PathBuf)> {
        let config = globals
            .config
            .clone()
            .map(|path| std::path::absolute(&path).unwrap_or(path));
        let config = config.or_else(|| {
            let folder = self.config_folder();
            (folder != self.usual_config_folder()).then(|| config_file(&folder))
        });
        let state = globals
            .state_dir
            .clone()
            .map(|path| std::path::absolute(&path).unwrap_or(path));
        let state = state.or_else(|| {
            let folder = self.state_folder();
            (folder != self.usual_state_folder()).then_some(folder)
        });
        let config = config.map(|path| ("--config", path));
        config
            .into_iter()
            .chain(state.map(|path| ("--state-dir", path)))
            .collect()
    }

    fn usual_config_folder(&self) -> PathBuf {
        self.home.join(".config/kedge")
    }

    fn usual_state_folder(&self) -> PathBuf {
        self.home.join(".local/state/kedge")
    }
}

/// The configuration's file in its folder.
#[must_use]
pub fn config_file(folder: &Path) -> PathBuf {
    folder.join("config.toml")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(config_home: Option<&str>) -> Environment {
        Environment {
            home: "/home/a".into(),
            config_home: config_home.map(Into::into),
            state_home: None,
            runtime_folder: None,
            own_agent: None,
            search_path: OsString::new(),
            program: "/opt/kedge".into(),
            proxies: ProxyEnvironment::read(|_| None),
            desktop: Desktop::default(),
        }
    }

    #[test]
    fn a_browser_is_for_somebody_who_sees_it() {
        let can_show = |variables: &[&str]| {
            let read = |name: &str| variables.contains(&name).then(|| OsString::from("x"));
            Desktop::read(read).can_show()
        };
        assert!(can_show(&["DISPLAY"]));
        assert!(can_show(&["WAYLAND_DISPLAY"]));
        assert!(!can_show(&["DISPLAY", "SSH_CONNECTION"]), "X11 forwarding");
        assert!(can_show(&["BROWSER", "SSH_CONNECTION"]));
        if cfg!(target_os = "linux") {
            assert!(!can_show(&[]));
        }
        let empty = Desktop::read(|_| Some(OsString::new()));
        assert!(empty.browser.is_none() && !empty.is_remote);
    }

    #[test]
    fn usual_folders_need_no_options() {
        assert!(
            environment(None)
                .lasting_globals(&Globals::default())
                .is_empty()
        );
        let same = environment(Some("/home/a/.config"));
        assert!(same.lasting_globals(&Globals::default()).is_empty());
    }

    #[test]
    fn other_folders_are_named() {
        let moved = environment(Some("/x"));
        assert_eq!(
            moved.lasting_globals(&Globals::default()),
            [("--config", PathBuf::from("/x/kedge/config.toml"))]
        );
        let globals = Globals {
            state_dir: Some("/s".into()),
            ..Globals::default()
        };
        assert_eq!(
            environment(None).lasting_globals(&globals),
            [("--state-dir", PathBuf::from("/s"))]
        );
    }

    #[test]
    fn the_search_path_names_the_program_when_it_is_the_same_file() {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("store");
        let bin = folder.path().join("bin");
        std::fs::create_dir_all(&store).unwrap();
        std::fs::create_dir_all(&bin).unwrap();
        std::fs::write(store.join("kedge"), "x").unwrap();
        std::os::unix::fs::symlink(store.join("kedge"), bin.join("kedge")).unwrap();
        let mut found = environment(None);
        found.program = store.join("kedge");
        found.search_path = bin.clone().into_os_string();
        assert_eq!(found.lasting_program(), bin.join("kedge"));
        found.search_path = "/nonexistent:relative".into();
        assert_eq!(found.lasting_program(), store.join("kedge"));
    }
}
