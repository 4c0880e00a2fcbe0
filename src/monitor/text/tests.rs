use proptest::prelude::*;

use super::super::parser::check::{points, read};
use super::*;

fn of(text: &str) -> Run {
    let whole = read(&mut Text::default(), text.as_bytes(), 1 << 20);
    let pieces = read(&mut Text::default(), text.as_bytes(), 7);
    assert_eq!(points(&whole), points(&pieces));
    whole
}

#[test]
fn mlx_of_both_generations() {
    let run = of("Loading pretrained model\nTrainable parameters: 0.5%\n\
        Iter 1: Val loss 2.813, Val took 1.274s\n\
        Iter 10: Train loss 2.134, Learning Rate 1.000e-05, It/sec 0.512, Tokens/sec 432.100, Trained Tokens 12345, Peak mem 5.123 GB\n\
        Iter 100: Saved adapter weights to adapters/adapters.safetensors and adapters/0000100_adapters.safetensors.\n");
    assert_eq!(run.format, "mlx-lm");
    assert_eq!(run.named("train_loss").unwrap().last(), 2.134);
    assert_eq!(run.x(crate::metrics::Axis::Tokens, 1), 12345.0);
    assert_eq!(run.happened()[0].kind, "checkpoint");
    let run = of("\x1b[1m  iter   train_loss     tok/s     tokens\x1b[0m\n\
        \x1b[2m     1    val 2.813    1.27s\x1b[0m\n    10    2.134 \x1b[32m▼\x1b[0m      432     12.3k\n\
          save  0000100_adapters.safetensors\n");
    assert_eq!(points(&run), ["val_loss 1:2.813", "val_time 1:1.27", "train_loss 10:2.134", "tok/s 10:432"]);
    assert_eq!((run.format, run.happened()[0].step), ("mlx-lm", 100.0));
}

#[test]
fn the_steps_of_hugging_face_come_from_its_bar() {
    let run = of("\r  0%|          | 0/30 [00:00<?, ?it/s]\r 33%|███       | 10/30 [00:01<00:02, 9.9it/s]\r\
                                                             \r{'loss': 2.5, 'grad_norm': 1.2, 'learning_rate': 5e-05, 'epoch': 0.33}\n\
        \r 33%|███       | 10/30 [00:01<00:02, 9.9it/s]\r 66%|██████    | 20/30 [00:02<00:01, 9.9it/s]\
        {'loss': '2.25', 'epoch': '0.67'}\n\
        \r  0%|          | 0/4 [00:00<?, ?it/s]\r100%|██████████| 4/4 [00:00<00:00, 40it/s]\n\
        {'eval_loss': 2.0, 'eval_runtime': 0.1, 'epoch': 0.67}\n\
        {'loss': 2.0, 'epoch': 1.0}\n\
        {'train_runtime': 3.0, 'train_samples_per_second': 10.0, 'train_loss': 2.25, 'epoch': 1.0}\n");
    assert_eq!(run.format, "hf-trainer");
    let loss = points(&run).into_iter().find(|line| line.starts_with("loss ")).unwrap();
    assert_eq!(loss, "loss 10:2.5 20:2.25 30:2");
    assert_eq!(run.named("eval_loss").map(|s| run.x(crate::metrics::Axis::Step, s.row(0))), Some(20.0));
    assert_eq!((run.goal, &run.state, run.setting("train_loss")), (Some(30.0), &State::Finished, Some("2.25")));
    // Without a bar they are counted.
    assert_eq!(points(&of("{'loss': 2.5}\n{'loss': 2.0}\n")), ["loss 1:2.5 2:2"]);
}

#[test]
fn what_is_said_once_is_a_setting() {
    let run = of("learning_rate: 1e-4\nbatch size: 8\nloss=3.0 aux=1\nthroughput: 5\nloss=2.0 aux=2\nthroughput: 6\n");
    assert_eq!((run.setting("learning_rate"), run.setting("batch_size")), (Some("0.0001"), Some("8")));
    assert_eq!(points(&run), ["loss 1:3 2:2", "aux 1:1 2:2", "throughput 3:6"]);
}

#[test]
fn bars_with_numbers_are_read_once_a_step() {
    let bar =
        |n: u32, loss: f64| format!("\rEpoch 1:  10%|█  | {n}/100 [00:01<00:09, 10.0it/s, v_num=0, train_loss={loss}]");
    let run = of(&[bar(1, 3.0), bar(1, 3.0), bar(2, 2.5), "\n".into()].concat());
    assert_eq!(points(&run), ["train_loss 101:3 102:2.5"]);
    assert_eq!(run.console().len(), 0);
}

#[test]
fn a_traceback_ends_a_run() {
    let run = of(
        "step 1 loss 2.0\nTraceback (most recent call last):\n  File \"a.py\", line 3, in <module>\n    x()\nValueError: no data\n",
    );
    assert_eq!(run.state, State::Failed("ValueError: no data".into()));
    assert_eq!(run.console().len(), 5);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn no_bytes_break_it(text in "[a-e0-9:=,|/ ().\\[\\]%\té+\n\r{}'-]{0,120}", bytes in prop::collection::vec(any::<u8>(), 0..100)) {
        read(&mut Text::default(), text.as_bytes(), 9);
        read(&mut Text::default(), &bytes, 9);
    }
}
