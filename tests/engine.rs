//! The engine around a scripted backend: what clients hear, and in which order.

mod common;

use std::time::{Duration, Instant};

use bit_axon::engine::{self, Engine};
use bit_axon::protocol::*;
use common::{Call, Mock};

fn start(mock: &Mock) -> Engine {
    engine::spawn(mock.clone().load()).wait().unwrap()
}

fn text(prompt: &str) -> Request {
    let sampling = Sampling { temperature: 0.0, ..Sampling::default() };
    Request { sampling, ..Request::new(1, Prompt::Text(prompt.into())) }
}

fn say(role: Role, content: &str) -> Message {
    Message { role, content: content.into() }
}

/// Every event until the request ends.
fn run(engine: &mut Engine, request: Request) -> Vec<Event> {
    engine.handle.send_blocking(Command::Generate(request)).unwrap();
    rest(engine)
}

fn rest(engine: &mut Engine) -> Vec<Event> {
    let mut events = Vec::new();
    while let Some(event) = engine.events.recv_blocking() {
        let last = matches!(event, Event::Finished { .. } | Event::Failed { .. });
        events.push(event);
        if last {
            break;
        }
    }
    events
}

fn answer(events: &[Event]) -> (String, FinishReason, Stats) {
    let mut answer = String::new();
    for event in events {
        match event {
            Event::Token(token) => answer.push_str(&token.text),
            Event::Finished { reason, text, stats, .. } => return (answer + text, *reason, *stats),
            Event::Failed { message, .. } => panic!("{message}"),
            _ => {}
        }
    }
    panic!("it never ended: {events:?}");
}

