//! `{"semver": ">=1.2.0 <2.0.0-0"}`: versions of Semantic Versioning 2.0.0, and ranges of them.
//!
//! Versions lie in their order of precedence and nothing else: `2.0.0-rc.1` is below `2.0.0`, so `<2.0.0` holds it and
//! `<2.0.0-0` does not. `^` and `~` leave out the pre-releases of the version at their upper end.

use std::{
    cmp::Ordering,
    fmt,
    ops::{Bound, RangeBounds},
};

/// A version without its build metadata, which says nothing of its precedence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version<Text = Box<str>> {
    numbers: [u64; 3],
    /// Empty for a release.
    pre_release: Text,
}

/// The versions between two.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionRange {
    low: Bound<Version>,
    high: Bound<Version>,
}

/// The longest text that is read as a version, in bytes.
pub const MAX_VERSION: usize = 256;
/// What a pre-release is compared with to leave out all of them: there is none below.
const LOWEST_PRE_RELEASE: &str = "0";

// === impl Version ===

impl<'a> Version<&'a str> {
    /// A `v` may stand before it, as it does in tags.
    pub fn read(text: &'a str) -> Option<Version<&'a str>> {
        if text.len() > MAX_VERSION {
            return None;
        }
        let (numbers, pre_release) = parts(text.strip_prefix('v').unwrap_or(text))?;
        let mut numbers = numbers.split('.').map(number);
        let version = Version { numbers: [numbers.next()??, numbers.next()??, numbers.next()??], pre_release };
        numbers.next().is_none().then_some(version)
    }

    fn owned(self) -> Version {
        Version { numbers: self.numbers, pre_release: self.pre_release.into() }
    }
}

impl<T: AsRef<str>> Version<T> {
    fn precedence(&self, other: &Version<impl AsRef<str>>) -> Ordering {
        let (a, b) = (self.pre_release.as_ref(), other.pre_release.as_ref());
        self.numbers.cmp(&other.numbers).then_with(|| match (a.is_empty(), b.is_empty()) {
            (true, true) => Ordering::Equal,
            (true, false) => Ordering::Greater,
            (false, true) => Ordering::Less,
            (false, false) => pre_releases(a, b),
        })
    }
}

/// The numbers and the pre-release of a text, its build metadata checked and dropped.
fn parts(text: &str) -> Option<(&str, &str)> {
    let (text, build) = text.split_once('+').map_or((text, None), |(text, build)| (text, Some(build)));
    let (numbers, pre_release) = text.split_once('-').map_or((text, None), |(n, pre)| (n, Some(pre)));
    let plain = |part: &str| !part.is_empty() && part.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-');
    let sound = |part: &str| plain(part) && (!is_numeric(part) || part == "0" || !part.starts_with('0'));
    let fits = build.is_none_or(|build| build.split('.').all(plain))
        && pre_release.is_none_or(|pre| pre.split('.').all(sound));
    fits.then_some((numbers, pre_release.unwrap_or_default()))
}

fn is_numeric(part: &str) -> bool {
    part.bytes().all(|c| c.is_ascii_digit())
}

fn number(text: &str) -> Option<u64> {
    let plain = is_numeric(text) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| plain)
}

/// Identifier by identifier: numbers by value and below words, words by their bytes; more identifiers above fewer.
fn pre_releases(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a.split('.'), b.split('.'));
    loop {
        let order = match (a.next(), b.next()) {
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => Ordering::Less,
            (Some(_), None) => Ordering::Greater,
            (Some(x), Some(y)) => match (is_numeric(x), is_numeric(y)) {
                // Without leading zeros the longer is the larger, of any length.
                (true, true) => x.len().cmp(&y.len()).then_with(|| x.cmp(y)),
                (true, false) => Ordering::Less,
                (false, true) => Ordering::Greater,
                (false, false) => x.cmp(y),
            },
        };
        if order != Ordering::Equal {
            return order;
        }
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Version) -> Option<Ordering> {
        Some(self.precedence(other))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [major, minor, patch] = self.numbers;
        let dash = if self.pre_release.is_empty() { "" } else { "-" };
        write!(f, "{major}.{minor}.{patch}{dash}{}", self.pre_release)
    }
}

// === impl VersionRange ===

impl VersionRange {
    /// Comparators, with spaces or commas between them, all of which must hold: `=`, `>`, `>=`, `<`, `<=`, `^`, `~`. A bare
    /// version is `=`. Numbers may be left out at the end: `^1`, `~1.2`, `1.2`.
    ///
    /// `None`: malformed, or nothing lies in it.
    pub fn read(text: &str) -> Option<VersionRange> {
        let mut range: Option<VersionRange> = None;
        for comparator in text.split([' ', ',']).filter(|part| !part.is_empty()) {
            let next = VersionRange::comparator(comparator)?;
            range = Some(match range {
                Some(range) => range.and(next),
                None => next,
            });
        }
        range.filter(|range| !range.is_empty())
    }

