//! The index with others at work: two readers on it, and a reader beside a writer.
//!
//! Two readers on one index are held against two that have a copy each: what they do not reach is what sharing costs, whatever the
//! machine. The writer changes rules as the directory's follower does: takes out, puts in, settles, publishes a clone.

use std::{
    hint::black_box,
    mem,
    sync::{
        Arc, Mutex, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use tidings_core::filter::{Index, Rule, Scanner};

use super::{SEED, compile, run};
use crate::workload::{Chance, Profile, Workload};

const EVENTS: usize = 10_000;
/// Each is measured so often, in turns.
const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_millis(600);
/// What the writer is to reach, in changes a second.
const CHANGES: u64 = 10_000;
/// So often it looks whether something is to be changed, as a follower that fetches.
const TICK: Duration = Duration::from_millis(1);

pub fn measure(count: usize) {
    let workload = Workload::new(Profile::Tenant, count, EVENTS, SEED);
    let rules = compile(&workload);
    two_readers(&workload, &rules);
    beside_a_writer(&workload, rules);
}

fn two_readers(workload: &Workload, rules: &[Arc<Rule>]) {
    let one = Index::of(rules.iter().cloned());
    // Nothing shared, not even rules.
    let other = Index::of(compile(workload));
    let (mut shared, mut apart) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        shared.push(both(&workload.events, &one, &one));
        apart.push(both(&workload.events, &one, &other));
    }
    let (shared, apart) = (median(shared), median(apart));
    println!("two readers, events a second: {shared:.0} on one index, {apart:.0} with one each: {:.2}", shared / apart);
}

/// Events a second of two threads together.
fn both(events: &[String], one: &Index, other: &Index) -> f64 {
    thread::scope(|scope| {
        let readers = [one, other].map(|index| scope.spawn(move || read(events, || index, &mut Vec::new())));
        readers.map(|reader| reader.join().expect("read")).iter().sum()
    })
}

/// Events a second; and what each took, in nanoseconds.
fn read<I: std::ops::Deref<Target = Index>>(events: &[String], current: impl Fn() -> I, times: &mut Vec<u64>) -> f64 {
    let mut scanner = Scanner::new();
    let (begin, mut count) = (Instant::now(), 0_u64);
    let mut last = begin;
    for text in events.iter().cycle() {
        let index = current();
        black_box(run(text, &index, &mut scanner, &mut Vec::with_capacity(64)));
        drop(index);
        let now = Instant::now();
        times.push((now - last).as_nanos() as u64);
        (last, count) = (now, count + 1);
        if last - begin >= ROUND {
            break;
        }
    }
    count as f64 / begin.elapsed().as_secs_f64()
}

fn beside_a_writer(workload: &Workload, mut rules: Vec<Arc<Rule>>) {
    // What rules are changed to: themselves, read anew.
    let spare = compile(workload);
    let mut index = Index::of(rules.iter().cloned());
    let published = RwLock::new(Arc::new(index.clone()));
    let current = || published.read().expect("sound").clone();
    let (mut alone, mut beside, mut changes, mut waits) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let (mut times_alone, mut times) = (Vec::new(), Vec::new());
    let chance = &mut Chance(SEED);
    for _ in 0..ROUNDS {
        // Built in one go: what changes leave behind is a part of what the writer costs.
        let built = Arc::new(Index::of(rules.iter().cloned()));
        alone.push(read(&workload.events, || built.clone(), &mut times_alone));
        drop(built);
        let stop = AtomicBool::new(false);
        let made = Mutex::new((0_u64, Duration::ZERO));
        thread::scope(|scope| {
            scope.spawn(|| {
                let begin = Instant::now();
                while !stop.load(Ordering::Relaxed) {
                    thread::sleep(TICK);
                    let due = begin.elapsed();
                    let so_far = made.lock().expect("sound").0;
                    for _ in so_far..due.as_micros() as u64 * CHANGES / 1_000_000 {
                        let at = chance.below(rules.len() as u64) as usize;
                        index.remove(&rules[at]);
                        rules[at] = spare[at].clone();
                        index.insert(&rules[at]);
                        made.lock().expect("sound").0 += 1;
                    }
                    index.settle();
                    let new = Arc::new(index.clone());
                    // What it replaces is let go when readers are waited for no longer.
                    let old = mem::replace(&mut *published.write().expect("sound"), new);
                    drop(old);
                    // The oldest of them was due a tick before.
                    waits.push((begin.elapsed() - due + TICK).as_nanos() as u64);
                }
                made.lock().expect("sound").1 = begin.elapsed();
            });
            beside.push(read(&workload.events, current, &mut times));
            stop.store(true, Ordering::Relaxed);
        });
        let (count, time) = *made.lock().expect("sound");
        changes.push(count as f64 / time.as_secs_f64());
    }
    let (alone, beside, changes) = (median(alone), median(beside), median(changes));
    println!(
        "a reader, events a second: {alone:.0} alone, {beside:.0} beside {changes:.0} changes a second: {:.2}",
        beside / alone
    );
    for (name, times) in
        [("an event alone", times_alone), ("an event beside the writer", times), ("a change until it is seen", waits)]
    {
        let [p50, p99, max] = spread(times);
        println!("{name}, ns: p50 {p50}, p99 {p99}, max {max}");
    }
}

fn spread(mut times: Vec<u64>) -> [u64; 3] {
    times.sort_unstable();
    [50, 99, 100].map(|percent| times[(times.len() - 1) * percent / 100])
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
