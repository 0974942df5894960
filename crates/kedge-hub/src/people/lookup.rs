//! What the configuration says of people who are not there.

use std::collections::BTreeMap;

use kedge_api::{Issuer, Principal, Standing, Subject};

use super::{Directory, known};

impl Directory {
    /// The person of the configuration whom policies call so, as they would be if they came now.
    #[must_use]
    pub fn configured(&self, user: &Subject) -> Option<Principal> {
        let roster = self.roster();
        let person = roster
            .people
            .iter()
            .find(|person| person.subject == *user)?;
        let known = known(&roster, person);
        Some(Principal::clone(&known.principal))
    }

    /// Where the people of every issuer that is trusted stand.
    #[must_use]
    pub fn standings(&self) -> BTreeMap<Issuer, Standing> {
        let roster = self.roster();
        let issuers = roster.issuers.iter();
        issuers
            .map(|issuer| (issuer.url.clone().into(), issuer.standing))
            .chain([(Issuer::of_configuration(), Standing::Home)])
            .collect()
    }

    /// Whose people policies mean that name no issuer: the home issuer, or the configuration itself.
    #[must_use]
    pub fn home(&self) -> Issuer {
        let roster = self.roster();
        let home = roster
            .issuers
            .iter()
            .find(|issuer| issuer.standing == Standing::Home);
        home.map_or_else(Issuer::of_configuration, |issuer| issuer.url.clone().into())
    }
}