fn failure(events: &[Event]) -> String {
    match events.last() {
        Some(Event::Failed { message, .. }) => message.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn events_come_in_order() {
    let mock = Mock::says("Grüße".as_bytes());
    let mut engine = start(&mock);
    let request = Request { alternatives: 2, routing: true, ..text("0123456789>") };
    let events = run(&mut engine, request);
    let kinds: Vec<String> = events
        .iter()
        .map(|event| match event {
            Event::Started { prompt_tokens, reused_tokens: 0, truncated_tokens: 0, .. } => {
                format!("start {prompt_tokens}")
            }
            Event::Prefill { done, total, routing, .. } => format!("read {done}/{total} {}", routing.len()),
            Event::Token(token) => format!("{} {:?}", token.index, token.text),
            Event::Finished { reason, text, .. } => format!("{reason:?} {text:?}"),
            other => format!("{other:?}"),
        })
        .collect();
    assert_eq!(
        kinds,
        [
            "start 11",
            "read 8/11 8",
            "read 11/11 3",
            "0 \"G\"",
            "1 \"r\"",
            "2 \"\"",
            "3 \"ü\"",
            "4 \"\"",
            "5 \"ß\"",
            "6 \"e\"",
            "EndOfText \"\""
        ]
    );
    let tokens: Vec<&Token> =
        events.iter().filter_map(|e| if let Event::Token(t) = e { Some(t) } else { None }).collect();
    assert!(tokens.iter().all(|t| t.logprob.abs() < 1e-6 && t.alternatives.len() == 2 && t.routing.len() == 1));
    assert!(tokens.iter().all(|t| t.alternatives.iter().all(|a| a.token != t.token && a.logprob < -49.0)));
    // The first token's routing is that of the prompt's last token, the next one's that of the first.
    assert_eq!(tokens[0].routing[0].experts[0], usize::from(b'>') % 4);
    assert_eq!(tokens[1].routing[0].experts[0], usize::from(b'G') % 4);
    let (_, _, stats) = answer(&events);
    assert_eq!((stats.prompt_tokens, stats.generated_tokens), (11, 7));
    let snapshot = engine.handle.snapshot().borrow().clone();
    assert_eq!((snapshot.context_limit, snapshot.memory.weights), (4096, 1000));
    engine.close().unwrap();
}

#[test]
fn a_limit_of_speed_is_kept_and_does_not_delay_cancelling() {
    let mut engine = start(&Mock::counts());
    let begun = Instant::now();
    let request = Request { max_speed: Some(200.0), max_tokens: 9, ..text("a") };
    assert_eq!(answer(&run(&mut engine, request)).2.generated_tokens, 9);
    // Eight pauses of 5 ms; how much longer it took is the machine's affair.
    assert!(begun.elapsed() >= Duration::from_millis(40));
    // The second token would come after ten seconds.
    let request = Request { max_speed: Some(0.1), max_tokens: 9, ..text("a") };
    engine.handle.send_blocking(Command::Generate(request)).unwrap();
    while !matches!(engine.events.recv_blocking(), Some(Event::Token(_))) {}
    let begun = Instant::now();
    engine.handle.send_blocking(Command::Cancel(1)).unwrap();
    assert_eq!(answer(&rest(&mut engine)).1, FinishReason::Cancelled);
    assert!(begun.elapsed() < Duration::from_secs(9));
    engine.close().unwrap();
}

#[test]
fn a_chat_reads_only_what_is_new() {
    let mock = Mock::says(b"Yes.");
    let mut engine = start(&mock);
    let mut chat = vec![say(Role::User, "Is it?")];
    let ask =
        |chat: &[Message]| Request { sampling: text("").sampling, ..Request::new(1, Prompt::Chat(chat.to_vec())) };
    let (first, reason, stats) = answer(&run(&mut engine, ask(&chat)));
    assert_eq!((first.as_str(), reason, stats.reused_tokens), ("Yes.", FinishReason::EndOfText, 0));
    let read = mock.read();
    assert_eq!(read, stats.prompt_tokens + 4);
    // The same again: read from the newest state that is kept, at least one token.
    let (again, _, stats) = answer(&run(&mut engine, ask(&chat)));
    assert_eq!((again, stats.reused_tokens), (first, (stats.prompt_tokens - 1) / 4 * 4));
    assert_eq!(mock.read() - read, stats.prompt_tokens - stats.reused_tokens + 4);
    // The next turn: all that was said is kept.
    let said = stats.prompt_tokens + 4;
    chat.extend([say(Role::Assistant, "Yes."), say(Role::User, "Sure?")]);
    let (_, _, stats) = answer(&run(&mut engine, ask(&chat)));
    assert_eq!(stats.reused_tokens, said);
    // An edited first turn: only its beginning is kept.
    chat[0].content = "Is she?".into();
    let (_, _, stats) = answer(&run(&mut engine, ask(&chat)));
    assert_eq!(stats.reused_tokens, "Xuser\nIs ".len() / 4 * 4);
    engine.close().unwrap();
}

#[test]
fn an_unfinished_answer_is_continued() {
    let mut engine = start(&Mock::says(b"One, two, three."));
    let chat = vec![say(Role::User, "Count."), say(Role::Assistant, "One, ")];
    let request = Request { sampling: text("").sampling, ..Request::new(1, Prompt::Continue(chat.clone())) };
    assert_eq!(answer(&run(&mut engine, request)).0, "two, three.");
    let request = Request::new(1, Prompt::Continue(chat[..1].to_vec()));
    assert!(failure(&run(&mut engine, request)).contains("only a message of the model"));
    engine.close().unwrap();
}

#[test]
fn stop_texts_and_limits_end_an_answer() {
    let mut engine = start(&Mock::says("one é two".as_bytes()));
    let stop = |stops: &[&str]| Request { stop: stops.iter().map(|s| (*s).into()).collect(), ..text(">") };
    let (said, reason, stats) = answer(&run(&mut engine, stop(&["é t"])));
    assert_eq!((said.as_str(), reason, stats.generated_tokens), ("one ", FinishReason::Stop, 8));
    let (said, reason, _) = answer(&run(&mut engine, stop(&["twos", "x"])));
    assert_eq!((said.as_str(), reason), ("one é two", FinishReason::EndOfText));
    assert!(failure(&run(&mut engine, stop(&[""]))).contains("empty"));
    // Cut in the middle of a character.
    let (said, reason, _) = answer(&run(&mut engine, Request { max_tokens: 5, ..text(">") }));
    assert_eq!((said.as_str(), reason), ("one \u{fffd}", FinishReason::MaxTokens));
    let (said, reason, stats) = answer(&run(&mut engine, Request { max_tokens: 0, ..text("a>") }));
    assert_eq!((said.as_str(), reason, stats.generated_tokens), ("", FinishReason::MaxTokens, 0));
    engine.close().unwrap();
}

#[test]
fn seeds_make_texts() {
    let mut engine = start(&Mock::babbles());
    let mut say = |seed| {
        let sampling = Sampling { temperature: 1.0, seed, ..Sampling::default() };
        let events = run(&mut engine, Request { sampling, max_tokens: 30, ..text("x>") });
        let Event::Started { seed, .. } = events[0] else { panic!("{events:?}") };
        let tokens: Vec<u32> =
            events.iter().filter_map(|e| if let Event::Token(t) = e { Some(t.token) } else { None }).collect();
        // Ids that the tokenizer lacks are never said.
        assert!(tokens.iter().all(|token| *token <= common::IM_END));
        (tokens, seed)
    };
    assert_eq!(say(Some(5)), say(Some(5)));
    assert_ne!(say(Some(5)).0, say(Some(6)).0);
    let (free, seed) = say(None);
    assert_eq!(say(Some(seed)).0, free);
    engine.close().unwrap();
}

#[test]
fn long_prompts_are_refused_or_cut() {
    let mock = Mock { context: 64, ..Mock::says(b"ok") };
    let mut engine = start(&mock);
    let long = format!("{}>", "x".repeat(99));
    let message = failure(&run(&mut engine, text(&long)));
    assert!(message.contains("100 tokens") && message.contains("holds 64"), "{message}");
    let events = run(&mut engine, Request { truncate: true, ..text(&long) });
    let Event::Started { prompt_tokens, truncated_tokens, .. } = events[0] else { panic!() };
    assert_eq!((prompt_tokens, truncated_tokens, answer(&events).0.as_str()), (48, 52, "ok"));
    // A chat loses its oldest messages whole, and keeps what the system says.
    let mut chat = vec![say(Role::System, "S")];
    for i in 0..5 {
        chat.extend([say(Role::User, &format!("u{i}")), say(Role::Assistant, &format!("a{i}"))]);
    }
    chat.push(say(Role::User, "end"));
    let request =
        Request { truncate: true, max_tokens: 8, sampling: text("").sampling, ..Request::new(1, Prompt::Chat(chat)) };
    mock.log.lock().unwrap().clear();
    assert_eq!(answer(&run(&mut engine, request)).0, "ok");
    let read: Vec<u32> =
        mock.calls().into_iter().flat_map(|call| if let Call::Forward(t) = call { t } else { vec![] }).collect();
    assert_eq!(read[..2], [common::IM_START, u32::from(b's')]);
    // The context ends an answer too.
    let endless = Mock { context: 20, ..Mock::counts() };
    let mut engine = start(&endless);
    let (_, reason, stats) = answer(&run(&mut engine, text("0123456789")));
    assert_eq!((reason, stats.generated_tokens, endless.read()), (FinishReason::ContextFull, 11, 20));
    engine.close().unwrap();
}

#[test]
fn bad_prompts_are_explained() {
    let mut engine = start(&Mock::counts());
    assert!(failure(&run(&mut engine, text(""))).contains("prompt is empty"));
    let tokens = |tokens: Vec<u32>| Request { max_tokens: 3, ..Request::new(1, Prompt::Tokens(tokens)) };
    assert!(failure(&run(&mut engine, tokens(vec![]))).contains("prompt is empty"));
    let message = failure(&run(&mut engine, tokens(vec![1, 300])));
    assert!(message.contains("token 300 at place 1") && message.contains("300 tokens"), "{message}");
    let message = failure(&run(&mut engine, Request::new(1, Prompt::Chat(vec![]))));
    assert!(message.contains("conversation is empty"), "{message}");
    let bad = Request { sampling: Sampling { top_p: 2.0, ..Sampling::default() }, ..text("a") };
    assert!(failure(&run(&mut engine, bad)).contains("top-p"));
    engine.close().unwrap();
    // Without a tokenizer token ids still work.
    let mut engine = start(&Mock { tokenizer: false, ..Mock::counts() });
    assert!(failure(&run(&mut engine, text("a"))).contains("no tokenizer"));
    let (said, reason, stats) = answer(&run(&mut engine, tokens(vec![7])));
    assert_eq!((said.as_str(), reason, stats.generated_tokens), ("", FinishReason::MaxTokens, 3));
    engine.close().unwrap();
}

#[test]
fn cancelling_stops_within_one_token() {
    // With room for one event the model cannot run far ahead of what is heard.
    let mock = Mock::counts();
    let mut engine = engine::spawn_with_capacity(mock.clone().load(), 1).wait().unwrap();
    engine.handle.send_blocking(Command::Generate(Request { max_tokens: 10_000, ..text("a") })).unwrap();
    while !matches!(engine.events.recv_blocking(), Some(Event::Token(Token { index: 3, .. }))) {}
    engine.handle.send_blocking(Command::Cancel(1)).unwrap();
    let (_, reason, stats) = answer(&rest(&mut engine));
    assert_eq!(reason, FinishReason::Cancelled);
    assert!(mock.read() <= 8 && stats.generated_tokens == mock.read(), "{stats:?}");
    // While the prompt is read, within one chunk.
    let long = "x".repeat(4000);
    engine.handle.send_blocking(Command::Generate(text(&long))).unwrap();
    while !matches!(engine.events.recv_blocking(), Some(Event::Prefill { .. })) {}
    engine.handle.send_blocking(Command::Cancel(1)).unwrap();
    let (_, reason, _) = answer(&rest(&mut engine));
    assert_eq!(reason, FinishReason::Cancelled);
    assert!(mock.read() <= 8 + 4 * 8, "{}", mock.read());
    engine.close().unwrap();
}

#[test]
fn a_full_channel_makes_the_engine_wait_and_listen() {
    let mock = Mock::counts();
    let mut engine = engine::spawn_with_capacity(mock.clone().load(), 4).wait().unwrap();
    engine.handle.send_blocking(Command::Generate(Request { max_tokens: 1000, ..text("a") })).unwrap();
    // Many more commands than the channel holds, while nobody reads events.
    for id in 100..300 {
        engine.handle.send_blocking(Command::Generate(Request { id, ..text("b") })).unwrap();
        engine.handle.send_blocking(Command::Cancel(id)).unwrap();
    }
    assert!(mock.read() <= 5, "{}", mock.read());
    engine.handle.send_blocking(Command::Cancel(1)).unwrap();
    let (mut cancelled, mut indices) = (Vec::new(), Vec::new());
    while cancelled.len() < 201 {
        match engine.events.recv_blocking().unwrap() {
            Event::Finished { id, reason: FinishReason::Cancelled, .. } => cancelled.push(id),
            Event::Token(token) => indices.push(token.index),
            Event::Started { .. } | Event::Prefill { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    assert!(cancelled.contains(&1) && cancelled.contains(&299));
    assert_eq!(indices, (0..indices.len()).collect::<Vec<_>>());
    assert!(mock.read() <= 6);
    engine.close().unwrap();
}

#[test]
fn requests_queue_and_can_leave_the_queue() {
    let mut engine = engine::spawn_with_capacity(Mock::says(b"hello").load(), 1).wait().unwrap();
    for id in 1..=3 {
        engine.handle.send_blocking(Command::Generate(Request { id, ..text("a>") })).unwrap();
    }
    engine.handle.send_blocking(Command::Cancel(2)).unwrap();
    let ends: Vec<(u64, FinishReason)> = (0..3)
        .map(|_| match rest(&mut engine).pop() {
            Some(Event::Finished { id, reason, .. }) => (id, reason),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(ends, [(2, FinishReason::Cancelled), (1, FinishReason::EndOfText), (3, FinishReason::EndOfText)]);
    engine.close().unwrap();
}

#[test]
fn shutting_down_ends_the_thread_even_when_nobody_reads() {
    let mock = Mock::counts();
    let engine = engine::spawn_with_capacity(mock.clone().load(), 1).wait().unwrap();
    for id in 1..4 {
        engine.handle.send_blocking(Command::Generate(Request { id, ..text("a") })).unwrap();
    }
    engine.handle.send_blocking(Command::Shutdown).unwrap();
    let begin = Instant::now();
    let Engine { handle, events, thread } = engine;
    thread.join().unwrap();
    assert!(begin.elapsed() < Duration::from_secs(10));
    assert!(handle.send_blocking(Command::Cancel(1)).unwrap_err().to_string().contains("ended"));
    drop(events);
    // With a reader every request is told.
    let mut engine = start(&mock);
    for id in 1..4 {
        engine.handle.send_blocking(Command::Generate(Request { id, max_tokens: 3000, ..text("a") })).unwrap();
    }
    engine.handle.send_blocking(Command::Shutdown).unwrap();
    let mut ended = Vec::new();
    while let Some(event) = engine.events.recv_blocking() {
        if let Event::Finished { id, reason: FinishReason::Cancelled, .. } = event {
            ended.push(id);
        }
    }
    ended.sort_unstable();
    assert_eq!(ended, [1, 2, 3]);
    engine.thread.join().unwrap();
}

#[test]
fn dropped_receivers_end_the_engine() {
    let mock = Mock::counts();
    let engine = engine::spawn_with_capacity(mock.clone().load(), 1).wait().unwrap();
    engine.handle.send_blocking(Command::Generate(Request { max_tokens: 1_000_000, ..text("a") })).unwrap();
    drop(engine.events);
    engine.thread.join().unwrap();
    assert!(mock.read() <= 4);
    // Without a handle the work is still done, and then it ends.
    let Engine { handle, mut events, thread } = start(&Mock::says(b"bye"));
    handle.send_blocking(Command::Generate(text(">"))).unwrap();
    drop(handle);
    let mut heard = Vec::new();
    while let Some(event) = events.recv_blocking() {
        heard.push(event);
    }
    assert_eq!(answer(&heard).0, "bye");
    thread.join().unwrap();
}

#[test]
fn failures_leave_the_engine_usable() {
    let mock = Mock::new(|read| if read.len() > 4 { vec![f32::NAN; common::VOCAB] } else { common::one_hot(65) });
    let mut engine = start(&mock);
    let tokens = |tokens: Vec<u32>| {
        let sampling = Sampling { temperature: 0.0, ..Sampling::default() };
        Request { max_tokens: 2, sampling, ..Request::new(1, Prompt::Tokens(tokens)) }
    };
    assert!(failure(&run(&mut engine, tokens(vec![1, 299]))).contains("cursed"));
    assert!(failure(&run(&mut engine, tokens(vec![1, 298]))).contains("refused"));
    assert!(failure(&run(&mut engine, tokens(vec![1; 6]))).contains("NaN"));
    assert_eq!(answer(&run(&mut engine, tokens(vec![1, 2]))).0, "AA");
    assert!(mock.calls().contains(&Call::Rewind(0)));
    engine.close().unwrap();
    // A model that cannot be opened, or whose opening panics.
    let error = engine::spawn(|| anyhow::bail!("no such model")).wait().err().unwrap();
    assert_eq!(error.to_string(), "no such model");
    let error = engine::spawn(|| panic!("broken loader")).wait().err().unwrap();
    assert!(error.to_string().contains("broken loader"), "{error}");
}

#[test]
fn alterations_are_checked_and_read_the_prompt_anew() {
    let mock = Mock::says(b"ok");
    let mut engine = start(&mock);
    let alter = |engine: &mut Engine, alterations: Alterations| {
        engine.handle.send_blocking(Command::Alter(alterations)).unwrap();
        engine.events.recv_blocking().unwrap()
    };
    let all = |all: Alteration| Alterations { all, ..Alterations::default() };
    let one = |layer| Alterations {
        layers: vec![(layer, Alteration { no_shared: true, ..Alteration::default() })],
        ..Alterations::default()
    };
    for (bad, word) in [
        (all(Alteration { mute: vec![4], ..Alteration::default() }), "no expert 4"),
        (all(Alteration { mute: vec![0, 1, 2], ..Alteration::default() }), "k is 2"),
        (all(Alteration { mute: vec![1], force: vec![1], ..Alteration::default() }), "both"),
        (all(Alteration { force: vec![0, 1, 2], ..Alteration::default() }), "3 experts are forced"),
        (all(Alteration { force: vec![1, 1], ..Alteration::default() }), "twice"),
        (all(Alteration { top_k: Some(0), ..Alteration::default() }), "k is 0"),
        (all(Alteration { top_k: Some(5), ..Alteration::default() }), "k is 5"),
        (all(Alteration { temperature: 0.0, ..Alteration::default() }), "temperature"),
        (one(0), "layer 0 cannot be altered"),
        (one(2), "layer 2 cannot be altered"),
    ] {
        match alter(&mut engine, bad) {
            Event::AlterFailed { message } => assert!(message.contains(word), "{message}"),
            other => panic!("{other:?}"),
        }
    }
    assert!(!mock.calls().contains(&Call::Alter));
    answer(&run(&mut engine, text("abcd>")));
    let muted = all(Alteration { mute: vec![3], ..Alteration::default() });
    assert_eq!(alter(&mut engine, muted.clone()), Event::Altered { alterations: muted.clone() });
    let (_, _, stats) = answer(&run(&mut engine, text("abcd>")));
    assert_eq!(stats.reused_tokens, 0);
    assert_eq!(engine.handle.snapshot().borrow().alterations, muted);
    // The same again changes nothing, so the state is kept.
    alter(&mut engine, muted);
    let (_, _, stats) = answer(&run(&mut engine, text("abcd>")));
    assert_eq!(stats.reused_tokens, 4);
    engine.close().unwrap();
}

#[tokio::test]
async fn async_clients_need_no_thread_of_their_own() {
    let mut engine = engine::spawn(Mock::says(b"hi").load()).ready().await.unwrap();
    assert_eq!(engine.handle.info().name, "mock");
    engine.handle.send(Command::Generate(text(">"))).await.unwrap();
    let mut events = Vec::new();
    while let Some(event) = engine.events.recv().await {
        let last = matches!(event, Event::Finished { .. });
        events.push(event);
        if last {
            break;
        }
    }
    assert_eq!(answer(&events).0, "hi");
    let mut snapshot = engine.handle.snapshot();
    snapshot.wait_for(|snapshot| snapshot.running.is_none() && snapshot.context_tokens == 3).await.unwrap();
    engine.close().unwrap();
}
