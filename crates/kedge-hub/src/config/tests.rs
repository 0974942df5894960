use std::time::Duration;

use kedge_api::{LocalPartTrust, Standing};
use kedge_identity::Algorithm;
use kedge_service::Source;

use super::*;

const HASH: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

fn settle(text: &str) -> Result<Settings, String> {
    let source = Source::from_text("hub.toml", text);
    source
        .parse::<Config>()
        .and_then(|config| config.settle(&source))
        .map_err(|error| error.to_string())
}

#[test]
fn an_empty_file_is_a_hub_that_refuses_people() {
    let settings = settle("").unwrap();
    assert_eq!(settings.listen.port(), 8443);
    let tunnel = kedge_tunnel::LinkConfig::default();
    assert_eq!(
        (settings.tunnel.window, settings.tunnel.window_max),
        (tunnel.initial_window, tunnel.window_cap),
        "what the tunnel does by itself"
    );
    assert_eq!(settings.tunnel.link_budget, tunnel.budget);
    assert!(settings.admin_listen.ip().is_loopback());
    assert_eq!(settings.threads, kedge_service::shards::cores());
    assert!(settings.roster.people.is_empty());
    assert!(matches!(settings.tls, Tls::SelfSigned { .. }));
}

#[test]
fn everything_that_can_be_said() {
    let settings = settle(&format!(
        r#"
        listen = "127.0.0.1:0"
        state-dir = "/tmp/x"
        name = "lab"
        suffix = "lab.example"
        threads = 3
        trusted-proxies = ["10.0.0.0/8"]
        [tls]
        mode = "off"
        [admin]
        listen = "127.0.0.1:0"
        [admins]
        users = ["alice"]
        groups = ["ops"]
        claims = {{ roles = ["kedge-admin"] }}
        [login]
        claim = "email"
        local-part-domains = ["corp.example"]
        exceptions = {{ "bob@corp.example" = "robert" }}
        [[issuers]]
        url = "https://id.example/realms/main"
        name = "corp"
        client-id = "kedge"
        audiences = ["kedge-ci"]
        authorized-parties = ["gateway"]
        scopes = ["openid", "groups", "openid"]
        algorithms = ["ES384", "PS256"]
        user-claim = "email"
        groups-claim = "roles"
        home = true
        public-client-secret = "not-a-secret"
        authorization-parameters = {{ prompt = "consent" }}
        redirect-ports = [8401, 1024, 65535]
        [issuers.login]
        local-part-domains = ["corp.example"]
        local-part-trust = "issuer"
        exceptions = {{ "alice.smith" = "asmith" }}
        [[issuers]]
        url = "http://127.0.0.1:8080/ci/"
        audiences = ["https://hub.example"]
        [[people]]
        subject = "alice"
        token-sha256 = "{HASH}"
        groups = ["dev"]
        claims = {{ preferred_username = "alice", level = 3, tags = ["a"] }}
        [tunnel]
        window-kib = 64
        window-max-kib = 16384
        link-budget-mib = 64
        budget-mib = 64
        [limits]
        connections = 5
        sessions-per-person = 2
        [session]
        max-age-seconds = 60
        token-grace-seconds = 0
        [history]
        days = 7
        records = 0
        [shutdown]
        drain-seconds = 1
        "#
    ))
    .unwrap();
    assert_eq!(settings.tls, Tls::Off);
    let second = Duration::from_secs(1);
    assert_eq!(settings.session.max_age, Some(60 * second));
    assert_eq!(settings.session.token_grace, Some(Duration::ZERO));
    assert_eq!(settings.history.age, 7 * 24 * 60 * 60 * second);
    assert_eq!(settings.threads.get(), 3);
    let wanted = TunnelSettings {
        window: 64 << 10,
        window_max: 16 << 20,
        link_budget: 64 << 20,
        budget: 64 << 20,
    };
    assert_eq!(settings.tunnel, wanted);
    assert_eq!(settings.history.records, 0);
    assert_eq!(
        settings.roster.mapping.exceptions["bob@corp.example"],
        "robert"
    );
    let [corp, ci] = &settings.roster.issuers[..] else {
        panic!("{:?}", settings.roster.issuers);
    };
    assert_eq!(corp.name, "corp");
    assert_eq!(corp.standing, Standing::Home);
    assert!(corp.audiences.contains("kedge") && corp.audiences.contains("kedge-ci"));
    assert!(
        corp.authorized_parties.contains("kedge") && corp.authorized_parties.contains("gateway")
    );
    assert_eq!(corp.scopes, ["openid", "groups"]);
    assert_eq!(corp.redirect_ports, [8401, 1024, 65535]);
    assert_eq!(corp.algorithms, [Algorithm::Es384, Algorithm::Ps256]);
    assert_eq!(corp.mapping.claim, "preferred_username");
    assert_eq!(corp.mapping.exceptions["alice.smith"], "asmith");
    assert_eq!(corp.mapping.local_part_trust, LocalPartTrust::Issuer);
    assert_eq!(ci.mapping.local_part_trust, LocalPartTrust::EmailVerified);
    assert_eq!(ci.url, "http://127.0.0.1:8080/ci/");
    assert_eq!(ci.name, "127.0.0.1");
    assert_eq!(ci.standing, Standing::Foreign);
    assert_eq!(ci.client_id, None);
    assert_eq!(ci.user_claim, "sub");
    assert_eq!(settings.roster.mapping.claim, "email");
    assert_eq!(settings.roster.people.len(), 1);
    assert_eq!(settings.shutdown.drain, Duration::from_secs(1));
}