    pub fn contains(&self, text: &str) -> bool {
        Version::read(text).is_some_and(|version| self.holds(&version))
    }

    /// The same of a text that has been [read](Version::read).
    pub(super) fn holds(&self, version: &Version<&str>) -> bool {
        let above = match &self.low {
            Bound::Included(low) => version.precedence(low) != Ordering::Less,
            Bound::Excluded(low) => version.precedence(low) == Ordering::Greater,
            Bound::Unbounded => true,
        };
        above
            && match &self.high {
                Bound::Included(high) => version.precedence(high) != Ordering::Greater,
                Bound::Excluded(high) => version.precedence(high) == Ordering::Less,
                Bound::Unbounded => true,
            }
    }

    fn comparator(text: &str) -> Option<VersionRange> {
        let end = text.find(|c: char| c.is_ascii_digit() || c == 'v')?;
        let (operator, text) = text.split_at(end);
        let text = text.strip_prefix('v').unwrap_or(text);
        if text.len() > MAX_VERSION {
            return None;
        }
        let (numbers, pre_release) = parts(text)?;
        let given: Vec<u64> = numbers.split('.').map(number).collect::<Option<_>>()?;
        let mut numbers = [0; 3];
        numbers.get_mut(..given.len())?.copy_from_slice(&given);
        if given.len() < 3 && (!pre_release.is_empty() || text.contains('+')) {
            return None;
        }
        let version = Version { numbers, pre_release }.owned();
        // The first version after all those that begin with the numbers up to `place`.
        let after = |place: usize| {
            let mut numbers = numbers;
            numbers[place] = numbers[place].checked_add(1)?;
            numbers[place + 1..].fill(0);
            Some(Version { numbers, pre_release: LOWEST_PRE_RELEASE }.owned())
        };
        let last = given.len() - 1;
        let (low, high) = match operator {
            "" | "=" if last == 2 => (Bound::Included(version.clone()), Bound::Included(version)),
            "" | "=" => (Bound::Included(version), Bound::Excluded(after(last)?)),
            ">=" => (Bound::Included(version), Bound::Unbounded),
            "<" => (Bound::Unbounded, Bound::Excluded(version)),
            ">" if last == 2 => (Bound::Excluded(version), Bound::Unbounded),
            ">" => (Bound::Included(after(last)?), Bound::Unbounded),
            "<=" if last == 2 => (Bound::Unbounded, Bound::Included(version)),
            "<=" => (Bound::Unbounded, Bound::Excluded(after(last)?)),
            "~" => (Bound::Included(version), Bound::Excluded(after(last.min(1))?)),
            "^" => {
                // What may not change is the first number that is not 0, or the last one given.
                let place = numbers.iter().position(|number| *number > 0).unwrap_or(last).min(last);
                (Bound::Included(version), Bound::Excluded(after(place)?))
            }
            _ => return None,
        };
        Some(VersionRange { low, high })
    }

    fn and(self, other: VersionRange) -> VersionRange {
        let narrower = |a: Bound<Version>, b: Bound<Version>, wanted: Ordering| match (version_of(&a), version_of(&b)) {
            (None, _) => b,
            (_, None) => a,
            (Some(x), Some(y)) => match x.precedence(y) {
                Ordering::Equal if matches!(a, Bound::Excluded(_)) => a,
                Ordering::Equal => b,
                order if order == wanted => a,
                _ => b,
            },
        };
        VersionRange {
            low: narrower(self.low, other.low, Ordering::Greater),
            high: narrower(self.high, other.high, Ordering::Less),
        }
    }

    fn is_empty(&self) -> bool {
        match (version_of(&self.low), version_of(&self.high)) {
            (Some(low), Some(_)) => match (&self.low, &self.high) {
                (Bound::Included(_), Bound::Included(_)) => !self.range().contains(low),
                (Bound::Included(_), _) => !self.range().contains(low),
                (_, Bound::Included(high)) => !self.range().contains(high),
                // Both ends are left out: between different versions there is always another pre-release.
                (_, _) => version_of(&self.high).is_some_and(|high| low.precedence(high) != Ordering::Less),
            },
            _ => false,
        }
    }

    fn range(&self) -> (Bound<&Version>, Bound<&Version>) {
        (self.low.as_ref(), self.high.as_ref())
    }
}

fn version_of(bound: &Bound<Version>) -> Option<&Version> {
    match bound {
        Bound::Included(version) | Bound::Excluded(version) => Some(version),
        Bound::Unbounded => None,
    }
}

