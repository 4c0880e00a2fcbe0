//! Templates in the idioms that models are published with.

use proptest::prelude::*;

use super::*;

fn say(role: Role, content: &str) -> Message {
    Message { role, content: content.into() }
}

fn chat() -> Vec<Message> {
    vec![
        say(Role::System, "Be brief."),
        say(Role::User, "  Hi there "),
        say(Role::Assistant, "<think>\nwave\n</think>\n\nHello!"),
        say(Role::User, "1 < 2 & 3"),
    ]
}

fn names() -> SpecialNames {
    SpecialNames { bos: Some("<s>".into()), eos: Some("</s>".into()), ..SpecialNames::default() }
}

fn render(source: &str, messages: &[Message], tail: Tail) -> Result<String> {
    ChatTemplate::parse("test.jinja", source)?.render(messages, tail, &names())
}

/// Header tokens, a date in the system turn, trimmed contents, the first message taken out.
const HEADERS: &str = "\
{{- bos_token }}
{%- if not date_string is defined %}
    {%- if strftime_now is defined %}
        {%- set date_string = strftime_now('%Y') %}
    {%- endif %}
{%- endif %}
{#- The system turn comes first. #}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = '' %}
{%- endif %}
{{- '<|head|>system<|/head|>\\n\\n' }}
{{- system_message }}
{{- '<|eot|>' }}
{%- for message in messages %}
    {{- '<|head|>' + message['role'] + '<|/head|>\\n\\n'+ message['content'] | trim + '<|eot|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|head|>assistant<|/head|>\\n\\n' }}
{%- endif %}
";

#[test]
fn headers_and_trimmed_contents() {
    let text = render(HEADERS, &chat()[..2], Tail::Reply).unwrap();
    assert_eq!(
        text,
        "<s><|head|>system<|/head|>\n\nBe brief.<|eot|><|head|>user<|/head|>\n\nHi there<|eot|>\
         <|head|>assistant<|/head|>\n\n"
    );
}

/// A namespace found by walking backwards, thoughts dropped from earlier turns, string methods.
const THOUGHTS: &str = "\
{%- set ns = namespace(last_query=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if message.role == 'user' and ns.last_query == messages|length - 1 and message.content is string %}
        {%- set ns.last_query = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- if message.role == 'assistant' %}
        {%- set content = message.content %}
        {%- if '</think>' in content %}
            {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
        {%- endif %}
        {%- generation %}{{- '<|im_start|>assistant\\n' + content + '<|im_end|>\\n' }}{%- endgeneration %}
    {%- else %}
        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\\n\\n</think>\\n\\n' }}
    {%- endif %}
{%- endif %}";

#[test]
fn thoughts_are_dropped_by_string_methods() {
    let text = render(THOUGHTS, &chat()[1..], Tail::Reply).unwrap();
    assert_eq!(
        text,
        "<|im_start|>user\n  Hi there <|im_end|>\n<|im_start|>assistant\nHello!<|im_end|>\n\
         <|im_start|>user\n1 < 2 & 3<|im_end|>\n<|im_start|>assistant\n"
    );
}

/// Turns that must alternate, and an exception when they do not.
const ALTERNATE: &str = "\
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content'] %}
    {%- set loop_messages = messages[1:] %}
{%- else %}
    {%- set loop_messages = messages %}
{%- endif %}
{{- bos_token }}
{%- for message in loop_messages %}
    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}
        {{- raise_exception('roles must alternate user/assistant') }}
    {%- endif %}
    {%- if message['role'] == 'user' %}
        {%- if loop.first and system_message is defined %}
            {{- ' [INST] ' + system_message + '\\n\\n' + message['content'] + ' [/INST]' }}
        {%- else %}
            {{- ' [INST] ' + message['content'] + ' [/INST]' }}
        {%- endif %}
    {%- elif message['role'] == 'assistant' %}
        {{- ' ' + message['content'] + eos_token}}
    {%- endif %}
{%- endfor %}
";

#[test]
fn alternating_turns_and_their_refusal() {
    let text = render(ALTERNATE, &chat()[..2], Tail::Reply).unwrap();
    assert_eq!(text, "<s> [INST] Be brief.\n\n  Hi there  [/INST]");
    let twice = [say(Role::User, "a"), say(Role::User, "b")];
    let error = format!("{:#}", render(ALTERNATE, &twice, Tail::Reply).unwrap_err());
    assert!(error.contains("must alternate") && error.contains("test.jinja:10"), "{error}");
}

#[test]
fn the_last_message_is_continued_where_it_ends() {
    let messages = [say(Role::User, "Count."), say(Role::Assistant, "One, two, ")];
    let text = render(CHATML, &messages, Tail::Continue).unwrap();
    assert_eq!(text, "<|im_start|>user\nCount.<|im_end|>\n<|im_start|>assistant\nOne, two, ");
    let text = render(HEADERS, &messages, Tail::Continue).unwrap();
    assert!(text.ends_with("<|/head|>\n\nOne, two, "), "{text}");
    let error = render("{{ messages[0].content }}", &messages, Tail::Continue).unwrap_err();
    assert!(error.to_string().contains("leaves out the last message"), "{error}");
}

#[test]
fn json_is_written_as_python_writes_it() {
    let messages = [say(Role::User, "<a> & 'b' \\u003c \"ü\"")];
    let text = render("{{ messages[0].content|tojson }}", &messages, Tail::Closed).unwrap();
    assert_eq!(text, r#""<a> & 'b' \\u003c \"ü\"""#);
    let text = render("{{ messages|tojson }}", &messages[..], Tail::Closed).unwrap();
    assert!(text.starts_with(r#"[{"role": "user", "content": "<a>"#), "{text}");
    render("{{ messages|tojson(indent=4, ensure_ascii=false) }}", &messages, Tail::Closed).unwrap();
}

#[test]
fn hostile_templates_end_with_an_error() {
    let hi = [say(Role::User, "hi")];
    let forever = "{% for a in range(9999) %}{% for b in range(9999) %}{% set c = a %}{% endfor %}{% endfor %}";
    let error = render(forever, &hi, Tail::Reply).unwrap_err().to_string();
    assert!(error.contains("loops without end"), "{error}");
    let flood = "{% for a in range(9999) %}{{ 'x' * 1000000 }}{% endfor %}";
    let error = render(flood, &hi, Tail::Reply).unwrap_err().to_string();
    assert!(error.contains("longer than"), "{error}");
    let error = format!("{:#}", ChatTemplate::parse("dir/t.jinja", "a\n{% if %}").err().unwrap());
    assert!(error.contains("dir/t.jinja:2"), "{error}");
    assert!(ChatTemplate::parse("t", &"x".repeat(MAX_SOURCE + 1)).is_err());
    let error = render("{{ open('/etc/passwd') }}", &hi, Tail::Reply).unwrap_err();
    assert!(error.to_string().contains("unknown function"), "{error}");
    assert!(render(CHATML, &[], Tail::Reply).is_err());
}

#[test]
fn the_template_is_found_where_models_keep_it() {
    let folder = tempfile::tempdir().unwrap();
    let hi = [say(Role::User, "hi")];
    let text = |path: &Path| ChatTemplate::open(path).unwrap().render(&hi, Tail::Closed, &names()).unwrap();
    assert_eq!(text(folder.path()), "<|im_start|>user\nhi<|im_end|>\n");
    let config = folder.path().join("tokenizer_config.json");
    std::fs::write(&config, r#"{"chat_template": "one {{ eos_token }}"}"#).unwrap();
    assert_eq!(text(folder.path()), "one </s>");
    let named = r#"{"chat_template": [{"name": "rag", "template": "r"}, {"name": "default", "template": "two"}]}"#;
    std::fs::write(&config, named).unwrap();
    assert_eq!(text(&config), "two");
    for bad in ["{\"chat_template\": 3}", "{\"chat_template\": []}", "{", "{\"chat_template\": \"{{\"}"] {
        std::fs::write(&config, bad).unwrap();
        let error = format!("{:#}", ChatTemplate::open(folder.path()).err().unwrap());
        assert!(error.contains("tokenizer_config.json"), "{error}");
    }
    std::fs::write(folder.path().join("chat_template.jinja"), "three").unwrap();
    assert_eq!(text(folder.path()), "three");
}

#[test]
fn training_tags_become_conditions() {
    assert_eq!(without_training_tags("{%- generation -%}a{% endgeneration %}"), "{%- if true -%}a{% endif %}");
    let other = "{% set generation = 1 %}{% if generation %}{% endif %} {%";
    assert_eq!(without_training_tags(other), other);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_template_panics(source in "(\\{\\{|\\}\\}|\\{%|%\\}| for | in | if | endfor | endif | set |messages|x|\\[|0|-1|\\]|\\.|=|\\||'|tojson|strip\\(|\\)|\n|é){0,16}") {
        let messages = [say(Role::User, "hi"), say(Role::Assistant, "ho")];
        for tail in [Tail::Reply, Tail::Continue] {
            let _ = render(&source, &messages, tail);
        }
    }
}
