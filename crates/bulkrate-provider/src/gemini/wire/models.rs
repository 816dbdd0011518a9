//! In what the generations of Gemini differ, as data.

/// How a model is told to think.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Thinks {
    /// It does not.
    Never,
    /// By a number of tokens.
    Budget {
        least: u32,
        most: u32,
        /// Whether it can be switched off.
        off: bool,
    },
    /// By a level; there is none at which it surely does not.
    Level { least: &'static str },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Family {
    /// Beginning of the names of its models.
    prefix: &'static str,
    pub(super) thinks: Thinks,
}

const fn family_of(prefix: &'static str, thinks: Thinks) -> Family {
    Family { prefix, thinks }
}

/// The first that fits. What is not listed is newer than all that is.
const FAMILIES: &[Family] = &[
    family_of("gemma", Thinks::Never),
    family_of("gemini-1.5", Thinks::Never),
    family_of("gemini-2.0", Thinks::Never),
    family_of("gemini-2.5-pro", Thinks::Budget { least: 128, most: 32_768, off: false }),
    family_of("gemini-2.5-flash-lite", Thinks::Budget { least: 512, most: 24_576, off: true }),
    family_of("gemini-2.5", Thinks::Budget { least: 1, most: 24_576, off: true }),
];

pub(super) fn family(model: &str) -> Family {
    let known = FAMILIES.iter().find(|family| model.starts_with(family.prefix)).copied();
    // The fast ones take less than the large ones.
    let least = if model.contains("flash") { "MINIMAL" } else { "LOW" };
    known.unwrap_or(family_of("", Thinks::Level { least }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_model_of_the_price_list_has_its_family() {
        let catalogue = bulkrate_core::price::Catalogue::bundled();
        let mut table = String::new();
        for row in catalogue.rows().iter().filter(|row| row.provider == "gemini") {
            table.push_str(&format!("{} {:?}\n", row.id, family(&row.id).thinks));
        }
        for want in [
            "gemini-4-argon Level { least: \"LOW\" }\n",
            "gemini-3.8-flash Level { least: \"MINIMAL\" }\n",
            "gemini-3.1-pro-preview Level { least: \"LOW\" }\n",
            "gemini-2.5-pro Budget { least: 128, most: 32768, off: false }\n",
            "gemini-2.5-flash Budget { least: 1, most: 24576, off: true }\n",
            "gemini-2.5-flash-lite Budget { least: 512, most: 24576, off: true }\n",
        ] {
            assert!(table.contains(want), "{want}: {table}");
        }
    }
}
