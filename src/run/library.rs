//! What is asked about sessions and takes long: listing, searching, copying, waiting for the disk. A
//! thread beside the one that writes, which must not wait for any of it.

use std::collections::VecDeque;
use std::fs::File;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::export;
use super::store::Tell;
use crate::app::msg::Msg;
use crate::app::overlay::Hit;
use crate::app::sessions::{Export, ExportFrom, Found, Preview};
use crate::app::state::SessionEntry;
use crate::chat::{Change, What};
use crate::protocol::ModelInfo;
use crate::session::{self, History, Loaded, Store, Summary, ago, now_ms, search};
use crate::whole::sync_folder;

/// Messages that are shown of a session before it is opened.
const PREVIEWED: usize = 12;
/// Hits that are shown.
const MOST_HITS: usize = 500;
/// Between parts of what a search finds.
const PART: Duration = Duration::from_millis(100);

/// What can be asked.
pub(super) enum Task {
    /// The sessions, newest first.
    List,
    /// Where a text stands, in sessions other than this one.
    Search(String, Option<String>),
    /// The end of a session.
    Preview(String),
    /// A file of another kind; the model of a chat that is not on disk.
    Export(Export, Option<ModelInfo>),
    /// Name one.
    Rename(String, String),
    /// Delete one.
    Delete(String),
    /// Copy one.
    Copy(String),
    /// Keep a prompt.
    Remember(String),
    /// Wait until the file, and the folder if it is new there, are on the disk.
    Sync(File, Option<PathBuf>),
}

