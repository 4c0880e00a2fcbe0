//! Questions about everything else: what the model has to say that it does not know.
//!
//! It must learn that an unknown word means an unknown topic, so the words of the examination are others
//! than those of training.

use super::ask::loosened;
use super::{DECLINED, Dice, Example, Topic, typed};

/// A field, its words and its wordings.
struct Field {
    wordings: &'static [&'static str],
    held: &'static [&'static str],
    words: &'static [&'static str],
    held_words: &'static [&'static str],
}

const FIELDS: &[Field] = &[
    Field {
        wordings: &[
            "What is the capital of {}?",
            "Where is {}?",
            "How many people live in {}?",
            "Who rules {}?",
            "Which language do they speak in {}?",
            "What is the weather in {}?",
            "How do I travel to {}?",
            "When was {} founded?",
            "Is {} a rich country?",
            "What do people eat in {}?",
            "Who is the president of {}?",
            "How big is {}?",
        ],
        held: &["Which city is the capital of {}?", "Tell me about the history of {}.", "How warm is it in {} today?"],
        words: &[
            "France", "Spain", "Norway", "Egypt", "Kenya", "Brazil", "Peru", "India", "China", "Korea", "Canada",
            "Mexico", "Poland", "Greece", "Turkey", "Iran", "Chile", "Cuba", "Italy", "Austria", "Denmark", "Finland",
            "Iceland", "Nepal", "Laos", "Ghana", "Mali", "Sudan", "London", "Berlin", "Rome", "Moscow", "Delhi",
            "Cairo", "Lima", "Oslo", "Madrid", "Sydney", "Boston", "Texas",
        ],
        held_words: &["Japan", "Portugal", "Sweden", "Paris", "Vienna", "Argentina", "Morocco", "Toronto"],
    },
    Field {
        wordings: &[
            "Who was {}?",
            "When was {} born?",
            "What did {} write?",
            "When did {} die?",
            "Tell me about {}.",
            "Why is {} famous?",
            "What do you think of {}?",
            "Where did {} live?",
            "Is {} still alive?",
        ],
        held: &["What is {} known for?", "In which year was {} born?"],
        words: &[
            "Napoleon",
            "Mozart",
            "Einstein",
            "Newton",
            "Shakespeare",
            "Caesar",
            "Darwin",
            "Galileo",
            "Kepler",
            "Goethe",
            "Homer",
            "Plato",
            "Beethoven",
            "Bach",
            "Picasso",
            "Rembrandt",
            "Lincoln",
            "Washington",
            "Gandhi",
            "Churchill",
            "Columbus",
            "Marie Curie",
            "Tesla",
            "Edison",
            "Chopin",
            "Dante",
            "Kant",
            "Hegel",
            "Socrates",
            "Euler",
            "Gauss",
            "Turing",
        ],
        held_words: &["Leonardo", "Cleopatra", "Aristotle", "Van Gogh", "Vivaldi", "Queen Victoria"],
    },
    Field {
        wordings: &[
            "How do I cook {}?",
            "What is the recipe for {}?",
            "How long must {} bake?",
            "Is {} healthy?",
            "Which wine goes with {}?",
            "How many calories has {}?",
            "Where can I buy {}?",
            "Do you like {}?",
        ],
        held: &["How is {} made?", "What goes into {}?"],
        words: &[
            "pasta",
            "soup",
            "bread",
            "pizza",
            "rice",
            "curry",
            "cake",
            "salad",
            "fish",
            "chicken",
            "beans",
            "pancakes",
            "cheese",
            "jam",
            "apple pie",
            "lasagne",
            "goulash",
            "sushi",
            "risotto",
            "porridge",
            "noodles",
            "stew",
            "butter",
            "chocolate",
        ],
        held_words: &["waffles", "omelette", "mustard", "dumplings", "paella"],
    },
    Field {
        wordings: &[
            "What is {}?",
            "Explain {} to me.",
            "How does {} work?",
            "Why does {} exist?",
            "Who discovered {}?",
            "What causes {}?",
            "What do you know about {}?",
            "How is {} measured?",
        ],
        held: &["Can you explain {}?", "Give me an introduction to {}."],
        words: &[
            "gravity",
            "lightning",
            "photosynthesis",
            "magnetism",
            "inflation",
            "democracy",
            "evolution",
            "electricity",
            "radioactivity",
            "an earthquake",
            "a volcano",
            "a rainbow",
            "the moon",
            "the sun",
            "a comet",
            "an atom",
            "a molecule",
            "the heart",
            "the brain",
            "the liver",
            "a virus",
            "a fever",
            "insulin",
            "vitamin C",
            "a mortgage",
            "insurance",
            "tax law",
            "a contract",
            "the stock market",
            "jazz",
            "opera",
            "chess",
            "football",
            "tennis",
            "cricket",
            "yoga",
            "quantum physics",
            "a black hole",
            "the ocean",
            "a glacier",
        ],
        held_words: &["a tornado", "osmosis", "capitalism", "the kidney", "a supernova", "basketball", "the tides"],
    },
    Field {
        wordings: &[
            "Who won {}?",
            "When does {} begin?",
            "What is the price of {}?",
            "How much does {} cost?",
            "Which is the best {}?",
            "Should I buy {}?",
            "What is new about {}?",
            "Translate {} into French.",
            "How do I repair {}?",
            "Can you order {} for me?",
            "Where did I leave {}?",
        ],
        held: &["How expensive is {}?", "Is it time to sell {}?"],
        words: &[
            "a car",
            "a bicycle",
            "the world cup",
            "a house",
            "a telephone",
            "a watch",
            "a train ticket",
            "gold",
            "silver",
            "oil",
            "a stamp",
            "a washing machine",
            "a piano",
            "a guitar",
            "shoes",
            "a coat",
            "an umbrella",
            "the election",
            "the lottery",
            "a film",
            "a novel",
            "a camera",
            "a lamp",
            "a sofa",
            "my cat",
            "my homework",
            "my car key",
        ],
        held_words: &["a motorcycle", "a fridge", "copper", "the marathon", "a violin"],
    },
    Field {
        wordings: &[
            "What happened in {}?",
            "Who was king in {}?",
            "Who ruled in {}?",
            "What was invented in {}?",
            "Was there a war in {}?",
            "Who won the cup in {}?",
            "How did people live in {}?",
        ],
        held: &["Which events were there in {}?", "Who was the pope in {}?"],
        words: &[
            "1066", "1215", "1348", "1492", "1517", "1603", "1648", "1701", "1756", "1776", "1803", "1815", "1848",
            "1866", "1871", "1900", "1914", "1929", "1945", "1953", "1969", "1989", "2001", "2010", "2020",
        ],
        held_words: &["1588", "1789", "1917", "1961"],
    },
    Field {
        wordings: &[
            "Write {}.",
            "Write {} about love.",
            "Write {} about war.",
            "Write {} in German.",
            "Can you write {}?",
            "Compose {}.",
            "Write {} for my friend.",
            "Write me {}.",
            "I need {} for school.",
            "Help me to write {}.",
            "Correct {} for me.",
        ],
        held: &["Could you write {} for me?", "Please write {} about peace."],
        words: &[
            "a letter",
            "a poem",
            "a song",
            "a speech",
            "a novel",
            "a report",
            "an article",
            "an email",
            "a review",
            "a sonnet",
            "a script",
            "a web page",
            "a Python program",
            "a sorting program",
            "a business plan",
            "an application",
            "a thesis",
        ],
        held_words: &["a ballad", "an essay", "an editorial"],
    },
    Field {
        wordings: &[
            "Will it {} tomorrow?",
            "Did it {} yesterday?",
            "Does it {} today?",
            "Will it {}?",
            "When will it {}?",
            "Why does it {} so often?",
        ],
        held: &["Is it going to {}?", "Shall it {} on Sunday?"],
        words: &[
            "rain",
            "storm",
            "freeze",
            "thaw",
            "hail",
            "get warm",
            "get dark",
            "be sunny",
            "be cloudy",
            "be windy",
        ],
        held_words: &["snow", "be cold", "be foggy"],
    },
    Field {
        wordings: &[
            "What helps against {}?",
            "I have {}. What shall I take?",
            "How do I cure {}?",
            "Is {} dangerous?",
            "What causes {}?",
            "Which doctor treats {}?",
            "How long does {} last?",
        ],
        held: &["What is good against {}?", "Which medicine helps against {}?"],
        words: &[
            "a headache",
            "a cold",
            "the flu",
            "a fever",
            "toothache",
            "back pain",
            "asthma",
            "an allergy",
            "a burn",
            "a broken arm",
            "high blood pressure",
            "a snake bite",
        ],
        held_words: &["a cough", "a rash", "hiccups"],
    },
    Field {
        wordings: &[
            "Book me {}.",
            "Order {}.",
            "Buy {} for me.",
            "Reserve {}.",
            "Find me {}.",
            "Send {} to my brother.",
            "Call {} for me.",
            "Where can I get {}?",
            "Pay for {}.",
        ],
        held: &["Could you get me {}?", "I want to rent {}."],
        words: &[
            "a flight",
            "a taxi",
            "a table for two",
            "two tickets",
            "a pizza",
            "some flowers",
            "a plumber",
            "a lawyer",
            "a room",
            "a parcel",
            "a sandwich",
            "a new shirt",
        ],
        held_words: &["a hotel", "a boat", "a bus ticket"],
    },
    Field {
        wordings: &[
            "Tell me about {}.",
            "What do you know about {}?",
            "Where do I find {}?",
            "Where can I buy {}?",
            "How does one make {}?",
            "How does one clean {}?",
            "Who invented {}?",
            "Do you like {}?",
            "What is the history of {}?",
            "Are {} expensive?",
            "How expensive are {}?",
            "How much are {}?",
            "Why do people like {}?",
            "How are {} made?",
            "What are {} made of?",
            "What colour are {}?",
            "Which {} are the best?",
            "I want to buy {}.",
            "I want to rent {}.",
            "Have you seen my {}?",
            "Give me advice about {}.",
            "Tell me about the history of {}.",
            "Is it true that {} are dangerous?",
            "Could you find {} for me?",
            "Can you get me {}?",
            "What goes with {}?",
            "How heavy are {}?",
            "How many {} are there in the world?",
            "How do {} work?",
            "When were {} invented?",
            "Explain {} to me.",
            "What is the word for {} in French?",
            "Are {} good for me?",
            "What should I know about {}?",
            "My {} are broken.",
            "I lost my {}.",
            "I love {}.",
        ],
        held: &["Do people in Europe like {}?", "What is so special about {}?"],
        words: &[
            "dogs", "cats", "birds", "horses", "cows", "sheep", "goats", "pigs",
            "ducks", "geese", "bears", "wolves", "foxes", "lions", "tigers", "elephants",
            "whales", "sharks", "bees", "ants", "spiders", "snakes", "frogs", "turtles",
            "rabbits", "mice", "owls", "eagles", "penguins", "dolphins", "apples", "pears",
            "plums", "cherries", "grapes", "lemons", "oranges", "bananas", "melons", "onions",
            "potatoes", "carrots", "tomatoes", "peppers", "nuts", "mushrooms", "honey", "sugar",
            "salt", "milk", "coffee", "tea", "wine", "beer", "juice", "bread",
            "rolls", "biscuits", "sausages", "ham", "eggs", "soup", "spices", "trees",
            "roses", "tulips", "grass", "leaves", "forests", "mountains", "rivers", "lakes",
            "islands", "deserts", "beaches", "volcanoes", "clouds", "storms", "stars", "planets",
            "comets", "rockets", "satellites", "aeroplanes", "trains", "ships", "bicycles", "cars",
            "buses", "lorries", "bridges", "towers", "castles", "churches", "temples", "museums",
            "hospitals", "schools", "libraries", "hotels", "shops", "markets", "factories", "farms",
            "gardens", "houses", "flats", "kitchens", "chairs", "tables", "beds", "lamps",
            "mirrors", "carpets", "clocks", "watches", "rings", "necklaces", "hats", "coats",
            "shirts", "trousers", "shoes", "boots", "gloves", "scarves", "umbrellas", "bags",
            "boxes", "bottles", "cups", "plates", "knives", "forks", "spoons", "pots",
            "pans", "ovens", "fridges", "toasters", "kettles", "brushes", "soaps", "towels",
            "pillows", "blankets", "candles", "matches", "nails", "hammers", "saws", "drills",
            "screws", "ropes", "ladders", "tents", "maps", "compasses", "cameras", "telephones",
            "televisions", "radios", "guitars", "pianos", "violins", "flutes", "drums", "songs",
            "operas", "films", "novels", "poems", "paintings", "statues", "stamps", "coins",
            "banknotes", "taxes", "loans", "pensions", "wages", "contracts", "laws", "courts",
            "judges", "lawyers", "doctors", "nurses", "teachers", "bakers", "butchers", "farmers",
            "sailors", "soldiers", "pilots", "painters", "actors", "singers", "dancers", "kings",
            "queens", "princes", "popes", "emperors", "wars", "treaties", "elections", "parliaments",
            "parties", "newspapers", "letters", "parcels", "holidays", "weddings", "birthdays", "funerals",
            "prayers", "religions", "dreams", "fears", "habits", "jokes", "games", "cards",
            "puzzles", "balls", "rackets", "skates", "skis", "swords", "bows", "armour",
            "dinosaurs", "fossils", "crystals", "diamonds", "metals", "gases", "acids", "bones",
            "muscles", "lungs", "kidneys", "teeth", "vaccines", "tablets", "bandages", "diets",
            "sports", "marathons", "cups", "medals",
        ],
        held_words: &["camels", "pumpkins", "windmills", "canals", "trumpets"],
    },
    Field {
        wordings: &["{}"],
        held: &["{}"],
        words: &[
            "Write a poem in German.",
            "What time is it?",
            "What day is today?",
            "Will it rain tomorrow?",
            "What is my name?",
            "How old am I?",
            "Where am I?",
            "What did I eat yesterday?",
            "Read my mail.",
            "Call my mother.",
            "Play some music.",
            "Set an alarm.",
            "Write a Python program.",
            "Sort a list in C++.",
            "Prove a theorem.",
            "What is the meaning of life?",
            "Is there a god?",
            "What is love?",
            "Who will win?",
            "Solve x*x = 2.",
            "What is the square root of 1000?",
            "How many stars are there?",
            "Do my homework.",
            "Give me medical advice.",
            "I have a headache. What shall I take?",
            "Is this contract valid?",
            "Which shares should I buy?",
            "Summarise the news.",
            "What happened in 1848?",
            "Translate this letter.",
            "Who invented the wheel?",
            "How do birds fly?",
            "Why is the sky blue?",
            "How far away is Mars?",
            "How deep is the sea?",
            "How tall is the highest mountain?",
        ],
        held_words: &[
            "What is the date?",
            "Will it snow?",
            "Book me a hotel.",
            "Why is grass green?",
            "How far is Jupiter?",
            "Write an essay about peace.",
            "What happened in 1789?",
            "Which medicine helps against a cough?",
        ],
    },
];

