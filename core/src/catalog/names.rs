//! What event types are called besides their keys, and how they are found by it.
//!
//! Platforms send a type under another name than the one that is selected (`app_deployed` arrives as `deployment`), and
//! rename types. Whatever name an event comes under, it has the type's key from then on: in the index, in deliveries
//! and in history.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use super::{CatalogFault, EventType};

/// Keys by every name.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// `None` where several types have the name, which then means none of them.
    keys: HashMap<Box<str>, Option<Arc<str>>>,
}

// === impl Names ===

impl Names {
    /// A name with its platform before it must be one type's alone; others of that name are faults.
    pub fn of(types: &BTreeMap<String, EventType>, faults: &mut Vec<CatalogFault>) -> Names {
        let keys: BTreeMap<&str, Arc<str>> = types.keys().map(|key| (key.as_str(), Arc::from(key.as_str()))).collect();
        let mut full: HashMap<Box<str>, Option<Arc<str>>> =
            keys.iter().map(|(name, key)| (Box::from(*name), Some(key.clone()))).collect();
        let mut bare: HashMap<Box<str>, Option<Arc<str>>> = HashMap::new();
        for event_type in types.values() {
            let key = &keys[&*event_type.key];
            for name in event_type.other_names() {
                let qualified = format!("{}.{name}", event_type.platform).into_boxed_str();
                let holder = full.entry(qualified).or_insert_with(|| Some(key.clone()));
                if let Some(holder) = holder.as_ref().filter(|holder| *holder != key) {
                    let attribute = match event_type.wire_name.as_deref() == Some(name) {
                        true => "tidings.wireName",
                        false => "tidings.aliases",
                    };
                    let file = format!("{}.avsc", event_type.key.replacen('.', "/", 1));
                    let reason = format!("{name:?} is a name of {holder:?} already");
                    faults.push(CatalogFault { file, field: attribute.to_owned(), reason });
                }
                let meant = bare.entry(name.into()).or_insert_with(|| Some(key.clone()));
                if meant.as_ref() != Some(key) {
                    *meant = None;
                }
            }
        }
        // A full name is meant by whoever writes it, whatever else is called so.
        bare.extend(full);
        Names { keys: bare }
    }

    pub fn key_of(&self, name: &str) -> Option<&Arc<str>> {
        self.keys.get(name)?.as_ref()
    }
}

// === impl EventType ===

impl EventType {
    /// The key without its platform: the type's name there.
    pub fn stem(&self) -> &str {
        &self.key[self.platform.len() + 1..]
    }

    /// Every name but the key, without the platform.
    pub fn other_names(&self) -> impl Iterator<Item = &str> {
        let aliases = self.aliases.iter().map(String::as_str);
        std::iter::once(self.stem()).chain(self.wire_name.as_deref()).chain(aliases)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Catalog;

    fn file(platform: &str, stem: &str, attributes: &str) -> (String, String) {
        let text = format!(
            r#"{{"type": "record", "namespace": "{platform}", "name": "{stem}", "doc": "Something happened.",
                "tidings.displayName": "D", "tidings.category": "c", "tidings.severity": "info", {attributes}
                "tidings.example": {{}}, "fields": []}}"#
        );
        (format!("{platform}/{stem}.avsc"), text)
    }

    #[test]
    fn every_name_leads_to_the_key_and_an_ambiguous_one_nowhere() {
        let catalog = Catalog::load(&[
            file("shop", "paid", r#""tidings.wireName": "payment", "tidings.aliases": ["payed"],"#),
            file("shop", "sent", ""),
            file("bank", "sent", r#""tidings.aliases": ["payment.out"],"#),
        ])
        .unwrap();
        let check =
            |name: &str, expected: Option<&str>| assert_eq!(catalog.key_of(name).map(|key| &**key), expected, "{name}");
        for name in ["shop.paid", "paid", "payment", "shop.payment", "payed", "shop.payed"] {
            check(name, Some("shop.paid"));
        }
        check("payment.out", Some("bank.sent"));
        check("bank.sent", Some("bank.sent"));
        check("sent", None);
        check("bank.payment", None);
        check("", None);
    }

    #[test]
    fn a_name_of_another_type_is_refused() {
        let faults = Catalog::load(&[
            file("shop", "paid", r#""tidings.wireName": "payment","#),
            file("shop", "sent", r#""tidings.aliases": ["payment"],"#),
        ])
        .unwrap_err();
        assert_eq!(
            faults.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["shop/sent.avsc: tidings.aliases: \"payment\" is a name of \"shop.paid\" already"]
        );
    }
}
