//! Objects with one line's worth of metrics: of JSONL files, of lists in JSON, of dictionaries in other formats.
//!
//! The lines of a log have the same keys in the same order. So each key is first compared with the one that stood
//! there in the line before, which is much faster than looking it up.

use std::collections::HashMap;

use super::json::{Broken, Cursor, Next, Scalar, unescape};
use super::role::{self, Role};
use super::{event, number};
use crate::metrics::{Row, Run, SeriesId};

/// Fields of a line that are taken.
const MOST_FIELDS: usize = 20_000;

/// Takes objects, and remembers what their keys mean.
#[derive(Debug, Default)]
pub(super) struct Objects {
    roles: HashMap<Box<[u8]>, Role>,
    /// The keys of the line before, in order.
    plan: Vec<(Box<[u8]>, Role)>,
    points: Vec<(SeriesId, f64)>,
    row: Row,
    rank: u8,
}

/// What an object was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    /// A line with metrics.
    Points,
    /// Something that happened.
    Event,
    /// It holds no number.
    Nothing,
}

impl Objects {
    /// Takes an object whose brace is next. Without a step of its own it gets `step`.
    pub(super) fn take(&mut self, cursor: &mut Cursor<'_>, step: Option<f64>, run: &mut Run) -> Result<Taken, Broken> {
        cursor.skip_blanks();
        let begin = cursor.at;
        self.points.clear();
        self.row = Row::default();
        self.rank = u8::MAX;
        let mut place = 0;
        if !cursor.take(b'{') {
            return Err(Broken);
        }
        if !cursor.take(b'}') {
            loop {
                if !cursor.take(b'"') {
                    return Err(Broken);
                }
                let role = self.key(cursor, place)?;
                place += 1;
                if role == Role::Event {
                    return event::take(cursor, begin, run).map(|()| Taken::Event);
                }
                self.value(cursor, role, place, run)?;
                if cursor.take(b',') {
                    continue;
                }
                if cursor.take(b'}') {
                    break;
                }
                return Err(Broken);
            }
        }
        if self.points.is_empty() {
            return Ok(Taken::Nothing);
        }
        self.row.step = self.row.step.or(step);
        run.add(self.row, &self.points);
        Ok(Taken::Points)
    }

    #[inline]
    fn key(&mut self, cursor: &mut Cursor<'_>, place: usize) -> Result<Role, Broken> {
        if let Some((key, role)) = self.plan.get(place)
            && cursor.key_is(key)
        {
            return Ok(*role);
        }
        let key = cursor.text()?;
        if !cursor.take(b':') {
            return Err(Broken);
        }
        let role = self.role(key);
        self.plan.truncate(place);
        if place < MOST_FIELDS && self.plan.len() == place {
            self.plan.push((key.into(), role));
        }
        Ok(role)
    }

    fn role(&mut self, key: &[u8]) -> Role {
        if let Some(role) = self.roles.get(key) {
            return *role;
        }
        let name = unescape(key);
        // A metric is made when its first number is seen: many keys hold texts.
        let role = role::of(&name).unwrap_or(Role::Nothing);
        if role != Role::Nothing && self.roles.len() < MOST_FIELDS {
            self.roles.insert(key.into(), role);
        }
        role
    }

    /// The role of a key that turned out to have a number.
    fn metric(&mut self, place: usize, run: &mut Run) -> Role {
        let Some((key, _)) = self.plan.get(place - 1) else { return Role::Nothing };
        let role = run.series_id(&unescape(key)).map_or(Role::Nothing, Role::Metric);
        if self.roles.len() < MOST_FIELDS {
            self.roles.insert(key.clone(), role);
        }
        self.plan[place - 1].1 = role;
        role
    }

    #[inline]
    fn value(&mut self, cursor: &mut Cursor<'_>, role: Role, place: usize, run: &mut Run) -> Result<(), Broken> {
        match cursor.next()? {
            Next::Scalar(Scalar::Number(x)) => {
                let role = if role == Role::Nothing { self.metric(place, run) } else { role };
                if let Role::Metric(id) = role {
                    self.points.push((id, x));
                } else {
                    self.place(role, x, place, run);
                }
                Ok(())
            }
            Next::Scalar(Scalar::Text(raw)) => {
                self.text(raw, role, place, run);
                Ok(())
            }
            Next::Scalar(_) => Ok(()),
            opened => self.nested(cursor, opened, place, run),
        }
    }

    fn place(&mut self, role: Role, x: f64, place: usize, run: &mut Run) {
        match role {
            Role::Step(rank) if rank < self.rank => (self.row.step, self.rank) = (Some(x), rank),
            Role::Tokens => self.row.tokens = Some(x),
            Role::Goal => run.goal = Some(x),
            Role::Time => match role::time(x) {
                Some(time) => self.row.time = Some(time),
                // `time` may also be how long a step took.
                None => {
                    let key = self.plan.get(place - 1).map(|(key, _)| unescape(key));
                    if let Some(id) = key.and_then(|name| run.series_id(&name)) {
                        self.points.push((id, x));
                    }
                }
            },
            _ => {}
        }
    }

