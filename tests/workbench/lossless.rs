//! Ten thousand tokens, with sizes that change, answers that are cancelled and forked in between:
//! what is on the screen at the end of each answer is what the model said, in order.

use super::driver::Driver;

#[test]
fn no_token_is_lost_or_reordered() {
    let mut driver = Driver::opened(120, 36);
    let mut said = 0;
    let mut seed = 7usize;
    while said < 10_000 {
        seed = seed.wrapping_mul(1_103_515_245).wrapping_add(12_345) & 0x7fff_ffff;
        let words: Vec<String> = (0..100 + seed % 200).map(|i| format!("w{}", said + i)).collect();
        driver.answers.push_back(words.join(" "));
        driver.keys("go<enter>");
        let cancelled = seed.is_multiple_of(5);
        let heard = if cancelled { words.len() / 2 } else { words.len() };
        driver.resize(20 + (seed % 180) as u16, 8 + (seed % 50) as u16);
        driver.answer(if cancelled { heard } else { usize::MAX });
        if cancelled {
            driver.keys("<esc>");
            driver.cancelled();
        }
        driver.resize(120, 36);
        let id = driver.app.chat.last_answer().unwrap();
        let text = driver.app.chat.node(id).unwrap().text.clone();
        assert_eq!(text.split_whitespace().collect::<Vec<_>>(), &words[..heard]);
        // The end of it is seen: the last words stand on the screen in their order.
        let screen = driver.text();
        let last: Vec<&str> = words[..heard].iter().rev().take(40).rev().map(String::as_str).collect();
        let shown: Vec<&str> = screen
            .lines()
            .filter_map(|line| line.strip_prefix("│  ")?.split("││").next())
            .flat_map(str::split_whitespace)
            .filter(|word| word.starts_with('w') && word[1..].parse::<usize>().is_ok())
            .collect();
        assert!(shown.ends_with(&last), "{shown:?} does not end with {last:?}");
        said += words.len();
        if seed.is_multiple_of(3) {
            driver.answers.push_back("forked on".into());
            driver.keys("<ctrl-t><right><right><down><enter>").answer(usize::MAX);
            assert!(driver.app.chat.node(driver.app.chat.last_answer().unwrap()).unwrap().text.ends_with("forked on"));
        }
    }
}
