//! How long a token takes. Every request of a person carries one, so the second time must stay under 0.1 ms.
//!
//! - `cached_token/usual`: 1.5 KiB, with twenty groups, among as many other verdicts as are remembered.
//! - `cached_token/large`: 16 KiB.
//! - `first_verification/ALGORITHM`: the usual one, seen for the first time; the keys are there already.
//! - `refused/forged`: the usual one with another signature, as a stranger may show it at any rate.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a benchmark over constants"
)]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use kedge_identity::Algorithm;
use kedge_identity::defaults::VERDICTS_MAX;
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};
use world::World;

#[path = "../tests/verify/world.rs"]
#[expect(dead_code, reason = "most of it is for the tests")]
mod world;

fn cached(c: &mut Criterion) {
    let (runtime, world) = (runtime(), World::new());
    for number in 0..VERDICTS_MAX {
        let token = world.with_claim("sub", json!(format!("user-{number}")));
        runtime.block_on(world.verifier.verify(&token)).unwrap();
    }
    for (name, groups) in [("usual", 20), ("large", 330)] {
        let token = world.token(&claims(&world, groups));
        c.bench_function(&format!("cached_token/{name}"), |b| {
            b.iter(|| {
                runtime
                    .block_on(world.verifier.verify(black_box(&token)))
                    .unwrap()
            });
        });
    }
}

fn first(c: &mut Criterion) {
    let runtime = runtime();
    for algorithm in [
        Algorithm::Rs256,
        Algorithm::Ps256,
        Algorithm::Es256,
        Algorithm::Es384,
        Algorithm::EdDsa,
    ] {
        let world = World::with(algorithm);
        let mut rules = world.issuer.rules();
        rules.algorithms = vec![algorithm];
        world.verifier.replace(vec![rules]);
        let header = json!({"alg": algorithm, "kid": "k1", "typ": "JWT"}).to_string();
        let token = world.key.token(&header, &claims(&world, 20).to_string());
        c.bench_function(&format!("first_verification/{algorithm}"), |b| {
            // What answers a login is not remembered.
            b.iter(|| {
                let verdict = world.verifier.verify_answer(black_box(&token), NONCE);
                runtime.block_on(verdict).unwrap()
            });
        });
    }
}

fn refused(c: &mut Criterion) {
    let (runtime, world) = (runtime(), World::new());
    let good = world.token(&claims(&world, 20));
    runtime.block_on(world.verifier.verify(&good)).unwrap();
    let bob = world.with_claim("sub", json!("bob"));
    let (signed, _) = good.rsplit_once('.').unwrap();
    let (_, signature) = bob.rsplit_once('.').unwrap();
    let forged = format!("{signed}.{signature}");
    c.bench_function("refused/forged", |b| {
        b.iter(|| {
            runtime
                .block_on(world.verifier.verify(black_box(&forged)))
                .unwrap_err()
        });
    });
}

fn claims(world: &World, groups: usize) -> Value {
    let mut claims = world.issuer.claims();
    let group = |number| format!("a-group-with-a-longer-name-{number:04}");
    claims["groups"] = (0..groups).map(group).collect();
    claims["nonce"] = NONCE.into();
    claims["email"] = "alice@corp.example".into();
    claims["name"] = "Alice Example".into();
    claims
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

const NONCE: &str = "n-0S6_WzA2Mj";

criterion_group!(benches, cached, first, refused);
criterion_main!(benches);
