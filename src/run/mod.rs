//! The only loop: waits for whatever comes first, takes in everything that is there, then draws once.
//!
//! ```text
//!   signals ─┐
//!   keys ────┤                        ┌─> engine
//!   engine ──┼─ Msg ─> app::update ───┼─> store (sessions)
//!   sensors ─┤             │          └─> terminal (copy, suspend)
//!   time ────┘        ui::draw ─> term::cells ─> term::output (a thread)
//! ```
//!
//! Nothing changed, nothing drawn; while a frame is on its way to the terminal, none is begun.

mod depth;
pub mod disk_store;
mod export;
pub mod keeper;
pub mod layouts;
mod library;
mod save;
mod sensing;
mod signals;
pub mod store;
pub mod themes;
mod training;
mod watching;
mod witness;

use std::collections::VecDeque;
use std::future::{Future, pending, poll_fn};
use std::pin::Pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use crossterm::event::{Event as TermEvent, EventStream, MouseEventKind};
use futures_util::StreamExt;
use ratatui::Terminal;
use tokio::sync::{oneshot, watch};

use crate::app::key::Key;
use crate::app::msg::{Effect, Msg, Opened};
use crate::app::{App, next_wake, update};
use crate::chat::What;
use crate::config::SlowLink;
use crate::engine::{Engine, Events, Handle, Opening, Thread};
use crate::protocol::{Command, EngineSnapshot};
use crate::telemetry::Sampler;
use crate::term;
use crate::term::cells::CellWriter;
use crate::term::output::Output;
use crate::ui::Screen;
use crate::ui::theme::Theme;
use keeper::Keeper;
use sensing::Sensing;
use signals::{Asked, Signals};
use store::{Left, Store};
use themes::Themes;
use training::Training;
use watching::Watching;
use witness::Witness;

pub use depth::color_depth;
pub use sensing::Sensors;
pub use training::{Own, Trainer};
pub use watching::Watched;

/// Between frames on a slow link, at least.
const SLOW_FRAME: Duration = Duration::from_millis(125);
/// Who types wants to see it at once: the same after a key, and on a slow link.
const ECHO: Duration = Duration::from_millis(5);
const SLOW_ECHO: Duration = Duration::from_millis(33);
/// Events taken in before a frame is drawn.
const AT_ONCE: usize = 4096;
/// Lines that a step of the wheel scrolls.
const WHEEL: i32 = 3;

/// All that the workbench begins with.
pub struct Setup {
    /// Its state.
    pub app: App,
    /// Its looks.
    pub theme: Theme,
    /// Where other looks are found.
    pub themes: Themes,
    /// Between frames.
    pub frame: Duration,
    /// The engine, which opens the model meanwhile; none where nothing is to be asked.
    pub opening: Option<Opening>,
    /// What is known about the model, sent before the engine is ready.
    pub facts: oneshot::Receiver<Facts>,
    /// Where sessions are kept.
    pub store: Box<dyn Store>,
    /// Ask for the mouse.
    pub mouse: bool,
    /// Whether the link is slow, or to be watched.
    pub slow_link: SlowLink,
    /// What is sensed.
    pub sensors: Option<Sensors>,
    /// Training runs that are watched.
    pub watched: Option<Watched>,
    /// What may be done with training runs; none where they are only watched.
    pub trainer: Option<Trainer>,
    /// Messages that the workbench begins with.
    pub first: Vec<Msg>,
}

/// What the loader of a model knows of it beside its [`crate::protocol::ModelInfo`].
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// What must be said of it at all times; empty if nothing.
    pub label: String,
    /// Memory that contexts of these lengths need: (tokens, bytes).
    pub needs: Vec<(usize, u64)>,
    /// The most memory that it may take.
    pub budget: u64,
}

/// Runs the workbench until the user leaves. Gives the session that is left.
pub fn run(setup: Setup) -> Result<Option<Left>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // The engine survives its own panics and says so, as does what keeps sessions; a sensor's are harmless.
    term::restore_on_panic(|| {
        std::thread::current().name() == Some("engine") || Keeper::may_panic_here() || Sampler::may_panic_here()
    });
    runtime.block_on(async {
        // From here on a signal asks; before, it would end the program with the terminal in its hands.
        let signals = Signals::new()?;
        term::enter(setup.mouse).context("the terminal cannot be taken over")?;
        let trains = setup.trainer.as_ref().is_some_and(|trainer| trainer.own.is_some());
        let ended = match Loop::new(setup, signals) {
            Ok(running) => running.run().await,
            Err(error) => Err(error),
        };
        // A run of this process is still to be saved.
        if !term::leave() && !trains {
            // Everything is saved, and a terminal that takes nothing would keep us at our last words.
            let well = ended.is_ok_and(|left| left.is_none_or(|left| left.problem.is_none()));
            std::process::exit(i32::from(!well));
        }
        ended
    })
}