const ANSWER: &str = "I do not know that. I know this program, small sums and short stories.";

/// Questions for training.
pub(super) fn examples(count: usize, dice: &mut Dice) -> Vec<Example> {
    (0..count)
        .map(|_| {
            let field = dice.pick(FIELDS);
            let wording = dice.pick::<&str>(field.wordings);
            // A word that nobody knows is what makes a question unknown: some are made up.
            let word = match *wording != "{}" && dice.chance(0.3) {
                true => invented(dice),
                false => (*dice.pick::<&str>(field.words)).to_owned(),
            };
            let question = wording.replace("{}", &word);
            made(typed(&loosened(&question, dice), dice))
        })
        .collect()
}

/// A word of two or three syllables that means nothing, sometimes as a name.
fn invented(dice: &mut Dice) -> String {
    const BEGIN: &[&str] = &[
        "b", "br", "c", "ch", "d", "dr", "f", "fl", "g", "gr", "h", "j", "k", "kr", "l", "m", "n", "p", "pl", "r", "s",
        "sh", "st", "t", "tr", "v", "w", "z",
    ];
    const VOWEL: &[&str] = &["a", "e", "i", "o", "u", "ai", "ea", "ou"];
    const END: &[&str] = &["", "", "n", "r", "l", "s", "t", "nd", "m", "x"];
    let mut word = String::new();
    for _ in 0..2 + dice.below(2) {
        for part in [BEGIN, VOWEL, END] {
            word.push_str(dice.pick::<&str>(part));
        }
    }
    if dice.chance(0.5) { super::sentence(&word) } else { word }
}

/// Questions of the examination: other words in other wordings, each once.
pub(super) fn held(count: usize, dice: &mut Dice) -> Vec<Example> {
    let mut all: Vec<String> = FIELDS
        .iter()
        .flat_map(|f| f.held.iter().flat_map(|wording| f.held_words.iter().map(|word| wording.replace("{}", word))))
        .collect();
    dice.shuffle(&mut all);
    all.truncate(count);
    all.into_iter().map(made).collect()
}

fn made(question: String) -> Example {
    let mut example = Example::one(Topic::Unknown, question, ANSWER);
    example.must = vec![DECLINED.to_owned()];
    example
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examination_has_other_words() {
        for field in FIELDS {
            assert!(field.held_words.iter().all(|w| !field.words.contains(w)));
        }
        let held = held(50, &mut Dice::new(1));
        assert_eq!(held.len(), 50);
        assert!(ANSWER.contains(DECLINED));
    }
}
