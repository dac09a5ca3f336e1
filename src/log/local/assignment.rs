//! Which member of a group owns which partition. Pure: members and time come in, changes to tell the members come out.
//!
//! Cooperative, as Kafka's cooperative-sticky assignor: what is balanced stays, and a partition that must move first
//! stands as *revoking* with its owner until it is released or overdue. At no time has it two owners.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Instant,
};

use tidings_core::domain::TopicPartition;

/// The partitions of one group and the members they belong to.
#[derive(Default)]
pub(super) struct Assignment {
    members: BTreeMap<MemberId, BTreeSet<Arc<str>>>,
    places: BTreeMap<TopicPartition, Place>,
}

/// Given out once per joining, never again: a member that joins anew is another member.
pub(super) type MemberId = u64;

/// What a member is to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Assigned(TopicPartition),
    Revoking(TopicPartition),
    Lost(TopicPartition),
}

#[derive(Default)]
struct Place {
    owner: Option<MemberId>,
    /// Asked back for another member's sake; taken away at that time.
    revoking: Option<(MemberId, Instant)>,
}

type Changes = Vec<(MemberId, Change)>;

// === impl Assignment ===

impl Assignment {
    /// Adds a member for topics with these numbers of partitions.
    pub fn join(&mut self, member: MemberId, topics: &[(Arc<str>, u32)], overdue_at: Instant) -> Changes {
        self.members.insert(member, BTreeSet::new());
        self.widen(member, topics, overdue_at)
    }

    /// Adds topics to those of a member.
    pub fn widen(&mut self, member: MemberId, topics: &[(Arc<str>, u32)], overdue_at: Instant) -> Changes {
        for (topic, partitions) in topics {
            for partition in 0..*partitions {
                self.places.entry(TopicPartition { topic: topic.clone(), partition }).or_default();
            }
            self.members.entry(member).or_default().insert(topic.clone());
        }
        self.balance(overdue_at)
    }

    /// Removes a member without giving its partitions away yet: for a member that another one replaces.
    pub fn remove(&mut self, member: MemberId) {
        self.members.remove(&member);
        for place in self.places.values_mut() {
            if place.owner == Some(member) {
                *place = Place::default();
            }
            // The heir is gone; the owner goes on releasing and may get the partition back.
            if let (Some(owner), Some((heir, _))) = (place.owner, &mut place.revoking)
                && *heir == member
            {
                *heir = owner;
            }
        }
    }

    pub fn leave(&mut self, member: MemberId, overdue_at: Instant) -> Changes {
        self.remove(member);
        self.balance(overdue_at)
    }

    /// The member gives up partitions. Those it does not own are none of its business and stay as they are.
    pub fn release(&mut self, member: MemberId, partitions: &[TopicPartition], overdue_at: Instant) -> Changes {
        for partition in partitions {
            match self.places.get_mut(partition) {
                Some(place) if place.owner == Some(member) => *place = Place::default(),
                _ => {}
            }
        }
        self.balance(overdue_at)
    }

    /// Takes away what was asked back and not released in time.
    pub fn expire(&mut self, now: Instant, overdue_at: Instant) -> Changes {
        let mut changes = Changes::new();
        for (partition, place) in &mut self.places {
            if let (Some(owner), Some((_, at))) = (place.owner, place.revoking)
                && at <= now
            {
                changes.push((owner, Change::Lost(partition.clone())));
                *place = Place::default();
            }
        }
        if !changes.is_empty() {
            changes.extend(self.balance(overdue_at));
        }
        changes
    }

    /// When [`expire`](Assignment::expire) has something to do.
    pub fn next_expiry(&self) -> Option<Instant> {
        self.places.values().filter_map(|place| place.revoking.map(|(_, at)| at)).min()
    }

    pub fn owns(&self, member: MemberId, partition: &TopicPartition) -> bool {
        self.places.get(partition).is_some_and(|place| place.owner == Some(member))
    }

    pub fn has(&self, member: MemberId) -> bool {
        self.members.contains_key(&member)
    }

    pub fn owned(&self, member: MemberId) -> impl Iterator<Item = &TopicPartition> {
        self.places.iter().filter(move |(_, place)| place.owner == Some(member)).map(|(partition, _)| partition)
    }