type Ready = Pin<Box<dyn Future<Output = Result<Engine>>>>;

/// The engine, as far as it came.
enum Link {
    Opening(Ready),
    Open { handle: Handle, events: Events, snapshot: watch::Receiver<EngineSnapshot>, thread: Thread },
    Gone,
}

/// What woke the loop.
enum Woken {
    Signal(Asked),
    Input(Option<std::io::Result<TermEvent>>),
    Engine(Option<crate::protocol::Event>),
    Snapshot,
    Opened(Result<Engine>),
    Kept(Box<Msg>),
    Written,
    Sensed,
    Read,
    /// Something of training runs; none once that of this process has ended.
    Trained(Option<Box<Msg>>),
    Time,
}

struct Loop {
    app: App,
    theme: Theme,
    themes: Themes,
    screen: Screen,
    terminal: Terminal<CellWriter>,
    output: Output,
    input: EventStream,
    signals: Signals,
    link: Link,
    facts: oneshot::Receiver<Facts>,
    store: Keeper,
    witness: Witness,
    sensing: Option<Sensing>,
    watching: Watching,
    training: Training,
    /// Commands that the engine had no room for yet.
    backlog: VecDeque<Command>,
    begun: Instant,
    last_frame: Option<Instant>,
    /// Between frames.
    frame: Duration,
    sync: bool,
    mouse: bool,
    slow_link: SlowLink,
    /// A key came since the last frame.
    typed: bool,
    /// Nothing is known of what the terminal shows: every cell is sent.
    anew: bool,
    /// We stopped ourselves, and shall hear that we were continued.
    stopped: bool,
    quit: bool,
}

impl Loop {
    fn new(setup: Setup, signals: Signals) -> Result<Self> {
        let (columns, rows) = term::size();
        let mut this = Self {
            app: setup.app,
            theme: setup.theme,
            themes: setup.themes,
            screen: Screen::default(),
            terminal: Terminal::new(CellWriter::new(columns, rows))?,
            output: Output::new(std::io::stdout())?,
            input: EventStream::new(),
            signals,
            link: setup.opening.map_or(Link::Gone, |opening| Link::Opening(Box::pin(opening.ready()))),
            facts: setup.facts,
            store: Keeper::start(setup.store)?,
            witness: Witness::default(),
            sensing: setup.sensors.map(Sensing::start).transpose()?,
            watching: Watching::new(setup.watched),
            training: Training::new(setup.trainer),
            backlog: VecDeque::new(),
            begun: Instant::now(),
            last_frame: None,
            frame: setup.frame,
            sync: term::has_sync(),
            mouse: setup.mouse,
            slow_link: setup.slow_link,
            typed: false,
            anew: false,
            stopped: false,
            quit: false,
        };
        this.tell(Msg::Resize(columns, rows));
        this.app.slow_link = this.slow_link == SlowLink::On;
        for msg in setup.first {
            this.tell(msg);
        }
        Ok(this)
    }

    async fn run(mut self) -> Result<Option<Left>> {
        self.draw()?;
        while !self.quit {
            let woken = self.wait().await;
            self.tell(Msg::Tick(self.begun.elapsed().as_secs_f64()));
            self.take(woken)?;
            self.drain().await;
            self.send_backlog();
            if !self.quit && self.may_draw() {
                self.draw()?;
            }
        }
        Ok(self.end().await)
    }

    /// When the next frame may be begun, if there is something to draw and nothing on its way.
    fn next_frame(&self) -> Option<Instant> {
        let pause = match (self.app.slow_link, self.typed) {
            (false, false) => self.frame,
            (false, true) => ECHO,
            (true, false) => SLOW_FRAME.max(self.frame),
            (true, true) => SLOW_ECHO,
        };
        let ready = self.app.dirty && !self.output.busy();
        ready.then(|| self.last_frame.map_or_else(Instant::now, |last| last + pause))
    }

    fn may_draw(&self) -> bool {
        self.next_frame().is_some_and(|at| at <= Instant::now())
    }

