//! Colours for code: a small reader of words, texts, numbers and comments that most languages share.
//!
//! A full grammar for each language costs megabytes and tens of milliseconds at the first block; what
//! is read in a chat needs less. A line at a time, so that code which grows is read once.

use ratatui::style::Style;

use crate::ui::text::Piece;
use crate::ui::theme::Theme;

/// What the reader remembers from one line to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Inside {
    /// Plain code.
    #[default]
    Code,
    /// A comment that its end mark ends.
    Comment,
    /// A text of several lines that this mark ends.
    Text(&'static str),
}

/// How a language writes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Language {
    line_comment: &'static [&'static str],
    block_comment: Option<(&'static str, &'static str)>,
    long_text: &'static [&'static str],
    quotes: &'static [char],
    words: &'static str,
    ignore_case: bool,
}

const C_LIKE: Language = Language {
    line_comment: &["//"],
    block_comment: Some(("/*", "*/")),
    long_text: &[],
    quotes: &['"', '\''],
    words: "",
    ignore_case: false,
};
const HASH: Language = Language { line_comment: &["#"], block_comment: None, ..C_LIKE };

/// The language of a fence's label; none is not coloured.
pub(super) fn language(label: &str) -> Option<Language> {
    let label = label.trim().to_ascii_lowercase();
    let label = label.split([',', ' ', '{']).next().unwrap_or_default();
    Some(match label {
        "rust" | "rs" => Language {
            quotes: &['"'],
            words: "as async await box break const continue crate dyn else enum extern false fn for if impl in let \
                    loop match mod move mut pub ref return self Self static struct super trait true type unsafe use \
                    where while",
            ..C_LIKE
        },
        "python" | "py" => Language {
            long_text: &["\"\"\"", "'''"],
            words: "and as assert async await break case class continue def del elif else except False finally for \
                    from global if import in is lambda match None nonlocal not or pass raise return True try while \
                    with yield self",
            ..HASH
        },
        "javascript" | "js" | "typescript" | "ts" | "jsx" | "tsx" => Language {
            quotes: &['"', '\'', '`'],
            words: "any as async await boolean break case catch class const continue default delete do else enum \
                    export extends false finally for from function if implements import in instanceof interface let \
                    new null number of private protected public readonly return static string super switch this \
                    throw true try type typeof undefined var void while yield",
            ..C_LIKE
        },
        "c" | "cpp" | "c++" | "h" | "java" | "cs" | "csharp" | "kotlin" | "swift" | "scala" | "zig" => Language {
            words: "abstract auto bool boolean break case catch char class const constexpr continue data default \
                    delete do double else enum extends extern false final float for fun func goto if implements \
                    import in inline int interface internal let long namespace new null nullptr object override \
                    package private protected public return short signed sizeof static struct super switch template \
                    this throw throws true try typedef union unsigned using val var virtual void volatile when while \
                    include define ifdef ifndef endif",
            ..C_LIKE
        },
        "go" => Language {
            quotes: &['"', '\'', '`'],
            words: "break case chan const continue default defer else fallthrough false for func go goto if import \
                    interface iota map nil package range return select struct switch true type var string int bool \
                    error byte",
            ..C_LIKE
        },
        "sh" | "bash" | "shell" | "zsh" | "console" | "fish" => Language {
            words: "case do done elif else esac exit export fi for function if in local return set then unset until \
                    while echo cd source",
            ..HASH
        },
        "yaml" | "yml" | "toml" | "ini" | "make" | "makefile" | "dockerfile" | "r" | "ruby" | "rb" | "perl"
        | "elixir" => Language {
            words: "true false null yes no def end class module if else elsif unless do while for in return nil \
                        require FROM RUN COPY CMD ENV WORKDIR function library TRUE FALSE NULL",
            ..HASH
        },
        "json" | "jsonc" | "json5" => Language { words: "true false null", ..C_LIKE },
        "sql" => Language {
            line_comment: &["--"],
            words: "select from where and or not in is null join left right inner outer on group by order limit \
                    insert into values update set delete create table index drop alter as distinct having union all \
                    case when then else end primary key references default",
            ignore_case: true,
            ..C_LIKE
        },
        "lua" | "haskell" | "hs" | "elm" => Language {
            line_comment: &["--"],
            words: "and break do else elseif end false for function if in local nil not or repeat return then true \
                    until while case class data deriving import instance let module newtype of type where",
            ..C_LIKE
        },
        "html" | "xml" | "svg" => {
            Language { line_comment: &[], block_comment: Some(("<!--", "-->")), quotes: &['"'], ..C_LIKE }
        }
        "css" | "scss" => Language { words: "important media import", ..C_LIKE },
        _ => return None,
    })
}

