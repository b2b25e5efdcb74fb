//! Checks of an account's feed: it is the same at every node and at all times, its ids rise, and it has one event for
//! each change that was acknowledged, in the order of the changes, and none for any other.

use std::collections::HashMap;

use serde_json::Value;

use super::check::Violation;
use super::evidence::{Event, Evidence, What, id, order};
use super::log::{Call, Entry, Log, Outcome, Time, seconds};

pub fn check(log: &Log, evidence: &Evidence<'_>) -> Vec<Violation> {
    let mut checker = Checker { evidence, found: Vec::new(), places: HashMap::new() };
    checker.places = evidence.events.iter().enumerate().map(|(place, event)| (event.id.as_str(), place)).collect();
    for (node, feed) in log.feeds[evidence.account].iter().enumerate() {
        checker.whole(node, feed, log.has_clocks);
    }
    checker.pages();
    checker.changes();
    checker.order();
    checker.found
}

struct Checker<'a> {
    evidence: &'a Evidence<'a>,
    found: Vec<Violation>,
    places: HashMap<&'a str, usize>,
}

impl Checker<'_> {
    fn report(&mut self, rule: &'static str, text: String) {
        self.found.push(Violation::new(rule, self.evidence.account, text));
    }

    /// The feed of a node at the end has every event that anybody ever had.
    fn whole(&mut self, node: usize, feed: &[Value], has_clocks: bool) {
        if let Some(pair) = feed.windows(2).find(|pair| order(id(&pair[0])) >= order(id(&pair[1]))) {
            self.report("rising", format!("the ids at node {node} do not rise: {} then {}", pair[0], pair[1]));
        }
        let events = &self.evidence.events;
        let is_same = |event: &Value, other: &Value| {
            let mut other = other.clone();
            if has_clocks {
                other["timestamp"] = event["timestamp"].clone();
            }
            *event == other
        };
        let differing = (0..events.len().max(feed.len())).find(|at| {
            events.get(*at).is_none_or(|event| feed.get(*at).is_none_or(|other| !is_same(&event.raw, other)))
        });
        if let Some(at) = differing {
            let known = events.get(at).map(|event| (&event.raw, seconds(event.seen)));
            let text =
                format!("at the end, node {node} has {:?} at place {at}, where others had {known:?}", feed.get(at));
            self.report("feed", text);
        }
    }

    /// Each page is a part of the feed without a gap, and has all that was there when it was asked for.
    fn pages(&mut self) {
        let evidence = self.evidence;
        let known = known_at(evidence);
        for entry in &evidence.entries {
            let Outcome::Events(page) = &entry.outcome else { continue };
            let (marker, is_repeated) = match &entry.call {
                Call::Events { marker, is_repeated } => (marker, *is_repeated),
                Call::Stream { marker } => (marker, false),
                _ => continue,
            };
            let start = evidence.events.partition_point(|event| order(&event.id) < order(marker));
            let skips = !is_repeated && evidence.events.get(start).is_some_and(|event| event.id == *marker);
            let start = start + usize::from(skips);
            let gap = page.iter().zip(start..).find(|(event, place)| self.places.get(id(event)) != Some(place));
            if let Some((event, place)) = gap {
                let expected = evidence.events.get(place).map(|event| &event.raw);
                let text = format!("{} has {event} where {expected:?} was expected", entry);
                self.report("feed", text);
            } else {
                self.stale(entry, start + page.len(), &known);
            }
        }
    }

    fn stale(&mut self, entry: &Entry, end: usize, known: &[(Time, usize)]) {
        let is_full = matches!(&entry.outcome, Outcome::Events(page) if page.len() == 1000);
        if is_full || matches!(entry.call, Call::Stream { .. }) {
            return;
        }
        // The last event that was known to somebody when this was asked for.
        let before = known.partition_point(|(time, _)| *time < entry.asked);
        let missing = before.checked_sub(1).map(|at| known[at].1).filter(|place| *place >= end);
        if let Some(place) = missing {
            let event = &self.evidence.events[place];
            let text = format!("{} lacks {}, seen at {}", entry, event.raw, seconds(event.seen));
            self.report("stale", text);
        }
    }

    fn changes(&mut self) {
        let evidence = self.evidence;
        for (number, entry) in &evidence.changes {
            let count = evidence.effects.get(number).map_or(0, Vec::len);
            let allowed = match entry.outcome {
                Outcome::Done => 1..=1,
                Outcome::Denied | Outcome::NotSent => 0..=0,
                _ => 0..=1,
            };
            if !allowed.contains(&count) {
                self.report("events", format!("{count} events of {}", entry));
            }
        }
        for event in &evidence.events {
            let is_known = event.what.change().is_none_or(|number| evidence.changes.contains_key(&number));
            if !is_known || matches!(event.what, What::Unknown) {
                self.report("events", format!("nobody asked for {}", event.raw));
            }
        }
    }

    /// What was answered before another change was asked for is before it in the feed.
    fn order(&mut self) {
        let window = |event: &Event| event.what.change().and_then(|number| self.evidence.window(number));
        let mut latest: Option<(Time, &Event)> = None;
        let mut wrong = Vec::new();
        for event in &self.evidence.events {
            let Some((from, until)) = window(event) else { continue };
            if let Some((asked, other)) = latest.filter(|(asked, _)| *asked > until) {
                wrong.push(format!(
                    "{} had happened by {}, and follows {}, asked for at {}",
                    event.raw,
                    seconds(until),
                    other.raw,
                    seconds(asked)
                ));
            }
            if latest.is_none_or(|(asked, _)| asked < from) {
                latest = Some((from, event));
            }
        }
        wrong.into_iter().for_each(|text| self.report("order", text));
    }
}

/// From when on everybody must see the feed up to which place: rising in both.
fn known_at(evidence: &Evidence<'_>) -> Vec<(Time, usize)> {
    let known = |(place, event): (usize, &Event)| {
        let answered =
            event.what.change().and_then(|number| evidence.window(number)).map_or(event.seen, |(_, until)| until);
        (event.seen.min(answered), place)
    };
    let mut all: Vec<_> = evidence.events.iter().enumerate().map(known).collect();
    all.sort_unstable();
    let mut last = 0;
    for (_, place) in &mut all {
        last = last.max(*place);
        *place = last;
    }
    all
}
