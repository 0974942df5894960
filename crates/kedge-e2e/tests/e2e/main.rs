//! One file for each promise. Tests run in parallel and share nothing: each has its own hub, agent, sshd and people,
//! on free loopback ports and in a scratch folder.

#![expect(
    clippy::indexing_slicing,
    reason = "a test that finds another shape than it wants should fail"
)]

mod agent_control;
mod agents_and_names;
mod agents_reconnect;
mod agents_targets;
mod api_shape;
mod audit;
mod benchmark;
mod command_line;
mod configuration;
mod connect_proxy;
mod demo;
mod explain;
mod failing_tests;
mod fairness;
mod forwarding;
mod frames_of_agents;
mod frames_of_people;
mod host_keys;
mod hub_rights;
mod image;
mod injected_keys;
mod issuers_down;
mod join_tokens;
mod killed;
mod kubernetes;
mod kubernetes_hub;
mod kubernetes_kinds;
mod kubernetes_manifests;
mod kubernetes_refusals;
mod limits;
mod login_by_ssh;
mod login_flows;
mod login_mapping;
mod login_pages;
mod login_redirects;
mod login_refresh;
mod mapping_of_issuers;
mod names_from_outside;
mod nothing_left_behind;
mod operators;
mod people;
mod plain_http;
mod policies;
mod prelude;
mod service_manager;
mod session_life;
mod sessions;
mod sessions_listed;
mod silent_loss;
mod ssh_config;
mod store;
mod tls;
mod tokens_hostile;
mod transfers;
mod trusting;
mod versions;
mod workload_tokens;
