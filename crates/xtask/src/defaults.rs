//! How long things may take, and which versions of tools are used.

use std::time::Duration;

/// One compilation of everything from nothing on two cores takes eight minutes; slower machines exist.
pub(crate) const BUILD: Duration = Duration::from_secs(30 * 60);

/// One binary of unit and property tests.
pub(crate) const UNIT: Duration = Duration::from_secs(5 * 60);

/// All documentation tests: each is compiled.
pub(crate) const DOC: Duration = Duration::from_secs(10 * 60);

/// All checks of the Nix side: a hundred evaluations of a tenth of a second each, beside whatever else runs there.
pub(crate) const NIX: Duration = Duration::from_secs(5 * 60);

/// One end-to-end test. The slowest waits for a silent loss (40 s) twice.
pub(crate) const E2E: Duration = Duration::from_secs(4 * 60);

/// Installing a tool from its sources.
pub(crate) const INSTALL: Duration = Duration::from_secs(15 * 60);

/// Fetching the advisory database.
pub(crate) const FETCH: Duration = Duration::from_secs(120);

/// One run of a program that only prints.
pub(crate) const PRINT: Duration = Duration::from_secs(30);

/// Packages from apt.
pub(crate) const APT: Duration = Duration::from_secs(10 * 60);

/// End-to-end tests spend their time waiting: this many run at once for each core.
pub(crate) const E2E_PER_CORE: usize = 2;

/// And no more than this many altogether, for sshd's and the loopback's sake.
pub(crate) const E2E_MOST: usize = 8;

/// The version of cargo-deny that `deny.toml` is written for.
pub(crate) const CARGO_DENY: &str = "0.20.2";

/// One run of the program that loads the daemons of the benchmark. The longest opens a thousand sessions. The program
/// itself gives up a step that stands still, or agents that are lost, before this, and says which.
pub(crate) const BENCH_LOAD: Duration = Duration::from_secs(120);

/// Rounds of a benchmark: the median of five shrugs off two that something else disturbed.
pub(crate) const BENCH_ROUNDS: usize = 5;

/// Rounds of a first look: the median of three shrugs off one.
pub(crate) const BENCH_ROUNDS_QUICK: usize = 3;

/// Memory that changes by no more than this, in KiB, is at rest: pages that timers and logs touch.
pub(crate) const BENCH_SETTLED_KIB: f64 = 64.0;

/// It must have been at rest for this long: buffers are given back some time after the last byte.
pub(crate) const BENCH_SETTLED: Duration = Duration::from_millis(1500);

/// And it is waited for as long as this.
pub(crate) const BENCH_SETTLE: Duration = Duration::from_secs(60);

/// The oldest Go that builds the API server of the tests: what its module asks for.
pub(crate) const GO: (u32, u32) = (1, 24);

/// Building the API server from nothing takes six minutes on two cores, beside whatever else runs there.
pub(crate) const GO_BUILD: Duration = Duration::from_secs(60 * 60);

/// The hub's image, in cargo's target folder.
pub(crate) const IMAGE: &str = "kedge-hub-image.tar";

/// The user and the group of the hub in its image: what `manifests/base/deployment.yaml` runs it as. A number, because a
/// kubelet cannot tell from a name that it is not root.
pub(crate) const IMAGE_USER: u32 = 65532;

/// The whole test on a node of Kubernetes, once everything is built: a minute and a half on two cores.
pub(crate) const CLUSTER: Duration = Duration::from_secs(8 * 60);

/// One step of it: a pod is there ten seconds after it was asked for, and a hub stops within its drain.
pub(crate) const CLUSTER_STEP: Duration = Duration::from_secs(120);

/// Its pods end: longer than the hub's terminationGracePeriodSeconds.
pub(crate) const CLUSTER_DRAIN: Duration = Duration::from_secs(60);

/// It ends in order after Ctrl-C: its pods, and then its programs.
pub(crate) const CLUSTER_END: Duration = Duration::from_secs(100);

/// One step of building a package: stripping or compressing a program with all its debugging information.
pub(crate) const PACKAGE: Duration = Duration::from_secs(5 * 60);

/// Making the machines' Debian. It takes one minute, and the network's time.
pub(crate) const MACHINE_IMAGE: Duration = Duration::from_secs(15 * 60);

/// All scripts on all machines. They take four minutes.
pub(crate) const MACHINES: Duration = Duration::from_secs(20 * 60);
