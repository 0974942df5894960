//! What happened between two looks at all objects of a kind. Pure.
//!
//! A watch that was cut for too long cannot go on: the past is gone from the API server, and only what is there now can
//! be listed. Watchers of the store are told the difference, in the order of versions, each version once, so that they
//! can stop and go on at any of them.
//!
//! An object that is there has the version of its last change. One that is gone took a version of its own when it went,
//! which nobody tells any more; but it is one that no object has now, and so the greatest such version is given to it
//! that is not too late.

use std::collections::{BTreeMap, BTreeSet};

use kedge_api::ResourceVersion;

use super::shape::{Seen, gone_at, uid_of};
use crate::raw::{Change, Happening, Snapshot};

/// What to do about a list.
#[derive(Debug)]
pub(super) enum Difference {
    /// The API server's past is not the one that is known here, as after it was restored from a backup.
    AnotherPast,
    /// This happened.
    These(Vec<Happening>),
}

/// What happened to `known`, the objects as of version `at`, that came to `listed` at version `now`.
pub(super) fn difference(
    known: &BTreeMap<String, Snapshot>,
    at: ResourceVersion,
    listed: &BTreeMap<String, Seen>,
    now: ResourceVersion,
) -> Difference {
    if now < at {
        return Difference::AnotherPast;
    }
    let mut found = Vec::new();
    let mut taken = BTreeSet::new();
    // Objects that went, each with the version before which it did.
    let mut went = Vec::new();
    for (name, seen) in listed {
        let before = known.get(name);
        if before.is_some_and(|before| before.text() == seen.snapshot.text()) && !seen.leaving {
            continue;
        }
        if before.is_none() && seen.leaving {
            continue;
        }
        if seen.version <= at {
            return Difference::AnotherPast;
        }
        taken.insert(seen.version);
        let change = match before {
            None => Change::Added(seen.snapshot.clone()),
            Some(_) if seen.leaving => Change::Deleted(seen.snapshot.clone()),
            Some(before) if uid_of(before).as_ref() == Some(&seen.uid) => Change::Modified {
                before: before.clone(),
                after: seen.snapshot.clone(),
            },
            // Another object of that name: the one before is gone.
            Some(before) => {
                went.push((before, less_one(seen.version)));
                Change::Added(seen.snapshot.clone())
            }
        };
        found.push(Happening {
            change,
            version: seen.version,
        });
    }
    for (name, before) in known {
        if !listed.contains_key(name) {
            went.push((before, now));
        }
    }
    for (before, latest) in went {
        let mut version = latest;
        while taken.contains(&version) {
            version = less_one(version);
        }
        if version <= at {
            return Difference::AnotherPast;
        }
        taken.insert(version);
        found.push(Happening {
            change: Change::Deleted(gone_at(before, version)),
            version,
        });
    }
    found.sort_by_key(|happening| happening.version);
    Difference::These(found)
}

