//! Ways to ask. `{}` is what is asked for; those of the examination are never used in training.

/// Wordings of a kind of question.
#[derive(Debug)]
pub(super) struct Wordings {
    pub(super) train: &'static [&'static str],
    pub(super) held: &'static [&'static str],
}

/// For what somebody wants to do, as "zoom a pane": which key?
pub(super) const KEY: Wordings = Wordings {
    train: &[
        "How do I {}?",
        "How can I {}?",
        "Which key do I press to {}?",
        "What do I press to {}?",
        "What is the key to {}?",
        "I want to {}.",
        "I want to {}. How?",
        "Is there a key to {}?",
        "Tell me how to {}.",
        "Key to {}?",
        "How do you {}?",
        "What must I press to {}?",
        "Can I {}?",
        "How does one {}?",
        "How to {}?",
        "Is it possible to {}?",
    ],
    held: &[
        "What should I press if I want to {}?",
        "Please show me how to {}.",
        "Which key lets me {}?",
        "I would like to {}. Which key is it?",
        "What is the shortcut to {}?",
        "Do you know how to {}?",
    ],
};

/// For a key, as "Alt-Z": what does it do?
pub(super) const PRESSED: Wordings = Wordings {
    train: &[
        "What does {} do?",
        "What is {} for?",
        "What happens on {}?",
        "Explain {}.",
        "What is the meaning of {}?",
        "I pressed {}. What is it?",
    ],
    held: &["What happens when I press {}?", "Tell me what {} is good for.", "For what is the key {}?"],
};

/// For an action: what is its slash command?
pub(super) const SLASH: Wordings = Wordings {
    train: &[
        "Which slash command is there to {}?",
        "What do I type to {}?",
        "What is the slash command to {}?",
        "Is there a command in the prompt to {}?",
    ],
    held: &["With which slash command can I {}?", "Which word after the slash serves to {}?"],
};

/// For what somebody wants to do: which command of the shell?
pub(super) const COMMAND: Wordings = Wordings {
    train: &[
        "Which command do I use to {}?",
        "What is the command to {}?",
        "From the shell, how do I {}?",
        "Which command of bit-axon is there to {}?",
        "How do I {} from the command line?",
        "I want to {} in the shell.",
    ],
    held: &["What command lets me {}?", "On the command line, how can I {}?", "Name the command that I need to {}."],
};

/// For a command, as "bit-axon trace": what does it do?
pub(super) const COMMANDED: Wordings = Wordings {
    train: &["What does {} do?", "What is {} for?", "Explain {}.", "What is the use of {}?", "When do I need {}?"],
    held: &["What can I do with {}?", "Tell me about {}.", "What happens when I run {}?"],
};

/// For a setting: what is it by default?
pub(super) const DEFAULT: Wordings = Wordings {
    train: &[
        "What is the default of {}?",
        "What is {} by default?",
        "Which value has {} if I set nothing?",
        "What is {} set to?",
        "How is {} set at first?",
    ],
    held: &["Which default does {} have?", "If I do not set {}, what is it?"],
};

/// For a setting: what is it for?
pub(super) const SETTING: Wordings = Wordings {
    train: &["What is the setting {} for?", "What does the setting {} do?", "Explain the setting {}.", "What is {}?"],
    held: &["What can I change with {}?", "Tell me about the setting {}."],
};

/// For a setting: which variable sets it?
pub(super) const VARIABLE: Wordings = Wordings {
    train: &[
        "Which variable sets {}?",
        "What is the environment variable for {}?",
        "How do I set {} without the file?",
    ],
    held: &["Through which environment variable can I set {}?"],
};

/// The wording with what is asked for in its place.
pub(super) fn put(wording: &str, what: &str) -> String {
    wording.replace("{}", what)
}
