//! Everything that can be done, in one table: keys, palette, slash commands and help come from it.

/// Where a key has its meaning. The more special one wins over `Everywhere`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Context {
    /// Wherever the focus is.
    Everywhere,
    /// In the prompt editor.
    Prompt,
    /// In the chat.
    Chat,
    /// In the routing pane or view.
    Routing,
    /// In the token view.
    Tokens,
    /// In the list of sessions.
    Sessions,
    /// Wherever a recording is played, but in the prompt.
    Replay,
    /// In the view of training runs.
    Training,
    /// In lists that lie over the screen: palette, search, settings, help.
    List,
}

impl Context {
    /// All, in the order of the help.
    pub const ALL: [Context; 9] = [
        Context::Everywhere,
        Context::Prompt,
        Context::Chat,
        Context::Tokens,
        Context::Routing,
        Context::Sessions,
        Context::Replay,
        Context::Training,
        Context::List,
    ];

    /// What it is called in help and in the config file.
    pub fn name(self) -> &'static str {
        match self {
            Context::Everywhere => "everywhere",
            Context::Prompt => "prompt",
            Context::Chat => "chat",
            Context::Routing => "routing",
            Context::Tokens => "tokens",
            Context::Sessions => "sessions",
            Context::Replay => "replay",
            Context::Training => "training",
            Context::List => "list",
        }
    }
}

/// One line of the table.
#[derive(Debug)]
pub struct ActionInfo {
    /// What is done.
    pub action: Action,
    /// Its name: in the config file, in the palette, and behind a slash.
    pub name: &'static str,
    /// Where its keys have this meaning.
    pub context: Context,
    /// Keys unless the config file says otherwise.
    pub keys: &'static [&'static str],
    /// What may follow the name on a slash line; empty if nothing.
    pub argument: &'static str,
    /// What it does, for people.
    pub about: &'static str,
}

macro_rules! actions {
    ($($variant:ident $name:literal $context:ident [$($key:literal),*] $argument:literal $about:literal)*) => {
        /// What the user can ask for.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Action {
            $(#[doc = $about] $variant,)*
        }

        /// All actions, in the order in which help and palette show them.
        pub static ACTIONS: &[ActionInfo] = &[$(ActionInfo {
            action: Action::$variant,
            name: $name,
            context: Context::$context,
            keys: &[$($key),*],
            argument: $argument,
            about: $about,
        },)*];
    };
}

