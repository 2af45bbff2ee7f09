//! A run in a file: the seed, the drawn plan with its lists, and the law that the run breaks. TOML,
//! because it is what the servers' own configuration is, and a person can cut it down by hand.

use crate::report::{Ran, run_plan};
use crate::scenario::{Plan, Scenario};
use crate::trace::Print;
use serde::{Deserialize, Serialize};

/// One run, in full.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Case {
    /// The law that it breaks; none if it breaks no law.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub law: Option<String>,
    /// What decides all that the plan leaves to chance.
    #[serde(with = "hex")]
    pub seed: u64,
    /// The plan.
    pub plan: Plan,
}

impl Case {
    /// The run that `seed` draws.
    pub fn draw(scenario: Scenario, seed: u64) -> Self {
        let plan = Plan::draw(scenario, seed);
        Self {
            law: None,
            seed,
            plan,
        }
    }

    /// Runs it.
    pub fn run(&self, print: Print) -> Ran {
        run_plan(self.plan.clone(), self.seed, print)
    }

    /// As the text of a file.
    pub fn to_toml(&self, commit: &str) -> String {
        let body = toml::to_string(self);
        let body = body.unwrap_or_else(|error| panic!("a plan is TOML: {error}"));
        let (faults, wishes) = (self.plan.faults.len(), self.wishes());
        format!(
            "# cargo sim --replay FILE   # at commit {commit}\n# {} servers, {} clients, {faults} faults, {wishes} wishes\n{body}",
            self.plan.servers, self.plan.load.clients
        )
    }

    /// From the text of a file.
    pub fn from_toml(text: &str) -> Result<Self, String> {
        let case: Self = toml::from_str(text).map_err(|error| error.to_string())?;
        case.plan.check()?;
        Ok(case)
    }

    /// How often its clients decide.
    pub fn wishes(&self) -> usize {
        self.plan.wishes.iter().map(|wishes| wishes.0.len()).sum()
    }
}

mod hex {
    use serde::{Deserialize as _, Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer>(seed: &u64, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&format!("{seed:#x}"))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
        let text = String::deserialize(from)?;
        let digits = text.strip_prefix("0x").unwrap_or(&text);
        u64::from_str_radix(digits, 16).map_err(|_| de::Error::custom(format!("{text} is no seed")))
    }
}
