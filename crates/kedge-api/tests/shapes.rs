//! The JSON that others read and write: goldens, refreshed with `cargo xtask bless`.

#![cfg(test)]

use std::collections::{BTreeMap, BTreeSet};

use insta::assert_json_snapshot;
use kedge_api::login::LoginOrigin;
use kedge_api::meta::{Changed, set_condition};
use kedge_api::resources::{
    AccessPolicySpec, CONNECTED, HOST_KEY_VERIFIED, IssuedJoinToken, JoinTokenSpec,
    JoinTokenStatus, ServerSpec,
};
use kedge_api::rest::{
    AgentReport, AssumedFact, Authentication, Discovery, Enrolled, Enrollment, Explanation,
    ExplanationRequest, FactOrigin, History, HistoryEvent, HistoryRecord, HostKeyAcceptance,
    HubIdentity, IssuerInfo, Replay, ReplayChange, ReplayRequest, ServerAccess, SessionInfo,
    SessionLink, SessionList, SessionState, Verdict, WhoAmI,
};
use kedge_api::{
    AccessPolicy, AgentKey, AuthMethod, ConditionStatus, FieldError, HostKey, HostKeys, HubId,
    JoinToken, JoinTokenSecret, List, Permission, Principal, Resource, ResourceVersion, SecretRef,
    Server, ServerPhase, SessionId, Standing, Status, StatusReason, Time, Uid, WatchEvent,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

#[test]
fn a_server() {
    let server = server();
    assert_json_snapshot!(server);
    same(&server);
    assert_json_snapshot!(
        "a_minimal_server",
        Server::new("web01".parse().unwrap(), ServerSpec::default())
    );
}

#[test]
fn an_access_policy() {
    let policy = policy();
    assert_json_snapshot!(policy);
    same(&policy);
}

#[test]
fn a_denial() {
    let spec: AccessPolicySpec = serde_json::from_value(json!({
        "effect": "Deny",
        "subjects": {"users": ["*"]},
        "servers": {"names": ["*"]},
        "logins": ["*"],
        "permissions": ["*"],
        "hub": {
            "roles": ["viewer"],
            "rules": [{"verbs": ["*", "delete"], "resources": ["servers", "*"], "resourceNames": ["web01"]}],
        },
    }))
    .unwrap();
    let policy = AccessPolicy::new("freeze".parse().unwrap(), spec);
    assert_json_snapshot!(policy);
    same(&policy);
}

#[test]
fn a_join_token() {
    let issued = IssuedJoinToken {
        object: join_token(),
        secret: JoinTokenSecret::from_parts("abcdefghij".parse().unwrap(), &[1; 32]),
    };
    assert_json_snapshot!("a_join_token_stored", issued.object);
    assert_json_snapshot!("a_join_token_issued", issued.to_json().unwrap());
    same(&issued.object);
}

#[test]
fn lists_and_watches() {
    let list = List::new(ResourceVersion::new(9), vec![server()]);
    let mut redacted = serde_json::to_value(&list).unwrap();
    redacted["items"][0] = "…".into();
    assert_json_snapshot!("a_list", redacted);
    same(&list);
    let events = [
        WatchEvent::Added(server()),
        WatchEvent::Modified(server()),
        WatchEvent::Deleted(server()),
        WatchEvent::bookmark(ResourceVersion::new(10)),
        WatchEvent::Error(Status::expired()),
    ];
    let redacted: Vec<_> = events
        .iter()
        .map(|event| {
            let mut value = serde_json::to_value(event).unwrap();
            if value["object"]["kind"] == "Server" && value["type"] != "BOOKMARK" {
                value["object"] = "…".into();
            }
            value
        })
        .collect();
    assert_json_snapshot!("watch_events", redacted);
    events.iter().for_each(same);
    let versions: Vec<_> = events.iter().map(WatchEvent::resource_version).collect();
    let version = |v| Some(ResourceVersion::new(v));
    assert_eq!(
        versions,
        [version(7), version(7), version(7), version(10), None]
    );
}

#[test]
fn errors() {
    let errors = BTreeMap::from([
        ("already exists", Status::already_exists::<Server>("web01")),
        (
            "bad request",
            Status::bad_request("the body cannot be read: EOF"),
        ),
        ("conflict", Status::conflict::<Server>("web01")),
        ("expired", Status::expired()),
        (
            "forbidden",
            Status::forbidden("no policy allows alice to ssh to web01 as root"),
        ),
        ("hidden", Status::not_found_or_hidden::<Server>("web01")),
        (
            "hostile name",
            Status::not_found::<Server>("web\n01\u{202e}"),
        ),
        ("internal", Status::internal()),
        (
            "invalid",
            Status::invalid::<AccessPolicy>(
                "all",
                &[
                    FieldError::new("spec.subjects", "names nobody"),
                    FieldError::new("spec.logins", "lists no login"),
                ],
            ),
        ),
        (
            "no session",
            Status::no_session(&SessionId::from_bytes([5; 16])),
        ),
        ("not found", Status::not_found::<JoinToken>("abcdefghij")),
        (
            "slow down",
            Status::new(StatusReason::TooManyRequests, "too many enrolments").retry_after(30),
        ),
        ("unauthorized", Status::unauthorized()),
    ]);
    assert_json_snapshot!(errors);
    errors.values().for_each(same);
}

#[test]
fn every_reason_has_its_code() {
    let codes: Vec<_> = StatusReason::KNOWN
        .iter()
        .map(|reason| format!("{} {}", reason.code(), reason))
        .collect();
    assert_json_snapshot!(codes);
    assert_eq!(
        StatusReason::from("Teapot".to_owned()),
        StatusReason::Unknown("Teapot".to_owned())
    );
    // A Status of a newer hub, and one with nothing but what Kubernetes requires.
    let odd = json!({"kind": "Status", "code": 418, "reason": "Teapot", "new": 1});
    let odd: Status = serde_json::from_value(odd).unwrap();
    assert_eq!((odd.code, odd.reason.as_str()), (418, "Teapot"));
}

#[test]
fn rest_bodies() {
    let discovery = Discovery {
        id: hub_id(),
        name: "main".parse().unwrap(),
        version: "0.1.0".parse().unwrap(),
        protocols: vec!["kedge.v1".to_owned()],
        authentication: Authentication {
            methods: vec![AuthMethod::Oidc, AuthMethod::StaticToken],
            issuers: vec![IssuerInfo {
                name: "corp".parse().unwrap(),
                issuer: "https://id.example/realms/main".parse().unwrap(),
                client_id: "kedge".to_owned(),
                scopes: vec!["openid".to_owned(), "offline_access".to_owned()],
                public_client_secret: Some("no-secret".to_owned()),
                certificate_authorities: Some("-----BEGIN CERTIFICATE-----\n…".to_owned()),
                authorization_parameters: [("prompt".to_owned(), "consent".to_owned())].into(),
                redirect_ports: vec![8400, 8401],
                audiences: ["https://hub.example".to_owned()].into(),
                authorized_parties: ["gateway".to_owned()].into(),
            }],
        },
        suffix: "kedge".parse().unwrap(),
        certificate_pin: Some("sha256:AAAA".to_owned()),
    };
    let enrollment = Enrollment {
        name: "web01".parse().unwrap(),
        public_key: agent_key(),
        labels: server().metadata.labels,
        host_keys: host_keys(),
        os: Some("Debian GNU/Linux 12 (bookworm)".parse().unwrap()),
        arch: Some("x86_64".parse().unwrap()),
        version: "0.1.0".parse().unwrap(),
        proof: "eyJ….….…".to_owned(),
    };
    let enrolled = Enrolled {
        server: Server::new("web01".parse().unwrap(), ServerSpec::default()),
        hub: HubIdentity {
            id: hub_id(),
            name: "main".parse().unwrap(),
        },
    };
    let report = AgentReport {
        host_keys: host_keys(),
        os: None,
        arch: None,
        version: "0.1.0".parse().unwrap(),
    };
    let acceptance = HostKeyAcceptance {
        accept: host_keys().iter().map(HostKey::fingerprint).collect(),
    };
    let who = WhoAmI {
        issuer: "static".parse().unwrap(),
        subject: "a1b2c3".parse().unwrap(),
        user: "alice".parse().unwrap(),
        groups: BTreeSet::from(["dev".parse().unwrap()]),
        claims: [("preferred_username".to_owned(), json!("alice"))].into(),
        method: AuthMethod::StaticToken,
        login: Some("alice".parse().unwrap()),
        login_error: None,
        permissions: vec!["admin".to_owned()],
        hub_rights: serde_json::from_value(json!({
            "roles": ["viewer"], "rules": [{"verbs": ["create"], "resources": ["jointokens"]}],
        }))
        .unwrap(),
        authenticated_at: Some(now()),
        expires_at: Some("2026-01-01T13:00:00Z".parse().unwrap()),
    };
    let access = ServerAccess {
        server: "web01".parse().unwrap(),
        login: "alice".parse().unwrap(),
        host_keys: host_keys(),
        phase: ServerPhase::Online,
        injected_key: None,
    };
    let sessions = SessionList {
        items: vec![SessionInfo {
            id: SessionId::from_bytes([5; 16]),
            issuer: "static".parse().unwrap(),
            subject: "alice".parse().unwrap(),
            user: "alice".parse().unwrap(),
            server: "web01".parse().unwrap(),
            login: "alice".parse().unwrap(),
            permission: Permission::Ssh,
            policy: "dev-web".parse().unwrap(),
            source: "203.0.113.9:50123".parse().unwrap(),
            since: now(),
            until: Some("2026-01-01T13:00:00Z".parse().unwrap()),
            state: SessionState::Attached,
            client: SessionLink {
                remote_address: Some("203.0.113.9".parse().unwrap()),
                since: now(),
                sessions: 1,
                rtt_milliseconds: None,
            },
            agent: SessionLink {
                remote_address: Some("203.0.113.7".parse().unwrap()),
                since: now(),
                sessions: 17,
                rtt_milliseconds: Some(12),
            },
            bytes_up: 1234,
            bytes_down: 98_765,
        }],
    };
    assert_json_snapshot!("discovery", discovery);
    assert_json_snapshot!("enrollment", enrollment);
    assert_json_snapshot!("enrolled", enrolled);
    assert_json_snapshot!("agent_report", report);
    assert_json_snapshot!("host_key_acceptance", acceptance);
    assert_json_snapshot!("whoami", who);
    assert_json_snapshot!("server_access", access);
    assert_json_snapshot!("sessions", sessions);
    same(&discovery);
    same(&enrollment);
    same(&enrolled);
    same(&report);
    same(&acceptance);
    same(&who);
    same(&access);
    same(&sessions);
}

#[test]
fn times_are_whole_seconds_in_utc() {
    for (text, shown) in [
        ("2026-01-01T12:00:00Z", "2026-01-01T12:00:00Z"),
        ("2026-01-01T12:00:00.999Z", "2026-01-01T12:00:00Z"),
        ("2026-01-01T14:00:00+02:00", "2026-01-01T12:00:00Z"),
        ("1969-12-31T23:59:59.5Z", "1970-01-01T00:00:00Z"),
    ] {
        assert_eq!(text.parse::<Time>().unwrap().to_string(), shown, "{text}");
    }
    for illegal in [
        "",
        "now",
        "2026-01-01",
        "2026-01-01T12:00:00",
        "2026-13-01T00:00:00Z",
        "1767268800",
    ] {
        assert!(illegal.parse::<Time>().is_err(), "{illegal}");
    }
}

#[test]
fn conditions_keep_the_time_of_their_last_change() {
    let later: Time = "2026-01-02T00:00:00Z".parse().unwrap();
    let mut all = Vec::new();
    let mut set = |status, reason: &str, at| {
        let changed = set_condition(&mut all, CONNECTED, status, reason, "", at);
        (changed, all[0].last_transition_time)
    };
    assert_eq!(
        set(ConditionStatus::True, "Dialled", now()),
        (Changed::Yes, now())
    );
    assert_eq!(
        set(ConditionStatus::True, "Dialled", later),
        (Changed::No, now())
    );
    assert_eq!(
        set(ConditionStatus::True, "Resumed", later),
        (Changed::Yes, now())
    );
    assert_eq!(
        set(ConditionStatus::False, "Lost", later),
        (Changed::Yes, later)
    );
    let kinds: Vec<_> = server()
        .status
        .conditions
        .into_iter()
        .map(|c| c.kind)
        .collect();
    assert_eq!(kinds, [CONNECTED, HOST_KEY_VERIFIED]);
}

/// What is written reads as it was.
fn same<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(value: &T) {
    let text = serde_json::to_string(value).unwrap();
    assert_eq!(&serde_json::from_str::<T>(&text).unwrap(), value);
}

fn server() -> Server {
    let spec = ServerSpec {
        agent_key: Some(agent_key()),
        host_keys: host_keys(),
        ssh_key_secret_data_key: Some("id_ed25519".parse().unwrap()),
        ssh_key_secret_ref: Some(SecretRef {
            name: "web01".parse().unwrap(),
            namespace: "ssh-keys".parse().unwrap(),
        }),
        ssh_user: Some("ubuntu".parse().unwrap()),
    };
    let mut server = Server::new("web01".parse().unwrap(), spec);
    server.metadata.uid = Some(Uid::from_bytes([6; 16]));
    server.metadata.resource_version = Some(ResourceVersion::new(7));
    server.metadata.generation = Some(2);
    server.metadata.creation_timestamp = Some(now());
    server
        .metadata
        .labels
        .insert("env".parse().unwrap(), "prod".parse().unwrap());
    server
        .metadata
        .annotations
        .insert("kedge.dev/note".parse().unwrap(), "any text".to_owned());
    let status = &mut server.status;
    status.phase = ServerPhase::Online;
    status.last_seen = Some(now());
    status.connected_since = Some(now());
    status.agent_version = Some("0.1.0".parse().unwrap());
    status.os = Some("Debian GNU/Linux 12 (bookworm)".parse().unwrap());
    status.arch = Some("x86_64".parse().unwrap());
    status.host_key_fingerprint = host_keys().preferred().map(HostKey::fingerprint);
    status.protocol = Some("kedge.v1".parse().unwrap());
    status.remote_address = Some("203.0.113.7".parse().unwrap());
    let conditions = &mut status.conditions;
    let yes = ConditionStatus::True;
    set_condition(
        conditions,
        HOST_KEY_VERIFIED,
        yes.clone(),
        "Pinned",
        "as enrolled",
        now(),
    );
    set_condition(conditions, CONNECTED, yes, "TunnelUp", "", now());
    server
}

#[test]
fn explanations() {
    let request = json!({"user": "alice", "server": "web01"});
    let request: ExplanationRequest = serde_json::from_value(request).unwrap();
    assert_json_snapshot!("explanation_request", request);
    let trace = serde_json::from_value(json!([
        {"policy": "a", "effect": "Allow", "matched": true, "reason": {"code": "matches"}},
        {"policy": "b", "effect": "Deny", "matched": false, "reason": {"code": "claim", "index": 1}},
        {"policy": "c", "effect": "Allow", "matched": false, "reason": {"code": "of-a-newer-hub", "why": "x"}},
    ]))
    .unwrap();
    let explanation = Explanation {
        allowed: true,
        outcome: Verdict::Allowed,
        policy: Some("a".parse().unwrap()),
        at: now(),
        login: Some("alice".parse().unwrap()),
        login_origin: Some(LoginOrigin::Claim),
        login_error: None,
        max_session: Some("8h".parse().unwrap()),
        review_at: None,
        trace,
        assumed: vec![AssumedFact {
            fact: "groups".to_owned(),
            value: json!(["dev"]),
            origin: FactOrigin::LastSeen,
            seen: Some(now()),
        }],
    };
    assert_json_snapshot!("explanation", explanation);
    same(&explanation);
}

#[test]
fn history_and_replays() {
    let record = record();
    assert_json_snapshot!(
        "history",
        History {
            items: vec![record.clone()],
            continue_token: Some("17".to_owned()),
        }
    );
    same(&record);
    let request = ReplayRequest {
        since: now(),
        continue_token: None,
        policies: vec![policy()],
        remove: vec!["old".parse().unwrap()],
    };
    same(&request);
    assert_json_snapshot!(
        "replay",
        Replay {
            examined: 2,
            unchanged: 1,
            changed: vec![ReplayChange {
                record,
                before: Verdict::Allowed,
                after: Verdict::Denied,
                policy: Some("freeze".parse().unwrap()),
            }],
            continue_token: None,
        }
    );
}

/// What was is judged by what was known then.
#[test]
fn a_record_can_be_judged_again() {
    let open = |logins: serde_json::Value| {
        let spec = json!({"subjects": {"users": ["alice"]}, "servers": {"matchLabels": {"env": "prod"}}, "logins": logins});
        AccessPolicy::new("p".parse().unwrap(), serde_json::from_value(spec).unwrap())
    };
    let judge = |record: &HistoryRecord, policy: &AccessPolicy| {
        record
            .judge([policy])
            .map(|decision| Verdict::from(&decision.outcome))
    };
    let record = record();
    assert_eq!(
        judge(&record, &open(json!(["deploy"]))),
        Some(Verdict::Allowed)
    );
    assert_eq!(
        judge(&record, &open(json!(["{login}"]))),
        Some(Verdict::NoPolicy)
    );
    let unlabelled = HistoryRecord {
        server_labels: Some(Default::default()),
        ..record.clone()
    };
    assert_eq!(
        judge(&unlabelled, &open(json!(["deploy"]))),
        Some(Verdict::NoPolicy)
    );
    let nowhere = HistoryRecord {
        server_labels: None,
        ..record.clone()
    };
    assert_eq!(judge(&nowhere, &open(json!(["deploy"]))), None);
    let nobody = HistoryRecord {
        login: None,
        ..record
    };
    assert_eq!(judge(&nobody, &open(json!(["deploy"]))), None);
}

fn record() -> HistoryRecord {
    HistoryRecord {
        at: now(),
        event: HistoryEvent::Opened,
        session: Some(SessionId::from_bytes([5; 16])),
        principal: Principal {
            issuer: "https://id.example/".parse().unwrap(),
            subject: "a1b2c3".parse().unwrap(),
            user: "alice".parse().unwrap(),
            claims: [("preferred_username".to_owned(), json!("alice"))].into(),
            groups: BTreeSet::from(["dev".parse().unwrap()]),
            method: AuthMethod::Oidc,
            standing: Standing::Home,
            authenticated_at: Some(now()),
            expires_at: None,
        },
        server: "web01".parse().unwrap(),
        server_labels: Some(server().metadata.labels),
        ssh_user: None,
        login_requested: Some("deploy".parse().unwrap()),
        login: Some("deploy".parse().unwrap()),
        origin: Some(LoginOrigin::Requested),
        permission: Permission::Ssh,
        source: "203.0.113.9".parse().unwrap(),
        sessions: 1,
        policy: Some("dev-web".parse().unwrap()),
        code: None,
        reason: None,
    }
}

fn policy() -> AccessPolicy {
    let spec: AccessPolicySpec = serde_json::from_value(json!({
        "subjects": {"users": ["alice"], "groups": ["dev"], "issuers": ["static", "https://id.example/"],
            "claims": [{"key": "department", "operator": "NotIn", "values": ["guests"]}, {"key": "acr", "operator": "Exists"}]},
        "servers": {
            "names": ["web01"],
            "matchLabels": {"env": "prod"},
            "matchExpressions": [{"key": "tier", "operator": "In", "values": ["web", "db"]}],
        },
        "logins": ["{login}", "deploy", "{unix_logins}"],
        "permissions": ["ssh"],
        "constraints": {
            "sourceRanges": ["10.0.0.0/8", "2001:db8::/32"],
            "notBefore": "2026-01-01T00:00:00Z",
            "notAfter": "2026-12-31T23:59:59Z",
            "timeWindows": [{"days": ["Mon", "Fri"], "from": "08:00", "to": "24:00", "timeZone": "europe/berlin"}],
            "maxSession": "60m",
            "maxAuthAge": "12h",
            "requiredClaims": [{"key": "amr", "operator": "In", "values": ["mfa"]}],
            "maxSessions": 5,
        },
    }))
    .unwrap();
    AccessPolicy::new("dev-web".parse().unwrap(), spec)
}

fn join_token() -> JoinToken {
    let spec = JoinTokenSpec {
        uses: 1,
        expires_at: Some("2026-01-01T13:00:00Z".parse().unwrap()),
        server_name: Some("web01".parse().unwrap()),
        labels: server().metadata.labels,
    };
    let mut token = JoinToken::new("abcdefghij".parse().unwrap(), spec);
    let secret = JoinTokenSecret::from_parts("abcdefghij".parse().unwrap(), &[1; 32]);
    token.status = JoinTokenStatus {
        hash: Some(secret.hash()),
        used: 1,
        used_by: vec!["web01".parse().unwrap()],
        last_used_at: Some(now()),
        ..JoinTokenStatus::default()
    };
    token
}

fn host_keys() -> HostKeys {
    let lines = include_str!("data/host_keys.txt").lines();
    let short = lines
        .filter_map(|line| line.split_once(' '))
        .filter(|(_, key)| key.len() < 200);
    HostKeys::new(short.map(|(_, key)| key.parse().unwrap())).unwrap()
}

fn agent_key() -> kedge_api::AgentPublicKey {
    AgentKey::from_seed(&[7; 32]).unwrap().public_key()
}

fn hub_id() -> HubId {
    HubId::from_bytes([3; 16])
}

fn now() -> Time {
    "2026-01-01T12:00:00Z".parse().unwrap()
}