    async fn wait(&mut self) -> Woken {
        let frame = self.next_frame();
        let wake = next_wake(&self.app).map(|at| self.begun + Duration::from_secs_f64(at.max(0.0) + 0.001));
        let timer = [frame, wake].into_iter().flatten().min();
        tokio::select! {
            biased;
            asked = self.signals.asked() => Woken::Signal(asked),
            event = self.input.next() => Woken::Input(event),
            woken = engine(&mut self.link) => woken,
            msg = self.store.answer() => Woken::Kept(Box::new(msg)),
            _ = self.output.written() => Woken::Written,
            _ = sensing::changed(&mut self.sensing) => Woken::Sensed,
            _ = self.watching.due() => Woken::Read,
            said = self.training.said() => Woken::Trained(said.map(Box::new)),
            _ = sleep_until(timer) => Woken::Time,
        }
    }

    fn take(&mut self, woken: Woken) -> Result<()> {
        match woken {
            Woken::Signal(Asked::Quit) => self.told_to_end(),
            Woken::Signal(Asked::Suspend) => self.suspend()?,
            // After a stop of our own the terminal was taken over already. Doing it twice would make it
            // forget where the shell's cursor was.
            Woken::Signal(Asked::Continued) if std::mem::take(&mut self.stopped) => {}
            Woken::Signal(Asked::Continued) => self.take_over()?,
            Woken::Input(Some(Ok(event))) => self.input(event),
            // The terminal is gone.
            Woken::Input(None | Some(Err(_))) => self.told_to_end(),
            Woken::Engine(Some(event)) => self.tell(Msg::Engine(event)),
            Woken::Engine(None) => self.engine_ended(),
            Woken::Snapshot => self.snapshot(),
            Woken::Opened(Ok(engine)) => self.opened(engine),
            Woken::Opened(Err(error)) => {
                self.link = Link::Gone;
                self.tell(Msg::EngineGone(format!("{error:#}")));
            }
            Woken::Kept(msg) => self.tell(*msg),
            Woken::Written => {
                if self.output.broken() {
                    self.told_to_end();
                }
                if self.slow_link == SlowLink::Auto {
                    let slow = self.output.slow();
                    self.tell(Msg::SlowLink(slow));
                }
            }
            Woken::Sensed => self.sensed(),
            Woken::Read => self.read_runs(),
            Woken::Trained(Some(msg)) => self.tell(*msg),
            Woken::Trained(None) => self.quit = true,
            Woken::Time => {}
        }
        Ok(())
    }

    /// The system wants an end, or nobody is there any more: a run of this process saves and ends too.
    fn told_to_end(&mut self) {
        self.training.interrupt();
        self.quit = true;
    }

    /// Takes in what else is there already, so that one frame shows it all.
    async fn drain(&mut self) {
        for _ in 0..AT_ONCE {
            // Asked in the name of this task: the stream wakes whoever asked first, and only that.
            let next = poll_fn(|cx| Poll::Ready(self.input.poll_next_unpin(cx))).await;
            match next {
                Poll::Pending => break,
                Poll::Ready(Some(Ok(event))) => self.input(event),
                Poll::Ready(_) => self.told_to_end(),
            }
            if self.quit {
                return;
            }
        }
        for _ in 0..AT_ONCE {
            let Link::Open { events, .. } = &mut self.link else { break };
            let Some(event) = events.try_recv() else { break };
            self.tell(Msg::Engine(event));
        }
        while let Some(msg) = self.store.try_answer() {
            self.tell(msg);
        }
        let Link::Open { snapshot, .. } = &self.link else { return };
        if snapshot.has_changed().unwrap_or(false) {
            self.snapshot();
        }
    }

    fn input(&mut self, event: TermEvent) {
        self.typed = true;
        match event {
            TermEvent::Key(key) => {
                if let Some(key) = Key::from_event(key) {
                    self.tell(Msg::Key(key));
                }
            }
            TermEvent::Paste(text) => self.tell(Msg::Paste(text)),
            TermEvent::Resize(columns, rows) => {
                self.terminal.backend_mut().set_size(columns, rows);
                self.tell(Msg::Resize(columns, rows));
                // It may have been smaller in between, and lost what was cut off.
                self.anew = true;
            }
            TermEvent::Mouse(mouse) => match mouse.kind {
                MouseEventKind::ScrollUp => self.tell(Msg::Wheel(-WHEEL)),
                MouseEventKind::ScrollDown => self.tell(Msg::Wheel(WHEEL)),
                _ => {}
            },
            TermEvent::FocusGained | TermEvent::FocusLost => {}
        }
    }

    fn snapshot(&mut self) {
        if let Link::Open { snapshot, .. } = &mut self.link {
            let newest = snapshot.borrow_and_update().clone();
            self.tell(Msg::Snapshot(Box::new(newest)));
        }
    }