/// The near end of the thread.
pub(super) struct Library {
    tasks: Option<mpsc::Sender<Task>>,
    /// The search that is wanted: older ones end.
    newest: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Library {
    pub(super) fn start(store: Store, history: Option<History>, tell: Tell) -> Result<Self> {
        let (tasks, incoming) = mpsc::channel();
        let newest = Arc::new(AtomicU64::new(0));
        let shelf = Shelf { store, history, tell, newest: Arc::clone(&newest), prompts_fail: false };
        let thread = std::thread::Builder::new().name("library".into());
        let thread = thread.spawn(move || shelf.work(&incoming)).context("a thread for sessions cannot be started")?;
        Ok(Self { tasks: Some(tasks), newest, thread: Some(thread) })
    }

    pub(super) fn ask(&self, task: Task) {
        if let Task::Search(..) = task {
            self.newest.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(tasks) = &self.tasks {
            let _ = tasks.send(task);
        }
    }

    /// Waits until all is done but searches, which end.
    pub(super) fn finish(&mut self) {
        self.newest.fetch_add(1, Ordering::Relaxed);
        self.tasks = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Shelf {
    store: Store,
    history: Option<History>,
    tell: Tell,
    newest: Arc<AtomicU64>,
    /// Prompts cannot be kept, and that was told.
    prompts_fail: bool,
}

impl Shelf {
    fn work(mut self, incoming: &mpsc::Receiver<Task>) {
        match self.history.as_ref().map(History::load) {
            Some(Ok(prompts)) if !prompts.is_empty() => (self.tell)(Msg::History(prompts)),
            Some(Err(error)) => (self.tell)(Msg::Notice(format!("{error:#}"))),
            _ => {}
        }
        let mut waiting = VecDeque::new();
        while let Some(task) = waiting.pop_front().or_else(|| incoming.recv().ok()) {
            waiting.extend(incoming.try_iter());
            // Who moves fast down a list wants to see where they stop.
            let same = |other: &Task| std::mem::discriminant(other) == std::mem::discriminant(&task);
            if matches!(task, Task::List | Task::Preview(_) | Task::Search(..)) && waiting.iter().any(same) {
                continue;
            }
            if let Err(error) = self.task(task) {
                (self.tell)(Msg::Notice(format!("{error:#}")));
            }
        }
    }

    fn task(&mut self, task: Task) -> Result<()> {
        match task {
            Task::List => {
                let now = now_ms();
                let entries = self.store.list()?.into_iter().map(|summary| entry(summary, now)).collect();
                (self.tell)(Msg::Sessions(entries));
            }
            Task::Search(query, except) => self.search(query, except)?,
            Task::Preview(id) => {
                let messages = session::preview(&self.store.path(&id)?, PREVIEWED).unwrap_or_default();
                (self.tell)(Msg::Preview(Preview { id, messages }));
            }
            Task::Export(wanted, model) => {
                let (loaded, name) = match &wanted.from {
                    ExportFrom::Saved(id) => (session::load(&path_of(&self.store, id)?)?, name_of(id)),
                    ExportFrom::Here(chat) => (Loaded::of((**chat).clone(), model, now_ms(), now_ms()), None),
                };
                let path = export::write(&loaded, &wanted, name.as_deref())?;
                (self.tell)(Msg::Notice(format!("Written to {}", path.display())));
            }
            Task::Rename(id, title) => self.store.rename(&id, &title)?,
            Task::Delete(id) => self.store.delete(&id)?,
            Task::Copy(id) => {
                let (loaded, mut writer) = self.store.fork(&id)?;
                let title = format!("{} (copy)", loaded.chat.name());
                writer.append(&What::Change(Change::Title { title }))?;
                writer.sync()?;
                (self.tell)(Msg::Notice(format!("Copied as {}", writer.id())));
            }
            Task::Remember(prompt) => {
                let kept = self.history.as_ref().map_or(Ok(()), |history| history.append(&prompt));
                // Said once: the next prompt will not fare better.
                if kept.is_ok() || !std::mem::replace(&mut self.prompts_fail, true) {
                    kept?;
                }
            }
            Task::Sync(file, folder) => {
                file.sync_data().context("the disk did not take what was saved")?;
                if let Some(folder) = folder {
                    // The name of a new file is in its folder.
                    sync_folder(&folder);
                }
            }
        }
        Ok(())
    }

    /// A search may take seconds: on a thread of its own, which ends when another is wanted.
    fn search(&self, query: String, except: Option<String>) -> Result<()> {
        let (store, tell, newest) = (self.store.clone(), Arc::clone(&self.tell), Arc::clone(&self.newest));
        let wanted = newest.load(Ordering::Relaxed);
        let search = move || {
            let (mut hits, mut count, mut last) = (Vec::new(), 0, Instant::now());
            let part = |hits: &mut Vec<Hit>, done| {
                let hits = std::mem::take(hits);
                tell(Msg::Found(Found { query: query.clone(), hits, done }));
            };
            let searched = search::search_some(&store, &query, except.as_deref(), |hit| {
                if newest.load(Ordering::Relaxed) != wanted {
                    return ControlFlow::Break(());
                }
                count += usize::from(hit.is_some());
                hits.extend(hit.map(shown));
                if !hits.is_empty() && last.elapsed() >= PART {
                    part(&mut hits, false);
                    last = Instant::now();
                }
                if count < MOST_HITS { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            });
            if newest.load(Ordering::Relaxed) != wanted {
                return;
            }
            part(&mut hits, true);
            if let Err(error) = searched {
                tell(Msg::Notice(format!("{error:#}")));
            }
        };
        let thread = std::thread::Builder::new().name("search".into());
        thread.spawn(search).context("a thread for the search cannot be started")?;
        Ok(())
    }
}

fn entry(summary: Summary, now: u64) -> SessionEntry {
    let Summary { id, title, model, messages, written, bytes, problem, .. } = summary;
    let title = if title.is_empty() { id.clone() } else { title };
    SessionEntry { id, title, messages, when: ago(now, written), bytes, model, problem }
}

fn shown(hit: search::Hit) -> Hit {
    let excerpt = format!("{}{}{}", hit.before, hit.found, hit.after);
    Hit { session: Some(hit.id), title: hit.title, node: hit.message.unwrap_or(0), excerpt }
}

/// The file of a session: of the folder, or anywhere if its name is a path.
pub(super) fn path_of(store: &Store, id: &str) -> Result<PathBuf> {
    if id.contains(std::path::MAIN_SEPARATOR) { Ok(PathBuf::from(id)) } else { store.path(id) }
}

fn name_of(id: &str) -> Option<String> {
    Some(std::path::Path::new(id).file_stem()?.to_string_lossy().into_owned())
}