    /// Gives free partitions to whoever has least, then asks the one with most for one at a time until nobody has two
    /// more than another member that could take one.
    fn balance(&mut self, overdue_at: Instant) -> Changes {
        let mut changes = Changes::new();
        let mut loads: BTreeMap<MemberId, usize> = self.members.keys().map(|member| (*member, 0)).collect();
        for heir in self.places.values().filter_map(Place::heir) {
            *loads.entry(heir).or_default() += 1;
        }
        for (partition, place) in self.places.iter_mut().filter(|(_, place)| place.owner.is_none()) {
            if let Some(member) = least_loaded(&self.members, &loads, &partition.topic) {
                place.owner = Some(member);
                *loads.entry(member).or_default() += 1;
                changes.push((member, Change::Assigned(partition.clone())));
            }
        }
        loop {
            let movable =
                self.places.iter().filter(|(_, place)| place.revoking.is_none()).filter_map(|(partition, place)| {
                    let owner = place.owner?;
                    let heir = least_loaded(&self.members, &loads, &partition.topic)?;
                    (loads[&owner] >= loads[&heir] + 2).then(|| (loads[&owner], partition.clone(), owner, heir))
                });
            let Some((_, partition, owner, heir)) = movable.max() else { return changes };
            *loads.entry(owner).or_default() -= 1;
            *loads.entry(heir).or_default() += 1;
            self.places.entry(partition.clone()).or_default().revoking = Some((heir, overdue_at));
            changes.push((owner, Change::Revoking(partition)));
        }
    }
}

fn least_loaded(
    members: &BTreeMap<MemberId, BTreeSet<Arc<str>>>,
    loads: &BTreeMap<MemberId, usize>,
    topic: &Arc<str>,
) -> Option<MemberId> {
    let readers = members.iter().filter(|(_, topics)| topics.contains(topic)).map(|(member, _)| *member);
    readers.min_by_key(|member| (loads.get(member).copied().unwrap_or(0), *member))
}

// === impl Place ===

impl Place {
    /// Whom the partition burdens once it has moved.
    fn heir(&self) -> Option<MemberId> {
        self.revoking.map(|(heir, _)| heir).or(self.owner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// A group over one topic, told in words: `1+0` assigned, `1-0` revoking, `1x0` lost.
    struct Told(Assignment, Instant);

    impl Told {
        fn new() -> Told {
            Told(Assignment::default(), Instant::now())
        }

        fn join(&mut self, member: MemberId, partitions: u32) -> String {
            let at = self.1 + Duration::from_secs(60);
            say(self.0.join(member, &[("t".into(), partitions)], at))
        }

        fn leave(&mut self, member: MemberId) -> String {
            say(self.0.leave(member, self.1))
        }

        fn release(&mut self, member: MemberId, partitions: &[u32]) -> String {
            let partitions: Vec<_> = partitions.iter().map(|p| at(*p)).collect();
            say(self.0.release(member, &partitions, self.1))
        }
    }

    fn at(partition: u32) -> TopicPartition {
        TopicPartition { topic: "t".into(), partition }
    }

    fn say(changes: Changes) -> String {
        let words = changes.into_iter().map(|(member, change)| match change {
            Change::Assigned(p) => format!("{member}+{}", p.partition),
            Change::Revoking(p) => format!("{member}-{}", p.partition),
            Change::Lost(p) => format!("{member}x{}", p.partition),
        });
        words.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_second_member_gets_its_half_only_when_it_is_released() {
        let mut group = Told::new();
        assert_eq!(group.join(1, 4), "1+0 1+1 1+2 1+3");
        assert_eq!(group.join(2, 4), "1-3 1-2");
        assert!(group.0.owns(1, &at(3)) && !group.0.owns(2, &at(3)));
        assert_eq!(group.release(2, &[3]), "", "what is another's cannot be released");
        assert_eq!(group.release(1, &[3]), "2+3");
        assert_eq!(group.release(1, &[2]), "2+2");
        assert_eq!(group.leave(1), "2+0 2+1");
    }

    #[test]
    fn an_owner_whose_heir_died_gets_its_partition_back() {
        let mut group = Told::new();
        group.join(1, 2);
        assert_eq!(group.join(2, 2), "1-1");
        assert_eq!(group.leave(2), "");
        assert_eq!(group.release(1, &[1]), "1+1");
    }

    #[test]
    fn what_is_not_released_in_time_is_lost() {
        let mut group = Told::new();
        group.join(1, 2);
        group.join(2, 2);
        let due = group.0.next_expiry().unwrap();
        assert_eq!(say(group.0.expire(due - Duration::from_millis(1), due)), "");
        assert_eq!(say(group.0.expire(due, due)), "1x1 2+1");
        assert_eq!(group.0.next_expiry(), None);
    }

    #[test]
    fn more_members_than_partitions_leave_some_idle_until_needed() {
        let mut group = Told::new();
        group.join(1, 1);
        assert_eq!(group.join(2, 1), "");
        assert_eq!(group.leave(1), "2+0");
    }
}