    fn opened(&mut self, engine: Engine) {
        let Engine { handle, events, thread } = engine;
        let facts = self.facts.try_recv().unwrap_or_default();
        let info = (**handle.info()).clone();
        let snapshot = handle.snapshot();
        self.link = Link::Open { handle, events, snapshot, thread };
        let Facts { label, needs, budget } = facts;
        self.tell(Msg::Opened(Box::new(Opened { info, label, needs, budget })));
        self.snapshot();
    }

    fn engine_ended(&mut self) {
        let Link::Open { thread, .. } = std::mem::replace(&mut self.link, Link::Gone) else { return };
        let why = thread.join().err().map_or("the engine has ended".into(), |error| format!("{error:#}"));
        self.tell(Msg::EngineGone(why));
    }

    /// Tells the app, and does what it asks for.
    fn tell(&mut self, msg: Msg) {
        let mut waiting = VecDeque::from([msg]);
        while let Some(msg) = waiting.pop_front() {
            if let Some(what) = self.witness.sees(&self.app, &msg) {
                self.store.keep(what);
            }
            for effect in update(&mut self.app, msg) {
                match self.perform(effect) {
                    Ok(Some(answer)) => waiting.push_back(answer),
                    Ok(None) => {}
                    Err(error) => waiting.push_back(Msg::Notice(format!("{error:#}"))),
                }
            }
        }
    }

    fn perform(&mut self, effect: Effect) -> Result<Option<Msg>> {
        match effect {
            Effect::Engine(command) => self.backlog.push_back(command),
            Effect::Record(change) => self.store.keep(What::Change(change)),
            Effect::Session(op) => self.store.ask(op),
            Effect::Remember(prompt) => self.store.remember(prompt),
            Effect::Copy(text) => self.output.send(term::copy(&text)),
            Effect::Save { name, numbered, text } => return save::save(&name, numbered, &text).map(Some),
            Effect::Train(op) => return self.train(op),
            Effect::Theme(name) => {
                self.theme = self.themes.theme(&name, self.theme.depth, self.theme.ascii)?;
                return Ok(Some(Msg::Theme(name)));
            }
            Effect::Redraw => (self.anew, self.app.dirty) = (true, true),
            Effect::Suspend => self.suspend()?,
            Effect::Quit => self.quit = true,
        }
        Ok(None)
    }

    /// Gives the engine what it has room for; the loop never waits for it.
    fn send_backlog(&mut self) {
        let Link::Open { handle, .. } = &self.link else { return };
        while let Some(command) = self.backlog.front() {
            if handle.try_send(command.clone()).is_err() {
                return;
            }
            self.backlog.pop_front();
        }
    }

    fn draw(&mut self) -> Result<()> {
        if std::mem::take(&mut self.anew) {
            self.terminal.backend_mut().forget();
            self.terminal.clear()?;
        }
        let (app, theme, screen) = (&self.app, &self.theme, &mut self.screen);
        let mut drawn = app.drawn;
        self.terminal.draw(|frame| drawn = screen.draw(app, theme, frame))?;
        let bytes = self.terminal.backend_mut().take();
        self.output.send(term::frame(bytes, self.sync));
        (self.app.dirty, self.typed) = (false, false);
        self.last_frame = Some(Instant::now());
        self.tell(Msg::Drawn(drawn));
        Ok(())
    }

    fn suspend(&mut self) -> Result<()> {
        self.store.settle();
        self.output.settle();
        term::leave();
        term::stop();
        self.stopped = true;
        self.take_over()
    }

    /// The terminal is ours again, in whatever state it was left.
    fn take_over(&mut self) -> Result<()> {
        term::enter(self.mouse)?;
        let (columns, rows) = term::size();
        self.terminal.backend_mut().set_size(columns, rows);
        self.tell(Msg::Resize(columns, rows));
        self.anew = true;
        Ok(())
    }

    async fn end(mut self) -> Option<Left> {
        // What is being written is kept as far as it came.
        self.drain().await;
        self.tell(Msg::Leaving);
        self.output.settle();
        self.watching.close(&self.app.training);
        let left = self.store.close();
        // The process ends with its threads; a model that is being read need not be waited for.
        drop(self.link);
        left
    }
}

/// What the engine has to say, whatever state it is in.
async fn engine(link: &mut Link) -> Woken {
    match link {
        Link::Opening(ready) => Woken::Opened(ready.await),
        Link::Open { events, snapshot, .. } => tokio::select! {
            biased;
            event = events.recv() => Woken::Engine(event),
            changed = snapshot.changed() => match changed {
                Ok(()) => Woken::Snapshot,
                // The engine is about to end, and its events will say so.
                Err(_) => pending().await,
            },
        },
        Link::Gone => pending().await,
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => pending().await,
    }
}