#[test]
fn each_mistake_names_its_key() {
    let person = |subject: &str, hash: &str| {
        format!("[[people]]\nsubject = \"{subject}\"\ntoken-sha256 = \"{hash}\"\n")
    };
    let twice = person("a", HASH) + &person("b", HASH);
    let same = person("a", HASH) + &person("a", &HASH.replace('b', "c"));
    for (text, wanted) in [
        (
            "lisen = \"x\"",
            "hub.toml:1:1: unknown key `lisen`; did you mean `listen`?",
        ),
        ("[limits]\nconections = 3", "did you mean `connections`?"),
        (
            "[limits]\nconnections = 0",
            "`limits.connections`: must be at least 1",
        ),
        (
            "[tls]\ncertificate = \"/x\"",
            "`tls.key`: is needed beside `certificate`",
        ),
        (
            "[tls]\nkey = \"/x\"",
            "`tls.certificate`: is needed beside `key`",
        ),
        (
            "[tls]\nmode = \"off\"\ncertificate = \"/x\"",
            "has no meaning with `mode = \"off\"`",
        ),
        ("[tls]\nmode = \"none\"", "unknown variant"),
        ("suffix = \".kedge\"", "`suffix`"),
        ("suffix = \"ke dge\"", "`suffix`"),
        ("suffix = \"*\"", "`suffix`"),
        ("name = \"\"", "`name`"),
        ("listen = \"example.org\"", "`listen`"),
        (
            "[[people]]\nsubject = \"a\"\ntoken-sha256 = \"kpt_x\"",
            "is not 64 hex digits",
        ),
        (
            "[[people]]\nsubject = \"a\"\ntoken = \"kpt_x\"",
            "unknown key `people[0].token`",
        ),
        (twice.as_str(), "`b` has the token of somebody else"),
        (same.as_str(), "`people[1].subject`: `a` is listed twice"),
        (person("", HASH).as_str(), "people"),
        (
            "[login]\nlocal-part-domains = [\"a@b\"]",
            "login.local-part-domains",
        ),
        ("trusted-proxies = [\"10.0.0.0/99\"]", "trusted-proxies"),
    ] {
        let error = settle(text).unwrap_err();
        assert!(error.contains(wanted), "{text}: {error}");
    }
}

