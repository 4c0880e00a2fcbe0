//! Ways to ask. `{}` is what is asked for; those of the examination are never used in training.

use super::{Dice, lower};

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
        "Which key serves to {}?",
        "What should I press to {}?",
        "If I want to {}, what do I press?",
        "If I want to {}, which key is it?",
        "Show me how to {}.",
        "Please tell me how to {}.",
        "Is there a shortcut to {}?",
        "Which shortcut is there to {}?",
        "What is the shortcut if I want to {}?",
        "I would like to {}.",
        "I would like to {}, how?",
        "I would like to know how to {}.",
        "Which key is it to {}?",
        "To {}, which key is it?",
        "To {}, what do I press?",
        "Do you know which key is there to {}?",
        "Do you know the key to {}?",
        "What key lets me {}?",
        "Which keys let me {}?",
        "Let me {}.",
        "With which key can I {}?",
        "With what key do I {}?",
        "I need to {}.",
        "I need the key to {}.",
        "Could you tell me how to {}?",
        "Explain how to {}.",
        "I forgot how to {}.",
        "Where do I press to {}?",
        "The key to {}, please.",
        "What would I press to {}?",
        "How may I {}?",
        "What shortcut is it to {}?",
        "{}: which key?",
        "{}?",
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
        "What does the key {} do?",
        "What is the key {} for?",
        "What is {} good for?",
        "Tell me what {} does.",
        "Tell me what {} is for.",
        "Tell me about {}.",
        "For what is {}?",
        "For what do I need {}?",
        "What happens if I press {}?",
        "What happens when {} is pressed?",
        "What will {} do?",
        "When do I press {}?",
        "Why would I press {}?",
        "What if I press {}?",
        "The key {}, what is it for?",
        "What can I do with {}?",
        "I pressed {} by mistake.",
        "And {}?",
        "{}?",
        "The key {}?",
        "What is {}?",
        "Explain the key {}.",
        "Which action is on {}?",
        "What is on {}?",
        "What is it that {} does?",
        "Do you know what {} does?",
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
        "Which slash command can {}?",
        "With what slash command do I {}?",
        "With which slash do I {}?",
        "Slash command to {}?",
        "What is the word after the slash to {}?",
        "Which word after the slash is there to {}?",
        "What must I type after the slash to {}?",
        "Which word do I type to {}?",
        "What word after the slash lets me {}?",
        "How do I {} with a slash command?",
        "How do I {} by typing?",
        "I want to {} with a slash command.",
        "I want to {} by typing in the prompt.",
        "What can I type in the prompt to {}?",
        "Is there a slash command to {}?",
        "By which slash command can one {}?",
        "The slash command to {}, please.",
        "Which command behind the slash serves to {}?",
        "What serves to {} after a slash?",
        "Tell me the slash command to {}.",
        "How can I {} without a key, by typing?",
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
        "Which command lets me {}?",
        "What command do I need to {}?",
        "Name the command to {}.",
        "Tell me the command to {}.",
        "On the command line, how do I {}?",
        "On the command line, which command do I use to {}?",
        "How can I {} on the command line?",
        "How can I {} in the shell?",
        "In the shell, how can I {}?",
        "With which command can I {}?",
        "Is there a command to {}?",
        "Which command serves to {}?",
        "Command to {}?",
        "What do I run to {}?",
        "Which command should I run to {}?",
        "What bit-axon command is there to {}?",
        "I need a command to {}.",
        "The command to {}, please.",
        "Which part of bit-axon lets me {}?",
        "I want to {} from a script.",
        "bit-axon what, to {}?",
    ],
    held: &["What command lets me {}?", "On the command line, how can I {}?", "Name the command that I need to {}."],
};

/// For a command, as "bit-axon trace": what does it do?
pub(super) const COMMANDED: Wordings = Wordings {
    train: &[
        "What does {} do?",
        "What is {} for?",
        "Explain {}.",
        "What is the use of {}?",
        "When do I need {}?",
        "What can {} do?",
        "What can one do with {}?",
        "Tell me what {} does.",
        "What happens if I run {}?",
        "I ran {}. What is it?",
        "For what is {}?",
        "Describe {}.",
        "What will {} do?",
        "Say something about {}.",
        "What about {}?",
        "{}?",
        "Why would I use {}?",
        "How is {} used?",
        "The command {}, what is it for?",
    ],
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
        "What default has {}?",
        "Which is the default of {}?",
        "The default of {}?",
        "Default of {}, please.",
        "Tell me the default of {}.",
        "If I set nothing, what is {}?",
        "If {} is not set, what is it?",
        "If nobody sets {}, which value has it?",
        "What is {} when I do not set it?",
        "What is {} if it is not set?",
        "Not setting {}, what do I get?",
        "What value does {} have by default?",
        "What does {} have as its default?",
        "To what is {} set unless I change it?",
        "{} by default?",
        "I do not set {}. What is it then?",
        "When {} is not in my file, what is it?",
        "How is {} without any setting?",
        "What do I get if I leave {} alone?",
    ],
    held: &["Which default does {} have?", "If I do not set {}, what is it?"],
};