impl fmt::Display for VersionRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let low = match &self.low {
            Bound::Included(low) => Some(format!(">={low}")),
            Bound::Excluded(low) => Some(format!(">{low}")),
            Bound::Unbounded => None,
        };
        let high = match &self.high {
            Bound::Included(high) => Some(format!("<={high}")),
            Bound::Excluded(high) => Some(format!("<{high}")),
            Bound::Unbounded => None,
        };
        match (&self.low, &self.high) {
            (Bound::Included(low), Bound::Included(high)) if low == high => write!(f, "={low}"),
            _ => f.write_str(&low.into_iter().chain(high).collect::<Vec<_>>().join(" ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_lie_in_their_order_of_precedence() {
        // The example of semver.org, paragraph 11, and numbers beyond 64 bits.
        let ordered = [
            "0.9.9",
            "1.0.0-0",
            "1.0.0-alpha",
            "1.0.0-alpha.1",
            "1.0.0-alpha.99999999999999999998",
            "1.0.0-alpha.99999999999999999999",
            "1.0.0-alpha.beta",
            "1.0.0-beta",
            "1.0.0-beta.2",
            "1.0.0-beta.11",
            "1.0.0-rc.1",
            "1.0.0",
            "1.0.1",
            "1.2.0",
            "1.10.0",
            "2.0.0",
        ];
        for (i, a) in ordered.iter().enumerate() {
            for (j, b) in ordered.iter().enumerate() {
                let (x, y) = (Version::read(a).unwrap(), Version::read(b).unwrap());
                assert_eq!(x.precedence(&y), i.cmp(&j), "{a} against {b}");
            }
        }
    }

    #[test]
    fn what_is_no_version_lies_in_no_range() {
        let all = VersionRange::read(">=0.0.0-0").unwrap();
        for text in ["1.0.0", "v1.0.0", "1.0.0+build.01", "1.0.0-a.b-c.0", "0.0.0-0"] {
            assert!(all.contains(text), "{text}");
        }
        let long = format!("1.0.0-{}", "a".repeat(MAX_VERSION));
        for text in
            ["", "1", "1.0", "1.0.0.0", "01.0.0", "1.0.0-", "1.0.0-01", "1.0.0+", "1.0.0-é", "vv1.0.0", "-1.0.0", &long]
        {
            assert!(!all.contains(text), "{text}");
        }
    }

    #[test]
    fn a_range_holds_what_lies_in_it() {
        let check = |range: &str, shown: &str, inside: &[&str], outside: &[&str]| {
            let read = VersionRange::read(range).unwrap_or_else(|| panic!("{range}"));
            assert_eq!(read.to_string(), shown, "{range}");
            inside.iter().for_each(|version| assert!(read.contains(version), "{version} in {range}"));
            outside.iter().for_each(|version| assert!(!read.contains(version), "{version} in {range}"));
        };
        check("1.2.3", "=1.2.3", &["1.2.3", "v1.2.3", "1.2.3+b"], &["1.2.4", "1.2.3-rc.1"]);
        check("=1.2", ">=1.2.0 <1.3.0-0", &["1.2.0", "1.2.9"], &["1.2.0-rc", "1.3.0", "1.3.0-rc"]);
        check(">=1.2.0 <2.0.0", ">=1.2.0 <2.0.0", &["1.2.0", "1.9.9", "2.0.0-rc.1"], &["2.0.0", "1.2.0-rc"]);
        check(">=1.2, <2.0.0-0", ">=1.2.0 <2.0.0-0", &["1.2.0"], &["2.0.0-rc.1"]);
        check(">1.2", ">=1.3.0-0", &["1.3.0"], &["1.2.9"]);
        check(">1.2.3", ">1.2.3", &["1.2.4-0"], &["1.2.3"]);
        check("<=1.2", "<1.3.0-0", &["1.2.9"], &["1.3.0-rc"]);
        check("<=1.2.3", "<=1.2.3", &["1.2.3"], &["1.2.4-0"]);
        check("^1.2.3", ">=1.2.3 <2.0.0-0", &["1.2.3", "1.99.0"], &["2.0.0-rc", "1.2.2"]);
        check("^0.2.3", ">=0.2.3 <0.3.0-0", &["0.2.9"], &["0.3.0"]);
        check("^0.0.3", ">=0.0.3 <0.0.4-0", &["0.0.3"], &["0.0.4"]);
        check("^0", ">=0.0.0 <1.0.0-0", &["0.9.0"], &["1.0.0"]);
        check("~1.2.3", ">=1.2.3 <1.3.0-0", &["1.2.9"], &["1.3.0"]);
        check("~1", ">=1.0.0 <2.0.0-0", &["1.9.0"], &["2.0.0"]);
        check(">=1.0.0 >1.0.0 <=3.0.0 <3.0.0", ">1.0.0 <3.0.0", &["2.0.0"], &["1.0.0", "3.0.0"]);
    }

    #[test]
    fn what_is_no_range_is_refused() {
        for text in [
            "",
            " ",
            "x",
            "1.x",
            ">=",
            "=>1.0.0",
            "1.0.0 || 2.0.0",
            ">2.0.0 <1.0.0",
            ">1.0.0 <1.0.0",
            "1.0.0 2.0.0",
            "1.2-rc",
            "^18446744073709551615",
        ] {
            assert_eq!(VersionRange::read(text), None, "{text}");
        }
    }
}