/// An issuer's people have their own address only if it is verified; those of the configuration have what it says.
#[test]
fn addresses_are_believed_without_a_word_of_people_of_the_configuration_only() {
    let trusts = |text: &str| {
        let roster = settle(text).unwrap().roster;
        let issuers = roster.issuers.iter().map(|issuer| &issuer.mapping);
        let mappings = std::iter::once(&roster.mapping).chain(issuers);
        mappings
            .map(|mapping| mapping.local_part_trust)
            .collect::<Vec<_>>()
    };
    let (verified, issuer) = (LocalPartTrust::EmailVerified, LocalPartTrust::Issuer);
    assert_eq!(trusts(&with_issuers(&[CORP])), [issuer, verified]);
    let strict = format!(
        "[login]\nlocal-part-trust = \"email-verified\"\n{}",
        with_issuers(&[&format!(
            "{CORP}\n[issuers.login]\nlocal-part-trust = \"issuer\""
        )])
    );
    assert_eq!(trusts(&strict), [verified, issuer]);
}

#[test]
fn the_default_addresses_parse() {
    let _ = Config::default();
}

/// A configuration with these issuers, each a list of lines below its header.
fn with_issuers(issuers: &[&str]) -> String {
    issuers
        .iter()
        .map(|lines| format!("[[issuers]]\n{lines}\n"))
        .collect()
}

const CORP: &str = "url = \"https://id.example\"\nclient-id = \"kedge\"";

/// Texts of this length, each another.
fn texts(count: usize, length: usize) -> Vec<String> {
    (0..count)
        .map(|number| format!("{number:0length$}"))
        .collect()
}

#[test]
fn no_configuration_sets_what_makes_a_login_this_one() {
    for name in kedge_api::rest::OWN_PARAMETERS {
        let issuer = format!("{CORP}\nauthorization-parameters = {{ {name} = \"x\" }}");
        let error = settle(&with_issuers(&[&issuer])).unwrap_err();
        let wanted = format!(
            "hub.toml:4:1: `issuers[0].authorization-parameters`: `{name}` is set by the login itself"
        );
        assert!(error.contains(&wanted), "{error}");
    }
}

#[test]
fn audiences_that_no_login_is_told_of_do_not_count_to_what_everybody_reads() {
    let workloads = format!(
        "url = \"https://ci.example\"\naudiences = {:?}\nhome = false",
        texts(32, 512)
    );
    let home = format!("{CORP}\naudiences = {:?}\nhome = true", texts(31, 512));
    assert!(settle(&with_issuers(&[&home, &workloads])).is_ok());
}