/// One line of code in colours, and what the next line begins in.
pub(super) fn line(code: &str, language: Option<Language>, mut inside: Inside, theme: &Theme) -> (Vec<Piece>, Inside) {
    let Some(language) = language else { return (vec![(code.to_owned(), theme.code)], inside) };
    let mut pieces: Vec<Piece> = Vec::new();
    let mut rest = code;
    let mut put = |text: &str, style: Style| match pieces.last_mut() {
        Some((last, same)) if *same == style => last.push_str(text),
        _ => pieces.push((text.to_owned(), style)),
    };
    while !rest.is_empty() {
        let end_mark = match inside {
            Inside::Comment => language.block_comment.map(|(_, end)| (end, theme.code_comment)),
            Inside::Text(end) => Some((end, theme.code_string)),
            Inside::Code => None,
        };
        if let Some((mark, style)) = end_mark {
            let (taken, ended) = rest.find(mark).map_or((rest.len(), false), |at| (at + mark.len(), true));
            put(&rest[..taken], style);
            rest = &rest[taken..];
            inside = if ended { Inside::Code } else { inside };
            continue;
        }
        if language.line_comment.iter().any(|mark| rest.starts_with(mark)) {
            put(rest, theme.code_comment);
            break;
        }
        if let Some((begin, _)) = language.block_comment.filter(|(begin, _)| rest.starts_with(begin)) {
            put(begin, theme.code_comment);
            (rest, inside) = (&rest[begin.len()..], Inside::Comment);
            continue;
        }
        if let Some(mark) = language.long_text.iter().find(|mark| rest.starts_with(**mark)) {
            put(mark, theme.code_string);
            (rest, inside) = (&rest[mark.len()..], Inside::Text(mark));
            continue;
        }
        let first = rest.chars().next().unwrap_or(' ');
        let (taken, style) = if language.quotes.contains(&first) {
            (quoted(rest, first), theme.code_string)
        } else if first.is_ascii_digit() {
            let in_number = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
            (rest.find(|c| !in_number(c)).unwrap_or(rest.len()), theme.code_number)
        } else if first.is_alphabetic() || first == '_' {
            let taken = rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
            let word = &rest[..taken];
            let known = |w: &str| if language.ignore_case { w.eq_ignore_ascii_case(word) } else { w == word };
            let style = if language.words.split_whitespace().any(known) {
                theme.code_keyword
            } else if rest[taken..].starts_with('(') || first.is_uppercase() {
                theme.code_name
            } else {
                theme.code
            };
            (taken, style)
        } else {
            (first.len_utf8(), theme.code)
        };
        put(&rest[..taken], style);
        rest = &rest[taken..];
    }
    (pieces, inside)
}

/// Bytes of a quoted text, its quotes and escapes included; to the end of the line if it is open.
fn quoted(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return at + c.len_utf8(),
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ui::theme::Depth;

    #[test]
    fn words_texts_numbers_and_comments_differ() {
        let theme = Theme::built_in("dark", Depth::True, false).unwrap();
        let rust = language("rust,ignore");
        let (pieces, inside) = line("let x = f(\"a\\\"b\", 42); // done", rust, Inside::Code, &theme);
        let of = |style: Style| pieces.iter().filter(|(_, s)| *s == style).map(|(t, _)| t.as_str()).collect::<Vec<_>>();
        assert_eq!(of(theme.code_keyword), ["let"]);
        assert_eq!(of(theme.code_string), ["\"a\\\"b\""]);
        assert_eq!((of(theme.code_number), of(theme.code_name)), (vec!["42"], vec!["f"]));
        assert_eq!((of(theme.code_comment), inside), (vec!["// done"], Inside::Code));
        let (_, inside) = line("x = '''one", language("py"), Inside::Code, &theme);
        assert_eq!(inside, Inside::Text("'''"));
        let (pieces, inside) = line("two''' + y", language("py"), inside, &theme);
        assert_eq!((pieces[0].0.as_str(), inside), ("two'''", Inside::Code));
        assert_eq!(line("/* a", rust, Inside::Code, &theme).1, Inside::Comment);
        assert!(language("brainfuck").is_none());
    }
}