/// For a setting: what is it for?
pub(super) const SETTING: Wordings = Wordings {
    train: &[
        "What is the setting {} for?",
        "What does the setting {} do?",
        "Explain the setting {}.",
        "What is {}?",
        "What is {} for?",
        "What does {} do?",
        "What can I set with {}?",
        "What changes with {}?",
        "What does {} change?",
        "Tell me what {} is.",
        "Tell me about {}.",
        "Describe the setting {}.",
        "The setting {}?",
        "{}?",
        "What is the meaning of {}?",
        "What happens if I change {}?",
        "Why would I set {}?",
        "About the setting {}, what is it?",
    ],
    held: &["What can I change with {}?", "Tell me about the setting {}."],
};

/// For a setting: which variable sets it?
pub(super) const VARIABLE: Wordings = Wordings {
    train: &[
        "Which variable sets {}?",
        "What is the environment variable for {}?",
        "How do I set {} without the file?",
        "Which environment variable sets {}?",
        "By which variable can I set {}?",
        "Through which variable is {} set?",
        "With which environment variable do I set {}?",
        "What variable is there for {}?",
        "Environment variable of {}?",
        "The variable for {}?",
        "Name the variable that sets {}.",
        "How can I set {} in the environment?",
        "Can I set {} through the environment?",
        "Can {} be set by an environment variable?",
        "Tell me the environment variable of {}.",
        "I want to set {} by a variable.",
        "How is {} called in the environment?",
    ],
    held: &["Through which environment variable can I set {}?"],
};

/// For a thing, as "the heat pane": questions about it. The examination has its own.
pub(super) const ABOUT: &[&str] = &[
    "Tell me about {}.",
    "What about {}?",
    "What do you know about {}?",
    "Explain {}.",
    "Explain {} to me.",
    "Say something about {}.",
    "I want to know {}.",
    "I would like to know {}.",
    "Tell me {}.",
    "Can you tell me {}?",
    "Could you explain {}?",
    "Give me {}.",
    "Say {}.",
    "Name {}.",
    "List {}.",
    "Describe {}.",
    "What is {}?",
    "What are {}?",
    "Which are {}?",
    "I have a question about {}.",
    "Do you know {}?",
    "{}, please.",
    "{}?",
    "And {}?",
];

/// Words around a question, as people have them.
const BEFORE: &[&str] = &[
    "Please: ",
    "Hello. ",
    "Hi! ",
    "OK. ",
    "So, ",
    "And ",
    "Well, ",
    "Now, ",
    "Thanks. ",
    "One question: ",
    "I see. ",
    "Tell me: ",
    "Say, ",
    "Again: ",
    "Excuse me, ",
    "Next: ",
];
const AFTER: &[&str] =
    &[" Please.", " Thanks.", " I forgot.", " Do you know?", " Can you help?", " Tell me.", " I wonder.", " Be short."];
/// Words that a question is understood without.
const SPARE: &[&str] = &[
    "the", "a", "an", "do", "does", "is", "are", "of", "to", "i", "it", "there", "please", "me", "you", "that", "in",
    "on", "so", "for", "can", "be", "has", "have", "and",
];

/// A question as people put it: with words around it, or with some left out.
pub(super) fn loosened(question: &str, dice: &mut Dice) -> String {
    match dice.below(16) {
        0 | 1 => format!("{}{}", dice.pick::<&str>(BEFORE), lower(question)),
        2 => format!("{question}{}", dice.pick::<&str>(AFTER)),
        3..=5 => {
            let kept = |word: &&str| !SPARE.contains(&word.to_lowercase().as_str()) || dice.chance(0.5);
            question.split(' ').filter(kept).collect::<Vec<_>>().join(" ")
        }
        6 => {
            let mut words: Vec<&str> = question.split(' ').collect();
            let at = dice.below(words.len());
            let other = (at + 1).min(words.len() - 1);
            words.swap(at, other);
            words.join(" ")
        }
        _ => question.to_owned(),
    }
}

/// The wording with what is asked for in its place.
pub(super) fn put(wording: &str, what: &str) -> String {
    wording.replace("{}", what)
}