#[test]
fn each_mistake_about_an_issuer_names_its_place_and_says_what_to_do() {
    let corp = |more: &str| with_issuers(&[&format!("{CORP}\n{more}")]);
    let second = |more: &str| with_issuers(&[&format!("{CORP}\nhome = true"), more]);
    for (text, wanted) in [
        (
            with_issuers(&["client-id = \"kedge\""]),
            "missing field `url`",
        ),
        (
            with_issuers(&["url = \"http://id.example\"\nclient-id = \"kedge\""]),
            "hub.toml:2:1: `issuers[0].url`: ",
        ),
        (
            with_issuers(&["url = \"https://u:p@id.example\"\nclient-id = \"kedge\""]),
            "`issuers[0].url`",
        ),
        (
            with_issuers(&["url = \"https://id.example/?a=b\"\nclient-id = \"kedge\""]),
            "`issuers[0].url`",
        ),
        (
            with_issuers(&["url = \"https://id.example\""]),
            "`issuers[0].client-id`: is needed, or `audiences`",
        ),
        (
            with_issuers(&[
                "url = \"https://id.example\"\naudiences = [\"a\"]\nscopes = [\"openid\"]",
            ]),
            "hub.toml:4:1: `issuers[0].scopes`: has no meaning without `client-id`",
        ),
        (corp("client_id = \"x\""), "did you mean `client-id`?"),
        (corp("algorithms = [\"none\"]"), "`none` is no signature"),
        (corp("algorithms = [\"None\"]"), "is no signature"),
        (corp("algorithms = [\"HS256\"]"), "keyed with a secret"),
        (corp("algorithms = [\"RS257\"]"), "RS257"),
        (
            corp("algorithms = []"),
            "`issuers[0].algorithms`: lists none",
        ),
        (corp("scopes = [\"email\"]"), "lacks `openid`"),
        (
            corp("scopes = [\"openid\", \"a b\"]"),
            "`a b` is not a scope",
        ),
        (corp("audiences = [\"\"]"), "`issuers[0].audiences`"),
        (corp("name = \"a\\nb\""), "`issuers[0].name`"),
        (corp("user-claim = \"\""), "`issuers[0].user-claim`"),
        (
            corp("ca-file = \"/nowhere/ca.pem\""),
            "hub.toml:4:1: `issuers[0].ca-file`: ",
        ),
        (
            corp("authorization-parameters = { state = \"x\" }"),
            "`state` is set by the login itself",
        ),
        (
            corp("redirect-ports = [8400, 8401, 8400]"),
            "hub.toml:4:1: `issuers[0].redirect-ports`: 8400 is listed twice",
        ),
        (
            corp("redirect-ports = [1023]"),
            "`issuers[0].redirect-ports`: 1023 is below 1024",
        ),
        (corp("redirect-ports = [0]"), "0 is below 1024"),
        (corp("redirect-ports = [65536]"), "65536"),
        (corp("redirect-ports = [-1]"), "-1"),
        (
            corp("redirect-ports = [2001, 2002, 2003, 2004, 2005, 2006, 2007, 2008, 2009]"),
            "`issuers[0].redirect-ports`: lists more than 8",
        ),
        (
            with_issuers(&[
                "url = \"https://id.example\"\naudiences = [\"a\"]\nredirect-ports = [8400]",
            ]),
            "hub.toml:4:1: `issuers[0].redirect-ports`: has no meaning without `client-id`",
        ),
        (
            corp(&format!("audiences = {:?}", texts(33, 1))),
            "`issuers[0].audiences`: lists more than 32",
        ),
        (
            corp(&format!("authorized-parties = {:?}", texts(33, 1))),
            "`issuers[0].authorized-parties`: lists more than 32",
        ),
        (
            corp(&format!("audiences = {:?}", texts(1, 513))),
            "longer than 512 bytes",
        ),
        (
            corp(&format!(
                "audiences = {0:?}\nauthorized-parties = {0:?}",
                texts(32, 300)
            )),
            "`issuers[0].audiences`: with it the issuers' audiences and authorized parties have more than 16384 bytes",
        ),
        (
            corp("[issuers.login]\nexceptions = { \"a\" = \"../x\" }"),
            "`issuers[0].login.exceptions`: for `a`: ",
        ),
        (
            corp("[issuers.login]\nlocal-part-domains = [\"@corp\"]"),
            "`issuers[0].login.local-part-domains`",
        ),
        (
            corp("[issuers.login]\nlocal-part-trust = \"everybody\""),
            "issuers[0].login.local-part-trust",
        ),
        (
            corp("[issuers.login]\nclaim = \"email\"\nlocal-part-trust = \"issuer\""),
            "hub.toml:6:1: `issuers[0].login.local-part-trust`: has no meaning with `claim = \"email\"`",
        ),
        (
            second("url = \"https://id.example\"\naudiences = [\"a\"]\nname = \"b\""),
            "`issuers[1].url`: is listed twice",
        ),
        (
            second("url = \"https://id.example/\"\naudiences = [\"a\"]"),
            "two issuers are called `id.example`",
        ),
        (
            second("url = \"https://b.example\"\naudiences = [\"a\"]\nhome = true"),
            "hub.toml:8:1: `issuers[1].home`: two issuers are home",
        ),
        (
            with_issuers(&[CORP, "url = \"https://b.example\"\naudiences = [\"a\"]"]),
            "one must say `home = true`",
        ),
        (
            "[session]\nmax-age-seconds = 0".to_owned(),
            "`session.max-age-seconds`",
        ),
        (
            "[limits]\nsession-seconds = 3".to_owned(),
            "unknown key `limits.session-seconds`",
        ),
        (
            "[tunnel]\nwindow-kib = 63".to_owned(),
            "`tunnel.window-kib`: must be from 64 to 65536",
        ),
        (
            "[tunnel]\nwindow-kib = 512\nwindow-max-kib = 511".to_owned(),
            "`tunnel.window-max-kib`: must be from 512 to 65536",
        ),
        (
            "[tunnel]\nlink-budget-mib = 0".to_owned(),
            "`tunnel.link-budget-mib`: must be from 1",
        ),
        (
            "[tunnel]\nbudget-mib = 31".to_owned(),
            "`tunnel.budget-mib`: must be from 32 to 1048576",
        ),
        (
            "threads = 0".to_owned(),
            "`threads`: must be from 1 to 1024",
        ),
        ("threads = 1025".to_owned(), "`threads`: must be from 1"),
        (
            "[history]\ndays = 0".to_owned(),
            "`history.days`: must be from 1",
        ),
        (
            "[admins]\nclaims = { roles = [] }".to_owned(),
            "`admins.claims`: ",
        ),
        (
            "[admins]\nusers = [\"a\\nb\"]".to_owned(),
            "`admins.users`: ",
        ),
    ] {
        let error = settle(&text).unwrap_err();
        assert!(error.contains(wanted), "{text}: {error}");
    }
}

