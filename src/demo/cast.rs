//! Who listens: the destinations and subscriptions of `cast.yaml`, given to the API as anybody would.

use anyhow::Context;
use serde_json::Value;

use super::{api::Api, receivers::Receivers};
use crate::cli::documents;

/// Creates destinations, hands each receiver its signing key, then creates subscriptions.
pub async fn enter(api: &Api, receivers: &Receivers) -> anyhow::Result<Cast> {
    let mut cast = Cast::default();
    for object in objects(|name| receivers.url(name))? {
        let text = |key: &str| object[key].as_str().with_context(|| format!("cast.yaml: no {key}: {object}"));
        let (team, id) = (text("team")?, text("id")?);
        let Some(url) = object["webhook"]["url"].as_str() else {
            api.put(&format!("/v1/teams/{team}/subscriptions/{id}"), &object).await?;
            cast.subscriptions += 1;
            continue;
        };
        // The key is made by Tidings and shown in this one answer.
        let answer = api.put(&format!("/v1/teams/{team}/destinations/{id}"), &object).await?;
        let secret = answer["generated_secret"].as_str().context("the API made no signing key")?;
        receivers.trust(url, secret)?;
        cast.destinations += 1;
    }
    Ok(cast)
}

/// How many were created.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cast {
    pub destinations: usize,
    pub subscriptions: usize,
}

/// The objects of `cast.yaml`, with the receivers' addresses in place of their names.
fn objects(url: impl Fn(&str) -> Option<String>) -> anyhow::Result<Vec<Value>> {
    let mut objects = documents::objects(include_str!("cast.yaml")).context("cast.yaml")?;
    for object in &mut objects {
        let Some(Value::String(text)) = object.pointer_mut("/webhook/url") else { continue };
        let (name, path) = text.strip_prefix('{').and_then(|rest| rest.split_once('}')).context("no {receiver}")?;
        *text = format!("{}{path}", url(name).with_context(|| format!("cast.yaml: no receiver {name:?}"))?);
    }
    Ok(objects)
}

#[cfg(test)]
mod tests {
    use serde_json::from_value;
    use tidings_core::{
        catalog::Catalog,
        directory::validate_subscription,
        domain::{Subscription, Timestamp, subscription::TypeSelector},
        filter::compile,
    };

    use super::{
        super::{
            EVENTS_PER_SECOND, SEED,
            platforms::{Platforms, TEAMS},
        },
        *,
    };

    fn subscriptions() -> Vec<Subscription> {
        let objects = objects(|name| Some(format!("http://{name}"))).unwrap();
        objects.into_iter().filter(|o| o.get("webhook").is_none()).map(|o| from_value(o).unwrap()).collect()
    }

    #[test]
    fn the_subscriptions_are_valid_and_every_team_has_some() {
        let subscriptions = subscriptions();
        for subscription in &subscriptions {
            assert_eq!(validate_subscription(subscription, &Catalog::builtin()), [], "{}", subscription.id);
        }
        assert_eq!(subscriptions.len(), 12);
        for team in TEAMS {
            assert!(subscriptions.iter().any(|s| s.team.as_str() == team), "{team}");
        }
    }

    /// How many events it takes until each subscription has matched.
    fn events_until_all_match(seed: u64) -> usize {
        let catalog = Catalog::builtin();
        let mut platforms = Platforms::new(catalog.clone(), seed);
        let mut waiting = subscriptions();
        for made in 1.. {
            let event = platforms.next(Timestamp(0));
            waiting.retain(|subscription| {
                event["team"] != subscription.team.as_str()
                    || !subscription.events.iter().any(|selector| {
                        let is_type = match &selector.event_type {
                            TypeSelector::Any => true,
                            TypeSelector::Key(key) => event["type"] == **key,
                            several => panic!("{several} in the demo"),
                        };
                        is_type && compile(selector, &catalog, "").unwrap().matches(&event["data"])
                    })
            });
            if waiting.is_empty() {
                return made;
            }
        }
        unreachable!("the loop has no end of its own")
    }

    #[test]
    fn every_subscription_has_something_to_show_within_three_seconds() {
        assert!(events_until_all_match(SEED) <= 3 * EVENTS_PER_SECOND as usize);
    }
    #[test]
    fn zz_seeds() {
        for seed in 0..80 {
            println!("SEED {seed} {}", events_until_all_match(seed));
        }
        println!("OWN {SEED} {}", events_until_all_match(SEED));
    }
}