actions! {
    Help "help" Everywhere ["f1"] "" "Show the keys and commands"
    Palette "palette" Everywhere ["ctrl-p"] "" "Find an action by name"
    Interrupt "interrupt" Everywhere ["ctrl-c"] "" "Stop the answer, clear the prompt, then leave"
    Escape "escape" Everywhere ["esc"] "" "Close what is open, stop the answer, or return to the prompt"
    Stop "stop" Everywhere [] "" "Stop the answer and keep what is there"
    ViewWorkbench "workbench" Everywhere ["f2", "alt-1"] "" "Chat, routing, heat and memory on one screen"
    ViewRouting "routing" Everywhere ["f3", "alt-2"] "" "The experts of every layer, in full"
    ViewSessions "sessions" Everywhere ["f4", "alt-3"] "" "Saved conversations"
    ViewTraining "training" Everywhere ["f5", "alt-4"] "" "Training runs"
    Train "train" Everywhere [] "" "Start a training run: a form"
    NextPane "next-pane" Everywhere ["tab"] "" "Move the focus to the next pane"
    PreviousPane "previous-pane" Everywhere ["shift-tab"] "" "Move the focus to the pane before"
    Zoom "zoom" Everywhere ["alt-z", "f6"] "" "Give the focused pane the whole screen, or take it back"
    HidePane "hide" Everywhere ["alt-h"] "[PANE]" "Hide the focused pane"
    ShowPanes "show" Everywhere ["alt-a"] "[PANE]" "Show the hidden panes again"
    Wider "wider" Everywhere ["alt-."] "" "Make the chat wider"
    Narrower "narrower" Everywhere ["alt-,"] "" "Make the chat narrower"
    Taller "taller" Everywhere ["alt-="] "" "Make the focused pane taller"
    Shorter "shorter" Everywhere ["alt--"] "" "Make the focused pane shorter"
    Regenerate "regenerate" Everywhere ["ctrl-r"] "" "Answer again, as a branch beside this answer"
    Edit "edit" Everywhere ["alt-e"] "" "Edit the chosen message of yours and send it as a branch"
    PreviousBranch "previous-branch" Everywhere ["alt-left"] "" "Walk to the branch before"
    NextBranch "next-branch" Everywhere ["alt-right"] "" "Walk to the next branch"
    SelectUp "select-up" Everywhere ["alt-up"] "" "Choose the message above"
    SelectDown "select-down" Everywhere ["alt-down"] "" "Choose the message below"
    ScrollUp "scroll-up" Everywhere ["pageup"] "" "Scroll the chat up by a page"
    ScrollDown "scroll-down" Everywhere ["pagedown"] "" "Scroll the chat down by a page"
    ChatTop "top" Everywhere ["alt-<"] "" "Scroll to the first message"
    ChatEnd "end" Everywhere ["alt->"] "" "Scroll to the end and follow it"
    Tokens "tokens" Everywhere ["ctrl-t"] "" "Walk the answer token by token"
    Copy "copy" Everywhere ["alt-c"] "" "Copy the chosen message, else the last answer"
    CopyCode "copy-code" Everywhere ["alt-k"] "[N]" "Copy the last code block of it, or block N"
    Search "search" Everywhere ["ctrl-f"] "[TEXT]" "Search this chat"
    SearchAll "search-all" Everywhere ["alt-f"] "[TEXT]" "Search all chats"
    NewChat "new" Everywhere ["alt-n"] "" "Begin a new chat"
    Rename "rename" Everywhere [] "TITLE" "Name this chat"
    Export "export" Everywhere [] "[md|json] [FILE]" "Write this chat into a file: Markdown, or JSON with all branches"
    System "system" Everywhere [] "[TEXT]" "Set the system prompt of this chat; without text, show it"
    Settings "settings" Everywhere ["alt-s"] "" "Sampling settings"
    Temperature "temperature" Everywhere [] "X" "Set the temperature; 0 always takes the most likely token"
    TopK "top-k" Everywhere [] "N" "Keep the N most likely tokens; 0 keeps all"
    TopP "top-p" Everywhere [] "X" "Keep the tokens that make up this probability"
    MinP "min-p" Everywhere [] "X" "Drop tokens below this share of the most likely one"
    Penalty "repetition-penalty" Everywhere [] "X" "Make repeated tokens less likely; 1 changes nothing"
    Seed "seed" Everywhere [] "[N]" "Fix the seed; without a number, draw fresh ones"
    MaxTokens "max-tokens" Everywhere [] "N" "End an answer after N tokens"
    MaxSpeed "max-speed" Everywhere [] "[N]" "Write at most N tokens a second; without a number, as fast as can be"
    Mute "mute" Everywhere [] "[LAYER.]EXPERT" "Mute an expert, or let it speak again"
    Force "force" Everywhere [] "[LAYER.]EXPERT" "Force an expert, or let it go"
    ExpertsPerToken "k" Everywhere [] "[LAYER.]N" "Choose N experts a token; 0 takes the model's own number"
    RouterTemperature "router-temperature" Everywhere [] "X" "Divide the router's logits by X"
    SharedExpert "shared" Everywhere [] "[LAYER]" "Switch the shared expert off, or on again"
    Unalter "unalter" Everywhere ["alt-u"] "" "Undo all changes to the routing"
    Compare "compare" Everywhere [] "" "Compare the routing of this answer with that of the branch before it"
    CompareWith "compare-with" Everywhere [] "" "Compare with another answer of this chat than now"
    ExportRouting "export-routing" Everywhere ["alt-x"] "[FILE]" "Write the routing that is seen to FILE.csv, .jsonl or .svg"
    Seek "seek" Everywhere [] "PLACE" "Go to a place of the recording: 40%, 1:30, token 120, +10 or -10 tokens"
    Speed "speed" Everywhere [] "X" "Play the recording X times as fast as it was made"
    Theme "theme" Everywhere ["alt-t"] "[NAME]" "Use the next theme, or the named one"
    Redraw "redraw" Everywhere ["ctrl-l"] "" "Draw the screen anew"
    Suspend "suspend" Everywhere ["ctrl-z"] "" "Go back to the shell for a while"
    Quit "quit" Everywhere ["ctrl-q"] "" "Leave"

    Send "send" Prompt ["enter"] "" "Send the prompt"
    Newline "newline" Prompt ["alt-enter", "ctrl-j"] "" "Begin a new line"
    HistoryBack "history-back" Prompt ["up"] "" "On the first line: the prompt before"
    HistoryOn "history-on" Prompt ["down"] "" "On the last line: the next prompt"
    Complete "complete" Prompt ["tab"] "" "Complete a slash command, else move to the next pane"

    ChatUp "chat-up" Chat ["up", "k"] "" "Scroll up a line"
    ChatDown "chat-down" Chat ["down", "j"] "" "Scroll down a line"
    ChatSelectUp "chat-select-up" Chat ["p", "{"] "" "Choose the message above"
    ChatSelectDown "chat-select-down" Chat ["n", "}"] "" "Choose the message below"
    ChatFirst "chat-first" Chat ["g", "home"] "" "Go to the first message"
    ChatLast "chat-last" Chat ["G", "end"] "" "Go to the end"
    ChatTokens "chat-tokens" Chat ["t", "enter"] "" "Walk the chosen answer token by token"
    ChatEdit "chat-edit" Chat ["e"] "" "Edit the chosen message"
    ChatRegenerate "chat-regenerate" Chat ["r"] "" "Answer again"
    ChatPrevious "chat-previous-branch" Chat ["left", "h"] "" "Walk to the branch before"
    ChatNext "chat-next-branch" Chat ["right", "l"] "" "Walk to the next branch"
    ChatCopy "chat-copy" Chat ["y"] "" "Copy the chosen message"
    ChatCopyCode "chat-copy-code" Chat ["c"] "" "Copy its last code block"
    ChatSearch "chat-search" Chat ["/"] "" "Search this chat"
    ChatHelp "chat-help" Chat ["?"] "" "Show the keys"

    TokenLeft "token-left" Tokens ["left", "h"] "" "The token before"
    TokenRight "token-right" Tokens ["right", "l"] "" "The next token"
    TokenBack "token-back" Tokens ["b", "shift-left"] "" "Ten tokens back"
    TokenOn "token-on" Tokens ["w", "shift-right"] "" "Ten tokens on"
    TokenFirst "token-first" Tokens ["g", "home"] "" "The first token"
    TokenLast "token-last" Tokens ["G", "end"] "" "The last token"
    TokenSurprise "token-surprise" Tokens ["s"] "" "The next token that was unlikely"
    AlternativeUp "alternative-up" Tokens ["up", "k"] "" "The alternative above"
    AlternativeDown "alternative-down" Tokens ["down", "j"] "" "The alternative below"
    TokenExperts "token-experts" Tokens ["e"] "" "Its experts in every layer, or its alternatives again"
    ForkHere "fork" Tokens ["enter", "f"] "" "Fork the answer here with the chosen alternative"

    ExpertLeft "expert-left" Routing ["left", "h"] "" "The expert to the left"
    ExpertRight "expert-right" Routing ["right", "l"] "" "The expert to the right"
    LayerUp "layer-up" Routing ["up", "k"] "" "The layer above"
    LayerDown "layer-down" Routing ["down", "j"] "" "The layer below"
    Scope "scope" Routing ["s"] "" "Show this token, this answer or this session"
    Measure "measure" Routing ["v"] "" "Show weights, choices, or which experts are chosen together"
    MuteHere "mute-here" Routing ["m"] "" "Mute the chosen expert in this layer, or let it speak again"
    MuteEverywhere "mute-everywhere" Routing ["M"] "" "The same in every layer"
    ForceHere "force-here" Routing ["f"] "" "Force the chosen expert in this layer, or let it go"
    ForceEverywhere "force-everywhere" Routing ["F"] "" "The same in every layer"
    MoreExperts "more-experts" Routing ["+"] "" "One expert more a token in this layer"
    FewerExperts "fewer-experts" Routing ["-"] "" "One expert fewer a token in this layer"
    MoreEverywhere "more-everywhere" Routing ["K"] "" "One expert more a token in every layer"
    FewerEverywhere "fewer-everywhere" Routing ["J"] "" "One expert fewer a token in every layer"
    SharedHere "shared-here" Routing ["x"] "" "Switch the shared expert of this layer off, or on again"
    UnalterHere "unalter-here" Routing ["u"] "" "Undo all changes to the routing"
    CompareHere "compare-here" Routing ["c"] "" "Compare with the branch before, or stop comparing"
    CompareWithHere "compare-with-here" Routing ["o"] "" "Compare with another answer of this chat"
    ExportHere "export-here" Routing ["e"] "" "Write the routing that is seen as a picture, routing.svg"
    RegenerateHere "regenerate-here" Routing ["r"] "" "Answer again with the routing as it is now"

    SessionUp "session-up" Sessions ["up", "k"] "" "The session above"
    SessionDown "session-down" Sessions ["down", "j"] "" "The session below"
    SessionOpen "session-open" Sessions ["enter"] "" "Open the chosen session"
    SessionNew "session-new" Sessions ["n"] "" "Begin a new chat"
    SessionRename "session-rename" Sessions ["r"] "" "Rename the chosen session"
    SessionDelete "session-delete" Sessions ["d", "delete"] "" "Delete the chosen session; asks once"
    SessionCopy "session-copy" Sessions ["c"] "" "Make a copy of the chosen session"
    SessionExport "session-export" Sessions ["e"] "" "Write the chosen session into a Markdown file"
    SessionExportJson "session-export-json" Sessions ["E"] "" "Write it into a JSON file, with all branches"
    SessionSearch "session-search" Sessions ["/"] "" "Search all sessions"
    SessionPageUp "session-page-up" Sessions ["pageup"] "" "Ten sessions up"
    SessionPageDown "session-page-down" Sessions ["pagedown"] "" "Ten sessions down"
    SessionFirst "session-first" Sessions ["g", "home"] "" "The newest session"
    SessionLast "session-last" Sessions ["G", "end"] "" "The oldest session"

    PlayPause "play-pause" Replay ["space"] "" "Play the recording, or stay here"
    StepOn "step-on" Replay ["right", "."] "" "A token on"
    StepBack "step-back" Replay ["left", ","] "" "A token back"
    MessageOn "message-on" Replay ["]"] "" "To the next message"
    MessageBack "message-back" Replay ["["] "" "To the beginning of this message, or to the one before"
    Faster "faster" Replay [">"] "" "Twice as fast"
    Slower "slower" Replay ["<"] "" "Half as fast"
    ReplayStart "replay-start" Replay ["home", "^"] "" "To the start of the recording"
    ReplayEnd "replay-end" Replay ["end", "$"] "" "To its end"
    ReplayTenth "replay-tenth" Replay ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"] "" "To that tenth of it"
    Loop "loop" Replay ["L"] "" "Begin again at the end, or stop there"
    ReplayCommand "replay-command" Replay [":"] "" "Type a command"

    RunUp "run-up" Training ["up", "k"] "" "The run above"
    RunDown "run-down" Training ["down", "j"] "" "The run below"
    ChartNext "chart-next" Training ["n", "tab"] "" "The next chart"
    ChartBefore "chart-before" Training ["N", "shift-tab"] "" "The chart before"
    ChartLarge "chart-large" Training ["enter", "f"] "" "Give the chosen chart all the room, or take it back"
    ChartFront "chart-front" Training ["F"] "" "Keep the chosen chart before all others, or let it go"
    ChartJoin "chart-join" Training ["v"] "" "Take the chosen metric; in another chart, draw it into that"
    RunGrid "grid" Training ["g"] "" "A chart for each run, or all runs laid over each other"
    RunTable "table" Training ["T"] "" "The table with a column for each setting, or the charts again"
    CrossLeft "cross-left" Training ["left", "h"] "" "Move the crosshair to the left"
    CrossRight "cross-right" Training ["right", "l"] "" "Move it to the right"
    CrossBack "cross-back" Training ["shift-left", "H"] "" "Move it ten columns to the left"
    CrossOn "cross-on" Training ["shift-right", "L"] "" "Move it ten columns to the right"
    ZoomIn "zoom-in" Training ["+", "="] "" "Show half as much of the axis"
    ZoomOut "zoom-out" Training ["-"] "" "Show twice as much"
    PanLeft "pan-left" Training ["["] "" "Show what comes before"
    PanRight "pan-right" Training ["]"] "" "Show what comes after"
    ZoomAll "zoom-all" Training ["0"] "" "Show everything, without a crosshair"
    NextAxis "axis" Training ["x"] "" "Draw over steps, tokens, time or time since the start"
    LogScale "log" Training ["y"] "" "Draw logarithms, or the values"
    Smoother "smoother" Training ["s"] "" "Smooth the curves more"
    Rougher "rougher" Training ["S"] "" "Smooth them less"
    RunHide "run-hide" Training ["space"] "" "Hide the chosen run, or show it again"
    RunOnly "run-only" Training ["i"] "" "Show the chosen run alone, or all again"
    RunPin "run-pin" Training ["p"] "" "Keep the chosen run at the top"
    RunColour "run-colour" Training ["c"] "" "Draw the chosen run in the next colour"
    SortNext "sort" Training ["o"] "" "Sort the table by the next column"
    SortBackwards "sort-backwards" Training ["O"] "" "Sort it the other way round"
    FilterRuns "filter-runs" Training ["/"] "" "Show only some runs: name, setting:text, setting>=number, !word"
    FilterMetrics "filter-metrics" Training ["m"] "" "Show only metrics whose names hold one of these words"
    ShowConsole "console" Training ["t"] "" "Show what the chosen run printed"
    ShowAlerts "alerts" Training ["a"] "" "Show what is wrong with the runs"
    ShowExperts "experts" Training ["e"] "" "Show the load of the experts of the chosen run"
    ExpertLayer "expert-layer" Training ["E"] "" "The experts of the next layer"
    ShowRun "run-state" Training ["w"] "" "Show what the chosen run does now, and what it answered"
    RunPause "run-pause" Training ["P"] "" "Let the chosen run wait, or go on"
    RunSave "run-checkpoint" Training ["C"] "" "Let it save a checkpoint now"
    RunSlower "run-smaller" Training ["<"] "" "Half as many sequences at once, at most; a step stays the same"
    RunFaster "run-larger" Training [">"] "" "Twice as many, up to the size it was begun with"
    RunAsk "run-ask" Training ["A"] "" "Ask its newest weights something"
    RunEnd "run-end" Training ["Q"] "" "Let it save and end; asks once"
    RunNew "run-new" Training ["R"] "" "Start a training run: a form"

    ListUp "list-up" List ["up", "ctrl-p"] "" "The line above"
    ListDown "list-down" List ["down", "ctrl-n"] "" "The line below"
    ListPageUp "list-page-up" List ["pageup"] "" "A page up"
    ListPageDown "list-page-down" List ["pagedown"] "" "A page down"
    ListLess "list-less" List ["left"] "" "Less of it"
    ListMore "list-more" List ["right"] "" "More of it"
    ListTake "list-take" List ["enter"] "" "Take the chosen line"
}

impl Action {
    /// Its line of the table.
    pub fn info(self) -> &'static ActionInfo {
        &ACTIONS[self as usize]
    }

    /// The action of this name.
    pub fn named(name: &str) -> Option<Action> {
        ACTIONS.iter().find(|info| info.name == name).map(|info| info.action)
    }
}

/// What palette and slash lines offer: all that needs no place on the screen.
pub fn commands() -> impl Iterator<Item = &'static ActionInfo> {
    let hidden = [Action::Escape, Action::Interrupt, Action::NextPane, Action::PreviousPane];
    ACTIONS.iter().filter(move |info| info.context == Context::Everywhere && !hidden.contains(&info.action))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_lines_are_in_order() {
        for (i, info) in ACTIONS.iter().enumerate() {
            assert_eq!(info.action as usize, i);
            assert_eq!(Action::named(info.name), Some(info.action), "{} is there twice", info.name);
        }
    }
}
