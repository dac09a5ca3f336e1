//! The words of Tidings as types. No behaviour beyond construction, identity and order.
//!
//! Reading order: [`ids`], [`time`], [`chance`], [`record`], [`event`], [`subscription`],
//! [`destination`], [`secret`], [`notification`], [`attempt`], [`settlement`], [`address`].

pub mod address;
pub mod attempt;
pub mod chance;
pub mod destination;
pub mod event;
pub mod ids;
pub mod notification;
pub mod record;
pub mod secret;
pub mod settlement;
pub mod subscription;
pub mod time;

pub use attempt::{Attempt, ErrorClass, Outcome};
pub use chance::Chance;
pub use destination::{Destination, Limits, RetryPolicy, Sealed, Secret, Webhook};
pub use event::Event;
pub use ids::{DestinationId, Name, NameError, SecretId, SubscriptionId, TeamId};
pub use notification::{Delivery, Fingerprint, NotificationId};
pub use record::{Output, Position, Record, TopicPartition};
pub use secret::NamedSecret;
pub use settlement::{DueCursor, Epoch, Known, Parked, Standing, WriteBatch};
pub use subscription::{EventSelector, Filter, Subscription, TypeSelector};
pub use time::{Day, Timestamp};
