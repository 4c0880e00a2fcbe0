//! Progress bars: `30%|###   | 30/100 [00:12<00:28, 2.5it/s, loss=2.1]`, as tqdm draws them.

/// A bar, as one line shows it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Seen {
    done: f64,
    total: f64,
    /// `Epoch 3: ` before it.
    epoch: Option<f64>,
    /// Where the counts begin, and where what is behind them does.
    counts: usize,
    inside: (usize, usize),
}

/// Finds a bar in a line.
pub(super) fn parse(line: &str) -> Option<Seen> {
    // `30/100 [` is in all of them.
    let mut from = 0;
    while let Some(slash) = line[from..].find('/').map(|at| from + at) {
        from = slash + 1;
        let before = &line[..slash];
        let digits = before.len() - before.bytes().rev().take_while(u8::is_ascii_digit).count();
        let rest = &line[slash + 1..];
        let count = rest.bytes().take_while(u8::is_ascii_digit).count();
        let after = rest[count..].trim_start_matches(['k', 'M', ' ']);
        if digits == slash || count == 0 || !after.starts_with('[') {
            continue;
        }
        let inside = line.len() - after.len() + 1;
        let end = line[inside..].find(']').map_or(line.len(), |end| inside + end);
        // `[00:12<00:28` is a bar of tqdm, `[====>...]` one of Keras; `10/100 [loss: 2]` may be anything.
        let timed = line[inside..end].contains('<')
            || before.contains("%|")
            || line[inside..end].starts_with(['=', '>', '.', '#']);
        if !timed {
            continue;
        }
        let (done, total) = (line[digits..slash].parse().ok()?, rest[..count].parse().ok()?);
        let epoch = before.find("poch ").and_then(|at| {
            let digits: String = before[at + 5..].chars().take_while(char::is_ascii_digit).collect();
            digits.parse().ok()
        });
        return Some(Seen { done, total, epoch, counts: digits, inside: (inside, end) });
    }
    None
}

impl Seen {
    /// What stands between the times and the end of the bar.
    pub(super) fn postfix<'a>(&self, line: &'a str) -> Option<&'a str> {
        let inside = &line[self.inside.0..self.inside.1];
        if inside.contains('<') {
            return inside.split_once(", ").map(|(_, rest)| rest).filter(|rest| rest.contains('='));
        }
        line.get(self.inside.1 + 1..).filter(|rest| rest.contains(':'))
    }

    /// What stands before the bar.
    pub(super) fn before<'a>(&self, line: &'a str) -> &'a str {
        let before = &line[..self.counts];
        before.rfind("%|").map_or("", |at| before[..at].rsplit_once(": ").map_or("", |(description, _)| description))
    }
}

/// The bar of the training itself: others (of an evaluation, of a download) come and go beside it.
#[derive(Debug, Default)]
pub(super) struct Bar {
    total: f64,
    done: Option<f64>,
    epochs: bool,
    drawn: Option<f64>,
}

impl Bar {
    /// Takes a bar; gives the step that it shows, if it is that of the training.
    pub(super) fn see(&mut self, seen: &Seen) -> Option<f64> {
        if seen.total <= 0.0 || seen.done > seen.total {
            return None;
        }
        let known = self.total > 0.0;
        let over = self.done.is_some_and(|done| done >= self.total);
        if known && seen.total != self.total && !over && seen.total < self.total {
            return None;
        }
        self.total = seen.total;
        self.epochs |= seen.epoch.is_some();
        let step = seen.done + seen.epoch.unwrap_or(0.0) * seen.total;
        self.done = Some(seen.done);
        Some(step).inspect(|_| {
            if seen.epoch.is_none() {
                self.done = Some(step);
            }
        })
    }

    /// The newest step, where it counts over the whole run.
    pub(super) fn newest(&self) -> Option<f64> {
        self.done.filter(|_| !self.epochs)
    }

    /// Steps in all.
    pub(super) fn goal(&self) -> Option<f64> {
        (!self.epochs && self.total > 1.0).then_some(self.total)
    }

    /// True for each step once: a bar is drawn many times at the same place.
    pub(super) fn is_new(&mut self, step: f64) -> bool {
        self.drawn.replace(step) != Some(step)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn bars_are_found() {
        let line = " 30%|███       | 30/100 [00:12<00:28,  2.49it/s, loss=2.3, v_num=0]";
        let seen = parse(line).unwrap();
        assert_eq!((seen.done, seen.total, seen.epoch), (30.0, 100.0, None));
        assert_eq!(seen.postfix(line), Some(" 2.49it/s, loss=2.3, v_num=0"));
        let line = "Epoch 3:  10%|█         | 10/100 [00:01<00:09, 10.0it/s, train_loss=2.3]";
        let seen = parse(line).unwrap();
        assert_eq!(seen.epoch, Some(3.0));
        assert_eq!(Bar::default().see(&seen), Some(310.0));
        let line = "1|10|Loss: 2.13:  10%|█   | 10/100 [00:01<00:09, 10.0it/s]";
        assert_eq!(parse(line).unwrap().before(line), "1|10|Loss: 2.13");
        let line = "10/100 [====>....] - ETA: 1s - loss: 2.3";
        assert_eq!(parse(line).unwrap().postfix(line), Some(" - ETA: 1s - loss: 2.3"));
        for line in ["step 10/100 [INFO] loss 2", "a/b [x]", "10/100", "/", "1/2 [3]"] {
            assert_eq!(parse(line), None, "{line}");
        }
    }

    #[test]
    fn the_bar_of_an_evaluation_is_not_that_of_the_training() {
        let bar = |done: u32, total: u32| parse(&format!("{done}/{total} [00:01<00:02]")).unwrap();
        let mut training = Bar::default();
        assert_eq!(training.see(&bar(10, 1000)), Some(10.0));
        assert_eq!(training.see(&bar(3, 20)), None);
        assert_eq!(training.see(&bar(11, 1000)), Some(11.0));
        assert_eq!((training.newest(), training.goal()), (Some(11.0), Some(1000.0)));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]
        #[test]
        fn no_text_breaks_it(line in "[0-9/\\[\\]<|%:é a=,]{0,40}") {
            if let Some(seen) = parse(&line) {
                seen.postfix(&line);
                seen.before(&line);
                Bar::default().see(&seen);
            }
        }
    }
}