fn less_one(version: ResourceVersion) -> ResourceVersion {
    ResourceVersion::new(version.value().saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::kind::Kind;
    use kedge_api::Server;

    /// `name`, number of its uid, version.
    fn seen(name: &str, uid: u64, version: u64) -> Seen {
        super::super::shape::seen(
            Kind::of::<Server>(),
            json!({
                "metadata": {
                    "name": name,
                    "uid": format!("00000000-0000-4000-8000-{uid:012}"),
                    "resourceVersion": version.to_string(),
                },
            }),
        )
        .unwrap()
    }

    fn known(objects: &[(&str, u64, u64)]) -> BTreeMap<String, Snapshot> {
        let objects = objects
            .iter()
            .map(|(name, uid, version)| ((*name).to_owned(), seen(name, *uid, *version).snapshot));
        objects.collect()
    }

    fn listed(objects: &[(&str, u64, u64)]) -> BTreeMap<String, Seen> {
        let objects = objects
            .iter()
            .map(|(name, uid, version)| ((*name).to_owned(), seen(name, *uid, *version)));
        objects.collect()
    }

    fn short(difference: &Difference) -> Vec<String> {
        let Difference::These(found) = difference else {
            return vec!["anew".to_owned()];
        };
        let line = |happening: &Happening| {
            let (sign, object) = match &happening.change {
                Change::Added(object) => ('+', object),
                Change::Deleted(object) => ('-', object),
                Change::Modified { after, .. } => ('~', after),
                Change::Bookmark => unreachable!(),
            };
            format!("{sign}{} {}", object.name().unwrap(), happening.version)
        };
        found.iter().map(line).collect()
    }

    fn told(
        before: &[(&str, u64, u64)],
        at: u64,
        after: &[(&str, u64, u64)],
        now: u64,
    ) -> Vec<String> {
        let (at, now) = (ResourceVersion::new(at), ResourceVersion::new(now));
        short(&difference(&known(before), at, &listed(after), now))
    }

    #[test]
    fn what_changed_is_told_in_the_order_of_versions() {
        let before = [("a", 1, 5), ("b", 2, 6), ("c", 3, 7), ("d", 4, 8)];
        let after = [("a", 1, 5), ("b", 2, 12), ("d", 4, 8), ("e", 5, 11)];
        assert_eq!(told(&before, 8, &after, 20), ["+e 11", "~b 12", "-c 20"]);
        assert!(told(&before, 8, &before, 20).is_empty());
        assert_eq!(told(&[], 8, &[], 8), [""; 0]);
    }

    #[test]
    fn no_version_is_told_twice() {
        let before = [("a", 1, 5), ("b", 2, 6), ("c", 3, 7)];
        assert_eq!(
            told(&before, 7, &[("d", 4, 11)], 11),
            ["-c 8", "-b 9", "-a 10", "+d 11"]
        );
    }

    #[test]
    fn another_object_of_the_same_name_is_a_deletion_and_an_addition() {
        let before = [("a", 1, 5), ("b", 2, 6)];
        assert_eq!(
            told(&before, 6, &[("a", 9, 9), ("b", 2, 8)], 9),
            ["-a 7", "~b 8", "+a 9"]
        );
    }

    #[test]
    fn an_object_that_is_leaving_is_gone_and_not_told_twice() {
        let mut leaving = seen("a", 1, 9);
        leaving.leaving = true;
        let after = BTreeMap::from([("a".to_owned(), leaving)]);
        let (at, now) = (ResourceVersion::new(5), ResourceVersion::new(12));
        let told = difference(&known(&[("a", 1, 5)]), at, &after, now);
        assert_eq!(short(&told), ["-a 9"]);
        let told = difference(&BTreeMap::new(), at, &after, now);
        assert!(short(&told).is_empty());
    }

    #[test]
    fn a_past_that_cannot_be_is_another_one() {
        let before = [("a", 1, 5), ("b", 2, 6)];
        // The versions went back.
        assert_eq!(told(&before, 6, &before, 5), ["anew"]);
        assert_eq!(told(&before, 6, &[("a", 1, 4), ("b", 2, 6)], 9), ["anew"]);
        // More is gone than can have gone since.
        assert_eq!(told(&before, 6, &[], 7), ["anew"]);
    }

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Create(u8),
        Delete(u8),
        Nothing,
        Update(u8),
    }

    fn step() -> impl Strategy<Value = Step> {
        let name = 0..5_u8;
        prop_oneof![
            3 => name.clone().prop_map(Step::Create),
            2 => name.clone().prop_map(Step::Delete),
            1 => Just(Step::Nothing),
            3 => name.prop_map(Step::Update),
        ]
    }

    /// A small etcd: each step takes a version.
    fn run(objects: &mut BTreeMap<String, (u64, u64)>, version: &mut u64, steps: &[Step]) {
        for step in steps {
            *version += 1;
            let name = |n: &u8| format!("s{n}");
            match step {
                Step::Create(n) => {
                    objects.entry(name(n)).or_insert((*version, *version));
                }
                Step::Delete(n) => {
                    objects.remove(&name(n));
                }
                Step::Nothing => {}
                Step::Update(n) => {
                    if let Some(object) = objects.get_mut(&name(n)) {
                        object.1 = *version;
                    }
                }
            }
        }
    }

    proptest! {
        #[test]
        fn whatever_happened_is_told_so_that_it_can_be_followed(
            first in prop::collection::vec(step(), 0..20),
            second in prop::collection::vec(step(), 0..20),
        ) {
            let (mut objects, mut version) = (BTreeMap::new(), 1);
            run(&mut objects, &mut version, &first);
            let at = version;
            let seen_all = |objects: &BTreeMap<String, (u64, u64)>| -> BTreeMap<String, Seen> {
                objects
                    .iter()
                    .map(|(name, (uid, version))| (name.clone(), seen(name, *uid, *version)))
                    .collect()
            };
            let known: BTreeMap<_, _> = seen_all(&objects)
                .into_iter()
                .map(|(name, seen)| (name, seen.snapshot))
                .collect();
            run(&mut objects, &mut version, &second);
            let listed = seen_all(&objects);
            let (from, now) = (ResourceVersion::new(at), ResourceVersion::new(version));
            let Difference::These(found) = difference(&known, from, &listed, now) else {
                panic!("a past that was is no other one");
            };
            let mut followed = known;
            let mut last = from;
            for happening in found {
                prop_assert!(happening.version > last && happening.version <= now);
                last = happening.version;
                match happening.change {
                    Change::Added(object) => {
                        prop_assert!(followed.insert(object.name().unwrap(), object).is_none());
                    }
                    Change::Modified { before, after } => {
                        let name = after.name().unwrap();
                        prop_assert_eq!(uid_of(&before), uid_of(&after));
                        prop_assert_eq!(followed.insert(name, after), Some(before));
                    }
                    Change::Deleted(object) => {
                        let gone = followed.remove(&object.name().unwrap()).unwrap();
                        prop_assert_eq!(uid_of(&gone), uid_of(&object));
                    }
                    Change::Bookmark => {}
                }
            }
            let expected: BTreeMap<_, _> =
                listed.into_iter().map(|(name, seen)| (name, seen.snapshot)).collect();
            prop_assert_eq!(followed, expected);
        }
    }
}