#[test]
fn an_issuer_that_is_alone_is_home_and_of_several_the_one_that_says_so() {
    let standings = |text: &str| -> Vec<_> {
        let issuers = settle(text).unwrap().roster.issuers;
        issuers.iter().map(|issuer| issuer.standing).collect()
    };
    let other = "url = \"https://b.example\"\naudiences = [\"a\"]";
    let not = "home = false";
    assert_eq!(standings(&with_issuers(&[CORP])), [Standing::Home]);
    assert_eq!(
        standings(&with_issuers(&[&format!("{CORP}\n{not}")])),
        [Standing::Foreign]
    );
    assert_eq!(
        standings(&with_issuers(&[other, &format!("{CORP}\nhome = true")])),
        [Standing::Foreign, Standing::Home]
    );
    assert_eq!(
        standings(&with_issuers(&[
            &format!("{other}\n{not}"),
            &format!("{CORP}\n{not}")
        ])),
        [Standing::Foreign, Standing::Foreign]
    );
}

#[test]
fn a_file_of_authorities_must_hold_certificates() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ca.pem");
    let with = |pem: &str| {
        std::fs::write(&path, pem).unwrap();
        settle(&with_issuers(&[&format!(
            "{CORP}\nca-file = \"{}\"",
            path.display()
        )]))
    };
    let key = rcgen::generate_simple_self_signed(["id.example".to_owned()]).unwrap();
    let pem = key.cert.pem();
    assert_eq!(
        with(&pem).unwrap().roster.issuers[0].authorities,
        Some(pem.clone())
    );
    let many = pem.repeat(31 * 1024 / pem.len());
    std::fs::write(&path, &many).unwrap();
    let five: Vec<_> = (0..5)
        .map(|n| {
            let file = path.display();
            format!("url = \"https://{n}.example\"\naudiences = [\"a\"]\nhome = false\nca-file = \"{file}\"")
        })
        .collect();
    let five: Vec<_> = five.iter().map(String::as_str).collect();
    settle(&with_issuers(&five[..4])).unwrap();
    let error = settle(&with_issuers(&five)).unwrap_err();
    assert!(error.contains("`issuers[4].ca-file`: with it"), "{error}");
    for (text, wanted) in [
        ("", "has no certificate in it"),
        ("nonsense", "has no certificate in it"),
        (
            "-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n",
            "ca.pem",
        ),
    ] {
        let error = with(text).unwrap_err();
        assert!(error.contains(wanted), "{text}: {error}");
    }
}