    fn text(&mut self, raw: &[u8], role: Role, place: usize, run: &mut Run) {
        if role == Role::Time
            && let Some(time) = std::str::from_utf8(raw).ok().and_then(role::date)
        {
            self.row.time = Some(time);
        } else if let Some(x) = number::whole(raw) {
            let role = if role == Role::Nothing { self.metric(place, run) } else { role };
            match role {
                Role::Metric(id) => self.points.push((id, x)),
                role => self.place(role, x, place, run),
            }
        }
    }

    /// Objects and lists within: `a.b` and `a.3`.
    fn nested<'a>(
        &mut self,
        cursor: &mut Cursor<'a>,
        opened: Next<'a>,
        place: usize,
        run: &mut Run,
    ) -> Result<(), Broken> {
        let mut path = self.plan.get(place - 1).map_or_else(String::new, |(key, _)| unescape(key));
        let (points, row) = (&mut self.points, &mut self.row);
        let mut rank = self.rank;
        cursor.within(opened, &mut path, 0, &mut |path, scalar| {
            if let Scalar::Number(x) = scalar
                && points.len() < MOST_FIELDS
            {
                // `metrics.step` is the step, unless there is one outside.
                let last = path.rsplit('.').next().unwrap_or(path);
                let named = !last.as_bytes().first().is_some_and(u8::is_ascii_digit);
                match named.then(|| role::of(last)).flatten() {
                    Some(Role::Step(inner)) if inner.saturating_add(100) < rank => {
                        (row.step, rank) = (Some(x), inner.saturating_add(100));
                    }
                    Some(Role::Step(_)) => {}
                    Some(Role::Time) if role::time(x).is_some() => row.time = row.time.or(role::time(x)),
                    _ => points.extend(run.series_id(path).map(|id| (id, x))),
                }
            }
        })?;
        self.rank = rank;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Axis;

    fn run(lines: &[&str]) -> Run {
        let (mut run, mut objects) = (Run::new("a", "jsonl"), Objects::default());
        for line in lines {
            let _ = objects.take(&mut Cursor::new(line.as_bytes()), None, &mut run);
        }
        run
    }

    fn all(run: &Run) -> Vec<String> {
        let points = |s: &crate::metrics::Series| {
            (0..s.len())
                .map(|i| format!("{}:{}", run.x(Axis::Step, s.row(i)), s.value(i)))
                .collect::<Vec<_>>()
                .join(" ")
        };
        run.series().iter().map(|s| format!("{} {}", s.name(), points(s))).collect()
    }

    #[test]
    fn keys_may_come_and_go_and_change_places() {
        let run = run(&[
            r#"{"step": 1, "loss": 2.5, "lr": 1e-3, "phase": null, "note": "x"}"#,
            r#"{"step": 2, "loss": 2.25, "lr": 1e-3, "phase": "hot"}"#,
            r#"{"lr": 5e-4, "step": 3, "loss": NaN, "acc": "0.5"}"#,
            r#"{"loss": 1}"#,
        ]);
        let mut want = vec!["loss 1:2.5 2:2.25 3:NaN 3:1", "lr 1:0.001 2:0.001 3:0.0005", "acc 3:0.5"];
        let mut got = all(&run);
        got.sort();
        want.sort_unstable();
        assert_eq!(got, want);
    }

    #[test]
    fn the_axes_are_found_wherever_they_stand() {
        let run = run(&[
            r#"{"loss": 1.0, "_step": 7, "global_step": 70, "trained_tokens": 500, "_timestamp": 1732171234.5, "time": 0.25}"#,
            r#"{"metrics": {"step": 80, "eval": {"acc": 0.5}}, "timestamp": "2026-07-26T15:42:33Z", "max_steps": 100}"#,
        ]);
        assert_eq!(all(&run), ["loss 70:1", "time 70:0.25", "metrics.eval.acc 80:0.5"]);
        assert_eq!((run.x(Axis::Tokens, 0), run.x(Axis::Time, 1)), (500.0, 1_785_080_553.0));
        assert_eq!(run.goal, Some(100.0));
    }

    #[test]
    fn lists_of_experts_become_metrics_of_their_own() {
        let run = run(&[r#"{"step": 1, "loss": 2.0, "experts": [[0.25, 0.75], [0.5, 0.5]]}"#]);
        assert_eq!(
            all(&run)[1..],
            ["experts.0.0 1:0.25", "experts.0.1 1:0.75", "experts.1.0 1:0.5", "experts.1.1 1:0.5"]
        );
    }

    #[test]
    fn a_broken_line_leaves_nothing_behind() {
        let run =
            run(&[r#"{"step": 1, "loss": 2.0, "#, r#"{"step": 2, "loss": 1.0}"#, "garbage", r#"{"step": 3}"#, "{}"]);
        assert_eq!(all(&run), ["loss 2:1"]);
    }
}
