use super::*;

fn at(step: f64) -> Row {
    Row { step: Some(step), ..Row::default() }
}

#[test]
fn lines_of_one_step_share_a_row() {
    let mut run = Run::new("a", "test");
    let (loss, val) = (run.series_id("loss").unwrap(), run.series_id("val_loss").unwrap());
    assert_eq!(run.series_id("loss"), Some(loss));
    run.add(at(1.0), &[(loss, 3.0)]);
    run.add(at(1.0), &[(val, 4.0)]);
    run.add(at(2.0), &[(loss, 2.0)]);
    // The same metric at the same step again is a point of its own.
    run.add(at(2.0), &[(loss, 1.0)]);
    assert_eq!((run.rows(), run.points()), (3, 4));
    assert_eq!(run.named("loss").unwrap().least(), Some((1.0, 2)));
    assert_eq!(run.named("val_loss").unwrap().row(0), 0);
    assert_eq!(run.extent(Axis::Step), Some((1.0, 2.0)));
    assert!(!run.has(Axis::Time));
}

#[test]
fn lines_without_a_step_are_counted() {
    let mut run = Run::new("a", "test");
    let loss = run.series_id("loss").unwrap();
    for value in [3.0, 2.0, 1.0] {
        run.add(Row::default(), &[(loss, value)]);
    }
    assert_eq!(run.extent(Axis::Step), Some((1.0, 3.0)));
    run.add(at(10.0), &[(loss, 0.5)]);
    run.add(Row::default(), &[(loss, 0.4)]);
    assert_eq!(run.last_step(), Some(10.0));
}

#[test]
fn time_that_begins_late_and_steps_that_go_back() {
    let mut run = Run::new("a", "test");
    let loss = run.series_id("loss").unwrap();
    run.add(at(1.0), &[(loss, 1.0)]);
    run.add(Row { step: Some(2.0), time: Some(100.0), ..Row::default() }, &[(loss, 1.0)]);
    run.add(Row { step: Some(1.0), time: Some(130.0), ..Row::default() }, &[(loss, 1.0)]);
    assert_eq!(run.extent(Axis::Relative), Some((0.0, 30.0)));
    assert_eq!(run.x(Axis::Time, 0), 100.0);
    assert_eq!(run.breaks(Axis::Step), [2]);
}

#[test]
fn a_file_begun_anew_voids_the_old_points_and_a_rotated_one_does_not() {
    let mut run = Run::new("a", "test");
    let loss = run.series_id("loss").unwrap();
    for step in 1..=5 {
        run.add(at(f64::from(step)), &[(loss, 1.0)]);
    }
    run.expect_restart();
    run.add(at(6.0), &[(loss, 1.0)]);
    assert_eq!(run.points(), 6);
    run.expect_restart();
    run.add(at(1.0), &[(loss, 9.0)]);
    assert_eq!((run.points(), run.last_step()), (1, Some(1.0)));
}

#[test]
fn there_is_an_end_to_everything() {
    let mut run = Run::new("a", "test");
    for i in 0..MOST_SERIES + 5 {
        run.series_id(&i.to_string());
    }
    assert_eq!(run.series().len(), MOST_SERIES);
    for i in 0..CONSOLE + 5 {
        run.say(&"é".repeat(CONSOLE_LINE + i % 2));
        run.set(&format!("{i}{i}"), "x");
        run.set("one", i.to_string());
        run.fault(|| format!("{i}"));
    }
    assert_eq!((run.console().len(), run.console_lines()), (CONSOLE, CONSOLE as u64 + 5));
    assert_eq!(run.console()[0].chars().count(), CONSOLE_LINE);
    assert_eq!(run.setting("one"), Some("1004"));
    assert_eq!((run.faults().0.len(), run.faults().1), (MOST_FAULTS, CONSOLE as u64 + 10));
}

#[test]
fn an_axis_in_no_order_becomes_the_order_of_the_lines() {
    let mut run = Run::new("a", "test");
    let loss = run.series_id("loss").unwrap();
    for i in 0..2000 {
        run.add(at(f64::from(i * 7919 % 2003)), &[(loss, 1.0)]);
    }
    assert_eq!(run.extent(Axis::Step), Some((0.0, 1999.0)));
    assert_eq!(run.x(Axis::Step, 17), 17.0);
    assert!(run.breaks(Axis::Step).is_empty());
}
